"""Measures and logs a member's loss, learning rate, images and images/s; the only host synchronisation of a step."""

import math
import time
from typing import Any, cast

import lightning as L

from timecat.errors import Diverged
from timecat.members.diverged import check_loss, learning_rate
from timecat.members.member import Member
from timecat.study.directory import MemberDirectory
from timecat.study.plan import MemberPlan
from timecat.study.progress import write_progress


class ProgressCallback(L.Callback):
    """To TensorBoard and other loggers every `log_every_n_steps`, to progress.json at most once a second."""

    def __init__(self, directory: MemberDirectory, plan: MemberPlan, batch_size: int) -> None:
        self.directory, self.plan, self.batch_size = directory, plan, batch_size
        self.loss: float | None = None
        self.rate: float | None = None

    def on_train_start(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        self.logged_step, self.logged_at, self.paused = trainer.global_step, time.monotonic(), 0.0
        self.written_at = 0.0
        self._write(trainer)

    def on_validation_start(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        self.paused_at = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.paused += time.monotonic() - self.paused_at

    def on_train_batch_end(self, trainer: L.Trainer, member: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        steps = step - self.logged_step
        every = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue] (Lightning's connector sets it)
        if steps and (step % every == 0 or step == self.plan.steps):
            loss_sum = cast(Member, member).loss_sum
            batches = steps * trainer.accumulate_grad_batches
            mean = trainer.strategy.reduce(loss_sum.clone(), reduce_op="mean")  # over all processes
            self.loss = float(mean) / batches  # waits for the device
            loss_sum.zero_()
            now = time.monotonic()
            self.rate = steps * self.batch_size / max(now - self.logged_at - self.paused, 1e-9)
            measured = {
                "train/loss": self.loss,
                "train/lr": learning_rate(trainer),
                "train/images": float(step * self.batch_size),
                "train/images_per_sec": self.rate,
            }
            for logger in trainer.loggers:
                logger.log_metrics(dict(measured), step)
            self.logged_step, self.logged_at, self.paused = step, now, 0.0
            check_loss(trainer, self.loss)
            if now - self.written_at > 1.0:
                self._write(trainer)

    def on_train_end(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        self._write(trainer)

    def on_exception(self, trainer: L.Trainer, member: L.LightningModule, exception: BaseException) -> None:
        self._write(trainer, str(exception) if isinstance(exception, Diverged) else None)

    def _write(self, trainer: L.Trainer, diverged: str | None = None) -> None:
        if trainer.is_global_zero:
            loss = self.loss if self.loss is not None and math.isfinite(self.loss) else None  # JSON has no NaN
            write_progress(self.directory, self.plan, trainer.global_step, loss, self.rate, diverged)
        self.written_at = time.monotonic()
