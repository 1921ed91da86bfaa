"""Images in files of any kind, read as training read them: stored as `timecat write` would, decoded, and seen."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from timecat.data.beton import JPEG
from timecat.data.kernel import decode, is_harmless
from timecat.data.sources.folders import SPLITS, find_images, say_unread
from timecat.data.sources.images import shown
from timecat.data.transform import EvalTransform
from timecat.data.write.encode import Settings, encode
from timecat.errors import UserError
from timecat.terminal import say


@dataclass(frozen=True)
class ImageFiles:
    """Files below a directory.

    Attributes:
        root: the directory.
        names: of the files, relative to it, sorted.
        classes: the names of its subdirectories, where each image lies in one; else empty.
        labels: int64 (n,), numbers into classes; empty without classes.
    """

    root: Path
    names: list[str]
    classes: tuple[str, ...]
    labels: np.ndarray

    def paths(self) -> list[Path]:
        return [self.root / name for name in self.names]


def list_images(root: str | Path) -> ImageFiles:
    """The images of a directory, in it or in a subdirectory for each class.

    Raises:
        UserError: no such directory, none in it, or the directory of several splits.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise UserError(f"{root}: no such directory; name one of images")
    unread: list[str] = []
    names = sorted(str(Path(path).relative_to(root)) for path in find_images(root, unread))
    remarks = say_unread(root, unread)
    if not names and remarks:
        raise UserError(remarks[0].removeprefix("warning: "))
    for remark in remarks:
        say(remark, error=True)
    if not names:
        raise UserError(f"{root}: holds no image that timecat knows by its name, such as .jpg or .png")
    first = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in names]
    classes = tuple(sorted(set(first)))
    if classes and set(classes) <= set(SPLITS):
        raise UserError(f"{root}: has the splits {', '.join(classes)}; name the directory of one")
    if "" in classes:
        return ImageFiles(root, names, (), np.empty(0, np.int64))
    return ImageFiles(root, names, classes, np.array([classes.index(one) for one in first], np.int64))


def _check_array(image: Any) -> None:
    what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    shape = image.shape if isinstance(image, np.ndarray) and image.dtype == np.uint8 else ()
    if not shape or 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))):
        raise UserError(f"an image is {what}; give a file, or uint8 (h, w, 3), RGB")


def read_image(image: str | Path | np.ndarray, transform: EvalTransform) -> np.ndarray:
    """What a network sees of an image, uint8 (side, side, 3): bit for bit what it saw of the stored one.

    Args:
        image: a file, or uint8 (h, w, 3), RGB.

    Raises:
        UserError: the file is no whole image, or the array none at all.
    """
    if not isinstance(image, str | Path):
        _check_array(image)
    stored_as, name = transform.preprocessing, shown(image) if isinstance(image, str | Path) else "an array"
    storage = "jpeg" if stored_as.storage == "mixed" else stored_as.storage
    settings = Settings(stored_as.max_side, storage, stored_as.quality, background=stored_as.background)
    try:
        item = image if isinstance(image, np.ndarray) else Path(image)
        stored = encode(item, settings, 0)
    except Exception as error:  # PIL's decoders raise of every kind
        said = error.strerror if isinstance(error, OSError) else None
        why = " ".join((said or str(error)).split())[:200] or type(error).__name__
        raise UserError(f"{name}: broken ({why})") from None
    shape = (stored.height, stored.width, 3)
    if stored.mode != JPEG:
        return transform.see(np.frombuffer(stored.data, np.uint8).reshape(shape))
    pixels, why = decode(np.frombuffer(stored.data, np.uint8), stored.height, stored.width)
    if why and not is_harmless(why):
        raise UserError(f"{name}: broken ({why})")
    return transform.see(pixels)
