"""How far a long computation is: a bar on a terminal, else a line a minute."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from timecat.display import duration

EVERY = 60.0  # seconds between two lines


@contextmanager
def bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more units are done."""
    console = Console(stderr=True)
    if console.is_terminal:
        speed = TextColumn(f"{{task.speed:,.0f}} {unit}/s")
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
        with Progress(*columns, console=console) as shown:
            task = shown.add_task("", total=total)
            yield lambda count: shown.advance(task, count)
        return
    started = said = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, said
        done += count
        now = time.monotonic()
        if now - said >= EVERY:
            said = now
            left = duration((now - started) / done * (total - done)) if done else "?"
            rate = done / (now - started)
            print(f"{title}: {done:,} of {total:,}, {rate:,.0f} {unit}/s, {left} to go", file=sys.stderr, flush=True)

    yield advance
