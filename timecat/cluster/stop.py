"""Stopping when asked to, and who speaks for a member that several processes train.

A signal only sets a flag. Saving inside a handler can hang or corrupt (Lightning issue 21406), and the processes of one
member must stop at the same batch, so the flag is read at a batch's end.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from timecat.process import is_first_rank
from timecat.terminal import say

STOPPED = 130  # exit status; what a shell reports of a program that Ctrl-C ended
REQUEUED = 75  # exit status; sysexits' "temporary failure": saved, and SLURM was asked to run the task again
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stop:
    """What this process was asked by signals: nothing, to go on later in a new process (USR1), or to stop."""

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
        self.level = max(self.level, 1 if number == signal.SIGUSR1 else 2)


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
