"""The members' curves, and of each cat the mean, from the events that they left."""

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timecat.report.compare.tags import BY_EPOCHS, BY_IMAGES, BY_STEPS, CHARTS, CURVES
from timecat.study.plan import Cat
from timecat.study.results import CatResult
from timecat.study.study import Study
from timecat.tensorboard_events import scalar

Curve = dict[int, float]  # by step
LEVEL = 8  # pieces


@dataclass(frozen=True)
class MemberCurves:
    """What one member of a cat logged up to the step of its snapshot, by tag."""

    name: str
    steps: int
    curves: dict[str, Curve]


def read_curves(directory: Path) -> dict[str, Curve]:
    """The scalars of a member's events, by tag; a step that was taken twice counts as it was taken last."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(directory.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    there = events.Tags()["scalars"]
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag, _, _ in CURVES if tag in there}


def curves_of(study: Study, cat: Cat, curves: dict[str, dict[str, Curve]]) -> list[MemberCurves]:
    """Those of a cat's members, in all repetitions.

    Args:
        curves: of each member's directory by name what `read_curves` gave.
    """
    longest: dict[str, int] = {}
    for seeded in study.seeded_cats():
        if seeded.cat.name == cat.name:
            for snapshot in seeded.trained:
                longest[snapshot.plan.name] = max(snapshot.step, longest.get(snapshot.plan.name, 0))
    return [
        MemberCurves(name, steps, {tag: _until(curve, steps) for tag, curve in curves[name].items()})
        for name, steps in longest.items()
        if curves.get(name)
    ]


def _until(curve: Curve, steps: int) -> Curve:
    return {step: value for step, value in curve.items() if step <= steps}


def mean(members: list[MemberCurves], tag: str) -> Curve:
    """Of the members that train so long, where all of them have a point: as far as the last of them has come."""
    steps = sorted({step for member in members for step in member.curves.get(tag, {})})
    found: Curve = {}
    for step in steps:
        values = [member.curves.get(tag, {}).get(step) for member in members if member.steps >= step]
        there = [value for value in values if value is not None]
        if len(there) == len(values):
            found[step] = statistics.fmean(there)
    return found


def values_of_members(members: list[MemberCurves], batch_size: int) -> Iterable[tuple[int, Any]]:
    """For TensorBoard: the means by images of a member, and each member's own curves by steps."""
    for tag, name, factor in CURVES:
        for step, value in mean(members, tag).items():
            yield step * batch_size, scalar(f"{BY_IMAGES}/{name}", factor * value)
        if tag in CHARTS:
            for member in members:
                for step, value in member.curves.get(tag, {}).items():
                    yield step, scalar(f"{BY_STEPS}/{name}: {member.name}", factor * value)


def level(tag: str, value: float, end: int) -> Iterable[tuple[int, Any]]:
    """For TensorBoard: a number as a level from 0 to where it belongs on the x axis.

    A single point is hardly seen, and the lowest and highest ones of a few are cut off as outliers.
    """
    return ((round(end * part / LEVEL), scalar(tag, value)) for part in range(LEVEL + 1))


def values_of_heads(data: str, results: list[CatResult]) -> Iterable[tuple[int, Any]]:
    """For TensorBoard: top-1 on held-out images after each epoch of each setting's head, mean of the repetitions."""
    by_setting: dict[str, list[list[float | None]]] = {}
    for result in results:
        for head in result["heads"]:
            setting = f"weight decay {head['weight_decay']:g}" + (f", lr {head['lr']:g}" if head["lr"] else "")
            by_setting.setdefault(setting, []).append(head["curve"])
    for setting, curves in by_setting.items():
        for epoch, values in enumerate(zip(*curves, strict=False), 1):
            there = [value for value in values if value is not None]
            if there:
                yield epoch, scalar(f"{BY_EPOCHS}/{data}, {setting}", statistics.fmean(there))


def charts_of_members() -> dict[str, str]:
    """The Custom Scalars tab's, with each member's curves: titles and regular expressions of tags."""
    names = {tag: name for tag, name, _ in CURVES}
    return {f"{names[tag]}, by steps": f"^{re.escape(f'{BY_STEPS}/{names[tag]}')}: " for tag in CHARTS}
