"""A study: cats compared at an equal budget, and the training runs that they need. Pure arithmetic, no torch.

A *member plan* is one training run with one seed, a *snapshot* a member's weights at a step, a *cat* an ordered list of
snapshots whose features are concatenated. Where the optimiser has no horizon (a constant learning rate, schedule-free),
a run's state at step s IS the s-step member, so cats share runs; where a schedule has one (step, cosine, one-cycle), a
run belongs to one length and nothing is shared.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from timecat import files
from timecat.config.data import DataConfig
from timecat.config.files import MAX_SEED, ProbeFile, StudyFile
from timecat.config.member import MemberConfig
from timecat.config.section import suggestion
from timecat.data.classes import num_classes
from timecat.errors import UserError
from timecat.study.budget import check_budgets
from timecat.study.cats import direct_cats, make_cats
from timecat.study.directory import StudyDirectory
from timecat.study.plan import Cat, Elsewhere, MemberPlan, SeededCat, Snapshot, has_horizon, places

MAX_PLANNED = 2_000  # trainings of a study: plan and probes ask the disk for each
NEVER_TO_THE_END = ("fast_dev_run", "barebones")
SET_BY_THE_STUDY = {"max_steps": -1, "max_epochs": None, "max_time": None, "default_root_dir": None}


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Members that differ in seed and length alone: the first word of their directories' names, and what they are."""

    name: str
    different: tuple[dict[str, Any], dict[str, Any]]
    model: MemberConfig
    data: DataConfig

    def member_name(self, seed: int, steps: int) -> str:
        return f"{self.name}_{seed}_{steps}" if has_horizon(self.model, self.data) else f"{self.name}_{seed}"


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
        self.file = file = with_num_classes(file)
        self.model, self.data, self.trainer = file.model, file.data, file.trainer
        for key, default in SET_BY_THE_STUDY.items():
            if getattr(self.trainer, key) != default:
                raise UserError(f"trainer.{key} is the study's to set: remove it (steps stand in study.cats)")
        for key in NEVER_TO_THE_END:
            if self.trainer.other.get(key):
                raise UserError(f"trainer.{key}: a study trains its members to their last step; remove it")
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
        self.cats = make_cats(file)
        self.baseline = file.study.baseline or next(iter(self.cats))
        if self.baseline not in self.cats:
            raise UserError(f"study.baseline {self.baseline!r} is not among the cats {', '.join(self.cats)}")
        if file.study.direct:
            self.cats |= direct_cats(file, self.cats, self.baseline)
        if not file.study.unequal_because:
            check_budgets(self.cats, file.study.images, self.batch_size)
        self.most_members = max(cat.seeds for cat in self.cats.values())
        self.seeds = self._seeds()
        self._kinds = self._all_kinds()
        self.members = self._plan()
        if only is not None:
            self._select(only)

    @classmethod
    def read(
        cls, configs: list[str], overrides: dict[str, Any] | None = None, only: list[str] | None = None
    ) -> "Study":
        """The study of config files and overrides."""
        file = StudyFile.read(configs, overrides)
        with file.places.told():
            return cls(file, only)

    def _seeds(self) -> list[int]:
        needed, first, seeds = self.most_members * self.repetitions, self.file.seed, self.file.study.seeds
        if seeds is None:
            if first is None:
                raise UserError("seed_everything must be a number of 0 or more: member k's seed is seed_everything + k")
            if needed > MAX_PLANNED:
                raise UserError(
                    f"study.repetitions {self.repetitions:,} of {self.most_members:,} members are {needed:,} runs; "
                    f"take {MAX_PLANNED:,} at most"
                )
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
        if max(seeds, default=0) > MAX_SEED:
            raise UserError(f"study.seeds holds {max(seeds)}; a seed is a whole number from 0 to {MAX_SEED:,}")
        return seeds

    def _all_kinds(self) -> list[_Kind]:
        """Each kind of member that there is."""
        kinds = [_Kind("member", ({}, {}), self.model, self.data)]
        for cat in sorted(self.cats.values(), key=lambda cat: bool(cat.control)):  # which name no kind where others do
            for number, each in enumerate(cat.of):
                if any(kind.different == each.different for kind in kinds):
                    continue
                where = f"study.cats.{cat.name}" + (f".of.{number}" if len(cat.of) > 1 else "")
                model = self.file.member(each.model, f"{where}.model") if each.model else self.model
                data = self.file.images(each.data, f"{where}.data") if each.data else self.data
                name = cat.name if len(cat.of) == 1 else f"{cat.name}-{number}"
                if any(kind.name == name for kind in kinds):
                    raise UserError(
                        f"study.cats.{cat.name}: its members' directories would be {name}_…, as those of another cat "
                        "are; call one of the two otherwise"
                    )
                kinds.append(_Kind(name, each.different, model, data))
        return kinds

    def _plan(self) -> list[MemberPlan]:
        plans: dict[str, MemberPlan] = {}
        owners: dict[str, tuple[str, int]] = {}
        for repetition in range(self.repetitions):
            for cat in self.cats.values():
                for kind, seed, steps in self._members_of(cat, repetition):
                    name = kind.member_name(seed, steps)
                    plan = plans.get(name) or MemberPlan(len(plans), name, seed, kind.model, kind.data, ())
                    if owners.setdefault(name, (kind.name, seed)) != (kind.name, seed):  # a, 1_4 and a_1, 4
                        raise UserError(
                            f"study.cats.{cat.name}: its members' directory would be {name}, as one of another cat is; "
                            "call one of the two otherwise"
                        )
                    plans[name] = _with_snapshots(plan, {*plan.snapshots, steps})
        return list(plans.values())

    def _members_of(self, cat: Cat, repetition: int) -> Iterator[tuple[_Kind, int, int]]:
        """Kind, seed and steps of each member."""
        for each, place in places(cat.of):
            kind = next(kind for kind in self._kinds if kind.different == each.different)
            yield kind, self.seeds[repetition * self.most_members + place], each.steps

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
            for snapshot in seeded.trained:
                needed.setdefault(snapshot.plan.index, set()).add(snapshot.step)
        self.members = [_with_snapshots(plan, needed[plan.index]) for plan in self.members if plan.index in needed]
        if self.baseline not in self.cats:
            self.baseline = next(iter(self.cats))

    @cached_property
    def probes(self) -> list[ProbeFile]:
        """The probes' configs, with what of the command line reaches them.

        Raises:
            UserError: one cannot be read, or makes no sense.
        """
        return [_with_num_classes(self.file.probe(path)) for path in self.file.study.probes]

    def probes_named(self, name: str | None) -> list[ProbeFile]:
        """The probe of this name; all without one.

        Raises:
            UserError: there is none.
        """
        if not self.probes:
            raise UserError("study.probes names no config; add one of configs/probe/")
        found = [probe for probe in self.probes if name in (None, probe.name)]
        if not found:
            names = ", ".join(probe.name for probe in self.probes)
            raise UserError(f"--data {name}: no such probe in study {self.name}; there are {names}")
        return found

    def seeded_cats(self, data: str | None = None) -> list[SeededCat]:
        """All cats in all repetitions: what has one result on each data set, or on the one that is named."""
        cats = [cat for cat in self.cats.values() if data is None or cat.is_probed_on(data)]
        return [self._seeded(cat, repetition) for repetition in range(self.repetitions) for cat in cats]

    def _seeded(self, cat: Cat, repetition: int) -> SeededCat:
        by_name = {plan.name: plan for plan in self.members}
        members = self._members_of(cat, repetition)
        snapshots = tuple(Snapshot(by_name[kind.member_name(seed, steps)], steps) for kind, seed, steps in members)
        if cat.elsewhere:
            snapshots = tuple(_elsewhere(cat.name, number, one) for number, one in enumerate(cat.elsewhere))
        elif cat.soup and len(snapshots) > 1:
            longest = max(snapshots, key=lambda snapshot: snapshot.step)
            plan = dataclasses.replace(longest.plan, name=f"{cat.name}_{repetition}")
            snapshots = (Snapshot(plan, longest.step, soup=snapshots),)
        return SeededCat(cat, repetition, snapshots)

    @property
    def all_data(self) -> list[DataConfig]:
        """The `data` sections that members have."""
        different: list[DataConfig] = []
        for plan in self.members:
            if plan.data not in different:
                different.append(plan.data)
        return different

    @property
    def train_files(self) -> list[Path]:
        """The files that members train and validate on."""
        files = [path for data in self.all_data for path in data.training_files]
        return list(dict.fromkeys(files))

    def share(self, cat: Cat) -> float | None:
        """A cat's images over the baseline's; None where one of them is not known."""
        baseline = self.cats[self.baseline].images
        return cat.images / baseline if cat.images and baseline else None

    def snapshot_path(self, snapshot: Snapshot) -> Path:
        if snapshot.elsewhere:
            return snapshot.elsewhere.file
        if snapshot.soup:
            return self.directory.soup(snapshot.name, self.digest(snapshot) or "")
        return self.directory.member(snapshot.plan.name).snapshot(snapshot.step)

    def digest(self, snapshot: Snapshot) -> str | None:
        """What tells its weights from all others: the SHA-256 of their file, or of those that a soup is the mean of;
        None where it is not trained yet, or not there."""
        if snapshot.elsewhere:
            file = snapshot.elsewhere.file
            return _sha256(file, file.stat().st_mtime_ns) if file.is_file() else None
        if snapshot.soup:
            parts = [self.digest(each) for each in snapshot.soup]
            return None if None in parts else hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
        return self.directory.member(snapshot.plan.name).hashes().get(snapshot.step)

    @property
    def horizon(self) -> bool:
        """Whether some run belongs to one length."""
        return any(plan.has_horizon for plan in self.members)

    @property
    def steps(self) -> int:
        """Optimiser steps that the runs of the plan take in all, shared snapshots counted once."""
        return sum(plan.steps for plan in self.members)

    @property
    def steps_unshared(self) -> int:
        return self.repetitions * sum(cat.total_steps for cat in self.cats.values())

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


def with_num_classes(file: StudyFile) -> StudyFile:
    """The config with model.num_classes, as the training images have it where it is not written.

    Raises:
        UserError: nothing tells.
    """
    if file.model.num_classes:
        return file
    number = num_classes(file.data)
    written = {**file.written, "model": {**file.written["model"], "num_classes": number}}
    return dataclasses.replace(file, model=dataclasses.replace(file.model, num_classes=number), written=written)


def _with_num_classes(probe: ProbeFile) -> ProbeFile:
    if probe.model.num_classes:
        return probe
    with probe.places.told(probe.path):
        model = dataclasses.replace(probe.model, num_classes=num_classes(probe.data))
    return dataclasses.replace(probe, model=model)


@lru_cache
def _sha256(path: Path, changed: int) -> str:
    """Of a file as it was changed last: it is asked for again and again, and may be large."""
    return files.sha256(path)


def _elsewhere(cat: str, number: int, network: Elsewhere) -> Snapshot:
    """A network that was trained elsewhere, under a plan that nobody trains."""
    return Snapshot(MemberPlan(-1, f"{cat}.{number}", 0, network.model, network.data, (0,)), 0, elsewhere=network)


def _with_snapshots(plan: MemberPlan, steps: set[int]) -> MemberPlan:
    """The plan with weights kept at these steps, the last one its end."""
    snapshots = tuple(sorted(steps))
    return dataclasses.replace(plan, snapshots=snapshots, model=dataclasses.replace(plan.model, steps=snapshots[-1]))
