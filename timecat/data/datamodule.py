"""The LightningDataModule over .beton files: train and eval views of a training, a held-out and a test set."""

from dataclasses import replace
from typing import Any, Literal

import lightning as L
import numpy as np
import torch

from timecat.data.beton import Beton, read_beton
from timecat.data.global_batch import batches_per_step, images_at_once
from timecat.data.loader import BetonLoader
from timecat.data.root import data_root
from timecat.data.split import stratified_split
from timecat.data.views import (
    CIFAR_MEAN,
    CIFAR_STD,
    EVAL_VIEWS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TRAIN_VIEWS,
    Interpolation,
)
from timecat.errors import UserError
from timecat.process import cores, in_slurm_step

NORMALISATION = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "cifar": (CIFAR_MEAN, CIFAR_STD)}
SPLIT_SEED = 0  # what is held out is the same for every member


class ImageData(L.LightningDataModule):
    """Images from .beton files, decoded, cropped and flipped by FFCV's kernels, normalised on the device.

    Batches are (images float32 (b, 3, resolution, resolution) in channels_last, labels int64 (b,), indices int64 (b,)).
    Order and augmentation are functions of (seed, epoch, sample index) alone.

    Args:
        train: training file, relative to the root.
        val: validation file; without one, `holdout` of the training file is held out.
        test: test file, read by `test` and `probe` alone.
        root: where the files lie; else the environment's TIMECAT_DATA, else ./data.
        source: what `timecat run` makes missing files from, as in `timecat write SOURCE`, a directory relative to the
            root; without one, they must exist.
        batch_size: global training batch, over all devices and accumulated batches of a step.
        device_batch_size: most images that a device trains on at once: a step accumulates as many batches as the global
            one then needs. Without it each device takes its share of the global batch at once.
        eval_batch_size: images per device where no gradients are needed.
        resolution: side of what the network sees, in pixels.
        train_resolution: sides at the start and at the end of training, multiples of 32, instead of `resolution`.
        ramp: shares of the epochs between which the side goes from one to the other (libffcv/ffcv-imagenet).
        view: presets of crops and normalisation. `imagenet`: RandomResizedCrop and flip to train, central 224/256 to
            evaluate, ImageNet's mean and deviation. `small`: shifts by up to 4 pixels and flip to train, the whole
            image to evaluate, CIFAR's mean and deviation.
        augment: train with the preset's training view, or with its evaluation view.
        flip, padding, scale, interpolation: instead of the preset's.
        normalisation: mean and deviation of `imagenet` or `cifar`, instead of the preset's.
        holdout: share of the training file that is held out, stratified and the same for every seed.
        subset: images of the training file that are used at all, stratified; all where not given.
        train_images: images the training file must hold; lets `timecat plan` count epochs before the file is there.
        num_classes: labels must be below it; set by the model.
        seed: of order and augmentation; set by the study.
        steps: of the training, which `ramp` is a share of; set by the study.
        workers: decoding threads per process; without a number, a core is left to each training process.
    """

    def __init__(
        self,
        train: str,
        val: str | None = None,
        test: str | None = None,
        root: str | None = None,
        source: str | None = None,
        batch_size: int = 256,
        device_batch_size: int | None = None,
        eval_batch_size: int = 256,
        resolution: int = 224,
        train_resolution: tuple[int, int] | None = None,
        ramp: tuple[float, float] = (0.0, 1.0),
        view: Literal["imagenet", "small"] = "imagenet",
        augment: bool = True,
        flip: bool | None = None,
        padding: int | None = None,
        scale: tuple[float, float] | None = None,
        interpolation: Interpolation | None = None,
        normalisation: Literal["imagenet", "cifar"] | None = None,
        holdout: float = 0.0,
        subset: int | None = None,
        train_images: int | None = None,
        num_classes: int | None = None,
        seed: int = 0,
        steps: int | None = None,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        self.root = data_root(root)
        self.files = {name: self.root / file for name, file in (("train", train), ("val", val), ("test", test)) if file}
        self.source = source
        self.batch_size, self.eval_batch_size, self.resolution = batch_size, eval_batch_size, resolution
        self.device_batch_size = device_batch_size or batch_size
        self.train_resolution, self.ramp, self.steps = train_resolution, ramp, steps
        self.holdout, self.subset, self.train_images = holdout, subset, train_images
        self.num_classes, self.seed = num_classes, seed
        self.workers = workers
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "resolution": resolution}
        optional = {"subset": subset, "workers": workers, "device_batch_size": device_batch_size}
        counts |= {key: value for key, value in optional.items() if value is not None}
        for key, value in counts.items():
            if value < 1:
                raise UserError(f"data.{key} is {value}; it must be 1 or more")
        if padding is not None and not 0 <= padding < resolution:
            raise UserError(f"data.padding {padding}: choose from 0 to {resolution - 1}, below the resolution")
        if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
            raise UserError(f"data.scale {list(scale)}: give two shares of the area, 0 < low <= high <= 1")
        if train_resolution is not None and any(side < 32 or side % 32 for side in train_resolution):
            raise UserError(f"data.train_resolution {list(train_resolution)}: give two multiples of 32")
        if not 0 <= ramp[0] <= ramp[1] <= 1:
            raise UserError(f"data.ramp {list(ramp)}: give two shares of the epochs, 0 <= start <= end <= 1")
        resized = {"interpolation": interpolation} if interpolation else {}
        self.eval_view = replace(EVAL_VIEWS[view], **resized)
        preset = TRAIN_VIEWS[view] if augment else self.eval_view
        changes = {"flip": flip, "padding": padding, "scale": scale, **resized}
        self.train_view = replace(preset, **{k: v for k, v in changes.items() if v is not None})
        mean, std = NORMALISATION[normalisation or {"imagenet": "imagenet", "small": "cifar"}[view]]
        self.mean, self.std = torch.tensor(mean) * 255, torch.tensor(std) * 255
        self._betons: dict[str, Beton] = {}
        self._split: tuple[np.ndarray, np.ndarray] | None = None

    def beton(self, name: str) -> Beton:
        """The index of the file of a split.

        Raises:
            UserError: no such file, a damaged one, labels beyond num_classes, or another number of images than stated.
        """
        if name not in self.files:
            raise UserError(f"data.{name} is not given; name the .beton file of this split")
        if name not in self._betons:
            beton = read_beton(self.files[name])
            if self.num_classes is not None and beton.num_classes > self.num_classes:
                raise UserError(
                    f"{beton.path}: label {beton.num_classes - 1} is out of range; the model has "
                    f"{self.num_classes} classes (model.num_classes)"
                )
            if name == "train" and self.train_images not in (None, len(beton)):
                raise UserError(
                    f"{beton.path}: holds {len(beton):,} images, data.train_images says "
                    f"{self.train_images:,}; mend the one that is wrong"
                )
            self._betons[name] = beton
        return self._betons[name]

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices to train on, indices held out) of the training file, int64; the second is empty without holdout."""
        if self._split is None:
            beton = self.beton("train")
            name, indices = str(beton.path), np.arange(len(beton), dtype=np.int64)
            if self.subset is not None and self.subset < len(beton):
                _, indices = stratified_split(beton.labels, self.subset / len(beton), SPLIT_SEED, name)
            held = indices[:0]
            if self.holdout:
                kept, out = stratified_split(beton.labels[indices], self.holdout, SPLIT_SEED, name)
                indices, held = indices[kept], indices[out]
            self._split = indices, held
        return self._split

    def setup(self, stage: str) -> None:
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            if name in self.files:
                self.beton(name)

    def _devices(self) -> dict[str, Any]:
        trainer = self.trainer
        if trainer is None:
            return {"workers": self.workers or max(1, cores() - 1)}
        processes = 1 if in_slurm_step() else trainer.num_devices  # of those that share the cores
        return {
            "rank": trainer.global_rank,
            "world": trainer.world_size,
            "workers": self.workers or max(1, cores() // processes - 1),
            "pin": trainer.strategy.root_device.type == "cuda",
        }

    def eval_loader(self, name: str, indices: np.ndarray) -> BetonLoader:
        """The given samples of a split as evaluation sees them, in order, this rank's share, none twice."""
        return self.view_loader(name, indices, 0)

    def view_loader(self, name: str, indices: np.ndarray, view: int, pin: bool = False) -> BetonLoader:
        """The same in an augmented view, that of the training's epoch `view`; 0 is the evaluation view."""
        loader = BetonLoader(
            self.beton(name),
            indices,
            view=self.train_view if view else self.eval_view,
            resolution=self.resolution,
            batch_size=self.eval_batch_size,
            seed=self.seed,
            **{"pin": pin, **self._devices()},
        )
        loader.set_epoch(view)
        return loader

    def accumulated(self, world: int) -> int:
        """Batches that make a step on each of `world` devices, none of more than device_batch_size images."""
        return batches_per_step(self.batch_size, self.device_batch_size, world)

    def images_at_once(self, world: int) -> int:
        """Images of such a batch."""
        return images_at_once(self.batch_size, self.device_batch_size, world)

    def train_side(self, epoch: int) -> int:
        """Side in pixels of what the network trains on in an epoch."""
        if self.train_resolution is None:
            return self.resolution
        (low, high), per_epoch = self.train_resolution, len(self.split()[0]) // self.batch_size
        if self.steps is None:
            raise UserError("data.train_resolution needs the training's length; train in a study, or set data.steps")
        epochs = -(-self.steps // per_epoch)
        start, end = (int(share * epochs) for share in self.ramp)
        if epoch <= start or epoch >= end:
            return low if epoch <= start else high
        return round((low + (high - low) * (epoch - start) / (end - start)) / 32) * 32

    def train_loader(self, seed: int) -> BetonLoader:
        """Shuffled, augmented batches of this rank."""
        world = self.trainer.world_size if self.trainer else 1
        return BetonLoader(
            self.beton("train"),
            self.split()[0],
            view=self.train_view,
            resolution=self.train_side,
            batch_size=self.images_at_once(world),
            batches_per_step=self.accumulated(world),
            seed=seed,
            shuffle=True,
            drop_last=True,
            **self._devices(),
        )

    def train_dataloader(self) -> BetonLoader:
        return self.train_loader(self.seed)

    def val_dataloader(self) -> BetonLoader | list:
        if "val" in self.files:
            return self.eval_loader("val", np.arange(len(self.beton("val")), dtype=np.int64))
        held = self.split()[1]
        return self.eval_loader("train", held) if len(held) else []

    def test_dataloader(self) -> BetonLoader:
        return self.eval_loader("test", np.arange(len(self.beton("test")), dtype=np.int64))

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: tuple[torch.Tensor, ...], dataloader_idx: int) -> tuple[torch.Tensor, ...]:
        images, *rest = batch
        return (self.normalise(images), *rest)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (b, side, side, 3) -> (b, 3, side, side), channels_last, on the images' device.

        Float32, or what the trainer's precision makes of the module's weights (`64-true`, `bf16-true`).
        """
        self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        dtype = torch.float32 if self.trainer is None else self.trainer.lightning_module.dtype
        return images.float().sub_(self.mean).div_(self.std).permute(0, 3, 1, 2).to(dtype)
