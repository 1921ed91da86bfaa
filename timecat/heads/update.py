"""The heads' step: one function that goes over what is as large as the weights as few times as it can.

Three such tensors are read and two written. On CUDA torch.compile makes kernels of `update`, on a CPU it is written out
as one loop (`timecat.heads.cpu_loop`); where neither compiles, PyTorch's operations do it one by one. The results are
those of torch.optim.SGD to float32's rounding; on a CPU they depend neither on the run nor on the number of threads.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from timecat.extraction.compiled import compiled
from timecat.heads.linear_probe import MOMENTUM


def nesterov(parameter: Tensor, velocity: Tensor, gradient: Tensor, rate: Tensor) -> None:
    """One step of SGD with nesterov momentum, as torch.optim.SGD takes it.

    Args:
        rate: minus the learning rate, of a shape that fits the parameter's.
    """
    velocity.mul_(MOMENTUM).add_(gradient)
    parameter.addcmul_(torch.add(gradient, velocity, alpha=MOMENTUM), rate)


def update(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    bias: Tensor,
    affine: Tensor,
    rate: Tensor,
    decay: Tensor,
) -> Tensor:
    """Step the weights of K heads whose logits are weight @ (gain * x + shift), x being normalised features.

    Args:
        weight, velocity: (K, classes, D); both change.
        gradient: of weight * gain, (K, classes, D).
        bias: the bias's gradient (K, classes, 1).
        affine: gain and shift (2, K, 1, D).
        rate, decay: minus the learning rate, and the weight decay, (K, 1, 1).

    Returns:
        The gradient of gain and shift (2, K, 1, D).
    """
    of_affine = torch.stack([(gradient * weight).sum(1, keepdim=True), (bias * weight).sum(1, keepdim=True)])
    whole = (gradient * affine[0]).addcmul_(bias, affine[1]).addcmul_(weight, decay)
    nesterov(weight, velocity, whole, rate)
    return of_affine


@cache
def compiled_update(backend: str = "inductor") -> Callable[..., Tensor]:
    """`update` by torch.compile, one graph for all shapes."""
    return compiled(update, "heads", backend=backend, fullgraph=True, dynamic=True)
