"""The optimum of a linear head: multinomial logistic regression on standardised features, by L-BFGS."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.precision import float32_products
from timecat.heads.linear_head import LinearHead

ITERATIONS = 1000
TOLERANCE = 1e-6  # of the largest derivative
ROWS = 8192  # at once


@dataclass
class Optimum:
    """A linear head and how it was found.

    Attributes:
        weight, bias: (classes, D) and (classes,), of the standardised features.
        curve: the objective after each evaluation: mean cross-entropy plus weight_decay / 2 times the squared weights.
        slope: the largest derivative at the end.
    """

    weight: Tensor
    bias: Tensor
    curve: list[float]
    slope: float


class Standardised:
    """Batches of one cat's features with mean 0 and variance 1 over the training images.

    Args:
        columns: of the matrix, in the order of the cat's members.
        rows: the training images, int64 (n,).
    """

    def __init__(self, matrix: FeatureMatrix, columns: list[slice], rows: Tensor) -> None:
        self.matrix, self.columns, self.rows = matrix, columns, rows
        self._kept: Tensor | None = None
        total = square = torch.zeros((), dtype=torch.float64, device=matrix.device)
        for features in self._batches():
            total = total + features.double().sum(0)
        self.mean = total / len(rows)
        for features in self._batches():
            square = square + (features.double() - self.mean).square().sum(0)
        self.scale = (square / len(rows)).add(1e-5).rsqrt()  # as BatchNorm1d's eps

    def _own(self, features: Tensor) -> Tensor:
        parts = [features[:, part] for part in self.columns]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _batches(self) -> Iterator[Tensor]:
        for features in self.matrix.batches(self.rows, ROWS):
            yield self._own(features)

    def keep(self) -> None:
        """Hold the batches on the device, 4 n D bytes, as many passes over few images are quicker so."""
        self._kept = torch.cat(list(self.batches()))

    def batches(self) -> Iterator[Tensor]:
        """Float32 (b, D) of the training images, in the order of the rows."""
        if self._kept is not None:
            yield from self._kept.split(ROWS)
            return
        mean, scale = self.mean.float(), self.scale.float()
        for features in self._batches():
            yield (features - mean) * scale

    def logits(self, optimum: Optimum) -> Callable[[Tensor], Tensor]:
        """The head as a function of float32 features (b, columns of the matrix): logits (1, 1, classes, b)."""
        head = self.head(optimum)
        return lambda features: head.logits(self._own(features))

    def head(self, optimum: Optimum) -> LinearHead:
        """The head on this cat's own features."""
        return LinearHead(self.mean.float(), self.scale.float(), optimum.weight, optimum.bias)


@float32_products(tf32=False)
def minimise(data: Standardised, labels: Tensor, classes: int, weight_decay: float, start: Optimum | None) -> Optimum:
    """Minimise mean cross-entropy + weight_decay / 2 * |weight|^2 over weight and bias, in IEEE float32.

    Args:
        labels: int64 (n,) of data.rows.
        start: where to begin, such as the optimum of another weight decay; else at 0.
    """
    device, width = labels.device, len(data.mean)
    weight = torch.zeros(classes, width, device=device) if start is None else start.weight.clone()
    bias = torch.zeros(classes, device=device) if start is None else start.bias.clone()
    solver = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()],
        max_iter=ITERATIONS,
        history_size=10,
        tolerance_grad=TOLERANCE,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    curve: list[float] = []

    @torch.no_grad()
    def objective() -> float:
        gradient, offset = weight_decay * weight, torch.zeros_like(bias)
        loss, place = torch.zeros((), dtype=torch.float64, device=device), 0
        for features in data.batches():
            targets = labels[place : place + len(features)]
            place += len(features)
            logits = torch.addmm(bias, features, weight.T)
            loss += nn.functional.cross_entropy(logits, targets, reduction="sum").double()
            slope = logits.softmax(1)
            slope[torch.arange(len(targets), device=device), targets] -= 1
            gradient.addmm_(slope.T, features, alpha=1 / len(labels))
            offset += slope.sum(0) / len(labels)
        weight.grad, bias.grad = gradient, offset
        curve.append(float(loss / len(labels) + weight_decay / 2 * weight.double().square().sum()))
        return curve[-1]

    solver.step(objective)
    objective()
    assert weight.grad is not None and bias.grad is not None
    slope = max(float(weight.grad.abs().max()), float(bias.grad.abs().max()))
    return Optimum(weight.detach(), bias.detach(), curve, slope)
