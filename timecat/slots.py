"""Members trained at once on this machine: a process per slot, each taking the next member that nobody trains."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from timecat import progress
from timecat.display import live_table, say_finished
from timecat.errors import UserError
from timecat.stop import STOPPED, stop_on_signal
from timecat.study import Run, Study


def work(study: Study, run: Run) -> int:
    """A rough measure of a run's cost, quadratic in width; the longest go first, so that slots end together."""
    width = {**(study.config.get("model") or {}), **run.model}.get("width", 64)
    return run.steps * width**2


def default_slots(study: Study) -> int:
    """study.slots, else as many members as this machine's GPUs can train at once; 1 without a GPU."""
    if study.slots is not None:
        return study.slots
    trainer = study.config.get("trainer") or {}
    if trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda") or not Path("/dev/nvidia0").exists():
        return 1
    import torch

    return max(1, torch.cuda.device_count() // devices_per_member(study))


def devices_per_member(study: Study) -> int:
    devices = (study.config.get("trainer") or {}).get("devices", 1)
    return devices if isinstance(devices, int) and devices > 0 else 1


def train_in_slots(study: Study, runs: list[Run], arguments: list[str], slots: int) -> int:
    """Start a process per slot; each takes the next member that nobody trains. A failure stops only its own slot."""
    workers = []
    given = (study.config.get("data") or {}).get("workers") is not None
    share = [] if given else [f"--data.workers={max(1, len(os.sched_getaffinity(0)) // slots)}"]
    (study.directory / "logs").mkdir(parents=True, exist_ok=True)
    with stop_on_signal() as stop, live_table(study, enabled=True):
        for slot in range(slots):
            log = study.directory / "logs" / f"slot_{slot}.log"
            with log.open("ab") as file:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "timecat", "fit", *arguments, *share, "--slot", str(slot)],
                        env=_slot_environment(study, slot, slots),
                        stdout=file,
                        stderr=file,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
        waiting = [run for run in runs if not progress.is_finished(study.directory / run.name, run)]
        while True:
            ended = all(worker.poll() is not None for worker in workers)
            for run in [run for run in waiting if progress.is_finished(study.directory / run.name, run)]:
                waiting.remove(run)
                say_finished(study, run)
            if ended:
                break
            if stop.is_set():
                for worker in workers:
                    if worker.poll() is None:
                        worker.send_signal(signal.SIGINT)
                stop.clear()
            time.sleep(0.2)
    failed = [slot for slot, worker in enumerate(workers) if worker.returncode not in (0, STOPPED)]
    for slot in failed:
        log = study.directory / "logs" / f"slot_{slot}.log"
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        if workers[slot].returncode == 2:  # bad input, and the same for every slot
            raise UserError(last.removeprefix("timecat: "))
        print(f"timecat: slot {slot} failed: {last} (log: {log})", file=sys.stderr)
    if failed:
        return 1
    if waiting:
        print(
            f"timecat: stopped with {len(waiting)} members to go; the same command goes on from there", file=sys.stderr
        )
        return STOPPED
    return 0


def _slot_environment(study: Study, slot: int, slots: int) -> dict[str, str]:
    """Its own GPUs and port, no trace of SLURM, and its share of the cores."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "PMI", "MASTER_"))}
    per_member = devices_per_member(study)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(slots * per_member)]
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot * per_member : (slot + 1) * per_member])
    environment["TIMECAT_PARENT"] = str(os.getpid())
    environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // slots)))
    return environment


def die_with_parent() -> None:
    """A killed `fit` takes its slots along (Linux's PR_SET_PDEATHSIG), also if it died before this call."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(os.environ.get("TIMECAT_PARENT", os.getppid())):
        sys.exit(STOPPED)
