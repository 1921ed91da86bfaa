"""Which images of a split are copies of one another, byte for byte: they belong on one side of a test split."""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from timecat.data.sources.images import Split
from timecat.files import read_regular
from timecat.process import cores
from timecat.progress_bar import bar

HEAD = 1 << 16  # bytes that tell most files of one length from each other


def copies(split: Split) -> np.ndarray:
    """A number for each image, int64 (n,), the same for those of the same bytes, links to one file too.

    Of files of a length of their own nothing is read, of the others their start, and all where that is the same.
    """
    count = len(split.labels)
    if not split.files:
        return _numbered(_of_all(range(count), lambda i: _digest(np.ascontiguousarray(split.item(i)).data), count))
    paths = [str(split.item(i)) for i in range(count)]
    found: list[Hashable] = list(_of_all(range(count), lambda i: _size(paths[i]), count))
    for length in (HEAD, -1):
        shared = _shared(found)
        found_here = _of_all(shared, lambda i, length=length: _start(paths[i], length), len(shared))
        for i, digest in zip(shared, found_here, strict=True):
            found[i] = (found[i], digest)
    return _numbered(found)


def say_copies(together: np.ndarray, labels: np.ndarray) -> list[str]:
    """A line that counts them, or none.

    Args:
        together, labels: int64 (n,), what `copies` gave and the classes.
    """
    number = len(together) - len(np.unique(together))
    if not number:
        return []
    first = np.unique(together, return_index=True)[1]
    first_label = np.zeros(together.max() + 1, np.int64)
    first_label[together[first]] = labels[first]
    other = int((labels != first_label[together]).sum())
    are = "image is a copy" if number == 1 else "images are copies"
    under = f"; {other:,} of them under another class" if other else ""
    return [f"{number:,} {are} of others: kept on one side{under}"]


def merged(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The finest numbering, int64 (n,), in which images are together that are so in either."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sides = int(one.max()) + 1, int(other.max()) + 1
    graph = coo_array((np.ones(len(one), bool), (one, other + sides[0])), shape=(sum(sides), sum(sides)))
    return connected_components(graph, directed=False)[1][one].astype(np.int64)


def _of_all(indices: Sequence[int], tell: Callable[[int], Any], count: int) -> Iterable[Any]:
    with ThreadPoolExecutor(cores(), thread_name_prefix="copies") as pool, bar("copies", count, "images") as advance:
        for told in pool.map(tell, indices):
            advance(1)
            yield told


def _shared(found: Sequence[Hashable]) -> list[int]:
    """Those whose value another one has."""
    of_value: dict[Hashable, list[int]] = {}
    for i, value in enumerate(found):
        of_value.setdefault(value, []).append(i)
    return sorted(i for same in of_value.values() if len(same) > 1 for i in same)


def _numbered(found: Iterable[Hashable]) -> np.ndarray:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(value, len(number)) for value in found], dtype=np.int64)


def _size(path: str) -> Hashable:
    try:
        return os.stat(path).st_size
    except OSError:
        return path  # gone since: told when it is read


def _start(path: str, length: int) -> Hashable:
    try:
        return _digest(read_regular(Path(path), length))
    except OSError:
        return path


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
