"""Sparse linear learners on the mixture: a surrogate loss of phi1 and phi2 with an L1 penalty; which feature is kept.

Each feature is one number, so that the group lasso is the same penalty.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from timecat.bottleneck.counterexample.mixture import LABELS, PHI, Array, point_weights

DESIGN: Array = np.column_stack([PHI, np.ones(4)])
PENALTIES = 220  # tried evenly, up to 1.1 times the least that keeps nothing, which is not among them
ITERATIONS = 3000  # of accelerated proximal gradient
ZERO = 1e-9


@dataclass(frozen=True)
class Segment:
    """Neighbouring penalties with which the same features are kept.

    Attributes:
        lowest, highest: the first and the last penalty that was tried.
        keeps: "phi1", "phi2", "both" or "none"; or several, such as "none or phi1", where minimisers tie.
        risk: least and largest 0-1 risk on the mixture of the learner's own classifier, which says 1 on its boundary.
    """

    lowest: float
    highest: float
    keeps: str
    risk: tuple[float, float]


def path(loss: str, weights: Array) -> list[Segment]:
    """What the learner keeps, from penalty 0 up to where it keeps nothing.

    Args:
        loss: "hinge", minimised exactly over the vertices of its pieces, or "logistic", by proximal gradient.
        weights: (4,), lambda.
    """
    p = point_weights(weights)
    top = (hinge_limit if loss == "hinge" else logistic_limit)(p)
    penalties = np.linspace(0, 1.1 * max(top, 0.01), PENALTIES)
    minimisers = [hinge(p, float(penalty)) for penalty in penalties] if loss == "hinge" else logistic(p, penalties)
    segments: list[Segment] = []
    for penalty, found in zip(penalties, minimisers, strict=True):
        *first, last = sorted({name(one) for one in found})
        keeps = f"{', '.join(first)} or {last}" if first else last
        wrong = [float((np.where(DESIGN @ one >= -ZERO, 1, -1) != LABELS) @ p) for one in found]
        if segments and segments[-1].keeps == keeps:
            before = segments.pop()
            risk = min(before.risk[0], *wrong), max(before.risk[1], *wrong)
            segments.append(Segment(before.lowest, float(penalty), keeps, risk))
        else:
            segments.append(Segment(float(penalty), float(penalty), keeps, (min(wrong), max(wrong))))
    return segments


def name(minimiser: Array) -> str:
    """The features with a coefficient other than 0; minimiser is (3,): coefficients of phi1 and phi2, and the bias."""
    first, second = np.abs(minimiser[:2]) > ZERO
    return "both" if first and second else "phi1" if first else "phi2" if second else "none"


def hinge_limit(p: Array) -> float:
    """The penalty from which the hinge loss keeps nothing; p is (4,), what the points weigh."""
    return float(2 * min(p[0] + p[1], p[2] + p[3]) - 4 * p.min())


def logistic_limit(p: Array) -> float:
    """The penalty from which the logistic loss keeps nothing: the larger slope where there is only the bias."""
    positive = p[2] + p[3]
    return float(max(2 * abs(p[0] - p[1]) * positive, 2 * abs(p[2] - p[3]) * (1 - positive)))


def hinge(p: Array, penalty: float) -> Array:
    """All vertices that minimise sum_j p[j] max(0, 1 - y f) + penalty (|w1| + |w2|).

    The objective is linear in pieces that are bounded by the planes y_j f_j = 1, w1 = 0 and w2 = 0, so that it is least
    at a point where three of them meet.

    Returns:
        (minimisers, 3): those that tie; one where more than three planes meet comes several times.
    """
    planes = np.vstack([LABELS[:, None] * DESIGN, np.eye(3)[:2]])
    sides = np.array([1, 1, 1, 1, 0, 0], dtype=np.float64)
    triples = [list(three) for three in combinations(range(6), 3)]
    triples = [three for three in triples if abs(np.linalg.det(planes[three])) > ZERO]
    vertices = np.linalg.solve(planes[triples], sides[triples][..., None])[..., 0].astype(np.float64)
    losses = np.maximum(0, 1 - (vertices @ DESIGN.T) * LABELS) @ p + penalty * np.abs(vertices[:, :2]).sum(1)
    return vertices[losses <= losses.min() + 1e-12]


def logistic(p: Array, penalties: Array) -> Array:
    """Minimise sum_j p[j] log(1 + exp(-y f)) + penalty (|w1| + |w2|) by FISTA, for all penalties together.

    Returns:
        (penalties, 1, 3).
    """
    step = 4 / np.linalg.eigvalsh((DESIGN.T * p) @ DESIGN).max()
    shrink = step * penalties[:, None]
    now = ahead = np.zeros((len(penalties), 3))
    momentum = 1.0
    for _ in range(ITERATIONS):
        slope = (-LABELS * p / (1 + np.exp((ahead @ DESIGN.T) * LABELS))) @ DESIGN
        after = ahead - step * slope
        after[:, :2] = np.sign(after[:, :2]) * np.maximum(np.abs(after[:, :2]) - shrink, 0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / following * (after - now)
        now, momentum = after, following
    return now[:, None]
