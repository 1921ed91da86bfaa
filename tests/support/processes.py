"""`timecat` as processes of its own, and waiting for what they do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from timecat.cluster.stop import Stop


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "timecat", *arguments]


def children(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout
    return [int(each) for each in found.split()]


def wait_for(process: subprocess.Popen[str], ready: Callable[[], object], seconds: float = 240) -> None:
    """Wait for what a process does whose errors are piped; where it ends before or hangs, fail with what it said.

    One that hangs tells where, if $PYTHONFAULTHANDLER was set at its start.
    """
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            for each in [*children(process.pid), process.pid]:
                os.kill(each, signal.SIGABRT)
            raise AssertionError(process.communicate()[1])
        time.sleep(0.05)


def wait_until(ready: Callable[[], object], seconds: float, what: str = "nothing happened in time") -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def snapshots(directory: Path) -> dict[str, bytes]:
    """Every snapshot below a directory, by its path."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("snapshot_*.pt"))}


class StopAfter(Stop):
    """A stop request that comes true at the n-th step of this process."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def level(self) -> int:  # asked once before the training and once a step
        self.left -= 1
        return 2 if self.left < -1 else 0
