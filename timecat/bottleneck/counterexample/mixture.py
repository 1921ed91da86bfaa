"""The counterexample's four points, its four tasks, and their exact risks by enumeration.

The paper (arXiv 2506.18221) states that there are two features and four sub-distributions P[1] to P[4], that phi1
classifies P[1] and P[2] optimally and phi2 classifies P[3] and P[4], and that no linear classifier separates their
mixture. These points are this library's construction of such a case; docs/bottleneck.md derives it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS: Array = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=np.float64)
LABELS: Array = np.array([-1, -1, 1, 1], dtype=np.float64)
PHI: Array = POINTS @ np.array([[1, 1], [1, -1]], dtype=np.float64)  # columns x1 + x2 and x1 - x2
TASKS: Array = (1 - np.eye(4)) / 3  # row j is P[j]: uniform on the points other than point j
FEATURES = {"phi1": PHI[:, :1], "phi2": PHI[:, 1:], "both": PHI}
TIED = 1e-12  # risks this close are equal


@dataclass(frozen=True)
class Exact:
    """Exact 0-1 risks of one mixture, as shares of images that are misclassified, float64.

    Attributes:
        weights: lambda, (4,), sums to 1.
        mixture: best risk of an affine classifier of phi1, of phi2 and of both, on the mixture.
        keeps: the single features whose best risk on the mixture is that of both; two of them where they tie.
        direct: (4,), on each P[i]: the least over extractors and classifiers.
        transfer: (4,) for phi1, phi2 and both: the least over classifiers alone.
    """

    weights: Array
    mixture: dict[str, float]
    keeps: tuple[str, ...]
    direct: Array
    transfer: dict[str, Array]

    def gap(self, kept: str) -> Array:
        """Transfer risk less direct risk on each P[i], (4,)."""
        return self.transfer[kept] - self.direct


def point_weights(weights: Array) -> Array:
    """What each point weighs in sum_j weights[j] P[j], (4,): (1 - weights[j]) / 3."""
    return weights @ TASKS


def labelings(features: Array) -> Array:
    """Every way an affine classifier can label the points without a point on its boundary.

    The order of the projections onto a direction changes only where the direction is orthogonal to the difference of
    two points. So one direction between every two such, and every threshold between two different projections, give
    all labelings.

    Args:
        features: (n, 1) or (n, 2), of n points.

    Returns:
        (labelings, n) of -1 and 1, in some order, some of them more than once.
    """
    if features.shape[1] == 1:
        directions = np.ones((1, 1))
    else:
        ends = (features[:, None] - features[None]).reshape(-1, 2)
        ends = ends[np.any(ends != 0, axis=1)]
        critical = np.unique(np.round((np.arctan2(ends[:, 1], ends[:, 0]) + np.pi / 2) % np.pi, 12))
        if critical.size == 0:
            critical = np.zeros(1)
        between = (critical + np.append(critical[1:], critical[0] + np.pi)) / 2
        directions = np.stack([np.cos(between), np.sin(between)], axis=1)
    found = [np.ones(len(features)), -np.ones(len(features))]
    for direction in directions:
        projected = (features * direction).sum(1)
        values = np.unique(projected)
        for threshold in (values[1:] + values[:-1]) / 2:
            side = np.where(projected > threshold, 1.0, -1.0)
            found += [side, -side]
    return np.stack(found)


def least_risk(features: Array, distribution: Array) -> float:
    """The least 0-1 risk of an affine classifier of the features.

    Args:
        features: (4, 1) or (4, 2), of the four points.
        distribution: (4,), what each point weighs.
    """
    return float(((labelings(features) != LABELS) @ distribution).min())


def exact(weights: Array) -> Exact:
    """Exact risks of the mixture with these weights, float64 (4,), which sum to 1."""
    mixture = {name: least_risk(kept, point_weights(weights)) for name, kept in FEATURES.items()}
    transfer = {name: np.array([least_risk(kept, task) for task in TASKS]) for name, kept in FEATURES.items()}
    keeps = tuple(name for name in ("phi1", "phi2") if mixture[name] <= mixture["both"] + TIED)
    direct = np.min(list(transfer.values()), axis=0)
    return Exact(weights, mixture, keeps, direct, transfer)
