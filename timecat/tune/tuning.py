"""What a tune config stands for: which cat, which images, which trainings, and what they cost. No torch."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from timecat import files
from timecat.config.data import DataConfig
from timecat.config.files import MAX_SEED, ProbeFile, data_name
from timecat.config.section import suggestion
from timecat.config.tune import OF_METHOD, TuneFile
from timecat.errors import UserError
from timecat.study.directory import MemberDirectory, TunedDirectory
from timecat.study.plan import MemberPlan, SeededCat
from timecat.study.recipe import flat
from timecat.study.study import Study


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        plan: as a member's; its snapshot is at the last step.
        networks: that each image goes through.
        recipe: all that the weights are a function of but the file's content, as JSON has it.
    """

    plan: MemberPlan
    directory: MemberDirectory
    networks: int
    recipe: dict[str, Any]

    @property
    def images(self) -> int:
        """That it is trained on, once for each network."""
        return self.plan.steps * self.plan.data.batch_size * self.networks

    @property
    def words(self) -> str:
        """Its name as a person reads it."""
        return self.plan.name.replace("_", " ")


class Tuning:
    """The trainings of a config.

    Attributes:
        cat: of the study.
        probe: the target of fine-tuning.
        probes: the data sets that the result is measured on.
        data: what is trained on, in training's view.

    Raises:
        UserError: no such cat or probe, images that are no whole steps, or seeds that are too large.
    """

    def __init__(self, file: TuneFile) -> None:
        self.file, self.tune, self.name = file, file.tune, file.name
        self.study = study = Study(file.study)
        if self.tune.cat not in study.cats:
            hint = suggestion(self.tune.cat, study.cats)
            raise UserError(f"tune.cat {self.tune.cat!r}: no such cat in study {study.name}; {hint}")
        self.cat = study.cats[self.tune.cat]
        if not self.cat.concatenates or self.cat.soup or any(each.backbone for each in self.cat.elsewhere):
            raise UserError(f"tune.cat {self.tune.cat}: must be ResNets whose features are concatenated as they are")
        self.probe = self._probe() if self.tune.probe else None
        on = [each for each in study.probes if self.cat.is_probed_on(each.name)]
        self.probes = [self.probe] if self.probe else on
        if not self.probes:
            raise UserError(f"study {study.name} has no probe of {self.cat.name}, so that nothing could be measured")
        self.classes = self.probe.model.num_classes if self.probe else study.model.num_classes
        self.data = file.data(self.probe.data if self.probe else study.data, {"num_classes": self.classes})
        self.steps = self._steps()
        # a student is as the cat's first member is; where fine-tuning, the learning rate is the grid's
        alike = {**self.cat.model, **file.written["model"]}
        self.model = file.model({"num_classes": self.classes, "lr": 0.0} if self.probe else alike)
        if self._seed(study.repetitions - 1, self.cat.members - 1) > MAX_SEED:
            raise UserError(
                f"seed_everything {file.seed}: the trainings need seeds beyond {MAX_SEED:,}; choose a lower one"
            )

    def _probe(self) -> ProbeFile:
        given, named = str(self.tune.probe), self.study.file.study.probes
        path = next((path for path in named if given in (path, data_name(path))), None)
        if path is None:
            raise UserError(f"tune.probe {given}: is no probe of study {self.study.name}; it has {', '.join(named)}")
        if not self.cat.is_probed_on(data_name(path)):
            raise UserError(
                f"tune.probe {given}: {self.cat.name} is not probed on it (study.cats.{self.cat.name}.probes)"
            )
        return next(probe for probe in self.study.probes if probe.name == data_name(path))

    def _steps(self) -> int:
        images, batch = self.tune.images, self.data.batch_size
        steps, rest = divmod(images, batch)
        if rest:
            below = steps * batch
            choices = f"{below:,} or {below + batch:,}" if below else f"{batch:,}"
            raise UserError(f"tune.images {images:,} is no multiple of data.batch_size {batch:,}; take {choices}")
        return steps

    def repetitions(self, only: int | None) -> list[int]:
        """All of the study, or the one that is named.

        Raises:
            UserError: there is none.
        """
        count = self.study.repetitions
        if only is not None and not 0 <= only < count:
            raise UserError(f"--repetition {only}: study {self.study.name} has {count}, numbered from 0")
        return list(range(count)) if only is None else [only]

    def seeded(self, repetition: int) -> SeededCat:
        """The cat in a repetition."""
        cats = self.study.seeded_cats()
        return next(cat for cat in cats if cat.cat.name == self.cat.name and cat.repetition == repetition)

    def directory(self, repetition: int) -> TunedDirectory:
        return self.study.directory.tuned(self.name, repetition)

    def _seed(self, repetition: int, member: int) -> int:
        return self.file.seed + repetition * self.cat.members + member

    def settings(self, repetition: int) -> dict[str, Any]:
        """What the result is a function of, beside the members' weights and the images' files."""
        keys = ("method", "cat", "images", *OF_METHOD[self.tune.method])
        tune = {f"tune.{key}": getattr(self.tune, key) for key in keys}
        model = flat(self.model, self.data, self.file.trainer)
        return {"seed": self._seed(repetition, 0), **files.as_json(tune), **model}

    def fine_tuning(
        self, repetition: int, lr: float, decay: float, member: int | None = None, refit: bool = False
    ) -> Run:
        """A cell of the grid: of the whole cat, or of one of its members; or the last training on all images."""
        model = dataclasses.replace(self.model, lr=lr, weight_decay=decay)
        data = dataclasses.replace(self.data, holdout=0.0) if refit else self.data
        kind = f"member_{member}_" if member is not None else "refit_" if refit else ""
        name, networks = f"{kind}lr_{lr:g}_decay_{decay:g}", self.cat.members if member is None else 1
        return self._run(repetition, name, self._seed(repetition, member or 0), model, data, networks)

    def distillation(self, repetition: int) -> Run:
        return self._run(repetition, "student", self._seed(repetition, 0), self.model, self.data, 1)

    def _run(self, repetition: int, name: str, seed: int, model: Any, data: DataConfig, networks: int) -> Run:
        steps = max(self.steps, 1)
        plan = MemberPlan(0, name, seed, dataclasses.replace(model, steps=steps), data, (steps,))
        of_tune = {key: value for key, value in self.settings(repetition).items() if key.startswith("tune.")}
        chosen_from = ("tune.lrs", "tune.weight_decays", "tune.refit")
        of_tune = {key: value for key, value in of_tune.items() if key not in chosen_from}
        recipe = {"seed": seed, "steps": steps, **of_tune, **flat(plan.model, data, self.file.trainer)}
        return Run(plan, self.directory(repetition).run(name), networks, recipe)

    def runs(self, repetition: int) -> list[Run]:
        """All trainings, the one after the choice excepted."""
        if not self.steps:
            return []
        if self.tune.method == "distill":
            return [self.distillation(repetition)]
        members = [None] if self.tune.method == "finetune" else range(self.cat.members)
        return [self.fine_tuning(repetition, lr, decay, member) for member in members for lr, decay in self.tune.grid]

    @property
    def refits(self) -> bool:
        return self.tune.method == "finetune" and self.tune.refit

    def in_words(self, repetitions: list[int]) -> str:
        """What is about to be trained."""
        runs = self.runs(repetitions[0])
        if not runs:
            return f"{self.name}: {self.tune.method} of {self.cat.name} without fine-tuning: the members as they are"
        images = (sum(run.images for run in runs) + self.refits * runs[0].images) * len(repetitions)
        count = len(runs) + self.refits
        of = f"{self.tune.images:,} images of {self.probe.name if self.probe else 'the pretraining data'}"
        words = f"{self.name}: {self.tune.method} of {self.cat.name}, {count} run{'s' * (count != 1)} of {of}"
        words += f" ({self.steps:,} steps of {self.data.batch_size:,})"
        words += ", the last one after the choice" if self.refits else ""
        words += f", in each of {len(repetitions)} repetitions" if len(repetitions) > 1 else ""
        words += f"; {images:,} images in all"
        if self.tune.method == "finetune":
            words += f", counted once for each of the {self.cat.members} networks"
        if self.tune.method == "distill":
            words += f", and {images * self.cat.members:,} forward passes of the members"
        return words
