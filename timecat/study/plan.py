"""What a study's plan is made of: cats, the training runs of their members, and the snapshots that they share."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from timecat.config.member import MemberConfig


@dataclass(frozen=True)
class Cat:
    """A cat with its budget worked out: `members` runs of `steps` steps, `images` training images in all.

    Attributes:
        model: what its members have otherwise than the config's model section.
    """

    name: str
    members: int
    steps: int
    images: int
    model: dict[str, Any]

    @property
    def label(self) -> str:
        """Its name, and what its members have otherwise."""
        return self.name + "".join(f", {key} {value}" for key, value in self.model.items())


@dataclass(frozen=True)
class MemberPlan:
    """One member's training run.

    Attributes:
        index: its number in the whole study, whichever of its cats are asked for.
        name: of its directory.
        model: what is trained, with the run's own horizon.
        snapshots: the steps at which its weights are kept, ascending.
    """

    index: int
    name: str
    seed: int
    model: MemberConfig
    snapshots: tuple[int, ...]

    @property
    def steps(self) -> int:
        return self.snapshots[-1]


class Snapshot(NamedTuple):
    """A member's weights at a step."""

    plan: MemberPlan
    step: int

    @property
    def name(self) -> str:
        return f"{self.plan.name}_{self.step}"

    @property
    def width(self) -> int:
        """Its features."""
        return self.plan.model.num_features


@dataclass(frozen=True)
class SeededCat:
    """A cat in one repetition: the snapshots whose features are concatenated, in the order of its members."""

    cat: Cat
    repetition: int
    snapshots: tuple[Snapshot, ...]

    @property
    def name(self) -> str:
        return f"{self.cat.name}_{self.repetition}"

    @property
    def features(self) -> int:
        """Of all its members."""
        return sum(snapshot.width for snapshot in self.snapshots)
