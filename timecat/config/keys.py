"""What a config can hold, for help and documentation: its sections and their keys, from dataclasses and docstrings."""

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from docstring_parser import parse

from timecat.config.data import DataConfig
from timecat.config.features import FeaturesConfig
from timecat.config.member import MemberConfig
from timecat.config.probe import ProbeConfig
from timecat.config.study import StudyConfig
from timecat.config.trainer import PASSED_ON, TrainerConfig
from timecat.config.tune import TuneConfig


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: with its section's, such as model.lr.
        text: what it means.
        kind: its type, as the dataclass has it.
        default: as it is written in YAML; empty where there is none.
    """

    name: str
    text: str
    kind: Any
    default: str


@dataclass(frozen=True)
class KeysOfSection:
    """A section of a config."""

    name: str
    text: str
    keys: tuple[Key, ...]


_SECTIONS: tuple[tuple[str, type, str], ...] = (
    ("study", StudyConfig, "the cats"),
    ("model", MemberConfig, "the members' network and optimiser"),
    ("data", DataConfig, "the members' images; root, workers and eval_batch_size reach the probes too"),
    ("trainer", TrainerConfig, "Lightning's, reaches members and probes; beside these: " + ", ".join(PASSED_ON)),
    ("probe", ProbeConfig, "reaches every probe"),
    ("features", FeaturesConfig, "features from elsewhere, instead of study"),
    ("tune", TuneConfig, "what is trained further; --study.… reaches the study that it names"),
)
_NOT_OPTIONS = ("cats", "other")  # fields that are sections of their own


def sections() -> tuple[KeysOfSection, ...]:
    """All of them, with the keys that a command line can give too."""
    return tuple(KeysOfSection(name, text, _keys(name, kind)) for name, kind, text in _SECTIONS)


def _keys(section: str, kind: type) -> tuple[Key, ...]:
    texts = {item.arg_name: " ".join((item.description or "").split()) for item in parse(kind.__doc__ or "").params}
    fields = [field for field in dataclasses.fields(kind) if field.name not in _NOT_OPTIONS]
    kinds = typing.get_type_hints(kind)
    keys = [Key(f"{section}.{each.name}", texts[each.name], kinds[each.name], _default(each)) for each in fields]
    if section == "study":
        keys.append(Key("study.cats.NAME.members", "and .steps, .model, .of, .wide, … (docs/controls.md)", int, ""))
    return tuple(keys)


def _default(field: dataclasses.Field) -> str:
    default = None if field.default is dataclasses.MISSING else field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is None or default == []:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
