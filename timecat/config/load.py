"""One file of YAML becomes plain values: sections, lists, words, numbers; whatever else a file holds is one line."""

import re
from pathlib import Path
from typing import Any

import yaml

from timecat.errors import UserError

LARGEST = 1 << 18  # bytes of a file
MOST = 100_000  # values, each counted as often as its alias stands there
DEEPEST = 32  # sections and lists in one another
DIGITS = 40  # of a whole number; nothing that is counted here has more than 20
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}


class _Loader(yaml.SafeLoader):
    """YAML 1.2 floats: `1e-4` is a number, as Lightning's own parser reads it; no dates, which nothing here is.

    Keys are words, as they are written: a cat may be called 1, or no.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)  # `<<: *other`
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


class _Refused(Exception):
    """What is wrong with a node."""

    def __init__(self, why: str, node: yaml.Node) -> None:
        super().__init__(why)
        self.line = node.start_mark.line + 1


def load_file(path: str) -> tuple[Any, yaml.Node | None]:
    """What a file holds, and the nodes that it was made of.

    Raises:
        UserError: it cannot be read, is too large, is no YAML, or holds what no config does: objects, aliases of what
            they stand in, lists within lists without end.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            raise UserError(f"{path}: is not a file; give the path of a config in YAML")
        size = place.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path}: has {size:,} bytes, as no config has; give the path of a config in YAML")
        text = place.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not YAML ({error.reason} at byte {error.start:,}); mend the file") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: cannot be read ({why}); give the path of a config in YAML") from None
    return _load(text, path)


def load_value(text: str) -> Any:
    """A value of the command line: what YAML makes of it, else the word itself."""
    try:
        return _load(text, "the command line")[0]
    except UserError:
        return text


def _load(text: str, path: str) -> tuple[Any, yaml.Node | None]:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _count(node, {}, 0, "")
        return _unshared(loader.construct_document(node)), node
    except _Refused as error:
        raise UserError(f"{path}:{error.line}: {error}; mend the file") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = error.problem or error.context
        raise UserError(f"{path}:{mark.line + 1 if mark else 1}: not YAML ({why}); mend the file") from None
    except RecursionError:
        raise UserError(f"{path}: more than {DEEPEST} sections or lists in one another; mend the file") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}); mend the file") from None
    finally:
        if loader is not None:
            loader.dispose()


def _count(node: yaml.Node, known: dict[int, int | None], depth: int, key: str) -> int:
    """Values below a node, itself among them, aliases as often as they stand there; looked at before any is made.

    Args:
        known: those of nodes that were counted before; None of those that this one stands in.
        key: that it stands at.
    """
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise _Refused("an alias of what it stands in", node)
        return count
    if node.tag not in PLAIN:
        raise _Refused(f"the tag {node.tag} is of no config", node)
    if depth > DEEPEST:
        raise _Refused(f"more than {DEEPEST} sections or lists in one another", node)
    known[id(node)] = None
    count = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        count += sum(_count(value, known, depth + 1, str(key.value)) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        count += sum(_count(value, known, depth + 1, key) for value in node.value)
    elif node.tag.endswith(":int") and len(node.value) > DIGITS:
        raise _Refused(f"{key} is a whole number of {len(node.value):,} digits", node)
    if count > MOST:
        raise _Refused(f"more than {MOST:,} values", node)
    known[id(node)] = count
    return count


def _unshared(value: Any) -> Any:
    """What an alias stands for is a copy, so that overriding one of them leaves the others."""
    if isinstance(value, dict):
        return {key: _unshared(below) for key, below in value.items()}
    return [_unshared(below) for below in value] if isinstance(value, list) else value


def _check_keys(node: yaml.MappingNode) -> None:
    """Keys are words, none twice."""
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("a list or a section as a key", key)
        if key.value in seen and not key.tag.endswith(":merge"):
            raise _Refused(f"the key {key.value!r} stands twice", key)
        seen.add(key.value)
