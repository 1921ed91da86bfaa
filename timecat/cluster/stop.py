"""Stopping when asked to, and who speaks for a member that several processes train.

A signal only sets a flag. Saving inside a handler can hang or corrupt (Lightning issue 21406), and the processes of one
member must stop at the same batch, so the flag is read at a batch's end.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from timecat.process import is_first_rank
from timecat.terminal import say

STOPPED = 130  # exit status; what a shell reports of a program that Ctrl-C ended
REQUEUED = 75  # exit status; sysexits' "temporary failure": saved, and SLURM was asked to run the task again
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """The work stopped because it was asked to; what it goes on from lies on disk.

    No Exception, as KeyboardInterrupt is none: it is raised wherever a signal comes, and whoever catches all that can
    go wrong there (a reader of damaged files, a library) must not take it for a fault.
    """


class Stop:
    """What this process was asked by signals: nothing, to go on later in a new process (USR1), or to stop."""

    _raises = False

    def __init__(self) -> None:
        self.level = 0

    def is_set(self) -> bool:
        return self.level > 0

    def requeues(self) -> bool:
        """SLURM sends USR1 before the time limit; a later TERM (preemption, an admin, scancel) is stronger."""
        return self.level == 1

    def handle(self, number: int, frame: Any) -> None:
        if number == signal.SIGINT and self.level:
            raise KeyboardInterrupt  # Ctrl-C a second time
        before, self.level = self.level, max(self.level, 1 if number == signal.SIGUSR1 else 2)
        if self._raises and self.level > before:
            raise Stopped("stopped")

    def check(self) -> None:
        """Raise Stopped if that was asked for."""
        if self.is_set():
            raise Stopped("stopped")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A request ends the body wherever it is: for work whose files are whole at any moment."""
        self.check()
        before, self._raises = self._raises, True
        try:
            yield
        finally:
            self._raises = before

    @contextmanager
    def at_a_check(self) -> Iterator[None]:
        """Within `at_once`, a part that ends at a `check` alone, or when it is through."""
        before, self._raises = self._raises, False
        try:
            yield
        finally:
            self._raises = before
        if before:
            self.check()


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """The signals SIGINT, SIGTERM and SIGUSR1 ask this process to stop while the body runs."""
    stop = Stop()
    before = {number: signal.signal(number, stop.handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if stop.requeues():  # SLURM terminates what is left of the job; our own exit status is on its way
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started in the body never see the signals: their parent ends them.

    A blocked signal stays so in a child, from its first moment on; SLURM may signal every process of a step.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def until_stopped(work: Callable[[Stop], None]) -> int:
    """Do work that goes on from its files; the exit status: 0, or 75 or 130 as `timecat fit` has it."""
    with stop_on_signal() as stop:
        try:
            with stop.at_once():
                work(stop)
        except Stopped:
            say("timecat: stopped; the same command goes on from what is finished", error=True)
            if not stop.requeues():
                return STOPPED
            requeue()
            return REQUEUED
    return 0


def requeue() -> None:
    """Ask SLURM to run this job or array task again, once for all of its processes."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or not is_first_rank():
        return
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if shutil.which("scontrol") is None:
        say(f"timecat: no scontrol here, so job {job} is not requeued; submit it again", error=True)
        return
    subprocess.run(["scontrol", "requeue", job])
