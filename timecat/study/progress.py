"""How far each member is: written by the process that trains it, read from disk by `fit`'s live table and `status`."""

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

from timecat import files
from timecat.study.study import Run, Study

PROGRESS = "progress.json"
LOCK = "lock"
DONE = "done.json"
PATIENCE = 300.0  # seconds; NFS servers let go after 90


def is_finished(directory: Path, run: Run) -> bool:
    """Whether the member's marker covers every snapshot of the plan and the files are there."""
    done = files.read_json(directory / DONE) or {}
    snapshots = done.get("snapshots", {})
    return all(str(step) in snapshots and (directory / f"snapshot_{step}.pt").is_file() for step in run.snapshots)


def lock(directory: Path, patient: bool = False) -> int | None:
    """Take the member's lock, or None where another process trains it; the kernel lets go when the process ends.

    Args:
        patient: wait some minutes for it: the file server lets go of a dead node's locks only after a while.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
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
            print(f"timecat: {directory}: the file system has no locks ({error.strerror})", file=sys.stderr)
            return file


def is_locked(directory: Path) -> bool:
    try:
        file = os.open(directory / LOCK, os.O_RDONLY)
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


def write(directory: Path, run: Run, step: int, loss: float | None, images_per_sec: float | None) -> None:
    files.write_json(
        directory / PROGRESS,
        {"step": step, "steps": run.steps, "loss": loss, "images_per_sec": images_per_sec, "time": time.time()},
    )


def state_of(study: Study, run: Run) -> dict[str, Any]:
    """A member as it stands on disk.

    Returns:
        state (finished, running, stopped, missing), step, loss, images_per_sec, eta in seconds, and time: when it last
        told its progress, in seconds since 1970.
    """
    directory = study.directory / run.name
    unknown = dict.fromkeys(("loss", "images_per_sec", "eta"))
    state: dict[str, Any] = {"state": "missing", "step": 0, "time": 0.0, **unknown}
    progress = files.read_json(directory / PROGRESS)
    if progress:
        state |= {key: progress[key] for key in ("step", "loss", "images_per_sec", "time")}
    if is_finished(directory, run):
        return state | {"state": "finished", "step": run.steps}
    if is_locked(directory):
        state["state"] = "running"
        if state["images_per_sec"]:
            state["eta"] = (run.steps - state["step"]) * study.batch_size / state["images_per_sec"]
    elif progress:
        state["state"] = "stopped"
    return state
