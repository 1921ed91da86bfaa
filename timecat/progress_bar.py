"""How far a long computation is: a bar on a terminal, else a line a minute."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    RenderableColumn,
    Task,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from timecat.terminal import can_redraw, console, duration

EVERY = 60.0  # seconds between two lines
REDRAW = 0.1  # seconds between two updates of a bar
NUMBERS = 45  # columns of a short bar, the share, the rate and the time left


class Rate(ProgressColumn):
    """Units a second; nothing at first, when rich has no speed yet."""

    def __init__(self, unit: str) -> None:
        super().__init__(Column(no_wrap=True, justify="right"))
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else "", style="progress.data.speed")


class Bar(Progress):
    """One task, under its title where both do not fit in a line."""

    def __init__(self, title: str, unit: str, screen: Console) -> None:
        self.title = title
        self.fits = len(title) + NUMBERS <= screen.width
        columns = (
            BarColumn(None, table_column=Column(ratio=1)),
            TaskProgressColumn(table_column=Column(no_wrap=True)),
            Rate(unit),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        named = RenderableColumn(Text(title), table_column=Column(no_wrap=True))
        super().__init__(*((named,) if self.fits else ()), *columns, console=screen, transient=True, expand=True)

    def get_renderables(self) -> Iterator[RenderableType]:
        if not self.fits:
            yield Text(self.title)
        yield self.make_tasks_table(self.tasks)


@contextmanager
def bar(title: str, total: float, unit: str, done: int = 0) -> Iterator[Callable[[float], None]]:
    """Gives a function that is told how many more units are done; the bar is gone afterwards.

    Args:
        done: units that were done before, and do not count for the rate.
    """
    started = updated = time.monotonic()
    reached: float = done
    shown: float = done

    def advance(count: float) -> None:
        nonlocal reached, shown, updated
        reached += count
        now = time.monotonic()
        if now - updated < (EVERY if drawn is None else REDRAW):
            return
        updated = now
        if drawn is not None:
            drawn.advance(task, reached - shown)
            shown = reached
            return
        rate = (reached - done) / (now - started)
        left = duration((total - reached) / rate) if rate else "?"
        print(
            f"{title}: {reached:,.0f} of {total:,.0f}, {rate:,.0f} {unit}/s, {left} to go", file=sys.stderr, flush=True
        )

    if not can_redraw():
        drawn = None
        yield advance
        return
    with Bar(title, unit, console(error=True)) as drawn:
        task = drawn.add_task("", total=total, completed=done)
        yield advance
