"""A config of features that were computed elsewhere: its `features` section, and the heads on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timecat.config.files import ProbeFile
from timecat.config.names import check_data_names, check_name
from timecat.config.paths import folders_of, places
from timecat.config.read import Config, read_config
from timecat.config.section import parse_section, suggestion
from timecat.errors import UserError

SPLITS = ("train", "test")
# What other sections have a use for: heads have, images and networks have not.
TAKEN = {
    "probe": ("weight_decays", "lrs", "solver", "refit", "logits", "memory_gb"),
    "model": ("num_classes", "lr"),
    "data": ("holdout", "batch_size"),
    "trainer": ("max_epochs", "accelerator"),
}


@dataclass(frozen=True)
class ExtractorConfig:
    """A frozen model's features, or several models' side by side.

    Args:
        train, test: .npy files of float16, float32 or float64 (rows, features).
        of: names of extractors whose features are concatenated, instead of files.
    """

    train: str | None = None
    test: str | None = None
    of: list[str] | None = None


@dataclass(frozen=True)
class FeaturesConfig:
    """Features that were computed elsewhere, of the rows of one training and one test set.

    Args:
        name: results lie in <root>/<name>.
        labels: {train: FILE, test: FILE}, .npy of whole numbers (rows,), each below model.num_classes.
        extractors: the frozen models by name, in the order of the report: {train: FILE, test: FILE}, or {of: [A, B]},
            the features of several of them side by side.
        groups: {test: FILE}, .npy of whole numbers (rows,): a group of each test row; kept beside the predictions.
        baseline: the extractor that the report compares with; the first one where not given.
        root: where results lie.
    """

    name: str
    labels: dict[str, str]
    extractors: dict[str, ExtractorConfig]
    groups: dict[str, str] | None = None
    baseline: str | None = None
    root: str = "runs"

    def __post_init__(self) -> None:
        check_name(self.name, "features.name: the directory")
        if set(self.labels) != set(SPLITS):
            raise UserError(f"features.labels names {_names(self.labels)}; it must name two files, as train and test")
        if self.groups is not None and set(self.groups) != {"test"}:
            raise UserError(f"features.groups names {_names(self.groups)}; it must name one file, as test")
        if not self.extractors:
            raise UserError("features.extractors names none; add one, such as raw: {train: a.npy, test: b.npy}")
        for name, extractor in self.extractors.items():
            self._check(name, extractor)
        if self.baseline is not None and self.baseline not in self.extractors:
            raise UserError(f"features.baseline {self.baseline!r}: {suggestion(self.baseline, self.extractors)}")

    def _check(self, name: str, extractor: ExtractorConfig) -> None:
        where = f"features.extractors.{name}"
        check_name(name, "features.extractors: an extractor")
        if extractor.of is None:
            if extractor.train is None or extractor.test is None:
                raise UserError(f"{where}: name two files, as train and test, or other extractors, as of")
            return
        if extractor.train is not None or extractor.test is not None:
            raise UserError(f"{where}: has files and names others by of; choose one of them")
        files = [other for other, config in self.extractors.items() if config.of is None]
        for other in extractor.of:
            if other not in files:
                raise UserError(f"{where}.of: {other!r} is no extractor with files; {suggestion(other, files)}")
        if not extractor.of or len(set(extractor.of)) < len(extractor.of):
            raise UserError(f"{where}.of is {extractor.of}; name different extractors")

    def blocks(self, name: str) -> list[str]:
        """The extractors with files that this one is made of: itself, or those that it concatenates."""
        return self.extractors[name].of or [name]


@dataclass(frozen=True)
class FeaturesFile:
    """A config of features and of the heads on them.

    Attributes:
        path: where it was read.
        probe: the heads'; what it would say of images and networks has no meaning.
    """

    path: str
    features: FeaturesConfig
    probe: ProbeFile

    @classmethod
    def read(cls, configs: list[str], overrides: dict[str, Any] | None = None) -> "FeaturesFile":
        """Read and merge the files, then the overrides.

        Raises:
            UserError: as `read_config`, or a key is unknown, missing, of the wrong type, or without use here.
        """
        config, path = read_config(configs, overrides), configs[-1]
        with config.places.told(path):
            return cls.parse(path, config)

    @classmethod
    def parse(cls, path: str, config: dict[str, Any]) -> "FeaturesFile":
        """Check what `read_config` gave."""
        check_data_names([path], "the config")
        given = dict(config["features"])
        if isinstance(given.get("extractors"), dict):
            given["extractors"] = {
                str(name): parse_section(ExtractorConfig, one, f"features.extractors.{name}")
                for name, one in given["extractors"].items()
            }
        features = parse_section(FeaturesConfig, given, "features")
        for section, taken in TAKEN.items():
            for key in config.get(section) or {}:
                if key not in taken:
                    raise UserError(
                        f"{section}.{key} has no use for stored features; remove it, {section} takes "
                        f"{', '.join(taken)} here"
                    )
        data = {"train": features.labels["train"], **(config.get("data") or {})}
        places = config.places if isinstance(config, Config) else None
        probe = ProbeFile.parse(path, {**config, "probe": config.get("probe"), "data": data}, places)
        if not probe.model.num_classes:
            raise UserError("model.num_classes is missing; add it")
        if not probe.data.holdout:
            raise UserError("data.holdout is 0, but weight decay and epoch are chosen on held-out rows; set 0.2")
        if probe.trainer.max_epochs is not None and probe.trainer.max_epochs < 1:
            raise UserError(f"trainer.max_epochs is {probe.trainer.max_epochs}; it must be 1 or more")
        return cls(path, features, probe)

    def locate(self, file: str) -> Path:
        """Where a file lies, or would lie from the working directory."""
        return next((place for place in places(file, folders_of([self.path])) if place.exists()), Path(file))


def is_features(configs: list[str]) -> bool:
    """Whether the configs are of features, and not of a study or a probe."""
    return bool(configs) and "features" in read_config(configs)


def _names(files: dict[str, str]) -> str:
    return ", ".join(files) or "none"
