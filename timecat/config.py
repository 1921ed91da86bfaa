"""Read a YAML config and the command line's overrides without importing Lightning.

`plan`, `status`, `report` and the dispatch of `fit` need the study's arithmetic at once. Types of the `model`, `data`
and `trainer` sections are checked by LightningCLI when a member is trained.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from timecat.errors import UserError

STUDY_KEYS = {"seed_everything", "study", "model", "data", "trainer", "ckpt_path"}
PROBE_KEYS = {"seed_everything", "probe", "model", "data", "trainer", "ckpt_path"}


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: `1e-4` is a number, as Lightning's own parser reads it; and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def read_config(paths: list[str], overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Merge YAML files, later ones over earlier ones, then `overrides` ({"model.lr": 0.1}) over all.

    Raises:
        UserError: no file given, a missing file, broken YAML, or an unknown top-level key.
    """
    if not paths:
        raise UserError("no config given: add --config configs/demo.yaml, or another of configs/")
    config: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.load(Path(path).read_text(), _Loader)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a config in YAML") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            where = " ".join(str(error).split())
            raise UserError(f"{path}: not YAML ({where}); mend the file") from None
        if not isinstance(content, dict):
            raise UserError(f"{path}: holds no sections; a config has study or probe, model, data, trainer")
        _merge(config, content)
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        section: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            section = {parent: section}
        _merge(config, section)
    known = PROBE_KEYS if "probe" in config else STUDY_KEYS
    for key in config:
        if key not in known:
            raise UserError(f"{paths[-1]}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    for key in known - {"seed_everything", "ckpt_path"}:
        if not isinstance(config.get(key) or {}, dict):
            raise UserError(f"{paths[-1]}: {key} must be a section of keys, not {config[key]!r}")
    return config


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def split_arguments(arguments: list[str]) -> tuple[list[str], dict[str, Any], list[str]]:
    """Split a command line into (--config files, dotted overrides such as --model.lr 0.1, everything else)."""
    configs: list[str] = []
    overrides: dict[str, Any] = {}
    others: list[str] = []
    rest = list(arguments)
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
            try:
                overrides[name[2:]] = yaml.load(value, _Loader)
            except yaml.YAMLError:
                overrides[name[2:]] = value
        else:
            configs.append(value)
    return configs, overrides, others


def as_arguments(configs: list[str], overrides: dict[str, Any]) -> list[str]:
    """The command line that `split_arguments` would read back."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in overrides.items()}
    return [f"--config={path}" for path in configs] + [f"--{key}={value}" for key, value in values.items()]


def data_name(path: str) -> str:
    """What a probe's data set is called: its config's name."""
    return Path(path).stem


def read_probe_config(path: str) -> dict[str, Any]:
    """A probe's config.

    Raises:
        UserError: as read_config, or the file has no probe section.
    """
    config = read_config([path])
    if "probe" not in config:
        raise UserError(f"{path}: has no probe section; study.probes names configs such as configs/probe/digits.yaml")
    return config
