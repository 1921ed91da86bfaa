"""What a person sees of a study in training: a table of its members, live on a terminal, else a line per member."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from timecat import progress
from timecat.slurm import Task
from timecat.stop import is_first_rank
from timecat.study import Run, Study


def members_table(study: Study, shorten: bool = False, tasks: dict[int, Task] | None = None) -> Table:
    """All members as a table.

    Args:
        shorten: leave out those that wait or ended long ago, for a live display.
        tasks: SLURM's, by member.
    """
    tasks = tasks or {}
    states = [(run, progress.state_of(study, run)) for run in study.runs]
    finished = [run.index for run, state in states if state["state"] == "finished"]
    share = sum(state["step"] for _, state in states) / study.steps
    table = Table(
        title=f"{study.name}: {len(finished)} of {len(study.runs)} members finished, {share:.0%} of the steps",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("member", "directory", "state", "step", "images/s", "loss", "ETA"):
        table.add_column(name, justify="right" if name in ("step", "images/s", "loss", "ETA") else "left", no_wrap=True)
    if tasks:
        table.add_column("SLURM", no_wrap=True)
    for run, state in states:
        waiting = state["state"] == "missing" or run.index in finished[:-3]
        if shorten and waiting:
            continue
        rate, loss, eta = state["images_per_sec"], state["loss"], state["eta"]
        table.add_row(
            str(run.index),
            run.name,
            state["state"],
            f"{state['step']:,} / {run.steps:,}",
            f"{rate:,.0f}" if rate else "",
            f"{loss:.3f}" if loss is not None else "",
            duration(eta) if eta else "",
            *([str(tasks[run.index]) if run.index in tasks else ""] if tasks else []),
        )
    if shorten and not table.rows:
        table.caption = "starting: torch and Lightning take some seconds to import"
    return table


@contextmanager
def live_table(study: Study, enabled: bool) -> Iterator[None]:
    """Show the members' progress from disk while the body runs, where somebody looks at a terminal."""
    console = Console(stderr=True)
    if not enabled or not console.is_terminal:
        yield
        return
    ended = threading.Event()
    with Live(members_table(study, shorten=True), console=console, auto_refresh=False) as live:

        def refresh() -> None:
            while not ended.wait(0.5):
                live.update(members_table(study, shorten=True), refresh=True)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            live.update(members_table(study, shorten=True), refresh=True)


def say_finished(study: Study, run: Run) -> None:
    """A line per member where nobody looks at the live table."""
    if Console(stderr=True).is_terminal or not is_first_rank():
        return
    state = progress.state_of(study, run)
    print(
        f"member {run.index} of {len(study.runs)} ({run.name}): {run.steps:,} steps, "
        f"{state['images_per_sec'] or 0:,.0f} images/s, loss {state['loss'] or 0:.3f}",
        file=sys.stderr,
        flush=True,
    )


def duration(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
