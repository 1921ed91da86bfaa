"""`timecat` as processes of its own, and waiting for what they do."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from timecat.cluster.stop import Stop


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "timecat", *arguments]


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
