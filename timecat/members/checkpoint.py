"""What a member leaves on disk: checkpoints to go on from, snapshot_<step>.pt for cats, done.json at the end."""

import hashlib
import io
import os
import time
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
import torch.distributed
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from timecat import files
from timecat.cluster.stop import Stop, Stopped
from timecat.errors import UserError
from timecat.members.diverged import not_finite
from timecat.members.member import Member
from timecat.networks.weights_file import check_zip
from timecat.process import is_first_rank
from timecat.study.directory import Done, MemberDirectory, write_record
from timecat.study.plan import MemberPlan
from timecat.terminal import say


def save_snapshot(path: Path, state: dict[str, Tensor]) -> tuple[str, int]:
    """Write a state dict whole or not at all; equal tensors give equal bytes, whatever the file's name.

    Returns:
        SHA-256 of these bytes, and how many they are.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    files.write_bytes(path, content)
    return hashlib.sha256(content).hexdigest(), len(content)


class BesideTheOld(TorchCheckpointIO):
    """Writes a checkpoint under a hidden name in its own directory, where Lightning stages it in $TMPDIR.

    So a kill leaves nothing in another place than the member's, and a disk that is full is the study's.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        files.write_with(Path(path), lambda file: file.write(buffer.getbuffer()))


def sweep(directory: MemberDirectory) -> None:
    """Remove what a killed process was about to write; under the member's lock."""
    for path in directory.leftovers():
        path.unlink(missing_ok=True)


def newest_checkpoint(directory: MemberDirectory) -> tuple[Path, int] | None:
    """The newest checkpoint that loads, and its step; None where nothing was saved yet.

    Raises:
        UserError: there are checkpoints, and none loads.
    """
    wrong = []
    for path in (directory.checkpoint, directory.previous_checkpoint):
        if not path.exists():
            continue
        try:
            step = _step(path)
        except Exception as error:  # whatever torch and zipfile make of a damaged file
            wrong.append(f"{path.name} ({' '.join(str(error).split())[:150] or type(error).__name__})")
            continue
        if wrong and is_first_rank():
            say(f"timecat: {directory}: {wrong[0]} does not load; going on from {path.name}", error=True)
        return path, step
    if wrong:
        raise UserError(
            f"{directory}: {' and '.join(wrong)} cannot be read; put one back from a backup, or move the directory "
            "away to train this member from its start"
        )
    return None


def _step(path: Path) -> int:
    check_zip(path)
    checkpoint = torch.load(path, mmap=True, weights_only=True)
    if (name := not_finite(checkpoint)) is not None:  # of an earlier version
        raise ValueError(f"{name} is not finite")
    return checkpoint["global_step"]


class Checkpoint(L.Callback):
    """Snapshots at the plan's steps, a checkpoint every few minutes and when `stop` is set, a marker at the end."""

    def __init__(
        self, directory: MemberDirectory, plan: MemberPlan, minutes: float, batch_size: int, stop: Stop
    ) -> None:
        self.directory, self.plan, self.seconds, self.stop = directory, plan, 60 * minutes, stop
        self.batch_size = batch_size
        self.saved_at = time.monotonic()
        self.step = -1
        self.group: Any = None
        self.hashes: dict[int, str] = {}  # of each snapshot that was written, and how many bytes it has
        self.bytes: dict[int, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint tells of the snapshots before it: a file that was changed since is not taken for one."""
        return {"hashes": dict(self.hashes), "bytes": dict(self.bytes)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.hashes.update(state_dict["hashes"])
        self.bytes.update(state_dict["bytes"])

    def on_train_start(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        if trainer.world_size > 1:
            # over gloo, so that agreeing costs a message and no wait for the device
            self.group = torch.distributed.new_group(backend="gloo")
            steps = [0] * trainer.world_size
            torch.distributed.all_gather_object(steps, trainer.global_step, group=self.group)
            if len(set(steps)) > 1:
                raise UserError(f"{self.directory}: its processes read checkpoints of different steps, {steps}")

    def on_train_batch_end(self, trainer: L.Trainer, member: L.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self.step:  # a batch of an accumulated step
            return
        self.step = step
        if step in self.plan.snapshots:
            state = cast(Member, member).snapshot()  # on every rank: it may read batches
            if trainer.is_global_zero:
                self.hashes[step], self.bytes[step] = save_snapshot(self.directory.snapshot(step), state)
        if step == self.plan.steps:
            self.save(trainer)  # here, not at the end of training, where Lightning has let go of the loader's position
            return
        level, late = self.agreed()
        if level or late:
            self.save(trainer)
            self.publish(trainer)
        if level:
            raise Stopped(f"stopped at step {step:,} of {self.plan.steps:,}")

    def agreed(self) -> tuple[int, bool]:
        """What all processes of the member make of their signals and clocks: the strongest request, whether to save."""
        late = time.monotonic() - self.saved_at > self.seconds
        if self.group is None:
            return self.stop.level, late
        asked = torch.tensor([self.stop.level, int(late)])
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX, group=self.group)
        level, late = asked.tolist()
        if level:  # else a signal that came meanwhile stays for the next batch
            self.stop.level = max(self.stop.level, level)
        return level, bool(late)

    def save(self, trainer: L.Trainer) -> None:
        """Save under a temporary name; `publish` renames it, so a kill leaves the last checkpoint or this one."""
        trainer.save_checkpoint(self.directory.unpublished_checkpoint)
        self.saved_at = time.monotonic()

    def publish(self, trainer: L.Trainer) -> None:
        """Make it the newest of two; a kill between the renames leaves the one before it, as `previous`."""
        if not trainer.is_global_zero:
            return
        if (self.directory.checkpoint).exists():
            os.replace(self.directory.checkpoint, self.directory.previous_checkpoint)
        os.replace(self.directory.unpublished_checkpoint, self.directory.checkpoint)

    def on_train_end(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        if trainer.global_step < self.plan.steps:
            return
        if trainer.is_global_zero:
            metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
            before = self.directory.read_done() or {}  # of a longer plan than this one too
            hashes = {**before.get("snapshots", {}), **{str(step): digest for step, digest in self.hashes.items()}}
            for step in map(str, self.plan.snapshots):
                if step not in hashes:  # the checkpoint that was gone on from is of an earlier version
                    hashes[step] = files.sha256(self.directory.snapshot(int(step)))
            done: Done = {
                "step": self.plan.steps,
                "images": self.plan.steps * self.batch_size,
                "seed": self.plan.seed,
                "metrics": metrics,
                "snapshots": hashes,
                "bytes": {**before.get("bytes", {}), **{str(step): length for step, length in self.bytes.items()}},
            }
            write_record(self.directory.done, done)
        self.publish(trainer)  # after the marker; a run that is longer in a later plan goes on from here
