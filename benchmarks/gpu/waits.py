"""What makes a program wait for its device: forbidden on CUDA by PyTorch; on a CPU the same calls are counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten
# a value that Python asks for, and tensors whose size depends on values
WAIT = (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.bincount.default)


class Waits(TorchDispatchMode):
    """Counts the calls that a CUDA device would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function in WAIT
        return function(*args, **(kwargs or {}))


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Fail where the body waits for the device.

    Raises:
        AssertionError, or on CUDA RuntimeError.
    """
    if device.type != "cuda":
        with Waits() as waits:
            yield
        assert waits.count == 0, f"{waits.count} calls wait for the device"
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
