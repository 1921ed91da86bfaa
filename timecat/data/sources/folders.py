"""Directories as a source: a directory of images for each class, or train, val and test of such."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from timecat.data.sources.images import Split, of_files, require, shown
from timecat.errors import UserError

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
_UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".arw", ".svg")  # images all the same
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folders(root: Path, wanted: Sequence[str] | None) -> list[Split]:
    """The splits of a directory; `wanted` as in `open_source`."""
    folders = split_folders(root, wanted)
    whole = folders["train"] == root  # which is to be split, perhaps
    names = [name for name in folders if wanted is None or name in wanted or whole]
    return [_folder(name, folders[name], folders["train"]) for name in names]


def split_folders(root: Path, wanted: Sequence[str] | None = None) -> dict[str, Path]:
    """The directory of each split, `train` first; the whole directory, where it has no splits of its own.

    Raises:
        UserError: no such directory, no train split, two of one name, a split that is wanted and not there, or images
            beside the splits.
    """
    if not os.path.isdir(root):
        other = "a directory, fashion-mnist, digits, dominoes or one of those that `timecat write --help` lists"
        raise UserError(f"{root}: no such directory; a source is {other}")
    split_dirs: dict[str, Path] = {}
    for child in _subdirectories(root):
        name = SPLITS.get(child.name)
        if name is None or not _subdirectories(child):
            continue
        if name in split_dirs:
            raise UserError(f"{root}: both {split_dirs[name].name} and {child.name} are its {name} split; remove one")
        split_dirs[name] = child
    if not split_dirs:
        return {"train": root}
    if "train" not in split_dirs:
        raise UserError(f"{root}: has {', '.join(sorted(split_dirs))} but no train; name the directory of one split")
    present = [name for name in ("train", "val", "test") if name in split_dirs]
    require(root, wanted, present)
    if wanted is None:
        for child in _subdirectories(root):
            if child not in split_dirs.values() and next(find_images(child), None):
                remedy = f"leave it out with --splits {','.join(present)}"
                raise UserError(f"{child}: holds images beside the splits, in no class directory of a split; {remedy}")
    return {name: split_dirs[name] for name in present}


def _subdirectories(directory: Path) -> list[Path]:
    try:
        return sorted(Path(e.path) for e in os.scandir(directory) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"{directory}: cannot be read ({error.strerror}); mend its permissions") from None


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _class_names(directory: Path) -> tuple[str, ...]:
    stray = next((e.name for e in os.scandir(directory) if _is_image(e.name) and not e.is_dir()), None)
    if stray is not None:
        raise UserError(
            f"{shown(directory / stray)}: lies in no class directory; move it to {directory}/CLASS/ or away"
        )
    names = tuple(child.name for child in _subdirectories(directory))
    if not names:
        raise UserError(f"{directory}: has no images; name a directory that holds a directory of images for each class")
    return names


def find_images(directory: Path, unread: list[str] | None = None) -> Iterator[str]:
    """The paths of the images below a directory; a link back up is not followed twice.

    Args:
        unread: gets the paths of images of kinds that are not read.
    """

    def stop(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions")

    seen = {os.path.realpath(directory)}
    for parent, children, names in os.walk(directory, followlinks=True, onerror=stop):
        real = {child: os.path.realpath(os.path.join(parent, child)) for child in children}
        children[:] = sorted(c for c in children if not c.startswith(".") and real[c] not in seen)
        seen.update(real[child] for child in children)
        yield from (os.path.join(parent, name) for name in sorted(names) if _is_image(name))
        if unread is not None:
            unread += [os.path.join(parent, name) for name in sorted(names) if name.lower().endswith(_UNREAD)]


def say_unread(directory: Path, unread: Sequence[str]) -> list[str]:
    """A line that counts images of kinds that are not read, and says the mend; or none."""
    if not unread:
        return []
    kinds = ", ".join(sorted({Path(path).suffix.lower() for path in unread}))
    more = f" and {len(unread) - 3:,} more" if len(unread) > 3 else ""
    first = ", ".join(shown(os.path.relpath(path, directory)) for path in unread[:3]) + more
    are = "image is" if len(unread) == 1 else "images are"
    mend = "convert them to .jpg or .png, by pillow-heif for instance"
    return [
        f"warning: {directory}: {len(unread):,} {are} left out, of kinds that are not read ({kinds}): {first}; {mend}"
    ]


def images_of_classes(
    directory: Path, train: Path, unread: list[str] | None = None
) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """A split's classes, which are those of the directory `train`, its images' paths, and their labels int64 (n,).

    Args:
        unread: as `find_images` takes it.

    Raises:
        UserError: an image that lies in no class, a class without an image, or one that the train split lacks.
    """
    classes, paths, labels, unread = _class_names(train), [], [], [] if unread is None else unread
    number = {name: k for k, name in enumerate(classes)}
    for class_name in _class_names(directory):
        if class_name not in number:
            raise UserError(f"{directory / class_name}: a class that the train split lacks; add it there or remove it")
        before, unread_before = len(paths), len(unread)
        paths.extend(find_images(directory / class_name, unread))
        if len(paths) == before:
            for line in say_unread(directory / class_name, unread[unread_before:]):
                raise UserError(line.removeprefix("warning: "))
            raise UserError(f"{directory / class_name}: a class directory without an image; add some or remove it")
        labels.extend([number[class_name]] * (len(paths) - before))
    return classes, paths, np.array(labels, dtype=np.int64)


def _folder(name: str, directory: Path, train: Path) -> Split:
    """A split of class directories; its fingerprint covers the files' names, sizes and times of change."""
    unread: list[str] = []
    classes, paths, labels = images_of_classes(directory, train, unread)
    return replace(of_files(name, classes, paths, labels, directory), remarks=tuple(say_unread(directory, unread)))
