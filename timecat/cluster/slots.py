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

from timecat.cluster.endings import length, why
from timecat.cluster.members_table import live_table, say_finished
from timecat.cluster.stop import REQUEUED, STOPPED, Stop
from timecat.errors import Diverged, UserError
from timecat.process import PARENT, compute_threads, decoding_threads, has_fast_bf16
from timecat.study.plan import MemberPlan
from timecat.study.study import Study
from timecat.terminal import say

PROGRAM = (sys.executable, "-m", "timecat", "fit")
OF_ANOTHER_LAUNCHER = ("SLURM_", "PMI", "MASTER_", "TORCHELASTIC_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD")
BAD_INPUT = 2  # exit status
FAILED = 1
DIVERGED = 3  # of a member in a slot, whose process is sound; `fit` itself ends with FAILED


def work(plan: MemberPlan) -> int:
    """A rough measure of a run's cost, quadratic in width; the longest go first, so that slots end together."""
    return plan.steps * plan.model.width**2


def default_slots(study: Study) -> int:
    """study.slots, else as many members as this machine's GPUs can train at once; 1 without a GPU."""
    if study.slots is not None:
        return study.slots
    if not trains_on_gpus(study):
        return 1
    import torch

    return max(1, torch.cuda.device_count() // study.trainer.devices_per_member)


def has_gpus(accelerator: str) -> bool:
    """Whether this machine has GPUs and a config's trainer.accelerator uses them."""
    return accelerator in ("auto", "gpu", "cuda") and Path("/dev/nvidia0").exists()


def trains_on_gpus(study: Study) -> bool:
    """Whether this machine has GPUs and the study uses them."""
    return has_gpus(study.trainer.accelerator)


def say_of_slow_bf16(study: Study) -> None:
    """A line where this machine's CPU would train at a fraction of its speed."""
    if str(study.trainer.precision).startswith("bf16") and not trains_on_gpus(study) and not has_fast_bf16():
        say(
            f"timecat: trainer.precision {study.trainer.precision}: this CPU has no fast bfloat16 and trains at a "
            "quarter of float32's speed or so; on it, give --trainer.precision 32-true",
            error=True,
        )


def train_in_slots(
    study: Study,
    plans: list[MemberPlan],
    arguments: list[str],
    slots: int,
    stop: Stop,
    program: tuple[str, ...] = PROGRAM,
) -> int:
    """Train the runs in their order, the next one wherever a slot is free; `fit`'s exit status.

    Args:
        arguments: --config and overrides, for the slots' processes.
        program: what a slot's process is; the benchmark of the schedule has another.

    Raises:
        UserError: the input is at fault, and so no member was trained.
    """
    study.directory.logs.mkdir(parents=True, exist_ok=True)
    waiting = list(plans)
    before = {plan.index: length(study.directory.member_log(plan.index)) for plan in plans}
    ended: dict[int, int] = {}  # exit status by the run's index
    workers = [_Worker(study, [*program, *arguments], slot, slots) for slot in range(min(slots, len(plans)))]
    threads = [
        threading.Thread(target=_work_off, args=(study, worker, waiting, ended, stop), daemon=True)
        for worker in workers
    ]
    with live_table(study, enabled=True):
        for thread in threads:
            thread.start()
        asked = False
        while any(thread.is_alive() for thread in threads):
            if stop.is_set() and not asked:
                asked = True
                for worker in workers:
                    worker.stop()
            time.sleep(0.1)
    failed = [plan for plan in plans if ended.get(plan.index, 0) not in (0, STOPPED, REQUEUED)]
    logs = {plan.index: study.directory.member_log(plan.index) for plan in failed}
    words = {index: why(ended[index], log, before[index]) for index, log in logs.items()}
    if failed and all(ended.get(plan.index, BAD_INPUT) == BAD_INPUT for plan in plans):
        raise UserError(words[failed[0].index])
    for plan in failed:
        failed_by_itself = f"member {plan.index} ({plan.name}) failed: {words[plan.index]}"
        said = f"member {plan.index}: {words[plan.index]}" if ended[plan.index] == DIVERGED else failed_by_itself
        say(f"timecat: {said} (log: {logs[plan.index]})", error=True)
    if stop.is_set():
        left = sum(ended.get(plan.index) != 0 for plan in plans)
        say(f"timecat: stopped with {left} members to go; the same command goes on from there", error=True)
        return REQUEUED if stop.requeues() else STOPPED
    return FAILED if failed else 0


def _work_off(study: Study, worker: "_Worker", waiting: list[MemberPlan], ended: dict[int, int], stop: Stop) -> None:
    """A slot's thread: hand its worker one run after the other."""
    while waiting and not stop.is_set():
        plan = waiting.pop(0)
        ended[plan.index] = status = worker.train(plan)
        if status == 0:
            say_finished(study, plan)
        if status == BAD_INPUT and not worker.is_ready():  # it fell over the config, as it would with every member
            waiting.clear()
    worker.end()


class _Worker:
    """A slot's process: one for all of its members, as starting takes seconds; one each, where DDP starts more."""

    def __init__(self, study: Study, command: list[str], slot: int, slots: int) -> None:
        self.study = study
        self.process: subprocess.Popen[bytes] | None = None
        self.devices = study.trainer.devices_per_member
        share = [] if study.data.workers else [f"--data.workers={decoding_threads(slots * self.devices)}"]
        self.command = [*command, *share, "--slots", str(slots)]
        self.environment = _slot_environment(slot, slots, self.devices)
        self.ready = False

    def train(self, plan: MemberPlan) -> int:
        """Train a run; the exit status."""
        if self.devices > 1:
            self._start(plan, ["--member", str(plan.index)])
            return self._ended()
        process = self.process or self._start(plan, ["--serve"])
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(f"{plan.index}\n".encode())
        answer = process.stdout.readline()
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
            self._ended()

    def _ended(self) -> int:
        """Wait for the process; its exit status."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait()
        self.process = None
        return status

    def _start(self, plan: MemberPlan, more: list[str]) -> subprocess.Popen[bytes]:
        with self.study.directory.member_log(plan.index).open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, *more],
                env=self.environment,
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=subprocess.PIPE if self.devices == 1 else log,
                stderr=log,
                start_new_session=True,
            )
        return self.process


def serve(study: Study, train: Callable[[MemberPlan], int], stop: Stop) -> int:
    """A slot's process: train the members whose numbers come on standard input, answer with an exit status each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        plan = study.member(int(line))
        with study.directory.member_log(plan.index).open("ab") as log:
            for standard in (1, 2):
                os.dup2(log.fileno(), standard)
        try:
            status = train(plan)
        except UserError as error:
            print(f"timecat: {error}", file=sys.stderr)
            status = BAD_INPUT
        except Diverged as error:
            print(f"timecat: {error}", file=sys.stderr)
            status = DIVERGED
        except Exception:
            traceback.print_exc()
            status = FAILED
        gc.collect()  # a member, its data and its trainer refer to one another: they would stay beside the next one
        if (torch := sys.modules.get("torch")) is not None:
            torch.cuda.empty_cache()
        answers.write(f"{status}\n")
        if stop.is_set() or status == FAILED:
            break
    return 0


def _slot_environment(slot: int, slots: int, devices: int) -> dict[str, Any]:
    """Its own GPUs and port, no trace of SLURM or torchrun, and each of its processes' share of the cores."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OF_ANOTHER_LAUNCHER)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(slots * devices)]
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot * devices : (slot + 1) * devices])
    environment[PARENT] = str(os.getpid())
    environment.setdefault("OMP_NUM_THREADS", str(compute_threads(slots * devices)))
    return environment
