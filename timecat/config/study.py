"""The `study` section of a config: the cats that are compared."""

from dataclasses import dataclass, field
from typing import Any, Literal

from timecat.config.names import check_data_names, check_name
from timecat.config.types import Members, NonNegativeFloat, Place, PositiveInt, Seed
from timecat.errors import UserError

HeadKind = Literal["linear", "own", "ensemble"]
Projection = Literal["pca", "random"]
Equal = Literal["parameters", "training_flops"]

# What lies where cats would: directories of the config's own members are member_<seed>, TensorBoard compares cats
# beside a run of the study.
TAKEN = ("member", "study", "lock", "made_of.json")
CONTROLS = ("short", "narrow", "wide", "soup", "ensemble")  # keys of a cat that name another one


@dataclass(frozen=True)
class AlikeConfig:
    """Members of a cat that are alike; the keys as a cat has them.

    Args:
        first: the place of the first one's seed among the repetition's, from 0: with {first: 0, steps: 100} and
            {first: 0, steps: 200} snapshots of one run. By default a kind's members take one seed after the other.
    """

    members: Members = 1
    steps: PositiveInt | None = None
    images: PositiveInt | None = None
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    first: Place | None = None


@dataclass(frozen=True)
class CatConfig:
    """One cat: members that are alike, several kinds of them, networks from elsewhere, or a control of another cat.

    Args:
        members: number of members whose features are concatenated.
        steps: optimiser steps of each member.
        images: training images of each member, instead of steps; must be a multiple of the global batch.
        model: what its members' `model` section has otherwise, such as {width: 128}.
        data: what its members' `data` section has otherwise, such as {mixture: {digits: {weight: 1}}}.
        of: a cat whose members differ in model, data or length: each kind with the keys above, instead of them.
        snapshots: steps of one run, whose snapshots are its members, instead of all these keys.
        weights: files of networks that were trained elsewhere, or in another study, instead of all these keys; ResNets
            as the model section says, with `model` here, or of a backbone.
        backbone: whose weights these are: torchvision:NAME, or timm:NAME where timm is installed.
        features: of such a backbone, each.
        short: control: one member as long as those of the cat of this name.
        narrow: control: as many members as this cat, so narrow that all together are one of the baseline at inference.
        wide: control: one member of this cat's parameters, as long as the baseline's.
        equal: of `wide`: its parameters and the baseline's images, or as many steps as take the baseline's
            training_flops.
        soup: control: the mean of this cat's weights as one network (arXiv 2203.05482), its BatchNorm statistics
            computed anew.
        ensemble: control: a head on each member of this cat, their probabilities averaged, instead of one on all.
        project: a linear map takes its features to so many, before the head; to all of them where there are no more.
        projection: `pca` of the training images' features, or `random`.
        probes: names of the data sets that it is probed on; all where not given.
        head: `linear` on the frozen features, or `own`: the members' own classifiers as they were trained, their
            probabilities averaged; `ensemble` as the key of this name.
    """

    members: Members | None = None
    steps: PositiveInt | None = None
    images: PositiveInt | None = None
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    of: list[dict[str, Any]] | None = None
    snapshots: list[PositiveInt] | None = None
    weights: list[str] | None = None
    backbone: str | None = None
    features: PositiveInt | None = None
    short: str | None = None
    narrow: str | None = None
    wide: str | None = None
    equal: Equal = "parameters"
    soup: str | None = None
    ensemble: str | None = None
    project: PositiveInt | None = None
    projection: Projection = "pca"
    probes: list[str] | None = None
    head: HeadKind = "linear"


@dataclass(frozen=True)
class StudyConfig:
    """Cats compared at equal images.

    Args:
        name: the study's directory is <root>/<name>.
        cats: the cats by name, in the order of the report.
        probes: configs of the probe data sets, paths from the working directory, or from a folder above this config.
        baseline: the cat that the report compares with; the first one where not given.
        direct: train on each component of data.mixture directly too, with the baseline's images, and with the
            component's share of them, and report what the cats' frozen features lack on it: the gap. The probe of a
            component is the one of its name.
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
    direct: bool = False
    repetitions: Members = 1
    seeds: list[Seed] | None = None
    images: PositiveInt | None = None
    unequal_because: str | None = None
    checkpoint_minutes: NonNegativeFloat = 5.0
    slots: Members | None = None
    root: str = "runs"

    def __post_init__(self) -> None:
        check_name(self.name, "study.name: the study")
        for name in self.cats:
            check_name(name, "study.cats: a cat")
            if name in TAKEN:
                raise UserError(f"study.cats.{name}: timecat has files of this name; call the cat otherwise")
        check_data_names(self.probes, "study.probes")
