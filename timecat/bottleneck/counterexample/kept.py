"""What frozen features are still good for: on which tasks an affine head of them makes no mistake."""

import numpy as np
from numpy.typing import NDArray

from timecat.bottleneck.counterexample.mixture import Array

# P[1] to P[4] hold one point of one label and two of the other; these are their numbers, from 0
ODD = [1, 0, 3, 2]
EVEN = [[2, 3], [2, 3], [0, 1], [0, 1]]


def margins(features: Array) -> Array:
    """How far the odd point of each task lies from the segment of the two others: 0 where no affine head is right.

    Three points of two labels can be separated if and only if the odd one is not on the segment between the others.

    Args:
        features: (..., 4, D), of the four points.

    Returns:
        (..., 4), a task each: the distance, as a share of the largest distance of two of the four points.
    """
    differences = features[..., :, None, :] - features[..., None, :, :]
    spread = np.sqrt((differences**2).sum(-1).max((-2, -1)))
    start, end = (features[..., [pair[side] for pair in EVEN], :] for side in (0, 1))
    along, odd = end - start, features[..., ODD, :] - start
    length = (along**2).sum(-1)
    share = np.divide((odd * along).sum(-1), length, out=np.zeros_like(length), where=length > 0).clip(0, 1)
    distance = np.sqrt(((odd - share[..., None] * along) ** 2).sum(-1))
    return np.divide(distance, spread[..., None], out=np.zeros_like(distance), where=spread[..., None] > 0)


def solves(features: Array, clear: float) -> NDArray[np.bool_]:
    """Whether an affine head makes no mistake on P[1] to P[4]; where not, the best one errs on one image of three.

    Args:
        features: (..., 4, D), of the four points.
        clear: margins up to this one count as none, since a head would have to be large to use them.

    Returns:
        (..., 4).
    """
    return margins(features) > clear


def concatenate(features: Array, networks: int) -> Array:
    """Features of cats of that many networks: seeds 0 to networks - 1, and so on; what is left over is left out.

    Args:
        features: (seeds, 4, D).

    Returns:
        (seeds // networks, 4, networks * D).
    """
    cats = len(features) // networks
    used = features[: cats * networks].reshape(cats, networks, *features.shape[1:])
    return np.concatenate(list(np.moveaxis(used, 1, 0)), axis=-1)


def kept(solved: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Name what is kept: phi1 (P[1] and P[2]), phi2 (P[3] and P[4]), both or neither; solved is (..., 4)."""
    first, second = solved[..., :2].all(-1), solved[..., 2:].all(-1)
    return np.where(first & second, "both", np.where(first, "phi1", np.where(second, "phi2", "neither")))


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, count of total (Wilson 1927)."""
    z = 1.959963984540054
    share, spread = count / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / total + spread / total / 4) / (1 + spread)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
