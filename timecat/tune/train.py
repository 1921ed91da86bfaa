"""Training the runs of `timecat tune` one after the other, each as a member is: checkpoints, resume, TensorBoard."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import lightning as L

from timecat.cluster.stop import Stop
from timecat.data import checksums
from timecat.data.datamodule import ImageData
from timecat.errors import Diverged, UserError
from timecat.members.member import Member
from timecat.members.train import train_to_the_end
from timecat.members.trainer import TimecatCLI
from timecat.progress_bar import bar
from timecat.study.directory import MemberDirectory, write_record
from timecat.study.recipe import CONTENT
from timecat.study.tuned import TunedRun
from timecat.terminal import say
from timecat.tune.tuning import Run, Tuning


class TuneCLI(TimecatCLI):
    """Parses the trainer section, and makes the trainer of each run."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__(Member, {"trainer": dict(tuning.file.trainer_written)}, run=False)

    def instantiate_classes(self) -> None:
        """Nothing yet: each run has a module and images of its own."""


class RunBar(L.Callback):
    """A run's bar, in images."""

    def __init__(self, title: str, run: Run) -> None:
        self.title, self.steps, self.batch_size = title, run.plan.steps, run.plan.data.batch_size
        self.shown = ExitStack()

    def on_train_start(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        self.step = trainer.global_step
        total, done = self.steps * self.batch_size, self.step * self.batch_size
        self.advance = self.shown.enter_context(bar(self.title, total, "images", done))

    def on_train_batch_end(self, trainer: L.Trainer, member: L.LightningModule, *_: Any) -> None:
        self.advance((trainer.global_step - self.step) * self.batch_size)
        self.step = trainer.global_step

    def on_train_end(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        self.shown.close()

    def on_exception(self, trainer: L.Trainer, member: L.LightningModule, exception: BaseException) -> None:
        self.shown.close()


class Runs:
    """Trains what is not finished.

    Args:
        stop: what signals ask for.
    """

    def __init__(self, tuning: Tuning, stop: Stop) -> None:
        self.tuning, self.stop = tuning, stop
        self.cli = TuneCLI(tuning)

    def train_cell(self, run: Run, weights: list[str], make: Callable[[], Member]) -> TunedRun:
        """As `train`, of a grid: one that diverges is a setting among others, which `choose` does not take."""
        try:
            return self.train(run, weights, make)
        except Diverged as error:
            say(f"timecat: {self.tuning.name}: {run.words}: {error}; the other settings go on", error=True)
            settings = {"lr": run.plan.model.lr, "weight_decay": run.plan.model.weight_decay}
            told = {"images": run.images, "held_out_acc1": None, "chosen": False, "diverged": True}
            return cast(TunedRun, {"name": run.plan.name, **settings, **told})

    def train(self, run: Run, weights: list[str], make: Callable[[], Member]) -> TunedRun:
        """Train a run to its end, unless it is.

        Args:
            weights: SHA-256 of what it starts from, or learns from.
            make: its module.

        Raises:
            Stopped: it was asked to; its checkpoint is saved.
            Diverged: its loss or its weights are not finite any more.
            UserError: what is there was trained otherwise.
        """
        plan, directory = run.plan, run.directory
        data = ImageData(**{**asdict(plan.data), "seed": plan.seed, "steps": plan.steps})
        recipe = {**run.recipe, "weights": weights, CONTENT: checksums.content(data.beton("train"))}
        _check(directory, recipe)
        if directory.read_done() is None:
            L.seed_everything(plan.seed, verbose=False)
            write_record(directory.recipe, recipe)
            batches = {"val_check_interval": plan.steps, "check_val_every_n_epoch": None}
            title = f"{self.tuning.name} {directory.path.parent.name}: {run.words}"
            minutes, shown = self.tuning.tune.checkpoint_minutes, RunBar(title, run)
            train_to_the_end(self.cli, directory, plan, make(), data, minutes, self.stop, [shown], **batches)
        remove(directory.checkpoint, directory.previous_checkpoint)  # it has its length, and goes on no more
        done = directory.read_done()
        assert done is not None
        held = done.get("metrics", {}).get("val/acc1")
        return {
            "name": plan.name,
            "lr": plan.model.lr,
            "weight_decay": plan.model.weight_decay,
            "images": run.images,
            "held_out_acc1": None if held is None else 100 * held,
            "chosen": False,
        }


def _check(directory: MemberDirectory, now: dict[str, Any]) -> None:
    """Refuse to go on with what another recipe trained."""
    before = directory.read_recipe() if directory.is_begun() or directory.done.exists() else None
    if before is None:
        return
    before.pop("version", None)
    if checksums.same_content(before.get(CONTENT, ""), now[CONTENT]):
        before[CONTENT] = now[CONTENT]
    key = next((key for key in [*before, *now] if before.get(key) != now.get(key)), None)
    if key in ("weights", CONTENT):
        what = "the cat's members" if key == "weights" else "data.train"
        raise UserError(f"{directory}: {what} are other files than it was trained with; choose another tune.name")
    if key is not None:
        raise UserError(
            f"{directory} was trained with {key} {before.get(key)!r}, the config says {now.get(key)!r}; "
            "choose another tune.name, or put the config back"
        )


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def share_of_the_cores() -> None:
    """Before torch is imported: all cores, as nothing else is trained beside a run."""
    from timecat.process import compute_threads

    os.environ.setdefault("OMP_NUM_THREADS", str(compute_threads(1)))


def choose(runs: list[TunedRun]) -> TunedRun:
    """The run with the best top-1 on held-out images, of equals the last one; it is marked.

    Raises:
        Diverged: every run did.
        UserError: nothing was held out.
    """
    left = [run for run in runs if not run.get("diverged")]
    if not left:
        raise Diverged("every setting of the grid diverged")
    if any(run["held_out_acc1"] is None for run in left):
        raise UserError("tune: no image is held out to choose on; set data.holdout of the probe")
    best = max(enumerate(left), key=lambda each: (each[1]["held_out_acc1"], each[0]))[1]
    best["chosen"] = True
    return best
