"""Configs with something wrong in them: seeded, so that a seed tells the case again."""

import copy
import random
import typing
from collections.abc import Iterator
from typing import Any

import yaml

from timecat.config.keys import sections
from timecat.config.trainer import PassedOn

INTEGERS = (-(2**63), -1, 0, 1, 2, 3, 7, 999_983, 1_000_000, 2**31, 2**32 - 1, 2**32, 2**63, 10**10, 10**400, -(10**30))
FLOATS = (float("nan"), float("inf"), float("-inf"), -0.5, 0.0, 0.5, 1.0, 1.5, 1e-300, 1e6, 1e300)
WORDS = (
    *(
        "",
        " ",
        "x",
        "null",
        "1",
        "1e4",
        "auto",
        "cpu",
        "[/x]",
        "[b]a[/b]",
        "a\nb",
        "a\tb",
        "\x1b[31mred",
        "a\x00b",
    ),
    *("..", "../..", "/", "/etc/passwd", "a/b", "-rf", "--member", "%s", "%j", "{}", "{0}", "$HOME", "`id`", "'", '"'),
    *(
        "é",
        "猫",
        "\u202e",
        "\ud83d\ude00",
        "e" * 300,
        "word " * 400,
        "nan",
        "~",
        "true",
        "*",
        "?",
        "\\",
        "member",
        "study",
    ),
)
OTHERS = (
    *(None, True, False, [], {}, [[]], [None], [1, 2], ["a", "b"], {"a": 1}, {1: 2}, {None: None}, {True: 1}),
    *(
        [{"members": 1, "steps": 4}],
        {"members": 1, "steps": 4},
        {"class_path": "os.system", "init_args": {"command": "x"}},
    ),
    *({"weight": -1}, [0.0, 1.0], [1.0, 0.0], [2, 3], list(range(2000)), {"data": {"model": {"study": {}}}}),
)
SECTIONS = ("seed_everything", "study", "model", "data", "trainer", "probe", "features", "tune", "ckpt_path", "cats")
LIKELY: dict[type, tuple[Any, ...]] = {  # what a person would write there
    bool: (True, False),
    int: (1, 2, 3, 4, 5, 8, 16, 20, 32, 64, 100, 128, 800),
    float: (0.0, 0.001, 0.01, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0, 2.0, 10.0),
    str: ("auto", "cpu", "1", "cat1", "cat2", "probe", "train.beton", "test.beton", "probe.yaml", "warn", "ddp", "x"),
}
KEYS = [(key.name, key.kind) for section in sections() for key in section.keys if "NAME" not in key.name]
KEYS += [(f"trainer.{name}", kind) for name, kind in typing.get_type_hints(PassedOn).items()]
TEXTS = (
    "a: &a [*a]\n",
    "study: &a {cats: *a}\n",
    "model: &a\n  <<: *a\n  depth: 10\n",
    f"model: {'[' * 3000}{']' * 3000}\n",
    f"model: {'{a: ' * 3000}1{'}' * 3000}\n",
    "- " * 3000 + "a\n",
    "a: &0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"b{n}: &{n + 1} [{', '.join([f'*{n}'] * 9)}]\n" for n in range(12))
    + "model: *12\n",
    "model: !!python/object/apply:os.system ['true']\n",
    "model: !!binary aGVsbG8=\n",
    "data: !!set {a, b}\n",
    "seed_everything: 2020-01-01\n",
    "seed_everything: 1:30:00\n",
    f"seed_everything: 0x{'f' * 9000}\n",
    f"seed_everything: {'9' * 9000}\n",
    "? [a, b]\n: c\n",
    "? {a: b}\n: c\n",
    "[a]: 1\n",
    "model: *nowhere\n",
    "model: 'open\n",
    "model:\n\tdepth: 10\n",
    "%YAML 9.9\n---\nmodel: {}\n",
    "--- {}\n--- {}\n",
    "\x00\n",
    "model: \x07\n",
    "model: {depth: 10, depth: 18}\n",
    "null\n",
    "true\n",
    "[]\n",
    "- model\n",
    "model\n",
    "..\n",
    "!\n",
    "&\n",
    "model: |\n  depth: 10\n",
)


def mutated(base: dict[str, Any], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` texts of configs made of `base`, each beside words that tell what was done to it."""
    chance = random.Random(seed)
    for number in range(count):
        kind = chance.random()
        if kind < 0.08:
            what, text = "text", chance.choice(TEXTS).encode()
            if chance.random() < 0.5:
                text = _dump(base) + text
        elif kind < 0.16:
            what, text = _broken_text(_dump(base), chance)
        else:
            config, said = copy.deepcopy(base), []
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                said.append(_mutate(config, chance))
            what, text = "; ".join(said), _dump(config)
        yield f"seed {seed}, case {number}: {what}", text


def _dump(config: Any) -> bytes:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=10**9).encode("utf-8", "surrogatepass")


def _value(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(chance.choice((INTEGERS, FLOATS, WORDS, OTHERS))))


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in keys for place in [(*path, key), *_places(node[key], (*path, key))]]


def _likely(kind: Any, chance: random.Random) -> Any:
    """A value of a type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return chance.choice(parts)
    if origin in (list, tuple):
        return [_likely(parts[0], chance) for _ in range(chance.choice((1, 2, 2, 3)))]
    if parts:
        return _likely(chance.choice(parts), chance)
    if kind is type(None):
        return None
    plain = next((each for each in LIKELY if isinstance(kind, type) and issubclass(kind, each)), None)
    return chance.choice(LIKELY[plain]) if plain else _value(chance)


def _mutate(config: dict[str, Any], chance: random.Random) -> str:
    """Change one place of it; what was done."""
    if chance.random() < 0.5:
        there = [(name, kind) for name, kind in KEYS if name.partition(".")[0] in config]
        name, kind = chance.choice(there or KEYS)
        section, _, key = name.partition(".")
        if isinstance(config.get(section, {}), dict):
            value = _likely(kind, chance) if chance.random() < 0.7 else _value(chance)
            config.setdefault(section, {})[key] = value
            return f"{name} := {repr(value)[:60]}"
    places = _places(config)
    if not places:
        config["model"] = _value(chance)
        return "model alone"
    path = chance.choice(places)
    above: Any = config
    for key in path[:-1]:
        above = above[key]
    last, where, how = path[-1], ".".join(map(str, path)), chance.random()
    if how < 0.7 or isinstance(above, list):
        above[last] = value = _value(chance)
        return f"{where} = {repr(value)[:60]}"
    if how < 0.78:
        del above[last]
        return f"without {where}"
    if how < 0.86:
        name = chance.choice((*WORDS, *INTEGERS[:4], None, True, *SECTIONS))
        above[name] = above.pop(last)
        return f"{where} called {str(name)[:40]!r}"
    if how < 0.93:
        name = chance.choice(SECTIONS)
        above[name] = copy.deepcopy(config.get(chance.choice(SECTIONS)))
        return f"{where} beside a section {name}"
    other = chance.choice(places)
    value = config
    for key in other:
        value = value[key]
    above[last] = copy.deepcopy(value)
    return f"{where} as {'.'.join(map(str, other))}"


def _broken_text(text: bytes, chance: random.Random) -> tuple[str, bytes]:
    how, at = chance.randrange(4), chance.randrange(len(text))
    if how == 0:
        return f"cut at {at}", text[:at]
    if how == 1:
        return f"byte {at}", text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
    if how == 2:
        return f"control characters at {at}", text[:at] + bytes(chance.choices(range(32), k=3)) + text[at:]
    lines = text.splitlines(keepends=True)
    line = chance.randrange(len(lines))
    return f"line {line} twice", b"".join([*lines[: line + 1], *lines[line:]])
