"""A study: cats compared at an equal budget, and the training runs that they need. Pure arithmetic, no torch.

A *member plan* is one training run with one seed, a *snapshot* a member's weights at a step, a *cat* an ordered list of
snapshots whose features are concatenated. Where the optimiser has no horizon (a constant learning rate, schedule-free),
a run's state at step s IS the s-step member, so cats share runs; where a schedule has one (step, cosine, one-cycle), a
run belongs to one length and nothing is shared.
"""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

from timecat.config.files import MAX_SEED, ProbeFile, StudyFile
from timecat.config.member import MemberConfig
from timecat.config.section import suggestion
from timecat.config.study import CatConfig
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory
from timecat.study.plan import Cat, MemberPlan, SeededCat, Snapshot

TOLERANCE = 1.125  # the paper's own: its baseline gets 450k steps where the cats get 400k
SET_BY_THE_STUDY = {"max_steps": -1, "max_epochs": None, "max_time": None, "default_root_dir": None, "logger": None}


class Study:
    """The plan that a config stands for.

    Args:
        file: the config.
        only: names of the cats that are asked for; all by default. Members keep the numbers and names that they have in
            the whole study.

    Attributes:
        cats: by name.
        members: the runs that the cats need.
        batch_size: the global one.
        baseline: the cat that others are compared with; the first one where the config's is not asked for.

    Raises:
        UserError: a budget that makes no sense, cats of unequal budgets, too few seeds, no such cat.
    """

    def __init__(self, file: StudyFile, only: list[str] | None = None) -> None:
        self.file = file
        self.model, self.data, self.trainer = file.model, file.data, file.trainer
        for key, default in SET_BY_THE_STUDY.items():
            if getattr(self.trainer, key) != default:
                raise UserError(f"trainer.{key} is the study's to set: remove it (steps stand in study.cats)")
        if self.trainer.accumulate_grad_batches != 1:
            raise UserError("trainer.accumulate_grad_batches is worked out: remove it and set data.device_batch_size")
        if self.model.ghost_batch_size and self.trainer.sync_batchnorm:
            raise UserError("model.ghost_batch_size contradicts trainer.sync_batchnorm; choose one of them")
        self.name = file.study.name
        self.directory = StudyDirectory(Path(file.study.root) / self.name)
        self.repetitions = file.study.repetitions
        self.checkpoint_minutes = file.study.checkpoint_minutes
        self.slots = file.study.slots
        self.batch_size = self.data.batch_size
        if not file.study.cats:
            raise UserError("study.cats names no cat; add one, such as cat5: {members: 5, steps: 80000}")
        self.cats = {name: self._cat(name, config) for name, config in file.study.cats.items()}
        self.baseline = file.study.baseline or next(iter(self.cats))
        if self.baseline not in self.cats:
            raise UserError(f"study.baseline {self.baseline!r} is not among the cats {', '.join(self.cats)}")
        if not file.study.unequal_because:
            self._check_budgets()
        self.most_members = max(cat.members for cat in self.cats.values())
        self.seeds = self._seeds()
        self._variants = self._models()
        self.members = self._plan()
        if only is not None:
            self._select(only)

    @classmethod
    def read(
        cls, configs: list[str], overrides: dict[str, Any] | None = None, only: list[str] | None = None
    ) -> "Study":
        """The study of config files and overrides."""
        return cls(StudyFile.read(configs, overrides), only)

    def _cat(self, name: str, config: CatConfig) -> Cat:
        where = f"study.cats.{name}"
        if (config.steps is None) == (config.images is None):
            raise UserError(f"{where}: give its members' budget once, as steps or as images")
        if config.steps is not None:
            steps = config.steps
        else:
            steps, rest = divmod(config.images or 0, self.batch_size)
            if rest or not steps:
                below = steps * self.batch_size
                choices = f"{below:,} or {below + self.batch_size:,}" if below else f"{self.batch_size:,}"
                raise UserError(
                    f"{where}.images {config.images:,} is no multiple of the batch {self.batch_size:,}; take {choices}"
                )
        return Cat(name, config.members, steps, config.members * steps * self.batch_size, dict(config.model))

    def _check_budgets(self) -> None:
        least = min(self.cats.values(), key=lambda cat: cat.images)
        most = max(self.cats.values(), key=lambda cat: cat.images)
        pairs = [(most.images, _arithmetic(most, self.batch_size), least.images, _arithmetic(least, self.batch_size))]
        budget = self.file.study.images
        if budget is not None:
            pairs += [
                (cat.images, _arithmetic(cat, self.batch_size), budget, f"study.images {budget:,}")
                for cat in (least, most)
            ]
        for images, arithmetic, other_images, other_arithmetic in pairs:
            if not 1 / TOLERANCE <= images / other_images <= TOLERANCE:
                raise UserError(
                    f"unequal budgets: {arithmetic} is {images / other_images:.3f} times {other_arithmetic}, beyond "
                    f"{TOLERANCE}; make them equal or say why in study.unequal_because"
                )

    def _seeds(self) -> list[int]:
        needed, first, seeds = self.most_members * self.repetitions, self.file.seed, self.file.study.seeds
        if seeds is None:
            if first is None:
                raise UserError("seed_everything must be a number of 0 or more: member k's seed is seed_everything + k")
            if first + needed - 1 > MAX_SEED:
                raise UserError(
                    f"{needed:,} members need seeds beyond {MAX_SEED:,}; choose fewer, or a lower seed_everything"
                )
            seeds = list(range(first, first + needed))
        if len(seeds) < needed or len(set(seeds)) < len(seeds):
            raise UserError(
                f"study.seeds needs {needed} different seeds: {self.most_members} members, "
                f"{self.repetitions} repetitions; it has {len(set(seeds))}"
            )
        if max(seeds) > MAX_SEED:
            raise UserError(f"study.seeds holds {max(seeds)}; a seed is a whole number from 0 to {MAX_SEED:,}")
        return seeds

    def _models(self) -> dict[str, tuple[dict[str, Any], MemberConfig]]:
        """Each kind of member: the first word of its directories' names, what it has otherwise, and its config."""
        kinds: dict[str, tuple[dict[str, Any], MemberConfig]] = {"member": ({}, self.model)}
        for cat in self.cats.values():
            if all(cat.model != different for different, _ in kinds.values()):
                kinds[cat.name] = (cat.model, self.file.member(cat.model, f"study.cats.{cat.name}.model"))
        return kinds

    def _kind(self, cat: Cat) -> tuple[str, MemberConfig]:
        return next((name, model) for name, (different, model) in self._variants.items() if different == cat.model)

    def _plan(self) -> list[MemberPlan]:
        plans: dict[str, MemberPlan] = {}
        for repetition in range(self.repetitions):
            for cat in self.cats.values():
                kind, model = self._kind(cat)
                for seed in self._seeds_of(cat, repetition):
                    name = self._member_name(kind, model, seed, cat.steps)
                    plan = plans.get(name) or MemberPlan(len(plans), name, seed, model, ())
                    plans[name] = _with_snapshots(plan, {*plan.snapshots, cat.steps})
        return list(plans.values())

    def has_horizon(self, model: MemberConfig) -> bool:
        """Whether a run's earlier states are no shorter members: its schedule, or its images' sides, end with it."""
        return model.has_horizon or self.data.train_resolution is not None

    def _member_name(self, kind: str, model: MemberConfig, seed: int, steps: int) -> str:
        return f"{kind}_{seed}_{steps}" if self.has_horizon(model) else f"{kind}_{seed}"

    def _seeds_of(self, cat: Cat, repetition: int) -> list[int]:
        first = repetition * self.most_members
        return self.seeds[first : first + cat.members]

    def _select(self, names: list[str]) -> None:
        """Keep these cats alone, and of the members what they need."""
        for name in names:
            if name not in self.cats:
                raise UserError(f"--cats {name}: no such cat in study {self.name}; {suggestion(name, self.cats)}")
        if not names:
            raise UserError(f"--cats names no cat; study {self.name} has {', '.join(self.cats)}")
        self.cats = {name: cat for name, cat in self.cats.items() if name in names}
        needed: dict[int, set[int]] = {}
        for seeded in self.seeded_cats():
            for plan, step in seeded.snapshots:
                needed.setdefault(plan.index, set()).add(step)
        self.members = [_with_snapshots(plan, needed[plan.index]) for plan in self.members if plan.index in needed]
        if self.baseline not in self.cats:
            self.baseline = next(iter(self.cats))

    @cached_property
    def probes(self) -> list[ProbeFile]:
        """The probes' configs, with what of the command line reaches them.

        Raises:
            UserError: one cannot be read, or makes no sense.
        """
        return [self.file.probe(path) for path in self.file.study.probes]

    def seeded_cats(self) -> list[SeededCat]:
        """All cats in all repetitions: what has one result on each data set."""
        return [self._seeded(cat, repetition) for repetition in range(self.repetitions) for cat in self.cats.values()]

    def _seeded(self, cat: Cat, repetition: int) -> SeededCat:
        kind, model = self._kind(cat)
        names = [self._member_name(kind, model, seed, cat.steps) for seed in self._seeds_of(cat, repetition)]
        by_name = {plan.name: plan for plan in self.members}
        return SeededCat(cat, repetition, tuple(Snapshot(by_name[name], cat.steps) for name in names))

    def snapshot_path(self, snapshot: Snapshot) -> Path:
        return self.directory.member(snapshot.plan.name).snapshot(snapshot.step)

    @property
    def horizon(self) -> bool:
        """Whether some run belongs to one length."""
        return any(self.has_horizon(plan.model) for plan in self.members)

    @property
    def steps(self) -> int:
        """Optimiser steps that the runs of the plan take in all, shared snapshots counted once."""
        return sum(plan.steps for plan in self.members)

    @property
    def steps_unshared(self) -> int:
        return self.repetitions * sum(cat.members * cat.steps for cat in self.cats.values())

    def member(self, index: int) -> MemberPlan:
        """The member of this number.

        Raises:
            UserError: there is none.
        """
        for plan in self.members:
            if plan.index == index:
                return plan
        numbers = ", ".join(str(plan.index) for plan in self.members)
        if self.members[-1].index == len(self.members) - 1:
            numbers = f"0 to {len(self.members) - 1}"
        raise UserError(f"no member {index} in study {self.name}: its members are {numbers}")


def _with_snapshots(plan: MemberPlan, steps: set[int]) -> MemberPlan:
    """The plan with weights kept at these steps, the last one its end."""
    snapshots = tuple(sorted(steps))
    return dataclasses.replace(plan, snapshots=snapshots, model=dataclasses.replace(plan.model, steps=snapshots[-1]))


def _arithmetic(cat: Cat, batch: int) -> str:
    return f"{cat.name}'s {cat.members} x {cat.steps:,} steps x {batch:,} = {cat.images:,} images"
