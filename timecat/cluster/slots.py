"""Members trained at once on this machine, a process per slot; one that fails does not stop the others."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from timecat.cluster.members_table import live_table, say_finished
from timecat.cluster.stop import REQUEUED, STOPPED, Stop
from timecat.errors import UserError
from timecat.process import PARENT, cores
from timecat.study.study import Run, Study
from timecat.terminal import say

PROGRAM = (sys.executable, "-m", "timecat", "fit")
BAD_INPUT = 2  # exit status
FAILED = 1


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


def log_of(study: Study, run: Run) -> Path:
    """Where a member's process writes what it has to say; SLURM's tasks do so too."""
    return study.directory / "logs" / f"fit_{run.index}.log"


def train_in_slots(
    study: Study, runs: list[Run], arguments: list[str], slots: int, stop: Stop, program: tuple[str, ...] = PROGRAM
) -> int:
    """Train the runs in their order, the next one wherever a slot is free; `fit`'s exit status.

    Args:
        arguments: --config and overrides, for the slots' processes.
        program: what a slot's process is; the benchmark of the schedule has another.

    Raises:
        UserError: the input is at fault, and so no member was trained.
    """
    (study.directory / "logs").mkdir(parents=True, exist_ok=True)
    waiting = list(runs)
    ended: dict[int, int] = {}  # exit status by the run's index
    workers = [_Worker(study, [*program, *arguments], slot, slots) for slot in range(min(slots, len(runs)))]
    threads = [
        threading.Thread(target=_work_off, args=(study, worker, waiting, ended, stop), daemon=True)
        for worker in workers
    ]
    with live_table(study, enabled=True):
        for thread in threads:
            thread.start()
        told = False
        while any(thread.is_alive() for thread in threads):
            if stop.is_set() and not told:
                told = True
                for worker in workers:
                    worker.stop()
            time.sleep(0.1)
    failed = [run for run in runs if ended.get(run.index, 0) not in (0, STOPPED, REQUEUED)]
    if failed and all(ended.get(run.index, BAD_INPUT) == BAD_INPUT for run in runs):
        raise UserError(_last_line(log_of(study, failed[0])).removeprefix("timecat: "))
    for run in failed:
        log = log_of(study, run)
        why = _last_line(log).removeprefix("timecat: ")
        say(f"timecat: member {run.index} ({run.name}) failed: {why} (log: {log})", error=True)
    if stop.is_set():
        left = sum(ended.get(run.index) != 0 for run in runs)
        say(f"timecat: stopped with {left} members to go; the same command goes on from there", error=True)
        return REQUEUED if stop.requeues() else STOPPED
    return FAILED if failed else 0


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "no output"


def _work_off(study: Study, worker: "_Worker", waiting: list[Run], ended: dict[int, int], stop: Stop) -> None:
    """A slot's thread: hand its worker one run after the other."""
    while waiting and not stop.is_set():
        run = waiting.pop(0)
        ended[run.index] = status = worker.train(run)
        if status == 0:
            say_finished(study, run)
        if status == BAD_INPUT and not worker.is_ready():  # it fell over the config, as it would with every member
            waiting.clear()
    worker.end()


class _Worker:
    """A slot's process: one for all of its members, as starting takes seconds; one each, where DDP starts more."""

    def __init__(self, study: Study, command: list[str], slot: int, slots: int) -> None:
        self.study, self.process = study, None
        given = (study.config.get("data") or {}).get("workers") is not None
        share = [] if given or slots == 1 else [f"--data.workers={max(1, cores() // slots)}"]
        self.devices = devices_per_member(study)
        self.command = [*command, *share, "--slots", str(slots)]
        self.environment = _slot_environment(slot, slots, self.devices)
        self.ready = False

    def train(self, run: Run) -> int:
        """Train a run; the exit status."""
        if self.devices > 1:
            self._start(run, ["--member", str(run.index)])
            return self._ended()
        if self.process is None:
            self._start(run, ["--serve"])
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{run.index}\n".encode())
        answer = self.process.stdout.readline()
        if not answer:
            return self._ended()
        self.ready = True
        if int(answer) == FAILED:  # perhaps the device's fault, and then no member would train in it
            self._ended()
        return int(answer)

    def is_ready(self) -> bool:
        """Whether it has trained, so that what failed is a member and not the worker."""
        return self.ready

    def stop(self) -> None:
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()

    def _ended(self) -> int:
        self.process.stdin.close()
        status = self.process.wait()
        self.process = None
        return status

    def _start(self, run: Run, more: list[str]) -> None:
        with log_of(self.study, run).open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *more],
                env=self.environment,
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=subprocess.PIPE if self.devices == 1 else log,
                stderr=log,
                start_new_session=True,
            )


def serve(study: Study, train: Callable[[Run], int], stop: Stop) -> int:
    """A slot's process: train the members whose numbers come on standard input, answer with an exit status each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        run = study.run(int(line))
        with log_of(study, run).open("ab") as log:
            for standard in (1, 2):
                os.dup2(log.fileno(), standard)
        try:
            status = train(run)
        except UserError as error:
            print(f"timecat: {error}", file=sys.stderr)
            status = BAD_INPUT
        except Exception:
            traceback.print_exc()
            status = FAILED
        gc.collect()  # a member, its data and its trainer refer to one another: they would stay beside the next one
        answers.write(f"{status}\n")
        if stop.is_set() or status == FAILED:
            break
    return 0


def _slot_environment(slot: int, slots: int, devices: int) -> dict[str, Any]:
    """Its own GPUs and port, no trace of SLURM, and its share of the cores."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "PMI", "MASTER_"))}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(slots * devices)]
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot * devices : (slot + 1) * devices])
    environment[PARENT] = str(os.getpid())
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // slots)))
    return environment
