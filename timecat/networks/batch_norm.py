"""BatchNorm's running statistics: those of the weights that count, and the same however a step is shared.

Schedule-free takes gradients at y and keeps the average x. The running statistics that training leaves belong to y;
x with them is useless (validation swings between chance and half of what x is worth). Two mends, by name.

A step's images fall into parts: batches that are trained on one after the other, by several ranks, or side by side as
ghost batches. Each part is normalised by its own moments, and all together move the running statistics once, by the
mean of their moments.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
import torch.distributed
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from timecat.networks.ghost_batch_norm import momentum_of


class BatchNorm(Protocol):
    """A BatchNorm with running statistics and a momentum, which torch's own may lack."""

    momentum: float
    track_running_stats: bool
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def reset_running_stats(self) -> None: ...


def norms(network: nn.Module) -> list[BatchNorm]:
    return [cast(BatchNorm, module) for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def part_of_step(network: nn.Module, part: int, parts: int) -> Iterator[None]:
    """A training forward pass in the body counts as one of the step's parts for the running statistics.

    Args:
        part: its number on this rank, from 0.
        parts: on this rank.
    """
    tracking = [norm for norm in norms(network) if norm.track_running_stats] if parts > 1 else []
    if not tracking:
        yield
        return
    momentum = tracking[0].momentum
    # `data`: autograd has saved these, but does not read them where a batch is normalised by its own moments
    statistics = [tensor.data for norm in tracking for tensor in (norm.running_mean, norm.running_var)]
    before = [tensor.clone() for tensor in statistics]
    for norm in tracking:
        norm.momentum = 1.0  # for every part, as torch.compile makes another graph for another momentum
    try:
        yield
    finally:
        for norm in tracking:
            norm.momentum = momentum
    torch._foreach_lerp_(before, statistics, momentum_of(momentum, part, parts))
    torch._foreach_copy_(statistics, before)
    if part:  # they count steps
        torch._foreach_sub_([norm.num_batches_tracked for norm in tracking], 1)


def keep_statistics(network: nn.Module) -> None:
    """From now on a training forward pass uses the batch's statistics and leaves the running ones alone."""
    for norm in norms(network):
        norm.track_running_stats = False


@contextmanager
def _tracking(network: nn.Module) -> Iterator[None]:
    """Train mode in which running statistics are updated; the mode is afterwards as it was."""
    mode = network.training
    before = [(norm, norm.track_running_stats) for norm in norms(network)]
    network.train()
    for norm, _ in before:
        norm.track_running_stats = True
    try:
        yield
    finally:
        for norm, track in before:
            norm.track_running_stats = track
        network.train(mode)


@torch.no_grad()
def update_at(
    network: nn.Module, weights: dict[nn.Parameter, Tensor], images: Tensor, part: int = 0, parts: int = 1
) -> None:
    """Update the running statistics by a forward pass of a step's part at other weights.

    Args:
        weights: what stands in for parameters of the network; those that are missing stay.
        images: normalised, (b, 3, h, w).
        part, parts: as `part_of_step` takes them.
    """
    names = {name: weights[parameter] for name, parameter in network.named_parameters() if parameter in weights}
    with _tracking(network), part_of_step(network, part, parts):
        functional_call(network, names, (images,))


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Make the running statistics the plain mean over batches of normalised images, at the weights as they are."""
    before = [norm.momentum for norm in norms(network)]
    for norm in norms(network):
        norm.reset_running_stats()
    try:
        with _tracking(network):
            for index, images in enumerate(batches):
                for norm in norms(network):
                    norm.momentum = 1 / (index + 1)  # the plain mean
                network(images)
    finally:
        for norm, momentum in zip(norms(network), before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.fill_(1)  # one update, by all batches


@torch.no_grad()
def average_over_ranks(network: nn.Module) -> None:
    """Give all processes of a group the mean of their running statistics.

    These are linear in the moments of each step, so it is the same whether they are averaged at every step or seldom.
    """
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    statistics = [tensor for norm in norms(network) for tensor in (norm.running_mean, norm.running_var)]
    flat = torch.cat([tensor.flatten() for tensor in statistics])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for tensor, mean in zip(statistics, flat.split([tensor.numel() for tensor in statistics]), strict=True):
        tensor.copy_(mean)
