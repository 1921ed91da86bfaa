"""The LightningModule of linear probing on images: the reference that the fast path on stored features agrees with."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from timecat.config.probe import EPOCHS, HeadConfig
from timecat.config.section import plain
from timecat.members.metrics import ClassifierMetrics
from timecat.networks.cat import FrozenCat

MILESTONES = (8 / 28, 16 / 28, 24 / 28)  # of the epochs, where the learning rate is divided by 10

MOMENTUM = 0.9
BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-5, 0.1  # torch's


def initial_weight(classes: int, features: int, seed: int) -> Tensor:
    """The linear layer's first weight (classes, features): N(0, 0.01), a function of the seed."""
    return 0.01 * torch.randn(classes, features, generator=torch.Generator().manual_seed(seed))


def learning_rate(lr: float, epoch: int, epochs: int) -> float:
    """The paper's schedule at any length: /10 at epochs 8, 16 and 24 of 28 (arXiv 2506.18221)."""
    return lr * 0.1 ** sum(epoch >= round(share * epochs) for share in MILESTONES)


class LinearProbe(L.LightningModule):
    """BatchNorm1d and a linear layer on a frozen cat, as in arXiv 2506.18221: SGD with nesterov momentum 0.9.

    Weight decay is on the linear layer's weight and bias, none on the BatchNorm; the weight starts at N(0, 0.01).

    Args:
        model: the keys of `timecat.config.probe.HeadConfig`.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__()
        self.config = plain(HeadConfig(**model))
        self.save_hyperparameters()
        num_classes = self.config.num_classes
        self.cat = FrozenCat(self.config.snapshots)
        self.norm = nn.BatchNorm1d(self.cat.num_features)
        self.linear = nn.Linear(self.cat.num_features, num_classes)
        with torch.no_grad():  # the weight that the fast path starts from
            self.linear.weight.copy_(initial_weight(num_classes, self.cat.num_features, torch.initial_seed()))
        nn.init.zeros_(self.linear.bias)
        self.metrics = ClassifierMetrics(num_classes)

    def setup(self, stage: str) -> None:
        self.metrics.tell_groups(self.trainer, stage)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, num_classes) of normalised images (b, 3, h, w)."""
        return self.linear(self.norm(self.cat(images)))

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        images, labels, *_ = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        images, labels, _, *groups = batch
        self.metrics.update(self(images), labels, *groups)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.metrics.log(self, "val")

    def on_test_epoch_end(self) -> None:
        self.metrics.log(self, "test")

    def predict_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        """The cat's features (b, num_features)."""
        return self.cat(batch[0])

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": self.norm.parameters(), "weight_decay": 0.0},
            {"params": self.linear.parameters(), "weight_decay": self.config.weight_decay},
        ]
        optimizer = torch.optim.SGD(groups, self.config.lr, momentum=MOMENTUM, nesterov=True)
        given = self.trainer.max_epochs  # -1 where it is steps or time that end the training
        epochs = given if given and given > 0 else EPOCHS
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: learning_rate(1.0, epoch, epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
