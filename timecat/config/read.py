"""A config as it is written: YAML files and the command line's overrides, merged; no types yet."""

import json
import unicodedata
from typing import Any

from timecat.config.load import load_file, load_value
from timecat.config.paths import on_command_line
from timecat.config.places import Places
from timecat.config.section import suggestion
from timecat.errors import UserError, shown

STUDY_KEYS = ("seed_everything", "study", "model", "data", "trainer", "ckpt_path")
PROBE_KEYS = ("seed_everything", "probe", "model", "data", "trainer", "ckpt_path")
FEATURES_KEYS = ("seed_everything", "features", "probe", "model", "data", "trainer")
TUNE_KEYS = ("seed_everything", "tune", "model", "data", "trainer")
KEYS_OF = {"features": FEATURES_KEYS, "tune": TUNE_KEYS, "probe": PROBE_KEYS}
SPACES = {ord(each): " " for each in "\n\t"}
SECTIONS = ("study", "tune", "features", "probe", "model", "data", "trainer")


class Config(dict[str, Any]):
    """A config's sections, and where their keys stand."""

    def __init__(self) -> None:
        super().__init__()
        self.places = Places()


def read_config(paths: list[str], overrides: dict[str, Any] | None = None) -> Config:
    """Merge YAML files, later ones over earlier ones, then `overrides` ({"model.lr": 0.1}) over all.

    Raises:
        UserError: no file given, a missing file, broken YAML, or an unknown top-level key, with file and line.
    """
    if not paths:
        raise UserError("no config given; name one, such as configs/demo.yaml")
    config = Config()
    for path in paths:
        content, node = load_file(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: holds no sections; a config has study or probe, model, data, trainer")
        _merge(config, content)
        config.places.add(path, node)
    override(config, overrides or {})
    known = next((keys for section, keys in KEYS_OF.items() if section in config), STUDY_KEYS)
    for key in config:
        if key not in known:
            where = config.places.of(str(key)) or paths[-1]
            raise UserError(f"{where}: unknown key {key!r}; {suggestion(str(key), known)}")
    _check_words(config, "")
    for key in SECTIONS:
        if config.get(key) is None:
            if key in config:
                config[key] = {}  # `trainer:` with nothing below it
        elif not isinstance(config[key], dict):
            where = config.places.of(key) or paths[-1]
            raise UserError(f"{where}: {key} must be a section of keys, not {shown(config[key])}")
    return config


def _check_words(value: Any, where: str) -> None:
    """Refuse control characters, and what is no text: no file, name or terminal takes them.

    Raises:
        UserError: naming the key.
    """
    if isinstance(value, dict):
        for key, below in value.items():
            _check_words(key, where or "a key")
            _check_words(below, f"{where}.{key}".strip("."))
    elif isinstance(value, list):
        for below in value:
            _check_words(below, where)
    elif isinstance(value, str) and any(unicodedata.category(each) in ("Cc", "Cs") for each in value.translate(SPACES)):
        raise UserError(f"{where} is {shown(value)}; remove its control characters")


def override(config: Config, overrides: dict[str, Any]) -> None:
    """Set dotted keys, such as {"model.lr": 0.1}."""
    for key, value in overrides.items():
        config.places.drop(key)
        *parents, last = key.split(".")
        section: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            section = {parent: section}
        _merge(config, section)


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, Any], list[str]]:
    """Split a command line into (configs, dotted overrides such as --model.lr 0.1, everything else).

    A config is what follows --config, or a file's name in first place; `on_command_line` says which file that is.
    """
    configs: list[str] = []
    overrides: dict[str, Any] = {}
    others: list[str] = []
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        configs.append(on_command_line(rest.pop(0)))
    while rest:
        argument = rest.pop(0)
        name, has_value, value = argument.partition("=")
        is_override = name.startswith("--") and ("." in name or name == "--seed_everything")
        if name not in ("--config", "-c") and not is_override:
            others.append(argument)
            continue
        if not has_value:
            if not rest:
                raise UserError(f"{name}: no value given")
            value = rest.pop(0)
        if is_override:
            overrides[name[2:]] = load_value(value)
        else:
            configs.append(on_command_line(value))
    return configs, overrides, others


def as_arguments(configs: list[str], overrides: dict[str, Any]) -> list[str]:
    """The command line that `split_arguments` would read back."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in overrides.items()}
    return [f"--config={path}" for path in configs] + [f"--{key}={value}" for key, value in values.items()]
