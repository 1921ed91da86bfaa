"""torch.compile where it works: functions that are quicker by it and mean the same without."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from timecat.terminal import say

Result = TypeVar("Result")


def compiled(
    function: Callable[..., Result], what: str, *, backend: str = "inductor", **options: Any
) -> Callable[..., Result]:
    """The function by torch.compile; from where that fails, as without a C compiler, as it stands, and a line says so.

    Compiling fails before anything has run, so nothing is done twice.

    Args:
        what: is slower without, for the line.
        options: of torch.compile.
    """
    quick: Callable[..., Result] | None = torch.compile(function, backend=backend, **options)

    def run(*given: Any) -> Result:
        nonlocal quick
        if quick is not None:
            try:
                return quick(*given)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                quick = None
                say(f"{what}: torch.compile failed ({type(error).__name__}); slower without it")
        return function(*given)

    return run
