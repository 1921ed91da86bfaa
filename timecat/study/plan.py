"""What a study's plan is made of: cats, the training runs of their members, and the snapshots that they share."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from timecat.config.data import DataConfig
from timecat.config.member import MemberConfig
from timecat.config.study import HeadKind


@dataclass(frozen=True)
class Alike:
    """Members of a cat that are alike: `members` runs of `steps` steps.

    Attributes:
        model, data: what they have otherwise than the config's sections.
    """

    members: int
    steps: int
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def different(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.model, self.data


@dataclass(frozen=True)
class Cat:
    """A cat with its budget worked out.

    Attributes:
        of: its members, in their order.
        images: training images of all members together.
        probes: the data sets that it is probed on; None for all.
        head: what classifies.
        direct: the component of the mixture that it is trained on alone, where `study.direct` made it.
        of_share: trained with the component's share of the images only.
    """

    name: str
    of: tuple[Alike, ...]
    images: int
    probes: tuple[str, ...] | None = None
    head: HeadKind = "linear"
    direct: str | None = None
    of_share: bool = False

    @property
    def members(self) -> int:
        return sum(each.members for each in self.of)

    @property
    def steps(self) -> int:
        """Of its longest member."""
        return max(each.steps for each in self.of)

    @property
    def total_steps(self) -> int:
        return sum(each.members * each.steps for each in self.of)

    @property
    def model(self) -> dict[str, Any]:
        """What all its members have otherwise than the config's model section."""
        return self.of[0].model if len(self.of) == 1 else {}

    @property
    def budget(self) -> str:
        """Members and steps in words, such as 2 x 100 + 1 x 200."""
        return " + ".join(f"{each.members} x {each.steps:,}" for each in self.of)

    @property
    def difference(self) -> str:
        """What its members have otherwise than the config's sections, in words; empty where nothing."""
        words = [_words(*each.different) for each in self.of]
        if len(words) == 1:
            return words[0]
        sizes = (f"{each.members} x {each.steps:,}" for each in self.of)
        return " + ".join(f"{size} {what}".rstrip() for size, what in zip(sizes, words, strict=True))

    def is_probed_on(self, data: str) -> bool:
        return self.probes is None or data in self.probes


def _words(model: dict[str, Any], data: dict[str, Any]) -> str:
    words = [f"with {', '.join(f'{key} {value}' for key, value in model.items())}"] if model else []
    others = []
    for key, value in data.items():
        if key == "mixture" and isinstance(value, dict):
            shares = (f"{part.get('weight', '?')} {name}" for name, part in value.items() if isinstance(part, dict))
            words.append(f"trained on {' + '.join(shares) if len(value) > 1 else next(iter(value))}")
        else:
            others.append(f"{key} {value}")
    words += [f"whose data have {', '.join(others)}"] if others else []
    return f"members {', '.join(words)}" if words else ""


def has_horizon(model: MemberConfig, data: DataConfig) -> bool:
    """Whether a run's earlier states are no shorter members: the schedule, or the images' sides, end with it."""
    return model.has_horizon or data.train_resolution is not None


@dataclass(frozen=True)
class MemberPlan:
    """One member's training run.

    Attributes:
        index: its number in the whole study, whichever of its cats are asked for.
        name: of its directory.
        model: what is trained, with the run's own horizon.
        data: what it is trained on.
        snapshots: the steps at which its weights are kept, ascending.
    """

    index: int
    name: str
    seed: int
    model: MemberConfig
    data: DataConfig
    snapshots: tuple[int, ...]

    @property
    def has_horizon(self) -> bool:
        return has_horizon(self.model, self.data)

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
