"""The LightningDataModule over .beton files: train and eval views of a training, a held-out and a test set."""

from typing import Any

import lightning as L
import numpy as np
import torch

from timecat.config.data import DataConfig
from timecat.config.section import plain
from timecat.data.beton import Beton
from timecat.data.global_batch import batches_per_step, images_at_once
from timecat.data.index import ImageIndex
from timecat.data.loader import BetonLoader
from timecat.data.order import Order, permuted
from timecat.data.views import MEAN_AND_STD, NORMALISATIONS, eval_view, train_view
from timecat.errors import UserError
from timecat.process import decoding_threads, started_here


class ImageData(L.LightningDataModule):
    """Images from .beton files, decoded, cropped and flipped by FFCV's kernels, normalised on the device.

    Batches are (images float32 (b, 3, resolution, resolution) in channels_last, labels int64 (b,), indices int64 (b,)).
    Order and augmentation are functions of (seed, epoch, sample index) alone.

    Args:
        data: the keys of `timecat.config.data.DataConfig`.
    """

    def __init__(self, **data: Any) -> None:
        super().__init__()
        self.config = plain(DataConfig(**data))
        self.files = self.config.files
        self.seed, self.workers = self.config.seed, self.config.workers
        self.eval_view, self.train_view = eval_view(self.config), train_view(self.config)
        mean, std = MEAN_AND_STD[self.config.normalisation or NORMALISATIONS[self.config.view]]
        self.mean, self.std = torch.tensor(mean) * 255, torch.tensor(std) * 255
        self.ordered: Order = permuted  # a training epoch's images
        self.index = ImageIndex(self.config)

    def beton(self, name: str) -> Beton:
        """The index of the file of a split; `train` of a mixture is that of all components.

        Raises:
            UserError: as `ImageIndex.beton`.
        """
        return self.index.beton(name)

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices to train on, indices held out) of the training file, int64; the second is empty without holdout."""
        return self.index.split()

    def group_names_of(self, name: str) -> tuple[str, ...]:
        """Of a mixture's components, or of the groups of the file that `test` or `val` reads; empty without groups."""
        return self.beton("train" if name == "val" and "val" not in self.files else name).group_names

    def setup(self, stage: str) -> None:
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            if name in self.files or (name == "train" and self.config.mixture):
                self.beton(name)

    def _devices(self) -> dict[str, Any]:
        trainer = self.trainer
        if trainer is None:
            return {"workers": self.workers or decoding_threads(1)}
        return {
            "rank": trainer.global_rank,
            "world": trainer.world_size,
            "workers": self.workers or decoding_threads(started_here(trainer.num_devices)),
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
            resolution=self.config.resolution,
            batch_size=self.config.eval_batch_size,
            seed=self.seed,
            **{"pin": pin, **self._devices()},
        )
        loader.set_epoch(view)
        return loader

    def accumulated(self, world: int) -> int:
        """Batches that make a step on each of `world` devices, none of more than device_batch_size images."""
        return batches_per_step(self.config.batch_size, self.config.device_batch_size, world)

    def images_at_once(self, world: int) -> int:
        """Images of such a batch."""
        return images_at_once(self.config.batch_size, self.config.device_batch_size, world)

    def train_side(self, epoch: int) -> int:
        """Side in pixels of what the network trains on in an epoch."""
        if self.config.train_resolution is None:
            return self.config.resolution
        if self.config.steps is None:
            raise UserError("data.train_resolution needs the training's length; train in a study, or set data.steps")
        per_epoch = len(self.split()[0]) // self.config.batch_size
        return self.config.train_side(epoch, -(-self.config.steps // per_epoch))

    def train_loader(self, seed: int) -> BetonLoader:
        """Shuffled, augmented batches of this rank."""
        world = self.trainer.world_size if self.trainer else 1
        indices = self.split()[0]
        return BetonLoader(
            self.beton("train"),
            indices,
            mixture=self.index.mixture,
            view=self.train_view,
            resolution=self.train_side,
            batch_size=self.images_at_once(world),
            batches_per_step=self.accumulated(world),
            seed=seed,
            shuffle=True,
            ordered=self.ordered,
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
