"""A study: cats compared at an equal budget, and the member runs that they need. Pure arithmetic, no torch.

A *member* is one training run with one seed, a *snapshot* its weights at a step, a *cat* an ordered list of snapshots
whose features are concatenated. Where the optimiser has no horizon (a constant learning rate, schedule-free), a run's
state at step s IS the s-step member, so cats share runs; where a schedule has one (step, cosine, one-cycle), a run
belongs to one length and nothing is shared.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timecat.errors import UserError

SCHEDULES_WITHOUT_HORIZON = {"constant"}
TOLERANCE = 1.125  # the paper's own: its baseline gets 450k steps where the cats get 400k


@dataclass
class CatConfig:
    """One cat.

    Args:
        members: number of members whose features are concatenated.
        steps: optimiser steps of each member.
        images: training images of each member, instead of steps; must be a multiple of the global batch.
        model: what its members' `model` section has otherwise, such as {width: 128}.
    """

    members: int
    steps: int | None = None
    images: int | None = None
    model: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudyConfig:
    """The `study` section of a config.

    Args:
        name: the study's directory is <root>/<name>.
        cats: the cats by name, in the order of the report.
        probes: configs of the probe data sets, paths from the working directory.
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
    repetitions: int = 1
    seeds: list[int] | None = None
    images: int | None = None
    unequal_because: str | None = None
    checkpoint_minutes: float = 5.0
    slots: int | None = None
    root: str = "runs"


@dataclass(frozen=True)
class Cat:
    """A cat with its budget worked out: `members` runs of `steps` steps, `images` training images in all."""

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
class Run:
    """One member's training run: `index` in the plan, weights kept at `snapshots` (steps, ascending)."""

    index: int
    name: str
    seed: int
    model: dict[str, Any]
    snapshots: tuple[int, ...]

    @property
    def steps(self) -> int:
        return self.snapshots[-1]


class Study:
    """The plan that a config stands for.

    Raises:
        UserError: an unknown or missing key, a budget that makes no sense, cats of unequal budgets, too few seeds.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        if "study" not in config:
            raise UserError(
                "the config has no study section; this command needs one, such as that of configs/demo.yaml"
            )
        settings = _fill(StudyConfig, config["study"], "study")
        model, data = config.get("model") or {}, config.get("data") or {}
        trainer = config.get("trainer") or {}
        for key in ("max_steps", "max_epochs", "max_time", "default_root_dir", "logger"):
            if trainer.get(key) is not None:
                raise UserError(f"trainer.{key} is the study's to set: remove it (steps stand in study.cats)")
        if trainer.get("accumulate_grad_batches") not in (None, 1):
            raise UserError("trainer.accumulate_grad_batches is worked out: remove it and set data.device_batch_size")
        self.config = config
        self.name = settings.name
        self.directory = Path(settings.root) / settings.name
        self.probes = settings.probes
        self.repetitions = _at_least_one(settings.repetitions, "study.repetitions")
        self.checkpoint_minutes = settings.checkpoint_minutes
        self.slots = settings.slots
        if self.slots is not None:
            _at_least_one(self.slots, "study.slots")
        self.batch_size = _at_least_one(data.get("batch_size"), "data.batch_size")
        self.ghost_batch_size: int | None = model.get("ghost_batch_size")
        if self.ghost_batch_size is not None:
            _at_least_one(self.ghost_batch_size, "model.ghost_batch_size")
            if trainer.get("sync_batchnorm"):
                raise UserError("model.ghost_batch_size contradicts trainer.sync_batchnorm; choose one of them")
        self.train_images: int | None = data.get("train_images")
        self.horizon = model.get("schedule", "constant") not in SCHEDULES_WITHOUT_HORIZON
        if not settings.cats:
            raise UserError("study.cats names no cat; add one, such as cat5: {members: 5, steps: 80000}")
        self.cats = {name: self._cat(name, settings.cats[name]) for name in settings.cats}
        self.baseline = settings.baseline or next(iter(self.cats))
        if self.baseline not in self.cats:
            raise UserError(f"study.baseline {self.baseline!r} is not among the cats {', '.join(self.cats)}")
        if not settings.unequal_because:
            self._check_budgets(settings.images)
        self._set_seeds(config.get("seed_everything"), settings.seeds)
        self.runs = self._plan_runs()

    def _cat(self, name: str, given: Any) -> Cat:
        cat = _fill(CatConfig, given, f"study.cats.{name}")
        where = f"study.cats.{name}"
        members = _at_least_one(cat.members, f"{where}.members")
        if (cat.steps is None) == (cat.images is None):
            raise UserError(f"{where}: give its members' budget once, as steps or as images")
        if cat.images is not None:
            images = _at_least_one(cat.images, f"{where}.images")
            if images % self.batch_size:
                below = images - images % self.batch_size
                raise UserError(
                    f"{where}.images {images:,} is no multiple of the batch {self.batch_size:,}; "
                    f"take {below:,} or {below + self.batch_size:,}"
                )
            steps = images // self.batch_size
        else:
            steps = _at_least_one(cat.steps, f"{where}.steps")
        return Cat(name, members, steps, members * steps * self.batch_size, dict(cat.model))

    def _check_budgets(self, images: int | None) -> None:
        least = min(self.cats.values(), key=lambda cat: cat.images)
        most = max(self.cats.values(), key=lambda cat: cat.images)
        pairs = [(most.images, _arithmetic(most, self.batch_size), least.images, _arithmetic(least, self.batch_size))]
        if images is not None:
            budget = _at_least_one(images, "study.images")
            told = f"study.images {budget:,}"
            pairs += [(cat.images, _arithmetic(cat, self.batch_size), budget, told) for cat in (least, most)]
        for one, one_told, other, other_told in pairs:
            if not 1 / TOLERANCE <= one / other <= TOLERANCE:
                raise UserError(
                    f"unequal budgets: {one_told} is {one / other:.3f} times {other_told}, beyond {TOLERANCE}; "
                    "make them equal or say why in study.unequal_because"
                )

    def _set_seeds(self, first: Any, seeds: list[int] | None) -> None:
        self.most_members = max(cat.members for cat in self.cats.values())
        needed = self.most_members * self.repetitions
        if seeds is None:
            if isinstance(first, bool) or not isinstance(first, int) or first < 0:
                raise UserError("seed_everything must be a number of 0 or more: member k's seed is seed_everything + k")
            seeds = list(range(first, first + needed))
        if len(seeds) < needed or len(set(seeds)) < len(seeds):
            raise UserError(
                f"study.seeds needs {needed} different seeds: {self.most_members} members, "
                f"{self.repetitions} repetitions; it has {len(set(seeds))}"
            )
        self.seeds = seeds

    def _plan_runs(self) -> list[Run]:
        variants: list[dict[str, Any]] = [{}]
        names = ["member"]
        snapshots: dict[tuple[str, int], tuple[int, dict[str, Any], set[int]]] = {}
        for repetition in range(self.repetitions):
            for cat in self.cats.values():
                if cat.model not in variants:
                    variants.append(cat.model)
                    names.append(cat.name)
                for seed in self._seeds_of(cat, repetition):
                    name = self._run_name(names[variants.index(cat.model)], seed, cat.steps)
                    snapshots.setdefault((name, seed), (seed, cat.model, set()))[2].add(cat.steps)
        self._variants = dict(zip(names, variants, strict=True))
        return [
            Run(index, name, seed, model, tuple(sorted(steps)))
            for index, ((name, _), (seed, model, steps)) in enumerate(snapshots.items())
        ]

    def _run_name(self, variant: str, seed: int, steps: int) -> str:
        return f"{variant}_{seed}_{steps}" if self.horizon else f"{variant}_{seed}"

    def _seeds_of(self, cat: Cat, repetition: int) -> list[int]:
        first = repetition * self.most_members
        return self.seeds[first : first + cat.members]

    def snapshots_of(self, cat: Cat, repetition: int) -> list[tuple[Run, int]]:
        """The (run, step) pairs whose features the cat concatenates, in the order of its members."""
        variant = next(name for name, model in self._variants.items() if model == cat.model)
        names = [self._run_name(variant, seed, cat.steps) for seed in self._seeds_of(cat, repetition)]
        by_name = {run.name: run for run in self.runs}
        return [(by_name[name], cat.steps) for name in names]

    def snapshot_path(self, run: Run, step: int) -> Path:
        return self.directory / run.name / f"snapshot_{step}.pt"

    @property
    def steps(self) -> int:
        """Optimiser steps that the runs of the plan take in all, shared snapshots counted once."""
        return sum(run.steps for run in self.runs)

    @property
    def steps_unshared(self) -> int:
        return self.repetitions * sum(cat.members * cat.steps for cat in self.cats.values())

    def run(self, index: int) -> Run:
        if not 0 <= index < len(self.runs):
            raise UserError(f"no member {index} in study {self.name}: its members are 0 to {len(self.runs) - 1}")
        return self.runs[index]

    def resolved(self) -> dict[str, Any]:
        """The plan as JSON, for <directory>/study.json."""
        return {
            "name": self.name,
            "batch_size": self.batch_size,
            "horizon": self.horizon,
            "cats": {name: dataclasses.asdict(cat) for name, cat in self.cats.items()},
            "runs": [{**dataclasses.asdict(run), "steps": run.steps} for run in self.runs],
        }


def _arithmetic(cat: Cat, batch: int) -> str:
    return f"{cat.name}'s {cat.members} x {cat.steps:,} steps x {batch:,} = {cat.images:,} images"


def _at_least_one(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        given = "missing" if value is None else f"{value!r}"
        raise UserError(f"{where} is {given}; it must be a whole number of 1 or more")
    return value


def _fill(cls: type, given: Any, where: str) -> Any:
    """Make the dataclass from a config section; unknown, missing and mistyped keys are told by name."""
    if dataclasses.is_dataclass(given):
        return given
    if not isinstance(given, dict):
        raise UserError(f"{where} must be a section of keys, not {given!r}")
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for key in given:
        if key not in fields:
            raise UserError(f"unknown key {where}.{key}; known are {', '.join(fields)}")
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise UserError(f"{where}.{name} is missing; add it")
    expected = {
        "cats": dict,
        "probes": list,
        "model": dict,
        "seeds": list,
        "images": int,
        "name": str,
        "root": str,
        "checkpoint_minutes": (int, float),
    }
    for key, kind in expected.items():
        if given.get(key) is not None and not isinstance(given[key], kind):
            raise UserError(f"{where}.{key} is {given[key]!r}, which is of the wrong type")
    return cls(**given)
