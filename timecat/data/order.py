"""In which order an epoch visits images: a function of the seed, the epoch and the images, whatever memory there is."""

from collections.abc import Callable

import numpy as np

BLOCK = 16  # images that lie side by side, and are read in one go
POOL = 1 << 16  # images that are shuffled together
Order = Callable[[np.ndarray, int, int], np.ndarray]  # of rows, seed, epoch


def permuted(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Every order of rows, int64 (n,), is as likely: that of a member's training."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def in_blocks(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """An order that a disk reads in few pieces, of rows that ascend, int64 (n,): that of a probe's heads.

    As `permuted`, where there are at most POOL rows. Of more, each BLOCK rows that follow one another are a block; the
    generator default_rng([seed, epoch]) permutes the blocks, the last one short, and then each POOL rows of that order,
    one pool after the other.
    """
    if len(rows) <= POOL:
        return permuted(rows, seed, epoch)
    rng = np.random.default_rng([seed, epoch])
    starts = BLOCK * rng.permutation(-(-len(rows) // BLOCK))
    places = (starts[:, None] + np.arange(BLOCK)).ravel()
    order = rows[places[places < len(rows)]]
    return np.concatenate([rng.permutation(order[start : start + POOL]) for start in range(0, len(order), POOL)])
