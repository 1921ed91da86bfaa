"""Commands of timecat in processes that are killed at any moment, and that need no seconds to start."""

import multiprocessing
import os
import random
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

PRELOADED = ["timecat.cli", "timecat.members.train", "timecat.members.trainer", "timecat.heads.probe"]
PRELOADED += ["timecat.members.fit", "timecat.report.report", "timecat.report.compare.compare", "sklearn.datasets"]
PRELOADED += ["timecat.data.write.command", "timecat.extraction.extract", "tests.support.killed"]


def _run(arguments: list[str], log: str, started: Connection) -> None:
    with open(log, "ab") as file:
        for standard in (1, 2):
            os.dup2(file.fileno(), standard)
    from timecat.cli import main

    started.send(True)
    sys.exit(main(arguments))


class Killer:
    """Runs commands to their end or kills them; a server that has imported all forks a process for each."""

    def __init__(self, log: Path, seed: int) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        self.log, self.moments = log, random.Random(seed)

    def seconds(self, arguments: list[str]) -> float:
        """Run it to the end; how long that takes."""
        process, begun = self._start(arguments)
        process.join(240)
        assert process.exitcode == 0, self.log.read_text()
        return time.monotonic() - begun

    def kill(self, arguments: list[str], within: float) -> bool:
        """Kill it some time within so many seconds; whether it was still there."""
        process, _ = self._start(arguments)
        process.join(self.moments.uniform(0, within))
        process.kill()
        process.join()
        return process.exitcode != 0

    def _start(self, arguments: list[str]):
        receiver, sender = self.context.Pipe(duplex=False)
        process = self.context.Process(target=_run, args=(arguments, str(self.log), sender))
        process.start()
        assert receiver.recv()
        return process, time.monotonic()
