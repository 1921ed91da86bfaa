"""What a folder of one's own images holds: its splits, classes and counts, sizes of a sample, broken images."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from timecat.data.sources.folders import images_of_classes, split_folders
from timecat.data.split import lonely
from timecat.data.write.encode import Encoded, Settings, encode
from timecat.errors import UserError
from timecat.process import cores

SAMPLE = 256  # images that are decoded
SMALL_CLASS = 8  # images; of classes up to this all are decoded
SECONDS = 5.0  # that decoding may take


@dataclass(frozen=True)
class Folder:
    """A folder of images, a directory a class, perhaps in splits.

    Attributes:
        path: absolute.
        classes: class k's name at place k.
        images: of each split, `train` first.
        per_class: images of each class in the training split, int64 (classes,).
        sides: height and width in pixels of the whole images among those that were decoded, int64 (n, 2).
        decoded: how many were; broken: those of them that are none, with why.
        test_fraction: of each class, that becomes the test set; None where there is one.
    """

    path: Path
    classes: tuple[str, ...]
    images: dict[str, int]
    per_class: np.ndarray
    sides: np.ndarray
    decoded: int
    broken: tuple[str, ...]
    test_fraction: float | None

    @property
    def test(self) -> str:
        """The split that is the test set: the source's own, else its val, else the fraction."""
        return "test" if "test" in self.images or "val" not in self.images else "val"

    @property
    def train_images(self) -> int:
        """Images of the training file."""
        if self.test_fraction is None:
            return self.images["train"]
        return int(sum(n - _held(n, self.test_fraction) for n in self.per_class.tolist()))

    @property
    def test_images(self) -> int:
        """Images of the test file."""
        return self.images[self.test] if self.test_fraction is None else self.images["train"] - self.train_images

    @property
    def shorter_side(self) -> int:
        """The median, in pixels."""
        return int(np.median(self.sides.min(1)))

    @property
    def longest_side(self) -> int:
        """The largest, in pixels."""
        return int(self.sides.max())


def look(path: Path, test_fraction: float) -> Folder:
    """Look at a folder: at all names, and into a sample of the images, for a few seconds.

    Args:
        test_fraction: of each class, where the folder has no splits of its own.

    Raises:
        UserError: no such folder, another layout, no whole image, a single class, or classes with too few images.
    """
    path = path.resolve()
    if not path.is_dir():
        raise UserError(f"{path}: no such directory; name one that holds a directory of images for each class")
    folders = split_folders(path)
    splits = {name: images_of_classes(folder, folders["train"]) for name, folder in folders.items()}
    classes, paths, labels = splits["train"]
    if len(classes) < 2:
        raise UserError(f"{path}: has one class, {', '.join(classes)}; there must be a directory for each of several")
    fraction = test_fraction if len(splits) == 1 else None
    per_class = np.bincount(labels, minlength=len(classes))
    small = np.flatnonzero(per_class[labels] <= SMALL_CLASS)[: 4 * SAMPLE]
    chosen = np.union1d(small, np.linspace(0, len(paths) - 1, min(SAMPLE, len(paths))).astype(int))
    chosen = np.random.default_rng(0).permutation(chosen)  # so that of slow ones all classes are looked at
    found = _decode([paths[i] for i in chosen.tolist()])
    whole = np.array([isinstance(each, Encoded) for each in found])
    if not whole.any():
        why = next(iter(found), "none could be read in time")
        raise UserError(f"{path}: none of the {len(found)} images that were looked at is whole: {why}")
    good = per_class - np.bincount(labels[chosen[: len(found)]][~whole], minlength=len(classes))
    needed = 3 if fraction else 2  # one to train on, one to choose by, and perhaps one to test
    if (good < needed).any():
        raise UserError(f"{path}: {_too_small(good, needed, classes)}; add images or move the class away")
    return Folder(
        path,
        classes,
        {name: len(paths) for name, (_, paths, _) in splits.items()},
        per_class,
        np.array([(each.height, each.width) for each in found if isinstance(each, Encoded)], np.int64),
        len(found),
        tuple(each for each in found if isinstance(each, str)),
        fraction,
    )


def _decode(paths: Sequence[str]) -> list[Encoded | str]:
    """Each image as `timecat write` would store it, or why it is broken; as many as the time allows."""
    end = time.monotonic() + SECONDS

    def one(path: str) -> Encoded | str | None:
        if time.monotonic() > end:
            return None
        try:
            return encode(Path(path), Settings(max_side=None, storage="jpeg", quality=1), 0)
        except Exception as error:  # PIL's decoders raise of every kind
            return f"{path} ({' '.join(str(error).split())[:120] or type(error).__name__})"

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(one, paths))
    return [each for each in takewhile(lambda each: each is not None, found) if each is not None]


def _too_small(good: np.ndarray, needed: int, classes: Sequence[str]) -> str:
    few = np.flatnonzero(good < needed)
    if needed == 3:
        wants = "a class needs 3, one each to train on, to choose by and to test"
    else:
        wants = "a class needs 2 to train on, one of them to choose by"
    if len(few) == 1 and good[few[0]] == 1:
        return f"{lonely(few, classes)}; {wants}"
    named = ", ".join(f"{classes[k]} ({good[k]})" for k in few[:5].tolist())
    more = f" and {len(few) - 5:,} more" if len(few) > 5 else ""
    return f"too few whole images of {named}{more}; {wants}"


def _held(images: int, fraction: float) -> int:
    """As `stratified_split` holds out."""
    return min(max(round(fraction * images), 1), images - 1)
