"""A split that is being written: what is safely on disk outlives a kill, a power cut and a full disk.

Beside NAME lie a hidden .NAME.partial, which grows into it, and a .NAME.journal: a line that tells what the bytes are
made from, then batches, each (count, CRC-32, end) and a row an image in the order of the split. A batch is appended
once its images are flushed to disk, so that the rows of whole batches tell what the partial file surely holds.
"""

import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path

import numpy as np

from timecat.data.write.beton_writer import BetonWriter
from timecat.data.write.broken import Broken
from timecat.data.write.encode import Encoded
from timecat.errors import UserError

SECONDS = 5.0  # between two batches: what an interruption may cost

ROW = np.dtype(
    [("mode", "u1"), ("flags", "u1"), ("height", "<u2"), ("width", "<u2"), ("size", "<u4")]
)  # size 0: broken
_BATCH = np.dtype([("count", "<u4"), ("crc", "<u4"), ("end", "<u8")])


class Partial:
    """One split's file until it is whole; a context manager that one process at a time may enter.

    Images are added in order. Leaving the block early keeps what was added for the next time, unless that is no image.

    Args:
        path: the file to make.
        key: all that its bytes are made from, for JSON; a partial file of another key is removed.
        labels: int64 (n,).
        encode: gives image i as it is stored, or why it is broken. An image that was broken before is tried again.
        groups: int64 (n,), where there are groups.

    Attributes:
        done: how many images, broken ones too, are in: at first those of the runs before.
        rows: ROW (n,), valid below `done`.
        broken: why, for each broken image so far.

    Raises:
        UserError: on entering, another process writes the file.
        OSError: the disk fails or is full; what was safe before stays safe.
    """

    def __init__(
        self,
        path: Path,
        key: Mapping[str, object],
        labels: np.ndarray,
        encode: Callable[[int], Encoded | Broken],
        groups: np.ndarray | None = None,
    ) -> None:
        self.path = path
        self.done = 0
        self.rows = np.zeros(len(labels), dtype=ROW)
        self.broken: list[Broken] = []
        self._head = json.dumps(key, sort_keys=True).encode() + b"\n"
        self._labels = labels
        self.encode = encode
        self._data, self._journal_path = _hidden(path)
        self._writer = BetonWriter(path, len(labels), groups=groups)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._last: Future | None = None  # the batch that is on its way to the disk
        self._submitted = 0  # images in all batches
        self._opened = self._published = False

    def __enter__(self) -> "Partial":
        self._journal = _lock(self.path)
        try:
            for leftover in _leftovers(self.path):
                leftover.unlink(missing_ok=True)
            self._load()
        except BaseException:
            self._journal.close()
            raise
        return self

    def _load(self) -> None:
        """Take up the images of the batches that hold, and cut the journal off after them."""
        content = self._journal.readall()
        there = self._data.stat().st_size if self._data.exists() else 0
        at = len(self._head)
        if not content.startswith(self._head):
            self._journal.truncate(0)
            os.pwrite(self._journal.fileno(), self._head, 0)
            self._data.unlink(missing_ok=True)
            content = b""
        while (rows := self._batch(content, at, there)) is not None:
            again = [self.encode(self.done + int(i)) for i in np.flatnonzero(rows["size"] == 0)]
            broken = [reason for reason in again if isinstance(reason, Broken)]
            if len(broken) < len(again):
                break  # whole now: what was wrong was not the image
            self.broken += broken
            for mode, _, height, width, size in rows.tolist():
                if size:
                    self._writer.restore(self.done, int(self._labels[self.done]), mode, height, width, size)
                else:
                    self._writer.drop(self.done)
                self.done += 1
            self.rows[self.done - len(rows) : self.done] = rows
            at += _BATCH.itemsize + rows.nbytes
        self._journal.truncate(at)
        os.fsync(self._journal.fileno())  # before other images come where the cut rows' were
        self._length, self._submitted, self._end = at, self.done, self._writer.end

    def _batch(self, content: bytes, at: int, there: int) -> np.ndarray | None:
        """The rows of the batch at this place; None where it is torn, or the first `there` bytes do not hold it."""
        if at + _BATCH.itemsize > len(content):
            return None
        batch = np.frombuffer(content, _BATCH, 1, at)[0]
        count, end = int(batch["count"]), int(batch["end"])
        start = at + _BATCH.itemsize
        body = content[start : start + count * ROW.itemsize]
        fits = 0 < count <= len(self.rows) - self.done and len(body) == count * ROW.itemsize and end <= there
        return np.frombuffer(body, ROW) if fits and _crc(end, body) == batch["crc"] else None

    def add(self, image: Encoded | Broken) -> None:
        """Append the next image, or drop it and keep why."""
        if not self._opened:
            self._opened = True
            self._writer.open(self._data)
            _sync_directory(self.path.parent)
            self._time = time.monotonic()
        if isinstance(image, Broken):
            self._writer.drop(self.done)
            self.broken.append(image)
        else:
            label = int(self._labels[self.done])
            self._writer.add(self.done, label, image.mode, image.height, image.width, image.data)
            self.rows[self.done] = image.mode, image.flags, image.height, image.width, len(image.data)
        self.done += 1
        self._end = self._writer.end
        if time.monotonic() - self._time >= SECONDS and (self._last is None or self._last.done()):
            self._commit()
            self._time = time.monotonic()

    def _commit(self) -> None:
        """Begin to make safe what was added; what went wrong the last time is raised here, and every time after."""
        if self._last is not None:
            self._last.result()
        if self._submitted == self.done:
            return
        rows = self.rows[self._submitted : self.done].tobytes()
        batch = np.array([(self.done - self._submitted, _crc(self._end, rows), self._end)], dtype=_BATCH)
        self._writer.flush()
        self._submitted = self.done
        self._last = self._thread.submit(self._append, batch.tobytes() + rows)

    def _append(self, batch: bytes) -> None:
        self._writer.sync()
        if os.pwrite(self._journal.fileno(), batch, self._length) < len(batch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._journal.fileno())
        self._length += len(batch)

    def _settle(self) -> None:
        self._commit()
        if self._last is not None:
            self._last.result()

    def finish(self) -> Path:
        """Complete the hidden file, once every image was added; returns its path."""
        self._settle()
        if not self._opened:
            self._writer.open(self._data)
        self._writer.finish()
        return self._data

    def publish(self) -> None:
        """Give the finished file its name; nothing hidden is left."""
        os.replace(self._data, self.path)
        _sync_directory(self.path.parent)
        self._journal_path.unlink(missing_ok=True)
        self._published = True

    def __exit__(self, *error: object) -> None:
        try:
            if not self._published:
                with suppress(OSError):
                    self._settle()
        finally:
            self._thread.shutdown(wait=True)
            with suppress(OSError):
                self._writer.close()
            if not self._published and not self.rows["size"].any():
                self._data.unlink(missing_ok=True)
                self._journal_path.unlink(missing_ok=True)
            self._journal.close()


def clear(path: Path) -> None:
    """Remove what a kill may have left of a file that is there, unless another process is at it."""
    with suppress(OSError, UserError):
        left = [*_leftovers(path), *(hidden for hidden in _hidden(path) if hidden.exists())]
        if left:
            with _lock(path):
                for hidden in (*left, *_hidden(path)):
                    hidden.unlink(missing_ok=True)


def _hidden(path: Path) -> tuple[Path, Path]:
    return path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.journal")


def _leftovers(path: Path) -> list[Path]:
    """Temporary files beside the file that no process works on while this one has the lock."""
    names = (
        f".{path.name}",
        f".{path.name}.tmp-*",
        f"..{path.name}.tmp-*",
        f".{path.stem}.json.tmp-*",
        f".{path.name}.sha256.json.tmp-*",
    )
    return [leftover for name in names for leftover in path.parent.glob(name)]


def _lock(path: Path) -> FileIO:
    """The journal, open and locked; closing it gives the lock back. A file system without locks goes without."""
    journal = _hidden(path)[1]
    while True:
        file = FileIO(os.open(journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UserError(f"{path}: another process writes it; wait for that one or choose another OUT") from None
        except OSError:
            pass
        with suppress(FileNotFoundError):  # its last holder removed it between the opening and the lock
            if os.path.samestat(os.fstat(file.fileno()), os.stat(journal)):
                return file
        file.close()


def _crc(end: int, rows: bytes) -> int:
    return zlib.crc32(rows, zlib.crc32(end.to_bytes(8, "little")))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
