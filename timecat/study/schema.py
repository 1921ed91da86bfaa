"""Whether what a JSON file holds is of the type that it has in this package: a TypedDict, and what that is made of."""

import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from timecat.errors import shown

WORDS = {
    dict: "a section",
    list: "a list",
    tuple: "a list",
    str: "a word",
    int: "a whole number",
    bool: "true or false",
}


def mismatch(value: Any, kind: Any, where: str = "") -> str | None:
    """What of a value that JSON gave is not of its type, in words; None where all is. More keys than known are let be.

    Args:
        where: the dotted key that the value stands at.
    """
    if kind is Any:
        return None
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.NotRequired, typing.Required, typing.Annotated):
        return mismatch(value, parts[0], where)
    if typing.is_typeddict(kind):
        return _of_section(value, kind, where)
    if origin in (typing.Union, types.UnionType):
        found = [mismatch(value, part, where) for part in parts]
        return None if None in found else next((each for each in found if each), None)
    if origin is typing.Literal:
        return None if value in parts and type(value) is not bool else _wrong(where, value, f"one of {parts}")
    if origin is dict:
        if not isinstance(value, dict):
            return _wrong(where, value, "a section")
        below = ((f"{where}.{key}".strip("."), one, parts[1]) for key, one in value.items())
    elif origin in (list, tuple):
        if not isinstance(value, list):
            return _wrong(where, value, "a list")
        several = origin is list or parts[-1] is Ellipsis
        if not several and len(value) != len(parts):
            return _wrong(where, value, f"a list of {len(parts)}")
        below = ((f"{where}.{place}", one, parts[0] if several else parts[place]) for place, one in enumerate(value))
    else:
        return _of_plain(value, origin or kind, where)
    return next((wrong for at, one, part in below if (wrong := mismatch(one, part, at))), None)


def _of_section(value: Any, kind: Any, where: str) -> str | None:
    if not isinstance(value, Mapping):
        return _wrong(where, value, "a section")
    for key, part in typing.get_type_hints(kind, include_extras=True).items():
        at = f"{where}.{key}".strip(".")
        if key not in value:
            if key in kind.__required_keys__:
                return f"{at} is missing"
        elif (wrong := mismatch(value[key], part, at)) is not None:
            return wrong
    return None


def _of_plain(value: Any, kind: Any, where: str) -> str | None:
    if kind is type(None):
        return None if value is None else _wrong(where, value, "null")
    if kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and _is_float(value)
        return None if fits else _wrong(where, value, "a number")
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    fits = fits and not (kind is int and abs(value) >= 2**63)
    return None if fits else _wrong(where, value, WORDS.get(kind, str(kind)))


def _is_float(value: float) -> bool:
    try:
        return math.isfinite(value) or isinstance(value, float)
    except OverflowError:  # a whole number beyond all floats
        return False


def _wrong(where: str, value: Any, wanted: str) -> str:
    return f"{where or 'it'} is {shown(value)}, not {wanted}"
