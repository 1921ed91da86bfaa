"""How far each member is: written by the process that trains it, read from disk by `fit`'s live table and `status`."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from timecat import files
from timecat.study import Run, Study

PROGRESS = "progress.json"
LOCK = "lock"
DONE = "done.json"


def is_finished(directory: Path, run: Run) -> bool:
    """Whether the member's marker covers every snapshot of the plan and the files are there."""
    done = files.read_json(directory / DONE) or {}
    snapshots = done.get("snapshots", {})
    return all(str(step) in snapshots and (directory / f"snapshot_{step}.pt").is_file() for step in run.snapshots)


def lock(directory: Path) -> int | None:
    """Take the member's lock, or None where another process trains it; the kernel lets go when the process ends."""
    directory.mkdir(parents=True, exist_ok=True)
    file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def is_locked(directory: Path) -> bool:
    try:
        file = os.open(directory / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def write(directory: Path, run: Run, step: int, loss: float | None, images_per_sec: float | None) -> None:
    files.write_json(
        directory / PROGRESS,
        {"step": step, "steps": run.steps, "loss": loss, "images_per_sec": images_per_sec, "time": time.time()},
    )


def state_of(study: Study, run: Run) -> dict[str, Any]:
    """A member as it stands on disk: state (finished, running, stopped, missing), step, loss, images_per_sec, eta."""
    directory = study.directory / run.name
    state: dict[str, Any] = {"step": 0, "loss": None, "images_per_sec": None, "eta": None, "state": "missing"}
    progress = files.read_json(directory / PROGRESS)
    if progress:
        state |= {key: progress[key] for key in ("step", "loss", "images_per_sec")}
    if is_finished(directory, run):
        return state | {"state": "finished", "step": run.steps}
    if is_locked(directory):
        state["state"] = "running"
        if state["images_per_sec"]:
            state["eta"] = (run.steps - state["step"]) * study.batch_size / state["images_per_sec"]
    elif progress:
        state["state"] = "stopped"
    return state


def members_table(study: Study, shorten: bool = False) -> Table:
    """All members as a table; `shorten` leaves out those that wait or ended long ago, for a live display."""
    states = [(run, state_of(study, run)) for run in study.runs]
    finished = [run.index for run, state in states if state["state"] == "finished"]
    share = sum(state["step"] for _, state in states) / study.steps
    table = Table(
        title=f"{study.name}: {len(finished)} of {len(study.runs)} members finished, {share:.0%} of the steps",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("member", "directory", "state", "step", "images/s", "loss", "ETA"):
        table.add_column(name, justify="right" if name in ("step", "images/s", "loss", "ETA") else "left", no_wrap=True)
    for run, state in states:
        waiting = state["state"] == "missing" or run.index in finished[:-3]
        if shorten and waiting:
            continue
        rate, loss, eta = state["images_per_sec"], state["loss"], state["eta"]
        table.add_row(
            str(run.index),
            run.name,
            state["state"],
            f"{state['step']:,} / {run.steps:,}",
            f"{rate:,.0f}" if rate else "",
            f"{loss:.3f}" if loss is not None else "",
            duration(eta) if eta else "",
        )
    if shorten and not table.rows:
        table.caption = "starting: torch and Lightning take some seconds to import"
    return table


def duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
