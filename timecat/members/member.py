"""The LightningModule that pretrains one member of an ensemble."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from timecat.errors import UserError
from timecat.members.batch_norm import Mend, average_over_ranks, keep_statistics, part_of_step, recalibrate, update_at
from timecat.members.ddp import leave_buffers_alone
from timecat.members.metrics import ClassifierMetrics
from timecat.members.optim import Optimizer, Schedule, ScheduleFreeAdamW, make_optimizer, make_schedule
from timecat.networks.resnet import Init, Stem, resnet


class Member(L.LightningModule):
    """A ResNet trained as a classifier; its penultimate features are what a cat concatenates.

    Args:
        depth: 10, 18, 34, 50, 101 or 152; torchvision's ResNet.
        width: channels of the first stage; 64 is the original.
        stem: `imagenet` for 224 px, `small` (3x3, stride 1, no pooling) for about 32 px.
        num_classes: classes of the training set.
        init: `torchvision` or `lecun`, as `timecat.networks.resnet.resnet` says.
        zero_init_residual: the last BatchNorm of each block starts at 0.
        blurpool: blur before strided convolutions.
        optimizer: `schedule_free_adamw` (version 2 of the AlgoPerf entry) or `sgd`.
        lr: learning rate.
        lr_batch_size: the global batch that lr is stated for; it is then scaled linearly to data.batch_size (Goyal et
            al. 2017, arXiv 1706.02677). Without it lr is taken as it stands, whatever the batch.
        momentum: of sgd, or beta1 of AdamW.
        nesterov: of sgd.
        beta2: of AdamW.
        weight_decay: as the optimiser applies it, to all parameters.
        norm_weight_decay: of BatchNorm's weights and biases instead, such as 0.
        schedule: `constant` has no horizon, so snapshots of one run are members of several lengths.
        warmup_steps: steps of linear warm-up.
        pct_start: share of the steps in which `one_cycle` rises.
        label_smoothing: of the training loss.
        batch_norm: where schedule-free's averaged weights get their BatchNorm statistics from. `recalibrate`: anew from
            `batch_norm_batches` training batches before each evaluation and snapshot. `third_step`: from one more
            forward pass at every third step, a ninth of the training's cost, as in the AlgoPerf entry.
        batch_norm_batches: of `recalibrate`, each as large as a step's; each costs a forward pass.
        ghost_batch_size: images that BatchNorm normalises together in training (Hoffer et al. 2017, arXiv 1705.08741),
            so that a member is the same on any number of devices; without it, all that a device takes at once.
        test_flip: evaluate the mean logits of an image and its mirror image.
        channels_last: memory format of the network.
        compile: torch.compile the forward pass; costs a minute at the start.
        steps: the horizon; set by the study.

    Raises:
        UserError: a value that makes no sense.
    """

    def __init__(
        self,
        depth: int = 50,
        width: int = 64,
        stem: Stem = "imagenet",
        num_classes: int = 1000,
        init: Init = "torchvision",
        zero_init_residual: bool = False,
        blurpool: bool = False,
        optimizer: Optimizer = "schedule_free_adamw",
        lr: float = 0.0025,
        lr_batch_size: int | None = None,
        momentum: float = 0.9,
        nesterov: bool = False,
        beta2: float = 0.999,
        weight_decay: float = 0.0,
        norm_weight_decay: float | None = None,
        schedule: Schedule = "constant",
        warmup_steps: int = 0,
        pct_start: float = 0.3,
        label_smoothing: float = 0.0,
        batch_norm: Mend = "recalibrate",
        batch_norm_batches: int = 50,
        ghost_batch_size: int | None = None,
        test_flip: bool = False,
        channels_last: bool = True,
        compile: bool = False,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        counts = {"batch_norm_batches": batch_norm_batches, "lr_batch_size": lr_batch_size}
        for key, value in (counts | {"ghost_batch_size": ghost_batch_size}).items():
            if value is not None and value < 1:
                raise UserError(f"model.{key} is {value}; it must be 1 or more")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"model.label_smoothing is {label_smoothing}; choose from 0 to below 1")
        self.save_hyperparameters()
        shape = {"init": init, "zero_init_residual": zero_init_residual, "blurpool": blurpool}
        self.network = resnet(depth, width, num_classes, stem, ghost_batch_size=ghost_batch_size, **shape)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        # a compiled forward, not a compiled module, whose state dict would have keys of its own
        self._compiled = torch.compile(self.network.forward) if compile else None
        if optimizer == "schedule_free_adamw" and batch_norm == "third_step":
            keep_statistics(self.network)
        self.train_loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.loss_sum = torch.zeros(())  # since the last log step, kept on the device
        self.metrics = ClassifierMetrics(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, num_classes) of normalised images (b, 3, h, w)."""
        if not self.hparams.channels_last:  # what the data module gives is
            images = images.contiguous()
        return self.network(images) if self._compiled is None else self._compiled(images)

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        images, labels, *_ = batch
        optimizer, parts = self._schedule_free(), self.trainer.accumulate_grad_batches
        part = batch_index % parts
        if optimizer and self.hparams.batch_norm == "third_step" and self.trainer.global_step % 3 == 0:
            update_at(self.network, optimizer.averages(), images, part, parts)
        with part_of_step(self.network, part, parts):
            loss = self.train_loss(self(images), labels)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach()
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        images, labels, *_ = batch
        logits = self(images)
        if self.hparams.test_flip:
            logits = (logits + self(images.flip(3))) / 2
        self.metrics.update(logits, labels)

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
            self.network,
            lr=h.lr,
            momentum=h.momentum,
            nesterov=h.nesterov,
            beta2=h.beta2,
            weight_decay=h.weight_decay,
            norm_weight_decay=h.norm_weight_decay,
            warmup=h.warmup_steps,
        )
        schedule = make_schedule(h.schedule, optimizer, steps=h.steps, warmup=h.warmup_steps, pct_start=h.pct_start)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def setup(self, stage: str) -> None:
        leave_buffers_alone(self.trainer.strategy)

    def on_train_start(self) -> None:
        self.training_weights()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        average_over_ranks(self.network)  # in place: the checkpoint's state dict, the first rank's, refers to these

    def on_validation_start(self) -> None:
        if self.trainer.state.fn == "fit":
            self.evaluation_weights()

    def on_validation_end(self) -> None:
        if self.trainer.state.fn == "fit":
            self.training_weights()

    def _schedule_free(self) -> ScheduleFreeAdamW | None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        return optimizer if isinstance(optimizer, ScheduleFreeAdamW) else None

    def evaluation_weights(self) -> None:
        """Go to the weights that count, with statistics that fit them and are the same on every rank.

        For schedule-free these are the averages x.
        """
        optimizer = self._schedule_free()
        if optimizer:
            optimizer.eval()
            if self.hparams.batch_norm == "recalibrate":
                recalibrate(self.network, self._training_images())
        average_over_ranks(self.network)

    def _training_images(self) -> Iterator[Tensor]:
        data = self.trainer.datamodule
        with closing(data.train_loader(data.seed)) as loader:
            for images, *_ in islice(loader, self.hparams.batch_norm_batches * self.trainer.accumulate_grad_batches):
                yield data.normalise(images.to(self.device, non_blocking=True))

    def training_weights(self) -> None:
        """Back to the weights at which gradients are taken."""
        optimizer = self._schedule_free()
        if optimizer:
            optimizer.train()

    def snapshot(self) -> dict[str, Tensor]:
        """The network at its evaluation weights: plain torchvision keys, contiguous tensors on the CPU."""
        self.evaluation_weights()
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.state_dict().items()}
        self.training_weights()
        return state
