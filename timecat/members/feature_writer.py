"""What `timecat predict` leaves: a network's features of the test images, beside their numbers in the file."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from timecat.terminal import say


class FeatureWriter(BasePredictionWriter):
    """<default_root_dir>/features.npy, float32 (n, num_features), and indices.npy, int64 (n,), in one order.

    Each process of several writes its share, as features_<rank>.npy and indices_<rank>.npy.
    """

    def __init__(self) -> None:
        super().__init__("batch")
        self.features: list[Tensor] = []
        self.indices: list[Tensor] = []

    def write_on_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, prediction: Any, batch_indices: Any, batch: Any, *_: Any
    ) -> None:
        self.features.append(prediction.float().cpu())
        self.indices.append(batch[2].cpu())

    def on_predict_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        directory = Path(trainer.default_root_dir)
        directory.mkdir(parents=True, exist_ok=True)
        rank = f"_{trainer.global_rank}" if trainer.world_size > 1 else ""
        features, path = torch.cat(self.features), directory / f"features{rank}.npy"
        np.save(path, features.numpy())
        np.save(directory / f"indices{rank}.npy", torch.cat(self.indices).numpy())
        say(f"{path}: {len(features):,} images x {features.shape[1]:,} features; indices{rank}.npy beside it")
