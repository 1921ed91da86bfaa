"""A section of a config becomes its dataclass, or is refused in one line that names the key."""

import copy
import dataclasses
import re
import typing
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from timecat.errors import UserError, shown

Section = TypeVar("Section")

NUMBERS = {  # by the type's name; those of `timecat.config.types` are called so
    "ClosedUnitInterval": "a number from 0 to 1",
    "OpenUnitInterval": "a number between 0 and 1",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
}


def parse_section(kind: type[Section], given: Any, where: str) -> Section:
    """Make the dataclass `kind` of what a config has there.

    Args:
        given: a mapping, or None for an empty section.
        where: the section's name in messages, such as study.cats.cat5.

    Raises:
        UserError: a key is unknown, missing or of the wrong type, or values contradict each other.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise UserError(f"{where} must be a section of keys, not {shown(given)}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields:
            raise UserError(f"unknown key {where}.{key}; {suggestion(str(key), fields)}")
    types = typing.get_type_hints(kind)
    for key, field in fields.items():
        if given.get(key) is not None or NoneType in typing.get_args(types[key]) or types[key] is Any:
            continue
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}.{key} is missing; add it")
        if key in given:  # jsonargparse lets null pass wherever there is a default
            raise UserError(f"{where}.{key} is null; it must be {_words(types[key])}, or leave it out")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_object(copy.deepcopy(given)).as_dict()  # which it writes into
    except ArgumentError as error:
        key = re.search(r'Parser key "([^".]+)', str(error))
        if key is None or key[1] not in fields:
            raise UserError(f"{where}: {' '.join(str(error).split())}") from None
        wanted = _words(types[key[1]])
        raise UserError(f"{where}.{key[1]} is {shown(given[key[1]])}; it must be {wanted}") from None
    return plain(kind(**parsed))


def plain(section: Section) -> Section:
    """The section without jsonargparse's number types, which torch's safe unpickling and torch.compile do not know."""
    values = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}  # type: ignore[arg-type]
    return dataclasses.replace(section, **{key: _plain(value) for key, value in values.items()})  # type: ignore[type-var]


def suggestion(key: str, known: typing.Iterable[str]) -> str:
    close = get_close_matches(key, list(known), 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    for plain in (bool, int, float):
        if isinstance(value, plain):
            return plain(value)
    return value


def _words(kind: Any) -> str:
    """A type as a person reads it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(dict.fromkeys(map(str, parts)))}"
    if origin in (typing.Union, UnionType):
        return " or ".join("null" if part is NoneType else _words(part) for part in parts)
    if origin is list:
        return f"a list, each {_words(parts[0])}"
    if origin is tuple:
        return f"{len(parts)} values, each {_words(parts[0])}"
    if origin is dict or kind is dict:
        return "a section of keys"
    name = getattr(kind, "__name__", str(kind))
    return NUMBERS.get(name, name)
