"""A stratified, seeded split: what is held out of a training set for choosing hyperparameters."""

from collections.abc import Sequence

import numpy as np

from timecat.errors import UserError

TEST_SEED = 0  # of the test split that a source is given
SPLIT_SEED = 0  # what is held out is the same for every member and every extractor


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int, name: str, classes: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Split the indices of `labels` in two, class by class.

    Args:
        labels: int array of shape (n,), each 0 or more.
        fraction: share of each class that is held out, in (0, 1); at least one image of every class lands on each side.
        seed: the split is a function of (labels, fraction, seed) alone.
        name: what the labels belong to, for the error.
        classes: class k's name at place k, for the error too.

    Returns:
        (kept, held_out): sorted int64 indices that partition range(n).

    Raises:
        UserError: a class has fewer than two images, or the fraction lies outside (0, 1).
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(f"{name}: a fraction of {fraction} cannot be held out; choose one between 0 and 1")
    rng = np.random.default_rng(seed)
    if labels.max(initial=0) < 2**15:
        labels = labels.astype(np.int16)  # which numpy sorts by radix, thirty times as fast
    values, counts = np.unique(labels, return_counts=True)
    single = values[counts == 1]
    if len(single):
        raise UserError(f"{name}: {lonely(single, classes)}, so none can be held out; add images or remove the class")
    held_out: list[np.ndarray] = []
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])  # ascending in each
    for members in by_class:
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out.append(rng.permutation(members)[:count])
    is_held = np.zeros(len(labels), bool)
    is_held[np.concatenate(held_out)] = True
    return np.flatnonzero(~is_held).astype(np.int64), np.flatnonzero(is_held).astype(np.int64)


def lonely(single: np.ndarray, classes: Sequence[str] = ()) -> str:
    """In words which classes, int (k,), have one image only."""
    names = [f"{label} ({classes[label]})" if label < len(classes) else f"{label}" for label in single[:5].tolist()]
    more = f" and {len(single) - 5:,} more" if len(single) > 5 else ""
    if len(single) == 1:
        return f"class {names[0]} has one image"
    return f"the classes {', '.join(names)}{more} have one image each"
