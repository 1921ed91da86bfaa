"""What a data set is made from, by name: directories, or one of the sets that `timecat write` knows."""

import gzip
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from timecat.data.sources.copies import copies, merged, say_copies
from timecat.data.sources.folders import read_folders
from timecat.data.sources.groups import with_groups
from timecat.data.sources.images import Split, of_arrays, require, subset
from timecat.data.sources.inat2018 import INAT2018, read_inat2018
from timecat.data.sources.spurious import CELEBA, WATERBIRDS, dominoes, read_celeba, read_waterbirds
from timecat.data.sources.torchvision_sets import read_torchvision
from timecat.data.split import TEST_SEED, split_together, stratified_split
from timecat.errors import UserError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
BUILT_IN = ("fashion-mnist", "digits", "dominoes")  # sources that are no paths; a directory of such a name is ./digits
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def directory_of(source: str) -> Path | None:
    """The directory of images that a source names; None of the other sources."""
    return Path(source) if source not in BUILT_IN and os.path.isdir(source) else None


def open_source(
    source: str,
    splits: Sequence[str] | None = None,
    test_fraction: float | None = None,
    root: str | Path | None = None,
    download: bool = False,
    split_by: str | None = None,
) -> list[Split]:
    """The splits of a source: a directory of class directories, or a name.

    The names are "fashion-mnist", "digits", "dominoes", "inat2018:DIR", "waterbirds:DIR", "celeba:DIR" and
    "torchvision:NAME".

    Args:
        splits: the names of those wanted; all by default.
        test_fraction: hold out this share of every class as "test" (seed 0), where the source is one split only;
            images of the same bytes stay on one side.
        split_by: what else stays on one side, such as a patient's images: as `with_groups` takes groups.
        root: where torchvision's files lie.
        download: let torchvision fetch what is missing.

    Raises:
        UserError: the source is missing, is laid out otherwise, or lacks a split that is asked for.
    """
    if source == "fashion-mnist":
        parts = _clothes()
    elif source == "digits":
        parts = _digits()
    elif source == "dominoes":
        parts = dominoes(_clothes(), _digits())
    elif source.startswith(WATERBIRDS):
        parts = read_waterbirds(Path(source.removeprefix(WATERBIRDS)), splits)
    elif source.startswith(CELEBA):
        parts = read_celeba(Path(source.removeprefix(CELEBA)), splits)
    elif source.startswith(INAT2018):
        parts = read_inat2018(Path(source.removeprefix(INAT2018)), splits)
    elif source.startswith("torchvision:"):
        parts = read_torchvision(source, root, download)
    else:
        parts = read_folders(Path(source), splits)
    if test_fraction is not None:
        if len(parts) > 1:
            names = ", ".join(split.name for split in parts)
            raise UserError(f"{source}: has the splits {names} of its own; leave --test-fraction out")
        parts = _held_out(parts[0], test_fraction, source, root, split_by)
    elif split_by is not None:
        raise UserError(f"--split-by {split_by}: goes with --test-fraction alone; add that or leave it out")
    require(source, splits, [split.name for split in parts])
    return [split for split in parts if splits is None or split.name in splits]


def _held_out(split: Split, fraction: float, source: str, root: str | Path | None, split_by: str | None) -> list[Split]:
    together = copies(split)
    remarks = (*split.remarks, *(f"{source}: {line}" for line in say_copies(together, split.labels)))
    if split_by is not None:
        (by,) = with_groups([split], split_by, source, root, "--split-by")
        assert by.groups is not None
        together = merged(together, by.groups)
    kept, held = split_together(
        split.labels, together, fraction, TEST_SEED, source, split.classes, at_random=split_by is not None
    )
    split = replace(split, remarks=remarks)
    return [subset(split, "train", kept), subset(split, "test", held)]


def _clothes() -> list[Split]:
    return [_fashion_mnist("train", "train"), _fashion_mnist("test", "t10k")]


def _fashion_mnist(name: str, prefix: str) -> Split:
    """Fashion-MNIST as Debian packages it: 60,000 train and 10,000 test images of 28x28."""
    arrays = []
    for part, start in (("images-idx3", 16), ("labels-idx1", 8)):
        path = FASHION_MNIST / f"{prefix}-{part}-ubyte.gz"
        try:
            data = gzip.decompress(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; install it: apt-get install dataset-fashion-mnist") from None
        except (OSError, EOFError) as error:
            raise UserError(f"{path}: cannot be read ({error}); reinstall dataset-fashion-mnist") from None
        shape = np.frombuffer(data, ">u4", start // 4)[1:]
        if len(data) != start + int(np.prod(shape)):
            raise UserError(f"{path}: not as long as it says; reinstall dataset-fashion-mnist")
        arrays.append(np.frombuffer(data, np.uint8, offset=start).reshape(shape))
    return of_arrays(name, _CLOTHES, *arrays)


def _digits() -> list[Split]:
    """scikit-learn's digits, 8x8 in 0..16, scaled to 0..255 and 28x28 (bilinear): 1000 train and 797 test images."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()  # a Bunch, unless asked for a tuple
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.stack([np.asarray(Image.fromarray(g).resize((28, 28), Image.Resampling.BILINEAR)) for g in grey])
    kept, held = stratified_split(digits.target, 797 / 1797, 0, "digits")
    classes = tuple(str(name) for name in digits.target_names)
    return [
        of_arrays("train", classes, images[kept], digits.target[kept]),
        of_arrays("test", classes, images[held], digits.target[held]),
    ]
