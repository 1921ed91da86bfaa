"""The `tune` section of a config: how a study's cat is trained further; and the whole of such a config, typed."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from timecat.config.data import DataConfig
from timecat.config.files import OF_THE_MACHINE, StudyFile, parse_seed, parse_trainer
from timecat.config.member import MemberConfig
from timecat.config.names import check_name
from timecat.config.paths import find_config, folders_of
from timecat.config.read import read_config
from timecat.config.section import parse_section, suggestion
from timecat.config.trainer import TrainerConfig
from timecat.config.types import BelowOne, NonNegativeFloat, NonNegativeInt, PositiveFloat, Rate
from timecat.errors import UserError

Method = Literal["finetune", "two_stage", "distill"]
TunedHead = Literal["normal", "zero", "probe"]
DistillLoss = Literal["kl", "mse"]

OF_FINE_TUNING = ("probe", "lrs", "weight_decays", "dropout", "head", "freeze_statistics")
OF_METHOD: dict[Method, tuple[str, ...]] = {
    "finetune": (*OF_FINE_TUNING, "refit"),
    "two_stage": OF_FINE_TUNING,
    "distill": ("temperature", "loss"),
}
# Of `model`, what fine-tuning may choose: the networks are the members', lr and weight decay have a grid.
MODEL_OF_FINE_TUNING = ("optimizer", "momentum", "nesterov", "beta2", "norm_weight_decay", "schedule", "warmup_steps")
MODEL_OF_FINE_TUNING += ("pct_start", "label_smoothing", "channels_last")
FINE_TUNING = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "schedule": "cosine",
    "norm_weight_decay": 0.0,
}
# Of `data`, what all methods may choose; which images and how they are evaluated is the probe's, or the study's.
DATA = ("batch_size", "device_batch_size", "eval_batch_size", "augment", "flip", "padding", "scale", "root", "workers")
SET_BY_TUNE = ("max_steps", "max_epochs", "max_time", "default_root_dir", "logger", "accumulate_grad_batches")
SET_BY_TUNE += ("val_check_interval", "check_val_every_n_epoch", "num_nodes")


@dataclass(frozen=True)
class TuneConfig:
    """A study's cat, trained further.

    Args:
        study: the study's config, a path from the working directory, or from a folder above this config.
        cat: of the study.
        method: `finetune`: the whole cat with a linear head, end to end; `two_stage`: each member with a head of its
            own, then one head on all, frozen (arXiv 2212.07346); `distill`: one network on the pretraining images, with
            a head for each member, that learns what the member answers (arXiv 2212.07346).
        images: training images of each run, a multiple of data.batch_size; 0 of two_stage leaves members as they are.
        name: of the directory <root>/<study>/tuned/<name>; this config's where not given.
        probe: the probe of the study, by its name, whose data are the target of finetune and two_stage.
        lrs: the grid of fine-tuning's learning rates.
        weight_decays: the grid of its weight decays; model.norm_weight_decay is that of BatchNorm.
        refit: finetune again on all training images with what was chosen on the held-out ones.
        dropout: of the concatenated penultimate features in fine-tuning; 0.9 is very large dropout (arXiv 2403.00946).
        head: starts as N(0, 0.01) (`normal`), at 0 (`zero`), or as a probe's: BatchNorm1d before a linear layer of
            N(0, 0.01) (`probe`).
        freeze_statistics: keep the members' BatchNorm statistics of pretraining.
        temperature: that softens both softmaxes in distillation.
        loss: `kl` between these, times the temperature's square (arXiv 1503.02531), or `mse` between the logits.
        checkpoint_minutes: how much work a kill may cost.
    """

    study: str
    cat: str
    method: Method
    images: NonNegativeInt
    name: str | None = None
    probe: str | None = None
    lrs: list[Rate] = field(default_factory=lambda: [0.01])
    weight_decays: list[Rate] = field(default_factory=lambda: [1e-4])
    refit: bool = True
    dropout: BelowOne = 0.0
    head: TunedHead = "normal"
    freeze_statistics: bool = False
    temperature: PositiveFloat = 2.0
    loss: DistillLoss = "kl"
    checkpoint_minutes: NonNegativeFloat = 5.0

    def __post_init__(self) -> None:
        for key, values in (("lrs", self.lrs), ("weight_decays", self.weight_decays)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"tune.{key} is {values}; give different numbers, such as [0.001, 0.01]")
        if not self.images and self.method != "two_stage":
            raise UserError(f"tune.images is 0; {self.method} needs images to train on")
        if (self.probe is None) != (self.method == "distill"):
            raise UserError(f"tune.probe is missing; {self.method} trains on a probe's images: name one of the study's")

    @property
    def grid(self) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of each run that is chosen from."""
        return [(lr, decay) for lr in self.lrs for decay in self.weight_decays]


@dataclass(frozen=True)
class TuneFile:
    """A config with a tune section.

    Attributes:
        path: where it was read.
        written: the sections model and data as they are written.
        study: the study that it names, with what of the command line reaches it.
        seed: seed_everything; of the first repetition's first run.
    """

    path: str
    tune: TuneConfig
    seed: int
    written: dict[str, dict[str, Any]]
    trainer: TrainerConfig
    trainer_written: dict[str, Any]
    study: StudyFile

    @property
    def name(self) -> str:
        return self.tune.name or Path(self.path).stem

    @classmethod
    def read(cls, configs: list[str], overrides: dict[str, Any] | None = None) -> "TuneFile":
        """Read and merge the files, then the overrides; study.… reaches the study that they name.

        Raises:
            UserError: as `read_config`, a key is unknown, missing, of the wrong type or makes no sense with the method.
        """
        overrides = overrides or {}
        of_study = {key: value for key, value in overrides.items() if key.startswith("study.")}
        config = read_config(configs, {key: value for key, value in overrides.items() if key not in of_study})
        if "tune" not in config:
            raise UserError(f"{configs[-1]}: has no tune section; take one such as configs/tune/finetune.yaml")
        with config.places.told():
            given = config["tune"]
            tune = parse_section(TuneConfig, given, "tune")
            check_name(tune.name or Path(configs[-1]).stem, "tune.name (by default the file's): what is tuned")
            known = [each.name for each in dataclasses.fields(TuneConfig)]
            of_another = {key for keys in OF_METHOD.values() for key in keys} - set(OF_METHOD[tune.method])
            for key in known:
                if key in given and key in of_another:
                    raise UserError(f"tune.{key} makes no sense with tune.method {tune.method}; remove it")
            written = {section: dict(config.get(section) or {}) for section in ("model", "data")}
            _check_keys(tune, written)
            trainer = dict(config.get("trainer") or {})
            for key in SET_BY_TUNE:
                if key in trainer:
                    raise UserError(f"trainer.{key} is set by timecat tune: remove it (tune.images is the length)")
            if trainer.setdefault("devices", 1) not in (1, "1") and not (
                isinstance(trainer["devices"], list) and len(trainer["devices"]) == 1
            ):
                raise UserError("trainer.devices: each run is on one device; set 1, and run repetitions side by side")
            place = find_config(tune.study, folders_of(configs), "tune.study")
            seed, of_trainer = parse_seed(config) or 0, parse_trainer(trainer)
        of_study |= {key: value for key, value in overrides.items() if key in (*OF_THE_MACHINE, "trainer.accelerator")}
        return cls(configs[-1], tune, seed, written, of_trainer, trainer, StudyFile.read([str(place)], of_study))

    def model(self, different: dict[str, Any]) -> MemberConfig:
        """The model of a run: what fine-tuning has by default or, of distill, the study's; the file's keys; these."""
        base = FINE_TUNING if self.tune.method != "distill" else self.study.written["model"]
        return parse_section(MemberConfig, {**base, **self.written["model"], **different}, "model")

    def data(self, of: DataConfig, different: dict[str, Any]) -> DataConfig:
        """The images of a run: those of a probe's or the study's section, as the file's keys and these see them."""
        written = self.written["data"]
        checked = parse_section(DataConfig, {"train": "of the probe", **written}, "data")
        return dataclasses.replace(of, **{key: getattr(checked, key) for key in written}, **different)


def _check_keys(tune: TuneConfig, written: dict[str, dict[str, Any]]) -> None:
    """Refuse keys of model and data that are not the config's to choose."""
    for key in written["model"]:
        if key in ("lr", "weight_decay") and tune.method != "distill":
            raise UserError(f"model.{key}: fine-tuning chooses it from a grid; give tune.{key}s")
        if key in ("steps", "num_classes"):
            raise UserError(f"model.{key} is set by timecat tune: remove it")
        if tune.method != "distill" and key not in MODEL_OF_FINE_TUNING:
            why = f"known are {', '.join(MODEL_OF_FINE_TUNING)}"
            raise UserError(
                f"model.{key} makes no sense with tune.method {tune.method}, whose networks are there; {why}"
            )
    whose = "the study's" if tune.method == "distill" else "those of tune.probe"
    for key in written["data"]:
        if key not in DATA:
            raise UserError(f"data.{key}: the images are {whose}; remove it; {suggestion(key, DATA)}")
