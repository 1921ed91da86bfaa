"""What a study's plan is made of: cats, the training runs of their members, and the snapshots that they share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timecat.config.data import DataConfig
from timecat.config.member import MemberConfig
from timecat.config.study import HeadKind, Projection


@dataclass(frozen=True)
class Alike:
    """Members of a cat that are alike: `members` runs of `steps` steps.

    Attributes:
        model, data: what they have otherwise than the config's sections.
        first: the place of its first member's seed among the repetition's; None goes on from those before.
    """

    members: int
    steps: int
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    first: int | None = None

    @property
    def different(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.model, self.data


@dataclass(frozen=True)
class Cat:
    """A cat with its budget worked out.

    Attributes:
        of: its members, in their order; none of networks that were trained elsewhere.
        images: training images of all members together; 0 where nobody knows.
        probes: the data sets that it is probed on; None for all.
        head: what classifies.
        direct: the component of the mixture that it is trained on alone, where `study.direct` made it.
        of_share: trained with the component's share of the images only.
        elsewhere: networks that were trained elsewhere, instead of members.
        soup: one network, whose weights are the mean of the members'.
        project: features that a linear map leaves of the members'; None for all.
        projection: how the map is made.
        control: what it is a control of, in words.
    """

    name: str
    of: tuple[Alike, ...]
    images: int
    probes: tuple[str, ...] | None = None
    head: HeadKind = "linear"
    direct: str | None = None
    of_share: bool = False
    elsewhere: tuple["Elsewhere", ...] = ()
    soup: bool = False
    project: int | None = None
    projection: Projection = "pca"
    control: str = ""

    @property
    def members(self) -> int:
        return sum(each.members for each in self.of) or len(self.elsewhere)

    @property
    def steps(self) -> int:
        """Of its longest member."""
        return max((each.steps for each in self.of), default=0)

    @property
    def seeds(self) -> int:
        """How many a repetition keeps for it: one a member, or as many as the places that it names need."""
        if any(each.first is not None for each in self.of):
            return max(place for _, place in places(self.of)) + 1
        return sum(each.members for each in self.of)

    @property
    def total_steps(self) -> int:
        return total_steps(self.of)

    @property
    def concatenates(self) -> bool:
        """Whether one head reads all its members' features as they are."""
        return self.head == "linear" and self.project is None

    @property
    def model(self) -> dict[str, Any]:
        """What all its members have otherwise than the config's model section."""
        return self.of[0].model if self.of and all(each.model == self.of[0].model for each in self.of) else {}

    @property
    def of_one_run(self) -> bool:
        """Whether its members are snapshots of one run."""
        kinds = [(each.different, place) for each, place in places(self.of)]
        return len(kinds) > 1 and all(kind == kinds[0] for kind in kinds)

    @property
    def budget(self) -> str:
        """Members and steps in words, such as 2 x 100 + 1 x 200."""
        if self.elsewhere:
            return f"{self.members} from elsewhere"
        if self.of_one_run:
            return f"{self.members} snapshots of 1 x {self.steps:,}"
        return " + ".join(f"{each.members} x {each.steps:,}" for each in self.of)

    @property
    def difference(self) -> str:
        """What it has otherwise than members of the config's sections and one head on all features, in words."""
        words = [self.control] if self.control else ["snapshots of one run"] if self.of_one_run else []
        words += [f"{self.projection} of its features to {self.project:,}"] if self.project else []
        members = [_words(*each.different) for each in self.of]
        if len(set(members)) <= 1:
            words += [what for what in members[:1] if what]
        else:
            sizes = (f"{each.members} x {each.steps:,}" for each in self.of)
            words.append(" + ".join(f"{size} {what}".rstrip() for size, what in zip(sizes, members, strict=True)))
        return "; ".join(words)

    def is_probed_on(self, data: str) -> bool:
        return self.probes is None or data in self.probes


@dataclass(frozen=True)
class Elsewhere:
    """A network that was trained elsewhere.

    Attributes:
        file: its weights.
        backbone: whose they are, such as torchvision:vit_b_16; None of a ResNet as the model section says.
        features: of such a backbone.
        model: of such a ResNet, which the file is checked against.
    """

    file: Path
    backbone: str | None
    features: int | None
    model: MemberConfig
    data: DataConfig


def places(of: tuple[Alike, ...]) -> list[tuple[Alike, int]]:
    """Each member, and the place of its seed among the repetition's.

    Those of a kind take one after the other, so that a mixed cat's members are those of the other cats.
    """
    found: list[tuple[Alike, int]] = []
    for each in of:
        taken = [place for other, place in found if other.different == each.different]
        first = max(taken, default=-1) + 1 if each.first is None else each.first
        found += [(each, place) for place in range(first, first + each.members)]
    return found


def total_steps(of: tuple[Alike, ...]) -> int:
    """Optimiser steps that members take; snapshots of one run are one training, to the last of them."""
    members = places(of)
    runs = [  # of each run its steps, at the first of its snapshots
        [other.steps for other, at in members if at == place and other.different == each.different]
        for number, (each, place) in enumerate(members)
        if not any(at == place and other.different == each.different for other, at in members[:number])
    ]
    return sum(map(max, runs))


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


@dataclass(frozen=True)
class Snapshot:
    """A network whose weights lie in a file: a member at a step, the mean of several such, or one from elsewhere.

    Attributes:
        plan: the run that it is of; of one from elsewhere what stands for it.
        soup: the snapshots whose weights it is the mean of.
        elsewhere: what it is, where it was not trained by the study.
    """

    plan: MemberPlan
    step: int
    soup: tuple["Snapshot", ...] = ()
    elsewhere: Elsewhere | None = None

    @property
    def name(self) -> str:
        """Of its features' files."""
        return self.plan.name if self.soup or self.elsewhere else f"{self.plan.name}_{self.step}"

    @property
    def width(self) -> int:
        """Its features."""
        given = self.elsewhere.features if self.elsewhere else None
        return given or self.plan.model.num_features

    @property
    def trained(self) -> tuple["Snapshot", ...]:
        """The snapshots of the study's own runs that it needs."""
        return self.soup or (() if self.elsewhere else (self,))


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
        """Of all its members, or what a projection leaves of them."""
        return min(self.cat.project or self.all_features, self.all_features)

    @property
    def all_features(self) -> int:
        """Of all its members."""
        return sum(snapshot.width for snapshot in self.snapshots)

    @property
    def trained(self) -> tuple[Snapshot, ...]:
        """The snapshots of the study's own runs that it needs, in their order."""
        return tuple(each for snapshot in self.snapshots for each in snapshot.trained)
