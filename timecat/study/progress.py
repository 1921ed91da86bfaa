"""How far each member is: written by the process that trains it, read from disk by `fit`'s live table and `status`."""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from timecat.errors import UserError
from timecat.study.directory import MemberDirectory, ProbeDirectory, write_record
from timecat.study.plan import MemberPlan
from timecat.study.study import Study
from timecat.terminal import say

PATIENCE = 300.0  # seconds; NFS servers let go after 90


def lock(path: Path, patient: bool = False) -> int | None:
    """Take a lock, or None where another process has it; the kernel lets go when the process ends.

    Args:
        patient: wait some minutes for it: the file server lets go of a dead node's locks only after a while.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + (PATIENCE if patient else 0.2)  # `is_locked` holds it for a moment too
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > end:
                os.close(file)
                return None
            time.sleep(0.02)
        except OSError as error:
            say(f"timecat: {path.parent}: the file system has no locks ({error.strerror})", error=True)
            return file


@contextmanager
def probing(directory: ProbeDirectory) -> Iterator[None]:
    """Be the only process that computes features or heads of a data set.

    Raises:
        UserError: another one does.
    """
    held = lock(directory.lock, patient="SLURM_JOB_ID" in os.environ)
    if held is None:
        raise UserError(f"{directory}: another process probes this data set; wait for it")
    try:
        yield
    finally:
        os.close(held)


def is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(file)
    return False


def write_progress(
    directory: MemberDirectory,
    plan: MemberPlan,
    step: int,
    loss: float | None,
    images_per_sec: float | None,
    diverged: str | None = None,
) -> None:
    told = {"step": step, "steps": plan.steps, "loss": loss, "images_per_sec": images_per_sec, "time": time.time()}
    write_record(directory.progress, {**told, **({"diverged": diverged} if diverged else {})})


@dataclass
class MemberState:
    """A member as it stands on disk.

    Attributes:
        eta: seconds that it still takes.
        why: it diverged, or what is damaged, in words.
        time: when it last told its progress, in seconds since 1970.
    """

    state: Literal["finished", "damaged", "running", "stopped", "diverged", "missing"] = "missing"
    step: int = 0
    loss: float | None = None
    images_per_sec: float | None = None
    eta: float | None = None
    time: float = 0.0
    why: str = ""


def is_finished(study: Study, plan: MemberPlan) -> bool:
    """Whether the plan's snapshots were all written."""
    return study.directory.member(plan.name).is_finished(plan.snapshots)


def member_state(study: Study, plan: MemberPlan) -> MemberState:
    """What the member's directory tells."""
    directory = study.directory.member(plan.name)
    state, progress = MemberState(), directory.read_progress()
    if progress:
        state = MemberState("stopped", progress["step"], progress["loss"], progress["images_per_sec"])
        state.time = progress["time"]
        if not 0 < (state.images_per_sec or 0) < math.inf:
            state.images_per_sec = None
        if why := progress.get("diverged"):
            state.state, state.why = "diverged", why
    if is_finished(study, plan):
        state.state, state.step = "finished", plan.steps
        try:
            directory.look(plan.snapshots)
        except UserError as error:
            state.state, state.why = "damaged", str(error)
    elif is_locked(directory.lock):
        state.state = "running"
        if state.images_per_sec:
            state.eta = (plan.steps - state.step) * study.batch_size / state.images_per_sec
    return state
