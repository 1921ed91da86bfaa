"""A whole config, typed: a study's file, and a probe's."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timecat.config.data import DataConfig
from timecat.config.member import MemberConfig
from timecat.config.names import data_name
from timecat.config.paths import find_config, folders_of
from timecat.config.places import Places
from timecat.config.probe import HeadConfig, ProbeConfig
from timecat.config.read import Config, override, read_config
from timecat.config.section import parse_section, suggestion
from timecat.config.study import CatConfig, StudyConfig
from timecat.config.trainer import PASSED_ON, PassedOn, TrainerConfig
from timecat.config.types import MAX_SEED
from timecat.errors import UserError

# Of the keys that a study's config and a probe's both have, these are about the machine: given on a study's command
# line they reach its members and its probes alike, as every trainer.… does. All others are about one data set or one
# network, and reach the members; a probe's own stand in its config.
OF_THE_MACHINE = ("data.root", "data.workers", "data.eval_batch_size")


@dataclass(frozen=True)
class StudyFile:
    """A study's config.

    Attributes:
        seed: seed_everything, the first member's seed; None where it is not given.
        written: the sections as they are written, for LightningCLI and for cats whose members differ.
        for_probes: the command line's overrides that reach the probes.
        folders: the config's and those above it, where what it names is looked for (`paths`).
        places: where its keys stand.
    """

    seed: int | None
    study: StudyConfig
    model: MemberConfig
    data: DataConfig
    trainer: TrainerConfig
    written: dict[str, Any]
    for_probes: dict[str, Any] = dataclasses.field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    places: Places = dataclasses.field(default_factory=Places, compare=False)

    @classmethod
    def read(cls, configs: list[str], overrides: dict[str, Any] | None = None) -> "StudyFile":
        """Read and merge the files, then the overrides.

        Raises:
            UserError: as `read_config`, or a key is unknown, missing or of the wrong type.
        """
        overrides = overrides or {}
        members = {key: value for key, value in overrides.items() if not key.startswith("probe.")}
        config = read_config(configs, members)
        if "probe" in config:
            raise UserError(
                f"{configs[-1]}: is a probe's config; this command takes a study's, such as configs/demo.yaml"
            )
        parse_section(
            ProbeConfig, {k.removeprefix("probe."): v for k, v in overrides.items() if k not in members}, "probe"
        )
        for_probes = {key: value for key, value in overrides.items() if _reaches_probes(key)}
        with config.places.told():
            file = cls.parse(config)
        return dataclasses.replace(file, for_probes=for_probes, folders=folders_of(configs), places=config.places)

    @classmethod
    def parse(cls, config: dict[str, Any]) -> "StudyFile":
        """Check what `read_config` gave."""
        if "study" not in config:
            raise UserError(
                "the config has no study section; this command needs one, such as that of configs/demo.yaml"
            )
        study = dict(config["study"])
        if isinstance(study.get("cats"), dict):
            study["cats"] = {
                str(name): parse_section(CatConfig, cat, f"study.cats.{name}") for name, cat in study["cats"].items()
            }
        return cls(
            parse_seed(config),
            parse_section(StudyConfig, study, "study"),
            parse_section(MemberConfig, config.get("model"), "model"),
            parse_section(DataConfig, config.get("data"), "data"),
            parse_trainer(config.get("trainer")),
            {key: config.get(key, {}) for key in ("model", "data", "trainer")},
        )

    def member(self, different: dict[str, Any], where: str) -> MemberConfig:
        """The config of a cat's members, whose `model` section has these keys otherwise."""
        return parse_section(MemberConfig, {**self.written["model"], **different}, where)

    def images(self, different: dict[str, Any], where: str) -> DataConfig:
        """The images of a cat's members, whose `data` section has these keys otherwise."""
        if "batch_size" in different:
            raise UserError(f"{where}.batch_size: steps are of one global batch; set data.batch_size for all")
        written = dict(self.written["data"])
        if {"train", "mixture"} & set(different):
            written.pop("train_images", None)  # of the file that others train on
        return parse_section(DataConfig, {**written, **different}, where)

    def probe(self, path: str) -> "ProbeFile":
        """One of study.probes, for the fast path.

        Raises:
            UserError: as `ProbeFile.read`, there is no test file, or nothing is held out to choose on.
        """
        with self.places.told():
            place = find_config(path, self.folders, "study.probes")
        probe = ProbeFile.read(str(place), self.for_probes)
        with probe.places.told(probe.path):
            if probe.data.mixture:
                raise UserError("data.mixture is for members; a probe reads one file: remove it")
            if probe.data.test is None:
                raise UserError("data.test is not given; name the .beton file of the test set")
            if not probe.data.holdout:
                raise UserError("data.holdout is 0, but weight decay and epoch are chosen on held-out data; set 0.2")
            if probe.trainer.max_epochs is not None and probe.trainer.max_epochs < 1:
                raise UserError(f"trainer.max_epochs is {probe.trainer.max_epochs}; it must be 1 or more")
        return probe


@dataclass(frozen=True)
class ProbeFile:
    """A probe's config.

    Attributes:
        path: where it was read.
        seed: of the order of the images and of the heads' initial weights.
        places: where its keys stand.
    """

    path: str
    seed: int
    probe: ProbeConfig
    model: HeadConfig
    data: DataConfig
    trainer: TrainerConfig
    places: Places = dataclasses.field(default_factory=Places, compare=False)

    @classmethod
    def read(cls, path: str, overrides: dict[str, Any] | None = None) -> "ProbeFile":
        """Read the file, then the overrides.

        Raises:
            UserError: as `read_config`, the file has no probe section, or a key is unknown, missing or of the wrong
                type.
        """
        config = read_config([path])
        if "probe" not in config:
            raise UserError(f"{path}: has no probe section; it must be a config such as configs/probe/digits.yaml")
        override(config, overrides or {})
        return cls.parse(path, config)

    @classmethod
    def parse(cls, path: str, config: dict[str, Any], places: Places | None = None) -> "ProbeFile":
        """Check what `read_config` gave; `places` of its keys, where it was changed since."""
        places = places or (config.places if isinstance(config, Config) else Places())
        with places.told(path):
            return cls(
                path,
                parse_seed(config) or 0,
                parse_section(ProbeConfig, config["probe"], "probe"),
                parse_section(HeadConfig, config.get("model"), "model"),
                parse_section(DataConfig, config.get("data"), "data"),
                parse_trainer(config.get("trainer")),
                places,
            )

    @property
    def name(self) -> str:
        """What the data set is called: its config's name."""
        return data_name(self.path)


def check_member(config: Config) -> tuple[MemberConfig, DataConfig]:
    """Check the config of one network, with or without a study.

    Returns:
        Its sections model and data.

    Raises:
        UserError: a key is unknown, missing or of the wrong type.
    """
    with config.places.told():
        parse_seed(config)
        parse_trainer(config.get("trainer"))
        model = parse_section(MemberConfig, config.get("model"), "model")
        return model, parse_section(DataConfig, config.get("data"), "data")


def parse_trainer(section: dict[str, Any] | None) -> TrainerConfig:
    """The trainer section; the keys that only Lightning reads are kept as they are written."""
    section = section or {}
    other = {key: value for key, value in section.items() if key in PASSED_ON}
    known = [*(field.name for field in dataclasses.fields(TrainerConfig) if field.name != "other"), *PASSED_ON]
    for key in section:
        if key not in known:
            raise UserError(f"unknown key trainer.{key}; {suggestion(str(key), known)}")
    parse_section(PassedOn, other, "trainer")
    ours = {key: value for key, value in section.items() if key not in other}
    return dataclasses.replace(parse_section(TrainerConfig, ours, "trainer"), other=other)


def parse_seed(config: dict[str, Any]) -> int | None:
    """seed_everything, or None where it is not given."""
    seed = config.get("seed_everything")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED):
        raise UserError(f"seed_everything is {seed!r}; it must be a whole number from 0 to {MAX_SEED:,}")
    return seed


def _reaches_probes(key: str) -> bool:
    return key.startswith(("probe.", "trainer.")) or key in OF_THE_MACHINE
