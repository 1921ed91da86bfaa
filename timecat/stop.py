"""Stopping when asked to, and who speaks for a member that several processes train."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPPED = 130  # exit status; what a shell reports of a program that Ctrl-C ended


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process as usual."""
    stop = threading.Event()

    def handler(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            signal.signal(number, handler)
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                signal.signal(number, before[number])


def is_first_rank() -> bool:
    """Whether this process speaks for its member, where several train it by DDP."""
    rank = next((os.environ[key] for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if key in os.environ), "0")
    return rank == "0"
