"""Files of a study with something wrong in them: seeded, so that a seed tells the case again."""

import copy
import json
import random
from pathlib import Path
from typing import Any

OTHERS: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 2**63, 10**400, 1.5, float("nan"), float("inf"), -1e300, "", "x", "1", "[/x]", "\x00"),
    *([], [None], [[]], ["a", 1], {}, {"a": {}}, {"version": 2}, {"": None}, [0] * 3000, "é" * 2000),
)
TEXTS = (b"", b"null", b"[]", b"{}", b"{", b'"x"', b"7", b"\xff\xfe", b"[" * 5000, b"\x00" * 64, b'{"version": 2}')
VERSIONS: tuple[Any, ...] = (0, 1, 3, "2", None, [], 1e9, True)


def damage(path: Path, seed: int) -> str:
    """Change a file; what was done."""
    chance = random.Random(seed)
    content, how = path.read_bytes(), chance.random()
    if how < 0.1:
        path.write_bytes(chance.choice(TEXTS))
        return "other text"
    if how < 0.2 or not content:
        at = chance.randrange(len(content) + 1)
        path.write_bytes(content[:at])
        return f"cut at {at}"
    if how < 0.35 or path.suffix != ".json":
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 3, 20))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        return "bytes"
    record = json.loads(content)
    if chance.random() < 0.5:
        record.pop("checksum", None)  # as who edits it by hand may do
    said = _change(record, chance)
    path.write_text(json.dumps(record))
    return said


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in keys for place in [(*path, key), *_places(node[key], (*path, key))]]


def _change(record: Any, chance: random.Random) -> str:
    by_depth: dict[int, list[tuple[Any, ...]]] = {}
    for place in _places(record):
        by_depth.setdefault(len(place), []).append(place)
    path = chance.choice(by_depth[chance.choice(list(by_depth))])  # as likely near the root as in a long list
    above = record
    for key in path[:-1]:
        above = above[key]
    last, where, how = path[-1], ".".join(map(str, path)), chance.random()
    if last == "version":
        above[last] = chance.choice(VERSIONS)
        return f"version {above[last]!r}"
    if how < 0.2:
        del above[last]
        return f"without {where}"
    if how < 0.3 and isinstance(above, dict):
        name = chance.choice(("x", "-1", "", "[/x]", "²", "9" * 30))
        above[name] = above.pop(last)
        return f"{where} called {name!r}"
    if how < 0.4 and isinstance(above[last], int | float):
        above[last] = above[last] + chance.choice((-1, 1, 0.5, 100, -1000))
        return f"{where} is another number"
    if how < 0.5 and isinstance(above[last], list):
        above[last] = above[last] * 2 if chance.random() < 0.5 else above[last][:-1]
        return f"{where} of another length"
    above[last] = copy.deepcopy(chance.choice(OTHERS))
    return f"{where} = {repr(above[last])[:40]}"
