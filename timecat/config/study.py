"""The `study` section of a config: the cats that are compared."""

from dataclasses import dataclass, field
from typing import Any

from timecat.config.types import NonNegativeFloat, NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class CatConfig:
    """One cat.

    Args:
        members: number of members whose features are concatenated.
        steps: optimiser steps of each member.
        images: training images of each member, instead of steps; must be a multiple of the global batch.
        model: what its members' `model` section has otherwise, such as {width: 128}.
    """

    members: PositiveInt
    steps: PositiveInt | None = None
    images: PositiveInt | None = None
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyConfig:
    """Cats compared at equal images.

    Args:
        name: the study's directory is <root>/<name>.
        cats: the cats by name, in the order of the report.
        probes: configs of the probe data sets, paths from the working directory, or from a folder above this config.
        baseline: the cat that the report compares with; the first one where not given.
        repetitions: how often the whole study is done, each time with other seeds.
        seeds: a seed for each member, repetition by repetition; `seed_everything + k` where not given.
        images: the budget, training images of each cat; more than the paper's own 12.5 % beside it is refused.
            Without it the cats are only compared with one another.
        unequal_because: why cats may differ by more.
        checkpoint_minutes: how much work a kill may cost.
        slots: members trained at once; by default one per visible GPU, and one on a CPU, where they share the cores.
        root: where studies lie.
    """

    name: str
    cats: dict[str, CatConfig]
    probes: list[str] = field(default_factory=list)
    baseline: str | None = None
    repetitions: PositiveInt = 1
    seeds: list[NonNegativeInt] | None = None
    images: PositiveInt | None = None
    unequal_because: str | None = None
    checkpoint_minutes: NonNegativeFloat = 5.0
    slots: PositiveInt | None = None
    root: str = "runs"
