"""The LightningModule that pretrains one member of an ensemble."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from timecat.config.member import MemberConfig
from timecat.config.section import plain
from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.members.ddp import leave_buffers_alone
from timecat.members.diverged import check_checkpoint, check_weights
from timecat.members.metrics import ClassifierMetrics
from timecat.members.optim import ScheduleFreeAdamW, make_optimizer, make_schedule
from timecat.networks.batch_norm import average_over_ranks, keep_statistics, part_of_step, recalibrate, update_at
from timecat.networks.resnet import channels_last, resnet


class Member(L.LightningModule):
    """A ResNet trained as a classifier; its penultimate features are what a cat concatenates.

    Args:
        model: the keys of `timecat.config.member.MemberConfig`.

    Raises:
        UserError: values that contradict each other.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__()
        self.config = config = plain(MemberConfig(**model))
        self.save_hyperparameters(model)  # not those of modules that are members too
        self.network = resnet(
            config.depth,
            config.width,
            config.num_classes,
            config.stem,
            init=config.init,
            zero_init_residual=config.zero_init_residual,
            blurpool=config.blurpool,
            ghost_batch_size=config.ghost_batch_size,
        )
        if config.channels_last:
            channels_last(self.network)
        # A compiled forward, not a compiled module, whose state dict would have keys of its own; a graph for each size,
        # as one for all sizes, which is what torch makes of a second one, is slower for the rest of the training.
        self._compiled = torch.compile(self.network.forward, dynamic=False) if config.compile else None
        if config.has_third_step:
            keep_statistics(self.network)
        self.train_loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.loss_sum = torch.zeros(())  # since the last log step, kept on the device
        self.metrics = ClassifierMetrics(config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, num_classes) of normalised images (b, 3, h, w)."""
        if not self.config.channels_last:  # what the data module gives is
            images = images.contiguous()
        return self._compiled(images) if self._compiled is not None and self.training else self.network(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """What a step lowers, the mean over normalised images (b, 3, h, w) with int64 labels (b,)."""
        return self.train_loss(self(images), labels)

    def training_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        images, labels, *_ = batch
        optimizer, parts = self._schedule_free(), self.trainer.accumulate_grad_batches
        part = batch_index % parts
        if optimizer and self.config.has_third_step and self.trainer.global_step % 3 == 0:
            update_at(self.network, optimizer.averages(), images, part, parts)
        with part_of_step(self.network, part, parts):
            loss = self.loss(images, labels)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach()
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        images, labels, _, *groups = batch
        logits = self(images)
        if self.config.test_flip:
            logits = (logits + self(images.flip(3))) / 2
        self.metrics.update(logits, labels, *groups)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.metrics.log(self, "val")

    def on_test_epoch_end(self) -> None:
        self.metrics.log(self, "test")

    def predict_step(self, batch: tuple[Tensor, ...], batch_index: int) -> Tensor:
        """Penultimate features (b, num_features)."""
        return self.network.features(batch[0])

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = make_optimizer(config, self.network, lr=config.learning_rate(self._global_batch()))
        schedule = make_schedule(config, optimizer)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _global_batch(self) -> int:
        """Images of a step, which model.lr_batch_size needs to know."""
        if self.config.lr_batch_size is None:
            return 1
        data = getattr(self._trainer, "datamodule", None)
        if not isinstance(data, ImageData):
            raise UserError(
                "model.lr_batch_size needs timecat's ImageData, whose batch_size it scales lr to; remove it"
            )
        return data.config.batch_size

    def setup(self, stage: str) -> None:
        leave_buffers_alone(self.trainer.strategy)
        self.metrics.tell_groups(self.trainer, stage)

    def on_train_start(self) -> None:
        self.training_weights()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        average_over_ranks(self.network)  # in place: the checkpoint's state dict, the first rank's, refers to these
        check_checkpoint(self.trainer, checkpoint)

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
            if self.config.batch_norm == "recalibrate":
                recalibrate(self.network, self._training_images())
        average_over_ranks(self.network)

    def _training_images(self) -> Iterator[Tensor]:
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue] (Lightning's fit sets it)
        with closing(data.train_loader(data.seed)) as loader:
            for images, *_ in islice(loader, self.config.batch_norm_batches * self.trainer.accumulate_grad_batches):
                yield data.normalise(images.to(self.device, non_blocking=True))

    def training_weights(self) -> None:
        """Back to the weights at which gradients are taken."""
        optimizer = self._schedule_free()
        if optimizer:
            optimizer.train()

    def snapshot(self) -> dict[str, Tensor]:
        """The network at its evaluation weights: plain torchvision keys, contiguous tensors on the CPU.

        Raises:
            Diverged: one of them is not finite.
        """
        self.evaluation_weights()
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.state_dict().items()}
        self.training_weights()
        check_weights(self.trainer, state)
        return state
