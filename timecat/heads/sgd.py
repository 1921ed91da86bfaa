"""Linear heads on stored features: all cats, weight decays and learning rates trained together, by the paper's SGD.

What heads have in common is computed once: a batch is read once, and normalised once, since BatchNorm's statistics are
those of the features and the same for every head. A cat's heads are then one matrix product with its columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from timecat.heads.linear_head import LinearHead
from timecat.heads.linear_probe import MOMENTUM, initial_weight

BATCH_NORM_EPS = 1e-5  # torch's


class _Cat(NamedTuple):
    """One cat's share of the heads' tensors, as views of K heads on D features."""

    weight: Tensor  # (K, classes, D)
    offset: Tensor  # the weight times BatchNorm's bias, feature by feature, before it is summed
    gradient: Tensor  # of the weight
    gain: Tensor  # BatchNorm's weight (K, 1, D)
    shift: Tensor  # BatchNorm's bias (K, 1, D)
    shift_gradient: Tensor
    parts: list[tuple[Tensor, Tensor, slice]]  # weight times gain, its gradient (K x classes, d), columns of the batch


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
        self.affine = torch.zeros(2, count, 1, total, device=device)  # BatchNorm's weight and bias
        self.affine[0] = 1.0
        self.bias = torch.zeros(len(cats), count, classes, 1, device=device)
        self.mean, self.variance = torch.zeros(columns, device=device), torch.ones(columns, device=device)
        self.velocity = [torch.zeros_like(tensor) for tensor in (self.weight, self.affine, self.bias)]
        self._scaled, self._gradient = torch.empty_like(self.weight), torch.empty_like(self.weight)
        self._affine_gradient = torch.empty_like(self.affine)
        self._cats, start = [], 0
        for cat, width in zip(cats, widths, strict=True):
            own = slice(start, start + width)
            parts = []
            for part in cat:
                stop = start + part.stop - part.start
                flat = [tensor.view(rows, total)[:, start:stop] for tensor in (self._scaled, self._gradient)]
                parts.append((*flat, part))
                start = stop
            weights = (tensor[:, :, own] for tensor in (self.weight, self._scaled, self._gradient))
            gain, shift, gradient = (t[..., own] for t in (*self.affine, self._affine_gradient[1]))
            self._cats.append(_Cat._make([*weights, gain, shift, gradient, parts]))
        rates, decays = (torch.from_numpy(v.astype(np.float32)).to(device) for v in (lrs, weight_decays))
        repeats = torch.tensor(widths, device=device)
        by_column = [values.repeat_interleave(repeats, 0).T[:, None, :].contiguous() for values in (rates, decays)]
        self._decays = by_column[1], decays[:, :, None, None]
        self._rates = by_column[0], by_column[0], rates[:, :, None, None]

    def logits(self, features: Tensor) -> Tensor:
        """Logits (cats, K, classes, b) of float32 features (b, columns), by the running statistics."""
        return self._logits(nn.functional.batch_norm(features, self.mean, self.variance))

    def _logits(self, normalised: Tensor) -> Tensor:
        cats, count, classes = self.shape
        logits = normalised.new_empty(cats, count * classes, len(normalised))
        torch.mul(self.weight, self.affine[1], out=self._scaled)
        offsets = [cat.offset.sum(2, keepdim=True) for cat in self._cats]
        offset = torch.stack(offsets).add_(self.bias).view(cats, count * classes, 1)
        torch.mul(self.weight, self.affine[0], out=self._scaled)
        for index, cat in enumerate(self._cats):
            before = offset[index]
            for scaled, _, columns in cat.parts:
                before = torch.addmm(before, scaled, normalised[:, columns].T, out=logits[index])
        return logits.view(*self.shape, -1)

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """One step of SGD with nesterov momentum on the mean cross-entropy of each head.

        Args:
            features, labels: float32 (b, columns) and int64 (b,).
            factor: of the learning rates, by the schedule.
        """
        cats, count, classes = self.shape
        batch = len(labels)
        normalised = nn.functional.batch_norm(features, self.mean, self.variance, training=True)
        # the gradient of the logits: softmax, less one at the label, over the batch
        slope = torch.softmax(self._logits(normalised), 2)
        flat = slope.view(cats * count, classes * batch)
        at = labels * batch + torch.arange(batch, device=labels.device)
        flat.index_add_(1, at, flat.new_full((1, 1), -1.0).expand(cats * count, batch))
        slope /= batch
        bias = slope.sum(3, keepdim=True)
        for index, cat in enumerate(self._cats):
            rows = slope[index].view(count * classes, batch)
            for _, gradient, columns in cat.parts:
                torch.mm(rows, normalised[:, columns], out=gradient)
            torch.bmm(bias[index].transpose(1, 2), cat.weight, out=cat.shift_gradient)
        torch.mul(self._gradient, self.weight, out=self._scaled)
        torch.sum(self._scaled, 1, keepdim=True, out=self._affine_gradient[0])
        self._gradient.mul_(self.affine[0])
        for index, cat in enumerate(self._cats):
            cat.gradient.addcmul_(bias[index], cat.shift)
        self._gradient.addcmul_(self.weight, self._decays[0])
        bias.addcmul_(self.bias, self._decays[1])
        parameters, gradients = (self.weight, self.affine, self.bias), (self._gradient, self._affine_gradient, bias)
        for parameter, gradient, velocity, rate in zip(parameters, gradients, self.velocity, self._rates, strict=True):
            velocity.mul_(MOMENTUM).add_(gradient)
            parameter.addcmul_(gradient.add_(velocity, alpha=MOMENTUM), rate, value=-factor)

    def head(self, cat: int, setting: int) -> LinearHead:
        """One head as it is now, by the running statistics, on the CPU."""
        own = self._cats[cat]
        mean, variance = (torch.cat([v[part] for *_, part in own.parts]) for v in (self.mean, self.variance))
        weight = own.weight[setting]
        bias = self.bias[cat, setting, :, 0] + (weight * own.shift[setting]).sum(1)
        scale = (variance + BATCH_NORM_EPS).rsqrt()
        return LinearHead(mean, scale, weight * own.gain[setting], bias).to(torch.device("cpu"))

    def state(self) -> list[Tensor]:
        """All that a next step depends on."""
        return [self.weight, self.affine, self.bias, self.mean, self.variance, *self.velocity]

    def load_state(self, state: list[Tensor]) -> None:
        for tensor, value in zip(self.state(), state, strict=True):
            tensor.copy_(value)
