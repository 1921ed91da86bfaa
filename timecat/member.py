"""The LightningModule that pretrains one member of an ensemble."""

from itertools import islice
from typing import Any

import lightning as L
import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor, nn

from timecat.metrics import ClassifierMetrics
from timecat.optim import Optimizer, Schedule, make_optimizer, make_schedule
from timecat.resnet import Stem, resnet


class Member(L.LightningModule):
    """A ResNet trained as a classifier; its penultimate features are what a cat concatenates.

    Args:
        depth: 10, 18, 34, 50, 101 or 152; torchvision's ResNet.
        width: channels of the first stage; 64 is the original.
        stem: `imagenet` for 224 px, `small` (3x3, stride 1, no pooling) for about 32 px.
        num_classes: classes of the training set.
        optimizer: `schedule_free_adamw` or `sgd` (nesterov).
        lr: learning rate at the global batch of the config; it is never scaled silently.
        momentum: of sgd, or beta1 of AdamW.
        beta2: of AdamW.
        weight_decay: as the optimiser applies it, to all parameters.
        schedule: `constant` has no horizon, so snapshots of one run are members of several lengths.
        warmup_steps: steps of linear warm-up.
        pct_start: share of the steps in which `one_cycle` rises.
        label_smoothing: of the training loss.
        batch_norm_batches: training batches that renew BatchNorm's statistics for schedule-free's averaged weights
            before each evaluation and snapshot; they cost that many forward passes.
        steps: the horizon; set by the study.
    """

    def __init__(
        self,
        depth: int = 50,
        width: int = 64,
        stem: Stem = "imagenet",
        num_classes: int = 1000,
        optimizer: Optimizer = "schedule_free_adamw",
        lr: float = 0.0025,
        momentum: float = 0.9,
        beta2: float = 0.999,
        weight_decay: float = 0.0,
        schedule: Schedule = "constant",
        warmup_steps: int = 0,
        pct_start: float = 0.3,
        label_smoothing: float = 0.0,
        batch_norm_batches: int = 50,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = resnet(depth, width, num_classes, stem).to(memory_format=torch.channels_last)
        self.train_loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.loss_sum = torch.zeros(())  # since the last log step, kept on the device
        self.metrics = ClassifierMetrics(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, num_classes) of normalised images (b, 3, h, w)."""
        return self.network(images)

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        images, labels, *_ = batch
        loss = self.train_loss(self.network(images), labels)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach()
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        images, labels, *_ = batch
        self.metrics.update(self(images), labels)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.metrics.log(self, "val")

    def on_test_epoch_end(self) -> None:
        self.metrics.log(self, "test")

    def predict_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        """Penultimate features (b, num_features)."""
        return self.network.features(batch[0])

    def configure_optimizers(self) -> Any:
        h = self.hparams
        optimizer = make_optimizer(
            h.optimizer,
            self.parameters(),
            lr=h.lr,
            momentum=h.momentum,
            beta2=h.beta2,
            weight_decay=h.weight_decay,
            warmup=h.warmup_steps,
        )
        schedule = make_schedule(h.schedule, optimizer, steps=h.steps, warmup=h.warmup_steps, pct_start=h.pct_start)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        self.training_weights()

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == "fit":
            self.evaluation_weights()

    def on_validation_end(self) -> None:
        if self.trainer.state.fn == "fit":
            self.training_weights()

    def evaluation_weights(self) -> None:
        """Go to the weights that count: for schedule-free the average x, with BatchNorm statistics that fit it."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        if not isinstance(optimizer, AdamWScheduleFree):
            return
        optimizer.eval()
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        mode = self.training
        self.network.train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        data = self.trainer.datamodule
        loader = data.train_loader(data.seed)
        with torch.no_grad():
            for images, *_ in islice(loader, self.hparams.batch_norm_batches):
                self.network(data.normalise(images.to(self.device, non_blocking=True)))
        loader.close()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.network.train(mode)

    def training_weights(self) -> None:
        """Back to the weights at which gradients are taken."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        if isinstance(optimizer, AdamWScheduleFree):
            optimizer.train()

    def snapshot(self) -> dict[str, Tensor]:
        """The network at its evaluation weights: plain torchvision keys, contiguous tensors on the CPU."""
        self.evaluation_weights()
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.state_dict().items()}
        self.training_weights()
        return state
