"""Linear heads on stored features: all cats, weight decays and learning rates trained together, by the paper's SGD.

What heads have in common is computed once: a batch is read once, and normalised once, since BatchNorm's statistics are
those of the features and the same for every head. A cat's heads are then one matrix product with its columns, and one
update (`timecat.heads.update`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from timecat.heads import cpu_loop
from timecat.heads.linear_head import LinearHead
from timecat.heads.linear_probe import BATCH_NORM_EPS, initial_weight
from timecat.heads.update import compiled_update, nesterov, update


class _Cat(NamedTuple):
    """One cat's share of the heads' tensors, as views of K heads on D features."""

    weight: Tensor  # (K, classes, D)
    velocity: Tensor
    gradient: Tensor
    affine: Tensor  # BatchNorm's weight and bias (2, K, 1, D)
    of_affine: Tensor  # their gradient
    rate: Tensor  # (K, 1, 1)
    decay: Tensor  # (K, 1, 1)
    shift: Tensor  # the latter (K, D, 1)
    parts: list[tuple[Tensor, Tensor, tuple[int, int]]]  # weight times gain, its gradient (K x classes, d), and of the
    # batch's columns the first and how many


class Heads:
    """Heads of several cats, K for each: BatchNorm1d, its affine part, a linear layer, as `LinearProbe` has them.

    The weights of all cats stand side by side in one tensor (K, classes, D), D being the sum of the cats' features. The
    features themselves are shared: a cat is a list of columns of the batch.

    Args:
        cats: for each cat the columns of its features, as slices of the batch, in order.
        lrs, weight_decays: float (cats, K).
        classes: outputs of each head.
        seed: of the initial weights, the same for heads of the same width.
    """

    def __init__(
        self,
        cats: Sequence[Sequence[slice]],
        lrs: np.ndarray,
        weight_decays: np.ndarray,
        *,
        classes: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.shape = (len(cats), lrs.shape[1], classes)
        count, rows = lrs.shape[1], lrs.shape[1] * classes
        widths = [sum(part.stop - part.start for part in cat) for cat in cats]
        total, columns = sum(widths), max(part.stop for cat in cats for part in cat)
        initial = [initial_weight(classes, width, seed) for width in widths]
        self.weight = torch.cat(initial, 1).to(device).repeat(count, 1, 1)
        shapes = (2, count, 1, total), (len(cats), count, classes, 1)
        self._small, self.affine, self.bias = _joined(shapes, device)  # affine: BatchNorm's weight and bias
        self.affine[0] = 1.0
        self.mean, self.variance = torch.zeros(columns, device=device), torch.ones(columns, device=device)
        self.velocity = [torch.zeros_like(tensor) for tensor in (self.weight, self._small)]
        self._scaled, self._gradient = torch.empty_like(self.weight), torch.empty_like(self.weight)
        self._small_gradient, self._affine_gradient, self._bias_gradient = _joined(shapes, device)
        rates, decays = (torch.from_numpy(v.astype(np.float32)).to(device) for v in (lrs, weight_decays))
        self._cats, start = [], 0
        for index, (cat, width) in enumerate(zip(cats, widths, strict=True)):
            own = slice(start, start + width)
            parts = []
            for part in cat:
                stop = start + part.stop - part.start
                flat = [tensor.view(rows, total)[:, start:stop] for tensor in (self._scaled, self._gradient)]
                parts.append((*flat, (part.start, stop - start)))
                start = stop
            weights = (tensor[:, :, own] for tensor in (self.weight, self.velocity[0], self._gradient))
            affine = [tensor[..., own] for tensor in (self.affine, self._affine_gradient)]
            steps = rates[index, :, None, None], decays[index, :, None, None]
            self._cats.append(_Cat._make([*weights, *affine, *steps, affine[0][1].transpose(1, 2), parts]))
        repeats = torch.tensor(widths, device=device)
        self._small_rates, of_affine, of_bias = _joined(shapes, device)
        of_affine[:] = rates.repeat_interleave(repeats, 0).T[:, None, :]
        of_bias[:] = rates[:, :, None, None]
        self._decays = decays[:, :, None, None]
        self._settings, self._widths = (rates, decays), widths
        self._places, self._less = torch.empty(0), torch.empty(0)  # of a batch
        self._by_loop = device.type == "cpu" and cpu_loop.HAS_LOOP

    def logits(self, features: Tensor) -> Tensor:
        """Logits (cats, K, classes, b) of float32 features (b, columns), by the running statistics."""
        return self._logits(nn.functional.batch_norm(features, self.mean, self.variance))

    def _logits(self, normalised: Tensor) -> Tensor:
        cats, count, classes = self.shape
        logits = normalised.new_empty(cats, count * classes, len(normalised))
        torch.mul(self.weight, self.affine[0], out=self._scaled)
        transposed = normalised.T
        for cat, own_bias, out in zip(self._cats, self.bias.unbind(), logits.unbind(), strict=True):
            before = torch.baddbmm(own_bias, cat.weight, cat.shift).view(count * classes, 1)
            for scaled, _, columns in cat.parts:
                before = torch.addmm(before, scaled, transposed.narrow(0, *columns), out=out)
        return logits.view(*self.shape, -1)

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """One step of SGD with nesterov momentum on the mean cross-entropy of each head.

        Args:
            features, labels: float32 (b, columns), b above 1, which is used up, and int64 (b,).
            factor: of the learning rates, by the schedule.
        """
        cats, count, classes = self.shape
        batch = len(labels)
        if self._by_loop:
            normalised = cpu_loop.normalise(features, self.mean, self.variance)
        else:
            normalised = nn.functional.batch_norm(features, self.mean, self.variance, training=True)
        # the gradient of the logits: softmax, less one at the label, over the batch
        slope = torch.softmax(self._logits(normalised), 2)
        flat = slope.view(cats * count, classes * batch)
        if len(self._places) != batch:
            self._places = torch.arange(batch, device=labels.device)
            self._less = flat.new_full((1, 1), -1.0).expand(cats * count, batch)
        flat.index_add_(1, labels * batch + self._places, self._less)
        slope /= batch
        torch.sum(slope, 3, keepdim=True, out=self._bias_gradient)
        for cat, rows in zip(self._cats, slope.view(cats, count * classes, batch).unbind(), strict=True):
            for _, gradient, columns in cat.parts:
                torch.mm(rows, normalised.narrow(1, *columns), out=gradient)
        self._step_weights(factor)
        self._bias_gradient.addcmul_(self.bias, self._decays)
        nesterov(self._small, self.velocity[1], self._small_gradient, self._small_rates * -factor)

    def _step_weights(self, factor: float) -> None:
        bias = self._bias_gradient
        if self._by_loop:
            tensors = self.weight, self.velocity[0], self._gradient, bias, self.affine, self._affine_gradient
            cpu_loop.update_all(*tensors, *self._settings, factor, self._widths)
            return
        quick = compiled_update() if self.weight.device.type == "cuda" else update
        for of_cat, cat in zip(bias, self._cats, strict=True):
            tensors = cat.weight, cat.velocity, cat.gradient, of_cat, cat.affine
            cat.of_affine.copy_(quick(*tensors, cat.rate * -factor, cat.decay))

    def head(self, cat: int, setting: int) -> LinearHead:
        """One head as it is now, by the running statistics, on the CPU."""
        own = self._cats[cat]
        mean, variance = (
            torch.cat([v.narrow(0, *columns) for *_, columns in own.parts]) for v in (self.mean, self.variance)
        )
        weight = own.weight[setting]
        bias = self.bias[cat, setting, :, 0] + (weight * own.affine[1, setting]).sum(1)
        scale = (variance + BATCH_NORM_EPS).rsqrt()
        return LinearHead(mean, scale, weight * own.affine[0, setting], bias).to(torch.device("cpu"))

    def state(self) -> list[Tensor]:
        """All that a next step depends on."""
        return [self.weight, self._small, self.mean, self.variance, *self.velocity]

    def load_state(self, state: list[Tensor]) -> None:
        for tensor, value in zip(self.state(), state, strict=True):
            tensor.copy_(value)


def _joined(shapes: Sequence[tuple[int, ...]], device: torch.device) -> list[Tensor]:
    """One float32 tensor of zeros, and views of it in these shapes, so that what is small is stepped together."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    whole = torch.zeros(sum(sizes), device=device)
    return [whole, *(part.view(shape) for part, shape in zip(whole.split(sizes), shapes, strict=True))]
