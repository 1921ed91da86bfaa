"""What a person sees of a study in training: a table of its members, live on a terminal, else a line per member."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live

from timecat.cluster.arrays import ranges
from timecat.cluster.slurm import Task
from timecat.process import is_first_rank
from timecat.study.plan import MemberPlan
from timecat.study.progress import member_state
from timecat.study.study import Study
from timecat.study.time_left import time_left
from timecat.terminal import can_redraw, console, duration, say, tables

LEFT = ("directory", "state", "SLURM")  # columns of text


def members_table(
    study: Study, shorten: bool = False, tasks: dict[int, Task] | None = None
) -> tuple[str, list[str], list[list[str]]]:
    """All members as title, header and rows.

    Args:
        shorten: leave out those that wait or ended long ago, for a live display.
        tasks: SLURM's, by member.
    """
    tasks = tasks or {}
    states = [(plan, member_state(study, plan)) for plan in study.members]
    by_time = sorted(states, key=lambda pair: pair[1].time)
    finished = [plan.index for plan, state in by_time if state.state == "finished"]
    share = sum(state.step for _, state in states) / max(1, study.steps)
    title = f"{study.name}: {len(finished)} of {len(study.members)} members finished, {share:.0%} of the steps"
    if left := time_left(study, states):
        title += f", {duration(left)} to go"
    header = ["member", "directory", "state", "step", "images/s", "loss", "ETA", *(["SLURM"] if tasks else [])]
    rows = []
    for plan, state in states:
        waiting = state.state == "missing" or plan.index in finished[:-3]
        if shorten and waiting:
            continue
        cells = [
            str(plan.index),
            plan.name,
            state.state,
            f"{state.step:,} / {plan.steps:,}",
            f"{state.images_per_sec:,.0f}" if state.images_per_sec else "",
            f"{state.loss:.3f}" if state.loss is not None else "",
            duration(state.eta) if state.eta else "",
        ]
        rows.append([*cells, *([str(tasks.get(plan.index, ""))] if tasks else [])])
    return title, header, rows


@contextmanager
def live_table(study: Study, enabled: bool) -> Iterator[None]:
    """Show the members' progress from disk while the body runs, where somebody looks at a terminal."""
    if not enabled or not can_redraw():
        yield
        return
    screen = console(error=True)
    ended = threading.Event()

    def shown() -> Group:
        title, header, rows = members_table(study, shorten=True)
        starting = [] if rows else ["starting: torch and Lightning take some seconds to import"]
        return Group(title, *tables(screen, header, rows, LEFT), *starting)

    with Live(shown(), console=screen, auto_refresh=False) as live:

        def refresh() -> None:
            while not ended.wait(0.5):
                live.update(shown(), refresh=True)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            live.update(shown(), refresh=True)


def diverged_in_words(study: Study) -> str | None:
    """Which members are usable, and which diverged; None where none did."""
    states = [(plan, member_state(study, plan)) for plan in study.members]
    diverged = [plan for plan, state in states if state.state == "diverged"]
    if not diverged:
        return None
    usable = [plan.index for plan, state in states if state.state == "finished"]
    names = f"{ranges([plan.index for plan in diverged])} ({', '.join(plan.name for plan in diverged[:4])}"
    names += ", …)" if len(diverged) > 4 else ")"
    which = f": {ranges(usable)}" if usable else ""
    return (
        f"{len(usable)} of {len(states)} members are usable{which}; diverged: {names}; lower model.lr, in a study of "
        "another name"
    )


def say_finished(study: Study, plan: MemberPlan) -> None:
    """A line per member where nobody looks at the live table."""
    if can_redraw() or not is_first_rank():
        return
    state = member_state(study, plan)
    say(
        f"member {plan.index} of {len(study.members)} ({plan.name}): {plan.steps:,} steps, "
        f"{state.images_per_sec or 0:,.0f} images/s, loss {state.loss or 0:.3f}",
        error=True,
    )
