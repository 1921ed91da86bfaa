"""What FFCV's own loader reads of a file."""

from pathlib import Path
from typing import Any

_KEPT: list[Any] = []


def read_by_ffcv(path: Path, batch_size: int, **options: Any) -> list[tuple[Any, ...]]:
    """The batches in the file's order.

    Its loaders are kept to the end: it makes numba change a type that its compiled code is kept by, so that numba's
    finalizer does not find this code and raises, and its traceback breaks an `ast.parse` during which Python collected
    the loader (CPython 3.11: "AST constructor recursion depth mismatch").
    """
    from ffcv.loader import Loader, OrderOption

    loader = Loader(str(path), batch_size, num_workers=1, order=OrderOption.SEQUENTIAL, **options)
    batches = list(loader)
    _KEPT.append(loader)
    return batches
