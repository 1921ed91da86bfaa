"""Whether tensors hold finite numbers alone."""

from collections.abc import Iterable

import torch
from torch import Tensor


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds NaN or an infinity; None where none does.

    One wait for each device, whatever the number of tensors.
    """
    by_device: dict[torch.device, list[tuple[int, str, Tensor]]] = {}
    for place, (name, tensor) in enumerate(tensors):
        if (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel():
            by_device.setdefault(tensor.device, []).append((place, name, tensor.detach().isfinite().all()))
    wrong = [
        (place, name)
        for found in by_device.values()
        for (place, name, _), good in zip(found, torch.stack([each[2] for each in found]).tolist(), strict=True)
        if not good
    ]
    return min(wrong)[1] if wrong else None
