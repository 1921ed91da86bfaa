"""The sweep of a probe: which heads a data set needs, and which are trained in one pass. Pure arithmetic, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from timecat.config import read_probe_config
from timecat.errors import UserError
from timecat.study.study import Run, Study

Storage = Literal["float16", "bfloat16", "float32"]
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
CHOICES = {
    "solver": ("sgd", "lbfgs"),
    "storage": tuple(BYTES),
    "precision": ("float32", "bfloat16"),
}


@dataclass
class ProbeConfig:
    """The `probe` section of a data set's config: for `timecat probe`, beside the keys that a probe on images has.

    Args:
        weight_decays: the grid from which one is chosen on held-out data.
        lrs: the grid of learning rates; model.lr alone where not given.
        solver: `sgd`, the paper's, or `lbfgs`: the optimum of the convex problem on standardised features, where weight
            decay w adds w/2 times the squared weights to the mean cross-entropy.
        refit: train again on all of the training set with what was chosen.
        views: augmented views of each training image, taken in turn by the epochs; 0 trains on the evaluation view.
        storage: type of the stored features.
        precision: type that the frozen backbones compute in.
        compile: torch.compile the backbones.
        memory_gb: of the device, for heads and features; heads that do not fit train in several passes, features that
            do not fit are read from their files batch by batch.

    Raises:
        UserError: a value that makes no sense.
    """

    weight_decays: list[float] = field(default_factory=lambda: [1e-4])
    lrs: list[float] | None = None
    solver: Literal["sgd", "lbfgs"] = "sgd"
    refit: bool = True
    views: int = 0
    storage: Storage = "float16"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    memory_gb: float = 8.0

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise UserError(f"probe.{key} is {getattr(self, key)!r}; choose from {', '.join(choices)}")
        for key in ("weight_decays", "lrs"):
            values = getattr(self, key)
            if values is None and key == "lrs":
                continue
            if not isinstance(values, list) or not values or not all(_is_number(value) for value in values):
                raise UserError(f"probe.{key} is {values!r}; give a list of numbers such as [1.e-4, 1.e-3]")
            least = 0 if key == "weight_decays" and self.solver == "sgd" else 1e-12
            if min(values) < least or len(set(values)) < len(values):
                raise UserError(
                    f"probe.{key} {values}: give different numbers above 0"
                    + (" (without weight decay lbfgs has no optimum)" if self.solver == "lbfgs" else "")
                )
        if isinstance(self.views, bool) or not isinstance(self.views, int) or self.views < 0:
            raise UserError(f"probe.views is {self.views!r}; give 0 for the evaluation view, or how many to draw")
        if not _is_number(self.memory_gb) or self.memory_gb <= 0:
            raise UserError(f"probe.memory_gb is {self.memory_gb!r}; give a number above 0")
        if self.solver == "lbfgs" and (self.views or self.lrs):
            raise UserError("probe.solver lbfgs has no learning rates and no augmented views: remove probe.lrs, views")

    def grid(self, lr: float) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of each head of a cat, where the config's model.lr is `lr`."""
        return [(rate, decay) for rate in self.lrs or [lr] for decay in self.weight_decays]

    @classmethod
    def read(cls, path: str) -> "ProbeConfig":
        """The section of a config's file, without Lightning's parser."""
        section = read_probe_config(path)["probe"] or {}
        known = [item.name for item in fields(cls)]
        for key in section:
            if key not in known:
                raise UserError(f"{path}: unknown key probe.{key}; known are {', '.join(known)}")
        try:
            return cls(**section)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Block:
    """The heads of one cat in one repetition: they see the same features.

    Attributes:
        members: the (run, step) pairs whose features are concatenated, in order.
        width: features of each member.
    """

    cat: str
    repetition: int
    members: tuple[tuple[Run, int], ...]
    width: int

    @property
    def name(self) -> str:
        return f"{self.cat}_{self.repetition}"

    @property
    def features(self) -> int:
        return self.width * len(self.members)


@dataclass(frozen=True)
class Group:
    """Heads that are trained in one pass over the features: each block with the settings (lr, weight decay) `grid`."""

    blocks: tuple[Block, ...]
    grid: tuple[tuple[float, float], ...]

    @property
    def heads(self) -> int:
        return len(self.blocks) * len(self.grid)


def blocks(study: Study) -> list[Block]:
    """All cats in all repetitions, the largest first."""
    model = study.config.get("model") or {}
    found = [
        Block(cat.name, repetition, tuple(study.snapshots_of(cat, repetition)), _width({**model, **cat.model}))
        for repetition in range(study.repetitions)
        for cat in study.cats.values()
    ]
    return sorted(found, key=lambda block: -block.features)


def _width(model: dict[str, Any]) -> int:
    """Penultimate features of a member."""
    return 8 * model.get("width", 64) * (4 if model.get("depth", 50) >= 50 else 1)


def columns(group: Sequence[Block]) -> tuple[list[tuple[tuple[Run, int], int]], list[list[slice]]]:
    """Put the members' features side by side, each once, so that a cat is few slices of the columns.

    Returns:
        The members in the order of their columns, with their number of features; and for each block its columns.
    """
    starts: dict[tuple[str, int], int] = {}
    members: list[tuple[tuple[Run, int], int]] = []
    total = 0
    for block in sorted(group, key=lambda block: -len(block.members)):  # shorter cats are then parts of longer ones
        for run, step in block.members:
            if (run.name, step) not in starts:
                starts[run.name, step] = total
                members.append(((run, step), block.width))
                total += block.width
    slices: list[list[slice]] = []
    for block in group:
        parts: list[slice] = []
        for run, step in block.members:
            start = starts[run.name, step]
            if parts and parts[-1].stop == start:
                parts[-1] = slice(parts[-1].start, start + block.width)
            else:
                parts.append(slice(start, start + block.width))
        slices.append(parts)
    return members, slices


def head_bytes(features: int, classes: int) -> int:
    """Memory of one head in training, float32: weight, velocity, gradient and a working copy."""
    return 4 * 4 * features * classes


def groups(blocks: list[Block], grid: list[tuple[float, float]], classes: int, memory_gb: float) -> list[Group]:
    """Share the heads out on passes whose heads fit in the memory, whole cats where possible.

    Raises:
        UserError: a single head does not fit.
    """
    room = memory_gb * 1e9
    found: list[Group] = []
    together: list[Block] = []
    for block in blocks:
        one = head_bytes(block.features, classes)
        if one > room:
            raise UserError(
                f"one head of {block.cat} ({block.features:,} features, {classes:,} classes) takes {one / 1e9:.2g} GB, "
                f"probe.memory_gb is {memory_gb:g}; raise it"
            )
        fit = int(room // one)
        if fit < len(grid):  # this cat alone needs several passes
            found += [Group((block,), tuple(grid[i : i + fit])) for i in range(0, len(grid), fit)]
            continue
        needed = sum(head_bytes(other.features, classes) for other in together) + one
        if together and needed * len(grid) > room:
            found.append(Group(tuple(together), tuple(grid)))
            together = []
        together.append(block)
    if together:
        found.append(Group(tuple(together), tuple(grid)))
    return found
