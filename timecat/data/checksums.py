"""Hashes of a data file: of its index whole and of its pixels by blocks, so that what is changed in place is told.

They lie beside NAME.beton, as NAME.beton.sha256.json: not in its tail, as FFCV's reader takes all that follows the
allocation table's start for rows of it; and not in NAME.json, which may be a user's own, as hashes are made of files
of other writers too (`verify`). A file is the index, [0, start) and [end, size), and the pixels, [start, end), in
blocks of 64 MiB. Where the file is newer than its hashes, as one that was changed in place or copied without them,
`check` looks at blocks too.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeGuard, cast

import numpy as np

from timecat import files
from timecat.data.beton import Beton, pixels_of, read_beton
from timecat.errors import UserError
from timecat.process import cores, is_first_rank
from timecat.progress_bar import bar
from timecat.terminal import say

BLOCK = 64 << 20
LOOKED_AT = 64  # blocks that `check` reads at most, 4 GiB: all of most files, seconds of each
PIECE = 4 << 20  # bytes read at once


class Hashes(TypedDict):
    """What is kept beside a file.

    Keys:
        bytes: of the file.
        start, end: bytes from its start, where the pixels lie.
        index: SHA-256 of what is no pixels, header, labels, sizes, pointers and padding.
        block: bytes of a block of pixels; the last is shorter.
        pixels: SHA-256 of each block.
    """

    bytes: int
    start: int
    end: int
    index: str
    block: int
    pixels: list[str]


class Verified(NamedTuple):
    """What `verify` found.

    Attributes:
        wrong: a line for each thing that is; empty of a whole file.
        known: whether there were hashes to tell by; else they are made now.
    """

    wrong: list[str]
    known: bool


def kept_in(path: Path) -> Path:
    """Where a data file's hashes lie."""
    return path.with_name(f"{path.name}.sha256.json")


def read(path: Path) -> Hashes | None:
    """A data file's hashes; None where there are none.

    Raises:
        UserError: what lies there are no hashes.
    """
    beside = kept_in(path)
    if not os.path.exists(beside):
        return None
    content = files.read_json(beside) if os.path.isfile(beside) else None
    if not _is_hashes(content):
        raise UserError(f"{beside}: is not what timecat wrote; remove it, `timecat verify` makes it again")
    return content


def _is_hashes(content: Any) -> TypeGuard[Hashes]:
    if not isinstance(content, dict):
        return False
    numbers: list[Any] = [content.get(key) for key in ("start", "end", "bytes", "block")]
    pixels = content.get("pixels")
    if not all(type(number) is int for number in numbers) or not isinstance(pixels, list):
        return False
    start, end, size, block = cast(list[int], numbers)
    if not (0 < start < end < size < 2**63 and block > 0 and len(pixels) == -(-(end - start) // block)):
        return False
    return all(isinstance(digest, str) and len(digest) == 64 for digest in (content.get("index"), *pixels))


def write(path: Path, hashes: Hashes) -> None:
    """Keep the hashes of the file that is called so, or will be.

    Raises:
        OSError: they cannot be written.
    """
    files.write_json(kept_in(path), hashes)


def compute(path: Path, advance: Callable[[int], None] = lambda count: None) -> tuple[str, Hashes]:
    """SHA-256 of the whole file, and its hashes.

    Args:
        advance: told how many more bytes are read.

    Raises:
        UserError: no .beton, or a damaged one.
        OSError: it cannot be read.
    """
    start, end = pixels_of(path)
    size, whole, index, pixels = path.stat().st_size, hashlib.sha256(), hashlib.sha256(), []
    ranges = [(0, start), *((at, min(at + BLOCK, end)) for at in range(start, end, BLOCK)), (end, size)]
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        for first, last in ranges:
            digest = index if first == 0 or first == end else hashlib.sha256()
            for piece in _pieces(file.fileno(), first, last):
                beside = pool.submit(whole.update, piece)
                digest.update(piece)
                beside.result()
                advance(len(piece))
            if digest is not index:
                pixels.append(digest.hexdigest())
    kept: Hashes = {
        "bytes": size,
        "start": start,
        "end": end,
        "index": index.hexdigest(),
        "block": BLOCK,
        "pixels": pixels,
    }
    return whole.hexdigest(), kept


def verify(path: Path, advance: Callable[[int], None] = lambda count: None) -> Verified:
    """Look at every byte of a data file; make the hashes of one that has none, which later calls tell by.

    Args:
        advance: told how many more bytes are read, of the file's size.
    """
    try:
        hashes = read(path)
        if hashes is None:
            return _first_time(path, advance)
        wrong = _index_wrong(path, hashes, advance)
        if path.stat().st_size == hashes["bytes"]:
            wrong += _blocks_wrong(path, hashes, range(len(hashes["pixels"])), advance)
    except (UserError, OSError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{path}: cannot be read ({error.strerror or error})"
        return Verified([reason.removeprefix(f"{path}: ")], True)
    if not wrong:
        _note_looked_at(path)
    return Verified(wrong, True)


def _first_time(path: Path, advance: Callable[[int], None]) -> Verified:
    read_beton(path)
    whole, hashes = compute(path, advance)
    made = files.read_json(path.with_suffix(".json"))
    recorded = made.get("sha256") if isinstance(made, dict) else None  # by a `timecat write` before there were blocks
    if recorded not in (None, whole):
        return Verified([f"changed: is not the file that {path.with_suffix('.json').name} tells of"], True)
    try:
        write(path, hashes)
    except OSError as error:
        say(f"{kept_in(path)}: cannot be written ({error.strerror or error}): hashed again each time", error=True)
    return Verified([], recorded is not None)


def check(path: Path) -> None:
    """Compare a file with its hashes, where it has some: in moments its size and index; blocks where it is newer.

    Raises:
        UserError: it was changed, or its hashes are none.
    """
    try:
        status, beside = path.stat(), kept_in(path).stat()
    except (OSError, ValueError):  # no file, or no hashes
        return
    _check(path, status.st_size, status.st_mtime_ns, beside.st_mtime_ns, beside.st_size)


def warn_of(paths: Iterable[Path]) -> None:
    """Say which files, of those that are there, are not as they were written, where what they gave is only shown."""
    for path in paths:
        try:
            check(path)
        except UserError as error:
            say(f"warning: {error}", error=True)


@lru_cache(256)
def _check(path: Path, size: int, changed: int, looked_at: int, of_hashes: int) -> None:
    hashes = read(path)
    if hashes is None:
        return
    wrong = _index_wrong(path, hashes)
    count = len(hashes["pixels"])
    if not wrong and changed >= looked_at and is_first_rank():  # equal: within a tick of the clock
        chosen = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int)).tolist()
        with bar(f"{path.name} is newer than its hashes", len(chosen) * hashes["block"], "bytes") as advance:
            wrong = _blocks_wrong(path, hashes, chosen, advance)
        if not wrong:
            _note_looked_at(path)
            if len(chosen) < count:
                seen = f"{len(chosen)} of its {count:,} blocks are whole"
                say(f"{path}: is newer than its hashes; {seen}, `timecat verify` looks at all", error=True)
    if wrong:
        told = f"{'; '.join(wrong[:3])}{'; ...' if len(wrong) > 3 else ''}"
        raise UserError(
            f"{path}: is not as it was written ({told}); put it back or write it again, or remove "
            f"{kept_in(path).name} if that was meant"
        )


def content(beton: Beton) -> str:
    """What tells a file's content: its fingerprint and, where hashes tell, `:` and a hash of its pixels."""
    known = [read(each.path) for each in beton.joined or (beton,)]
    pixels = [digest for hashes in known if hashes for digest in hashes["pixels"]]
    if not all(known):
        return beton.fingerprint()
    return f"{beton.fingerprint()}:{hashlib.sha256(''.join(pixels).encode()).hexdigest()}"


def same_content(one: str, other: str) -> bool:
    """Whether two contents agree in what both tell: one of before there were hashes has a fingerprint alone."""
    return all(a == b for a, b in zip(one.split(":"), other.split(":"), strict=False))


def _index_wrong(path: Path, hashes: Hashes, advance: Callable[[int], None] = lambda count: None) -> list[str]:
    size, digest = path.stat().st_size, hashlib.sha256()
    if size != hashes["bytes"]:
        return [f"changed: has {size:,} bytes, had {hashes['bytes']:,}"]
    with path.open("rb", buffering=0) as file:
        for first, last in ((0, hashes["start"]), (hashes["end"], size)):
            for piece in _pieces(file.fileno(), first, last):
                digest.update(piece)
                advance(len(piece))
    return [] if digest.hexdigest() == hashes["index"] else ["changed: index"]


def _blocks_wrong(path: Path, hashes: Hashes, chosen: Sequence[int], advance: Callable[[int], None]) -> list[str]:
    start, end, block = hashes["start"], hashes["end"], hashes["block"]

    def is_wrong(k: int) -> bool:
        digest = hashlib.sha256()
        for piece in _pieces(file.fileno(), start + k * block, min(start + (k + 1) * block, end)):
            digest.update(piece)
        return digest.hexdigest() != hashes["pixels"][k]

    wrong = []
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(min(4, cores())) as pool:
        for k, bad in zip(chosen, pool.map(is_wrong, chosen), strict=True):
            advance(min(block, end - start - k * block))
            if bad:
                wrong.append(f"changed: pixels block {k}{_images_in(path, start + k * block, block)}")
    return wrong


def _images_in(path: Path, start: int, block: int) -> str:
    try:
        beton = read_beton(path)
    except UserError:
        return ""
    inside = np.flatnonzero((beton.offsets < start + block) & (beton.offsets + beton.sizes > start))
    return f" (images {inside[0]:,} to {inside[-1]:,})" if len(inside) else " (no image)"


def _pieces(file: int, first: int, last: int):
    """The bytes of a range, as much as is there."""
    while first < last and (piece := os.pread(file, min(PIECE, last - first), first)):
        yield piece
        first += len(piece)


def _note_looked_at(path: Path) -> None:
    """Make the hashes newer than the file, so that it is not looked at again."""
    with suppress(OSError):
        os.utime(kept_in(path))
