"""The sweep of a probe: which heads a data set needs, and which are trained in one pass. Pure arithmetic, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from timecat.errors import UserError
from timecat.study.plan import SeededCat
from timecat.study.study import Study


class Block(Protocol):
    """Features that belong together: those of a snapshot, or of an extractor that is not ours."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...


class Concatenation(Protocol):
    """Blocks side by side, which heads are trained on: a seeded cat, or extractors that are not ours."""

    @property
    def name(self) -> str: ...
    @property
    def snapshots(self) -> Sequence[Block]: ...
    @property
    def features(self) -> int: ...


AnyCat = TypeVar("AnyCat", bound=Concatenation)


@dataclass(frozen=True)
class Group(Generic[AnyCat]):
    """Heads that are trained in one pass over the features: each cat with the settings (lr, weight decay) `grid`."""

    cats: tuple[AnyCat, ...]
    grid: tuple[tuple[float, float], ...]

    @property
    def heads(self) -> int:
        return len(self.cats) * len(self.grid)


def largest_first(study: Study, data: str) -> list[SeededCat]:
    """The cats that are probed on a data set, in all repetitions, in the order in which they are."""
    return sorted(study.seeded_cats(data), key=lambda cat: -cat.features)


def columns(cats: Sequence[Concatenation]) -> tuple[list[Block], list[list[slice]]]:
    """Put the snapshots' features side by side, each once, so that a cat is few slices of the columns.

    Returns:
        The snapshots in the order of their columns; and for each cat its columns.
    """
    starts: dict[str, int] = {}
    snapshots: list[Block] = []
    total = 0
    for cat in sorted(cats, key=lambda cat: -len(cat.snapshots)):  # shorter cats are then parts of longer ones
        for snapshot in cat.snapshots:
            if snapshot.name not in starts:
                starts[snapshot.name] = total
                snapshots.append(snapshot)
                total += snapshot.width
    slices: list[list[slice]] = []
    for cat in cats:
        parts: list[slice] = []
        for snapshot in cat.snapshots:
            start = starts[snapshot.name]
            if parts and parts[-1].stop == start:
                parts[-1] = slice(parts[-1].start, start + snapshot.width)
            else:
                parts.append(slice(start, start + snapshot.width))
        slices.append(parts)
    return snapshots, slices


def head_bytes(features: int, classes: int) -> int:
    """Memory of one head in training, float32: weight, velocity, gradient and a working copy."""
    return 4 * 4 * features * classes


def groups(
    cats: Sequence[AnyCat], grid: list[tuple[float, float]], classes: int, memory_gb: float
) -> list[Group[AnyCat]]:
    """Share the heads out on passes whose heads fit in the memory, whole cats where possible.

    Raises:
        UserError: a single head does not fit.
    """
    room = memory_gb * 1e9
    shared: list[Group[AnyCat]] = []
    together: list[AnyCat] = []
    for cat in cats:
        size = head_bytes(cat.features, classes)
        if size > room:
            raise UserError(
                f"one head of {cat.name} ({cat.features:,} features, {classes:,} classes) takes {size / 1e9:.2g} "
                f"GB, probe.memory_gb is {memory_gb:g}; raise it, as in --probe.memory_gb {-(-size // 10**9)}"
            )
        fit = int(room // size)
        if fit < len(grid):  # this cat alone needs several passes
            shared += [Group((cat,), tuple(grid[i : i + fit])) for i in range(0, len(grid), fit)]
            continue
        needed = sum(head_bytes(other.features, classes) for other in together) + size
        if together and needed * len(grid) > room:
            shared.append(Group(tuple(together), tuple(grid)))
            together = []
        together.append(cat)
    if together:
        shared.append(Group(tuple(together), tuple(grid)))
    return shared
