"""What a `data` section names, without its pixels: the files' indices, which images train, which are held out."""

from pathlib import Path

import numpy as np

from timecat.config.data import DataConfig
from timecat.data import checksums
from timecat.data.beton import Beton, class_names, read_beton
from timecat.data.mixture import Mixture, read_mixture, split_mixture
from timecat.data.split import SPLIT_SEED, stratified_split
from timecat.errors import UserError


class ImageIndex:
    """The files of a `data` section, each read once.

    Args:
        config: with num_classes, where labels are to be checked.

    Attributes:
        mixture: which sample is of which component, once `train` was read.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config, self.files = config, config.files
        self.mixture: Mixture | None = None
        self._betons: dict[str, Beton] = {}
        self._split: tuple[np.ndarray, np.ndarray] | None = None

    def beton(self, name: str) -> Beton:
        """The index of the file of a split; `train` of a mixture is that of all components.

        Raises:
            UserError: no such file, a damaged or changed one, labels beyond num_classes, or other images than stated.
        """
        mixed = name == "train" and self.config.mixture
        if name not in self.files and not mixed:
            raise UserError(f"data.{name} is not given; name the .beton file of this split")
        if name not in self._betons:
            if mixed:
                beton, self.mixture = read_mixture(self.config)
            else:
                beton = read_beton(self.files[name])
                checksums.check(beton.path)
            own = name in ("train", "val", "test")  # a further test set may have other classes
            if own and self.config.num_classes is not None and beton.num_classes > self.config.num_classes:
                raise UserError(
                    f"{beton.path}: label {beton.num_classes - 1} is out of range; the model has "
                    f"{self.config.num_classes} classes (model.num_classes)"
                )
            count = sum(map(len, self.mixture.rows)) if mixed and self.mixture else len(beton)
            if name == "train" and self.config.train_images not in (None, count):
                raise UserError(
                    f"{beton.path}: holds {count:,} images, data.train_images says "
                    f"{self.config.train_images:,}; mend the one that is wrong"
                )
            self._betons[name] = beton
        return self._betons[name]

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices to train on, indices held out) of the training file, int64; the second is empty without holdout.

        Raises:
            UserError: as `beton`, or a class has one image, of which none can be held out.
        """
        if self._split is None:
            beton = self.beton("train")
            if self.mixture is not None:
                self.mixture, *both = split_mixture(self.mixture, beton.labels, self.config.holdout)
                self._split = both[0], both[1]
            else:
                self._split = split_labels(beton.labels, self.config, str(beton.path), class_names(beton.path))
        return self._split


def split_labels(
    labels: np.ndarray, data: DataConfig, name: str, classes: list[str] | tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """(indices to train on, indices held out) of labels int64 (n,): data.subset of them, less data.holdout.

    Args:
        name: of the file that they are of; `classes` their names, as the error tells them.

    Raises:
        UserError: a class has one image, of which none can be held out.
    """
    indices = np.arange(len(labels), dtype=np.int64)
    if data.subset is not None and data.subset < len(labels):
        _, indices = stratified_split(labels, data.subset / len(labels), SPLIT_SEED, name, classes)
    held = indices[:0]
    if data.holdout:
        kept, out = stratified_split(labels[indices], data.holdout, SPLIT_SEED, name, classes)
        indices, held = indices[kept], indices[out]
    return indices, held


def check_batch(path: Path, images: int, batch_size: int) -> None:
    """Refuse a file whose images to train on do not fill one batch of all devices.

    Raises:
        UserError: naming both numbers.
    """
    if images < batch_size:
        raise UserError(
            f"{path}: its {images:,} images do not fill one batch of {batch_size:,}; choose a smaller data.batch_size"
        )
