"""BatchNorm over parts of a batch, which are normalised one by one and move the running statistics together."""

from typing import cast

import torch
from torch import Tensor, nn


class GhostBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that normalises a training batch in parts (Hoffer et al. 2017, arXiv 1705.08741).

    Args:
        num_features: channels.
        ghost_batch_size: images of a part; a training batch must be a multiple of it.
    """

    def __init__(self, num_features: int, ghost_batch_size: int) -> None:
        super().__init__(num_features)
        self.ghost_batch_size = ghost_batch_size

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) == self.ghost_batch_size:
            return super().forward(input)
        parts = input.split(self.ghost_batch_size)
        mean, var = (self.running_mean, self.running_var) if self.track_running_stats else (None, None)
        if self.track_running_stats:
            cast(Tensor, self.num_batches_tracked).add_(1)
        moments = [momentum_of(cast(float, self.momentum), part, len(parts)) for part in range(len(parts))]
        return torch.cat(
            [
                nn.functional.batch_norm(images, mean, var, self.weight, self.bias, True, momentum, self.eps)
                for images, momentum in zip(parts, moments, strict=True)
            ]
        )


def momentum_of(momentum: float, part: int, parts: int) -> float:
    """The momentum of a part's update, such that those of all parts weigh the same and together `momentum`.

    With these the updates s <- (1 - a_k) s + a_k m_k end at s <- (1 - momentum) s + momentum mean(m).
    """
    return momentum / (parts - (parts - 1 - part) * momentum)
