"""FFCV's file format (.beton), version 2: an RGB image, an integer label and perhaps a group a sample, by numpy.

A file is: a header; one descriptor a field; the samples' metadata; zeros up to a page boundary; the images' bytes;
the allocation table, one (sample, pointer, size) an image. Pointers count from the start of the file.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from timecat import files
from timecat.errors import UserError

JPEG, RAW = 0, 1
MIN_PAGE_SIZE = 8 << 20
MAX_PAGE_SIZE = 1 << 30  # one pread, which is how FFCV fetches a page, returns less than 2 GiB
MAX_SIDE = 65535
MAX_LABELS = 1 << 24  # classes, or groups: what counts them takes memory for all of them

VERSION = 2
INT_FIELD, IMAGE_FIELD = 1, 2
HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page_size", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
FIELD = np.dtype([("type", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)])
ALLOCATION = np.dtype([("sample", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
_IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("ptr", "<u8")])
_REMEDY = "write it again with `timecat write`"


def sample_type(names: Sequence[str]) -> np.dtype:
    """The type of one sample's metadata, its fields in this order: image, label, group."""
    return np.dtype([(name, _IMAGE if name == "image" else "<i8") for name in names], align=True)


@dataclass(frozen=True)
class Beton:
    """What a .beton says of its samples, in sample order; the images stay in the file.

    Attributes:
        path: the file.
        labels: int64 (n,), 0 or more.
        modes: uint8 (n,), 0 for JPEG and 1 for raw RGB bytes (row, column, channel).
        heights, widths: int64 (n,), pixels, 1 or more.
        offsets, sizes: int64 (n,), bytes: sample i's image is path[offsets[i] : offsets[i] + sizes[i]].
        groups: int64 (n,), 0 or more, of a file that has them.
        group_names: group k's name, as the JSON beside the file has it, else its number.
        joined: the files of an index that spans several: its samples are theirs, one file after the other.
    """

    path: Path
    labels: np.ndarray
    modes: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    joined: tuple["Beton", ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """A hash of the index: labels, modes, sizes, places and groups of all images, file by file."""
        digest = hashlib.sha256("".join(beton.fingerprint() for beton in self.joined).encode())
        for array in (self.labels, self.modes, self.heights, self.widths, self.offsets, self.sizes, self.groups):
            if array is not None:
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


def join(betons: Sequence[Beton]) -> Beton:
    """One index of several files; without groups."""
    if len(betons) == 1:
        return betons[0]

    def together(name: str) -> np.ndarray:
        return np.concatenate([getattr(beton, name) for beton in betons])

    return replace(
        betons[0],
        **{name: together(name) for name in ("labels", "modes", "heights", "widths", "offsets", "sizes")},
        groups=None,
        group_names=(),
        joined=tuple(betons),
    )


def _read_array(path: Path, dtype: np.dtype, count: int, offset: int) -> np.ndarray:
    try:
        array = np.fromfile(path, dtype=dtype, count=count, offset=offset)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; write it with `timecat write`") from None
    except (OSError, ValueError) as error:  # a name with a zero byte is no value
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {_REMEDY}") from None
    if len(array) != count:
        raise UserError(f"{path}: cut short, or no .beton file; {_REMEDY}")
    return array


def _read_header(path: Path) -> tuple[int, int, int]:
    """The (fields, samples, start of the allocation table in bytes) of a file whose header makes sense."""
    if os.path.exists(path) and not os.path.isfile(path):  # which raise of no name
        raise UserError(f"{path}: not a regular file; name a .beton file that `timecat write` made")
    header = _read_array(path, HEADER, 1, 0)[0]
    page_size = int(header["page_size"])
    if header["version"] != VERSION or page_size == 0 or page_size & (page_size - 1):
        raise UserError(f"{path}: not a .beton file of version {VERSION}; {_REMEDY}")
    samples, table = int(header["samples"]), int(header["table"])
    if table == 0:
        raise UserError(f"{path}: its writing was interrupted; {_REMEDY}")
    if samples == 0:
        raise UserError(f"{path}: holds no samples; {_REMEDY}")
    excess = path.stat().st_size - table - samples * ALLOCATION.itemsize
    if excess < 0:
        raise UserError(f"{path}: the file is cut short; {_REMEDY}")
    if excess > 0:
        raise UserError(f"{path}: damaged, {excess} bytes follow its last table; {_REMEDY}")
    return int(header["fields"]), samples, table


def count_images(path: str | Path) -> int:
    """How many images a .beton holds, from its header and its length alone.

    Raises:
        UserError: the file is missing, is no .beton, was interrupted or cut short, or holds nothing.
    """
    return _read_header(Path(path))[1]


def _layout(path: Path) -> tuple[tuple[str, ...], int, int, int, int]:
    """The fields' names, the number of samples, and in bytes from the start: metadata, their end, the table."""
    num_fields, samples, table = _read_header(path)
    if num_fields not in (2, 3):
        raise UserError(f"{path}: has {num_fields} fields, not an image, a label and perhaps a group; {_REMEDY}")
    fields = _read_array(path, FIELD, num_fields, HEADER.itemsize)
    names = _field_names(fields)
    if names is None:
        raise UserError(f"{path}: its fields are not an RGB image, an integer label and perhaps a group; {_REMEDY}")
    metadata_start = HEADER.itemsize + fields.nbytes
    metadata_end = metadata_start + samples * sample_type(names).itemsize
    if metadata_end > table:
        raise UserError(f"{path}: damaged, its table lies inside its metadata; {_REMEDY}")
    return names, samples, metadata_start, metadata_end, table


def pixels_of(path: Path) -> tuple[int, int]:
    """Where the images lie, padding included: bytes [start, end) of the file; the rest is its index.

    Raises:
        UserError: as `read_beton`, of header and fields.
    """
    *_, start, end = _layout(path)
    return start, end


def read_beton(path: str | Path) -> Beton:
    """Read what a .beton says of its samples, and check that every image lies whole within the file.

    Files of FFCV's own DatasetWriter are read too, if they have one RGB image field and one integer field, or two: the
    one called group is the group.

    Raises:
        UserError: the file is missing, is no such .beton, was interrupted, cut short or damaged, or holds nothing.
    """
    path = Path(path)
    names, samples, metadata_start, metadata_end, table = _layout(path)
    metadata = _read_array(path, sample_type(names), samples, metadata_start)
    image = metadata["image"]
    allocations = _read_array(path, ALLOCATION, samples, table)
    order = np.argsort(allocations["ptr"], kind="stable")
    ptrs, sizes = allocations["ptr"][order], allocations["size"][order]
    if ptrs[0] < metadata_end or ptrs[-1] > table or (sizes > table - ptrs).any():
        raise UserError(f"{path}: damaged, an image lies outside the data region; {_REMEDY}")
    if (ptrs[:-1] + sizes[:-1] > ptrs[1:]).any():
        raise UserError(f"{path}: damaged, two images overlap; {_REMEDY}")
    row = np.minimum(np.searchsorted(ptrs, image["ptr"]), samples - 1)
    if (ptrs[row] != image["ptr"]).any():
        raise UserError(f"{path}: damaged, a sample's image is not in the table; {_REMEDY}")

    beton = Beton(
        path=path,
        labels=metadata["label"].astype(np.int64),
        modes=image["mode"].copy(),
        heights=image["height"].astype(np.int64),
        widths=image["width"].astype(np.int64),
        offsets=ptrs[row].astype(np.int64),
        sizes=sizes[row].astype(np.int64),
        groups=metadata["group"].astype(np.int64) if "group" in names else None,
    )
    _check_samples(beton)
    return beton if beton.groups is None else replace(beton, group_names=_group_names(path, beton.groups))


def _field_names(fields: np.ndarray) -> tuple[str, ...] | None:
    """image, label and perhaps group in the file's order; None where the fields are others."""
    kinds = fields["type"].tolist()
    if sorted(kinds) not in ([INT_FIELD, IMAGE_FIELD], [INT_FIELD, INT_FIELD, IMAGE_FIELD]):
        return None
    given = [bytes(name).rstrip(b"\0").decode(errors="replace") for name in fields["name"]]
    integers = [i for i, kind in enumerate(kinds) if kind == INT_FIELD]
    if len(integers) == 2 and [given[i] for i in integers].count("group") != 1:
        return None
    return tuple(
        "image" if kind == IMAGE_FIELD else "group" if len(integers) == 2 and given[i] == "group" else "label"
        for i, kind in enumerate(kinds)
    )


def class_names(path: Path) -> list[str]:
    """Class k's name at place k, as the JSON beside a file has them; none where it has none."""
    beside = files.read_json(path.with_suffix(".json"))
    names = beside.get("classes") if isinstance(beside, dict) else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _group_names(path: Path, groups: np.ndarray) -> tuple[str, ...]:
    count = int(groups.max()) + 1
    beside = files.read_json(path.with_suffix(".json"))
    names = beside.get("groups") if isinstance(beside, dict) else None
    if isinstance(names, list) and len(names) >= count and all(isinstance(name, str) for name in names):
        return tuple(names)
    return tuple(str(number) for number in range(count))


def _check_samples(beton: Beton) -> None:
    empty = (beton.heights == 0) | (beton.widths == 0) | (beton.sizes == 0)
    groups = np.zeros_like(beton.labels) if beton.groups is None else beton.groups
    wrong_size = (beton.modes == RAW) & (beton.sizes != beton.heights * beton.widths * 3)
    for bad, what in (
        (empty, "has an empty image"),
        (beton.modes > RAW, "is neither JPEG nor raw"),
        (wrong_size, "has a raw image of another size than its sides say"),
        (beton.labels < 0, "has a negative label"),
        (beton.labels >= MAX_LABELS, f"has a label of {MAX_LABELS:,} or more"),
        (groups < 0, "has a negative group"),
        (groups >= MAX_LABELS, f"has a group of {MAX_LABELS:,} or more"),
    ):
        if bad.any():
            raise UserError(f"{beton.path}: sample {int(bad.argmax())} {what}; {_REMEDY}")
