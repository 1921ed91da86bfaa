"""FFCV's file format (.beton), version 2: one RGB image and one integer label a sample, read and written with numpy.

A file is: a header; one descriptor a field; the samples' metadata; zeros up to a page boundary; the images' bytes;
the allocation table, one (sample, pointer, size) an image. Pointers count from the start of the file.
"""

import hashlib
import os
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from types import TracebackType

import numpy as np

from timecat import files
from timecat.errors import UserError

JPEG, RAW = 0, 1
MIN_PAGE_SIZE = 8 << 20
MAX_PAGE_SIZE = 1 << 30  # one pread, which is how FFCV fetches a page, returns less than 2 GiB
MAX_SIDE = 65535

_VERSION = 2
_INT_FIELD, _IMAGE_FIELD = 1, 2
_HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page_size", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
_FIELD = np.dtype([("type", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)])
_ALLOCATION = np.dtype([("sample", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
_IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("ptr", "<u8")])
_SAMPLES = {  # the order of the field types in the file -> the type of one sample's metadata
    (_IMAGE_FIELD, _INT_FIELD): np.dtype([("image", _IMAGE), ("label", "<i8")], align=True),
    (_INT_FIELD, _IMAGE_FIELD): np.dtype([("label", "<i8"), ("image", _IMAGE)], align=True),
}
_MEND = "write it again with `timecat write`"


@dataclass(frozen=True)
class Beton:
    """What a .beton says of its samples, in sample order; the images stay in the file.

    Attributes:
        path: the file.
        labels: int64 (n,), 0 or more.
        modes: uint8 (n,), 0 for JPEG and 1 for raw RGB bytes (row, column, channel).
        heights, widths: int64 (n,), pixels, 1 or more.
        offsets, sizes: int64 (n,), bytes: sample i's image is path[offsets[i] : offsets[i] + sizes[i]].
    """

    path: Path
    labels: np.ndarray
    modes: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """A hash of the index: labels, modes, sizes and places of all images."""
        digest = hashlib.sha256()
        for array in (self.labels, self.modes, self.heights, self.widths, self.offsets, self.sizes):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def sample_hash(self) -> str:
        """A hash of the bytes of 1,024 images, evenly spaced: what differs where raw images of equal size were changed.

        All bytes of ImageNet would take minutes to read.
        """
        digest, content = hashlib.sha256(), np.memmap(self.path, np.uint8, mode="r")
        for index in np.linspace(0, len(self) - 1, min(len(self), 1024)).astype(np.int64):
            start = int(self.offsets[index])
            digest.update(content[start : start + int(self.sizes[index])].data)
        return digest.hexdigest()

    @property
    def num_classes(self) -> int:
        """The largest label plus one."""
        return int(self.labels.max()) + 1


def _read_array(path: Path, dtype: np.dtype, count: int, offset: int) -> np.ndarray:
    try:
        array = np.fromfile(path, dtype=dtype, count=count, offset=offset)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with `timecat write`") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {_MEND}") from None
    if len(array) != count:
        raise UserError(f"{path}: cut short, or no .beton file; {_MEND}")
    return array


def _read_header(path: Path) -> tuple[int, int, int]:
    """The (fields, samples, start of the allocation table in bytes) of a file whose header makes sense."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; name a .beton file that `timecat write` made")
    header = _read_array(path, _HEADER, 1, 0)[0]
    page_size = int(header["page_size"])
    if header["version"] != _VERSION or page_size == 0 or page_size & (page_size - 1):
        raise UserError(f"{path}: not a .beton file of version {_VERSION}; {_MEND}")
    samples, table = int(header["samples"]), int(header["table"])
    if table == 0:
        raise UserError(f"{path}: its writing was interrupted; {_MEND}")
    if samples == 0:
        raise UserError(f"{path}: holds no samples; {_MEND}")
    excess = path.stat().st_size - table - samples * _ALLOCATION.itemsize
    if excess < 0:
        raise UserError(f"{path}: the file is cut short; {_MEND}")
    if excess > 0:
        raise UserError(f"{path}: damaged, {excess} bytes follow its last table; {_MEND}")
    return int(header["fields"]), samples, table


def count_images(path: str | Path) -> int:
    """How many images a .beton holds, from its header and its length alone.

    Raises:
        UserError: the file is missing, is no .beton, was interrupted or cut short, or holds nothing.
    """
    return _read_header(Path(path))[1]


def read_beton(path: str | Path) -> Beton:
    """Read what a .beton says of its samples, and check that every image lies whole within the file.

    Files of FFCV's own DatasetWriter are read too, if they have one RGB image field and one integer field.

    Raises:
        UserError: the file is missing, is no such .beton, was interrupted, cut short or damaged, or holds nothing.
    """
    path = Path(path)
    num_fields, samples, table = _read_header(path)
    if num_fields != 2:
        raise UserError(f"{path}: has {num_fields} fields, not one image and one integer label; {_MEND}")
    fields = _read_array(path, _FIELD, 2, _HEADER.itemsize)
    sample_type = _SAMPLES.get((int(fields["type"][0]), int(fields["type"][1])))
    if sample_type is None:
        raise UserError(f"{path}: its fields are not one RGB image and one integer label; {_MEND}")
    metadata_start = _HEADER.itemsize + fields.nbytes
    metadata_end = metadata_start + samples * sample_type.itemsize
    if metadata_end > table:
        raise UserError(f"{path}: damaged, its table lies inside its metadata; {_MEND}")

    metadata = _read_array(path, sample_type, samples, metadata_start)
    image = metadata["image"]
    allocations = _read_array(path, _ALLOCATION, samples, table)
    order = np.argsort(allocations["ptr"], kind="stable")
    ptrs, sizes = allocations["ptr"][order], allocations["size"][order]
    if ptrs[0] < metadata_end or ptrs[-1] > table or (sizes > table - ptrs).any():
        raise UserError(f"{path}: damaged, an image lies outside the data region; {_MEND}")
    if (ptrs[:-1] + sizes[:-1] > ptrs[1:]).any():
        raise UserError(f"{path}: damaged, two images overlap; {_MEND}")
    row = np.minimum(np.searchsorted(ptrs, image["ptr"]), samples - 1)
    if (ptrs[row] != image["ptr"]).any():
        raise UserError(f"{path}: damaged, a sample's image is not in the table; {_MEND}")

    beton = Beton(
        path=path,
        labels=metadata["label"].astype(np.int64),
        modes=image["mode"].copy(),
        heights=image["height"].astype(np.int64),
        widths=image["width"].astype(np.int64),
        offsets=ptrs[row].astype(np.int64),
        sizes=sizes[row].astype(np.int64),
    )
    _check_samples(beton)
    return beton


def _check_samples(beton: Beton) -> None:
    empty = (beton.heights == 0) | (beton.widths == 0) | (beton.sizes == 0)
    wrong_size = (beton.modes == RAW) & (beton.sizes != beton.heights * beton.widths * 3)
    for bad, what in (
        (empty, "has an empty image"),
        (beton.modes > RAW, "is neither JPEG nor raw"),
        (wrong_size, "has a raw image of another size than its sides say"),
        (beton.labels < 0, "has a negative label"),
    ):
        if bad.any():
            raise UserError(f"{beton.path}: sample {int(bad.argmax())} {what}; {_MEND}")


class BetonWriter:
    """Write a .beton sample by sample; under its final name the file appears whole or not at all.

    A context manager. Every index below `num_samples` is to be added or dropped; dropped ones leave no gap: the
    samples after them move up. No image crosses a page boundary; an image larger than a page doubles the page size
    until it fits, and the images before it still cross no boundary of the larger pages.

    Args:
        path: the file to make. Until the block ends well it is `.<name>.tmp-<process id>` in the same directory.
        num_samples: how many indices there are.
        page_size: bytes, a power of two from 8 MiB to 1 GiB.
    """

    def __init__(self, path: str | Path, num_samples: int, page_size: int = MIN_PAGE_SIZE) -> None:
        if page_size & (page_size - 1) or not MIN_PAGE_SIZE <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page_size {page_size} is not a power of two from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE}")
        self.path = Path(path)
        self.page_size = page_size
        self._temporary = files.temporary_name(self.path)
        self._metadata = np.zeros(num_samples, dtype=_SAMPLES[_IMAGE_FIELD, _INT_FIELD])
        self._sizes = np.full(num_samples, -1, dtype=np.int64)  # -1: to come, 0: dropped
        self._metadata_start = _HEADER.itemsize + 2 * _FIELD.itemsize
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
        self._metadata[index] = ((mode, width, height, self._end), label)
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
        table = np.zeros(len(kept), dtype=_ALLOCATION)
        table["sample"] = np.arange(len(kept))
        table["ptr"] = metadata["image"]["ptr"]
        table["size"] = self._sizes[kept]
        fields = np.zeros(2, dtype=_FIELD)
        fields["type"] = _IMAGE_FIELD, _INT_FIELD
        for field, name in zip(fields, (b"image", b"label"), strict=True):
            field["name"][: len(name)] = list(name)
        header = np.array([(_VERSION, 2, self.page_size, len(kept), self._end)], dtype=_HEADER)

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
