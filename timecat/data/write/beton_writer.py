"""Writing FFCV's file format (.beton) image by image; what the format is, `timecat.data.beton` says."""

import os
from io import BufferedWriter, FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from timecat import files
from timecat.data.beton import (
    ALLOCATION,
    FIELD,
    HEADER,
    IMAGE_FIELD,
    INT_FIELD,
    MAX_PAGE_SIZE,
    MAX_SIDE,
    MIN_PAGE_SIZE,
    RAW,
    VERSION,
    sample_type,
)
from timecat.errors import UserError


class BetonWriter:
    """Write a .beton sample by sample; under its final name the file appears whole or not at all.

    A context manager. Every index below `num_samples` is to be added or dropped; dropped ones leave no gap: the
    samples after them move up. No image crosses a page boundary; an image larger than a page doubles the page size
    until it fits, and the images before it still cross no boundary of the larger pages.

    Args:
        path: the file to make. Until the block ends well it is `.<name>.tmp-<process id>` in the same directory.
        num_samples: how many indices there are.
        page_size: bytes, a power of two from 8 MiB to 1 GiB.
        groups: int64 (num_samples,), where each sample has a group beside its label.
    """

    def __init__(
        self, path: str | Path, num_samples: int, page_size: int = MIN_PAGE_SIZE, groups: np.ndarray | None = None
    ) -> None:
        if page_size & (page_size - 1) or not MIN_PAGE_SIZE <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page_size {page_size} is not a power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE}")
        self.path = Path(path)
        self.page_size = page_size
        self._temporary = files.temporary_name(self.path)
        self._fields = ("image", "label") if groups is None else ("image", "label", "group")
        self._metadata = np.zeros(num_samples, dtype=sample_type(self._fields))
        if groups is not None:
            self._metadata["group"] = groups
        self._sizes = np.full(num_samples, -1, dtype=np.int64)  # -1: to come, 0: dropped
        self._metadata_start = HEADER.itemsize + len(self._fields) * FIELD.itemsize
        self._end = -(-(self._metadata_start + self._metadata.nbytes) // page_size) * page_size
        self._opened: BufferedWriter | None = None

    @property
    def _file(self) -> BufferedWriter:
        assert self._opened is not None, "open it first"
        return self._opened

    @property
    def end(self) -> int:
        """Where the images end so far, bytes from the start of the file."""
        return self._end

    def open(self, path: Path) -> None:
        """Begin the file under this name, or go on after the restored images in it: what follows them is cut off."""
        raw = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "w")  # "w" alone would empty it
        self._opened = BufferedWriter(raw, 1 << 20)
        if not (self._sizes > 0).any():
            self._file.truncate(0)
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def __enter__(self) -> "BetonWriter":
        self.open(self._temporary)
        return self

    def add(self, index: int, label: int, mode: int, height: int, width: int, data: bytes) -> None:
        """Append one image; `data` is a whole JPEG stream (mode 0) or height * width * 3 RGB bytes (mode 1).

        Raises:
            UserError: a side is over 65,535 pixels or the data is over 1 GiB.
            ValueError: the index was added or dropped before, or the data is empty or of the wrong length.
        """
        before = self._end
        self.restore(index, label, mode, height, width, len(data))
        if self._end - len(data) != before:
            self._file.seek(self._end - len(data))
        self._file.write(data)

    def restore(self, index: int, label: int, mode: int, height: int, width: int, size: int) -> None:
        """Account for an image, of `size` bytes, that the file to be opened holds already; else as `add`."""
        if self._sizes[index] >= 0:
            raise ValueError(f"index {index} is there already")
        if not size or (mode == RAW and size != height * width * 3):
            raise ValueError(f"index {index}: {size} bytes for {height} x {width} pixels in mode {mode}")
        if max(height, width) > MAX_SIDE or size > MAX_PAGE_SIZE:
            raise UserError(f"{self.path}: image {index} of {height} x {width} is too large; give a smaller --max-side")
        while size > self.page_size:
            self.page_size *= 2
        if self._end // self.page_size != (self._end + size - 1) // self.page_size:
            self._end = -(-self._end // self.page_size) * self.page_size
        self._metadata["image"][index] = (mode, width, height, self._end)
        self._metadata["label"][index] = label
        self._sizes[index] = size
        self._end += size

    def drop(self, index: int) -> None:
        """Leave this index out."""
        if self._sizes[index] >= 0:
            raise ValueError(f"index {index} is there already")
        self._sizes[index] = 0

    def flush(self) -> None:
        """Hand all images to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Wait until what was flushed is on the disk; another thread may call it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file as it is, if it was opened."""
        if self._opened is not None:
            self._opened.close()

    def finish(self) -> None:
        """Write the tables and the header, flush all to disk and close.

        Raises:
            UserError: every index was dropped.
            ValueError: some indices were neither added nor dropped.
        """
        if (self._sizes < 0).any():
            raise ValueError(f"{(self._sizes < 0).sum()} samples were neither added nor dropped")
        kept = np.flatnonzero(self._sizes)
        if not len(kept):
            raise UserError(f"{self.path}: no image is left to write; check the source")
        metadata = np.zeros(len(kept), dtype=self._metadata.dtype)  # a copy by index would leave its padding to chance
        for name in metadata.dtype.names or ():
            metadata[name] = self._metadata[name][kept]
        table = np.zeros(len(kept), dtype=ALLOCATION)
        table["sample"] = np.arange(len(kept))
        table["ptr"] = metadata["image"]["ptr"]
        table["size"] = self._sizes[kept]
        fields = np.zeros(len(self._fields), dtype=FIELD)
        for field, name in zip(fields, self._fields, strict=True):
            field["type"] = IMAGE_FIELD if name == "image" else INT_FIELD
            field["name"][: len(name)] = list(name.encode())
        header = np.array([(VERSION, len(fields), self.page_size, len(kept), self._end)], dtype=HEADER)

        self._file.write(table.tobytes())
        self._file.seek(0)
        self._file.write(header.tobytes() + fields.tobytes() + metadata.tobytes())
        self.flush()
        self.sync()
        self.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)
            self.close()
