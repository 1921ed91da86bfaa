"""A split of a data set before it is written: images that are files or arrays of pixels, and their labels."""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from timecat.errors import UserError


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        name: "train", "val" or "test".
        classes: class k's name; all splits of a source have the same ones.
        labels: int64 (n,).
        files: whether item gives files.
        item: image i, as the path of an encoded file or else as uint8 (height, width, 3); threads may call it.
        fingerprint: hex; changes when the images, labels or groups do.
        groups: int64 (n,), where images have a group beside the label.
        group_names: group k's name; all splits of a source have the same ones.
        remarks: lines on what of the source was left out, or kept together.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    files: bool
    item: Callable[[int], Path | np.ndarray]
    fingerprint: str
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def of_files(
    name: str,
    classes: tuple[str, ...],
    paths: list[str],
    labels: np.ndarray,
    base: str | Path,
    remedy: str = "mend or remove it",
) -> Split:
    """A split of image files; its fingerprint covers their names below `base`, sizes and times of change."""
    digest = hashlib.sha256("\0".join(classes).encode(errors="surrogateescape") + labels.tobytes())
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"{shown(path)}: cannot be read ({error.strerror}); {remedy}") from None
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{shown(path)}: not a regular file; remove it")
        digest.update(os.fsencode(f"{path.removeprefix(str(base))}\0{status.st_size}\0{status.st_mtime_ns}\0"))
    return Split(name, classes, labels, True, lambda i: Path(paths[i]), digest.hexdigest())


def of_arrays(name: str, classes: tuple[str, ...], images: np.ndarray, labels: np.ndarray) -> Split:
    """A split of grey images, uint8 (n, height, width), whose three channels are equal."""
    labels = labels.astype(np.int64)
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels.data)
    return Split(name, classes, labels, False, lambda i: np.repeat(images[i][..., None], 3, axis=2), digest.hexdigest())


def subset(split: Split, name: str, indices: np.ndarray) -> Split:
    """Some images of a split, as a split of another name."""
    digest = hashlib.sha256(split.fingerprint.encode() + indices.tobytes()).hexdigest()
    return replace(
        split,
        name=name,
        labels=split.labels[indices],
        item=lambda i: split.item(int(indices[i])),
        fingerprint=digest,
        groups=None if split.groups is None else split.groups[indices],
    )


def grouped(split: Split, groups: np.ndarray, names: tuple[str, ...]) -> Split:
    """The split with a group for each image, int64 (n,), numbers into `names`."""
    groups = groups.astype(np.int64)
    digest = hashlib.sha256(split.fingerprint.encode() + groups.tobytes() + "\0".join(names).encode()).hexdigest()
    return replace(split, groups=groups, group_names=names, fingerprint=digest)


def shown(path: Path | str) -> str:
    """A file's name as a line has it: with escapes where it has a newline or bytes that are no text."""
    name = str(path)
    return name if name.isprintable() else ascii(name)


def require(source: str | Path, wanted: Sequence[str] | None, names: Sequence[str]) -> None:
    """Refuse a name that is wanted and not there."""
    for name in wanted or ():
        if name not in names:
            raise UserError(f"{source}: has no split {name!r}; name some of {', '.join(names)}")
