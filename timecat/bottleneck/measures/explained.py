"""How much of some features others hold already, by a linear map."""

import torch
from torch import Tensor

from timecat.bottleneck.measures.ridge import STRENGTHS, chosen_rows, solve


def explained(one: Tensor, other: Tensor, held_one: Tensor, held_other: Tensor) -> Tensor:
    """R^2 of each feature of `other` by ridge regression from `one`, on held-out images; float64 (e',).

    1 where a linear map of `one` gives the feature, 0 where it is no better than the mean, below 0 where it is worse.
    Features that are constant on the held-out images are left out. The penalty is chosen for the mean R^2 on a fifth of
    the images that are fitted.

    Args:
        one, other: floating (n, d) and (n, e), of the images to fit.
        held_one, held_other: floating (m, d) and (m, e), of the held-out images.
    """
    inner, outer = chosen_rows(len(one), one.device)
    fit = _Maps(one[inner], other[inner])
    values = {s: float(_r2(fit.predict(one[outer], s), other[outer]).mean()) for s in STRENGTHS}
    best = max(STRENGTHS, key=lambda strength: values[strength])
    return _r2(_Maps(one, other).predict(held_one, best), held_other)


class _Maps:
    """Ridge regressions of all penalties, from one pass over the images."""

    def __init__(self, one: Tensor, other: Tensor) -> None:
        one, other = one.double(), other.double()
        self.mean, self.std, self.target = one.mean(0), one.std(0).clamp(min=1e-12), other.mean(0)
        scaled = (one - self.mean) / self.std
        self.moments = scaled.T @ scaled, scaled.T @ (other - self.target), len(one)

    def predict(self, one: Tensor, strength: float) -> Tensor:
        return (one.double() - self.mean) / self.std @ solve(*self.moments, strength) + self.target


def _r2(predicted: Tensor, other: Tensor) -> Tensor:
    other = other.double()
    left, whole = ((other - around).square().sum(0) for around in (predicted, other.mean(0)))
    moves = whole > 1e-12 * len(other)
    return 1 - left[moves] / whole[moves] if moves.any() else torch.zeros(1, dtype=torch.float64)
