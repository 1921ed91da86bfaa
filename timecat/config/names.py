"""What a person may call a study, a cat, a data set: names become directories, files, keys of arrays, words of scripts.

Letters, digits, dots, _ and -, so that no name leads elsewhere, is an option, or means something to a shell or SLURM.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from timecat.errors import UserError, shown

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
LONGEST_NAME = 100  # bytes; file systems take 255, of which timecat adds seeds, steps and protocols


def check_name(name: object, where: str) -> str:
    """The name.

    Args:
        where: what has it, for the error: a key, or a file.

    Raises:
        UserError: it is none.
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise UserError(
            f"{where} is called {shown(name)}; take letters, digits, dots, - and _, a letter or digit first"
        )
    if len(name) > LONGEST_NAME:
        raise UserError(f"{where} is called {shown(name)}, {len(name)} letters; take {LONGEST_NAME} at most")
    return name


def data_name(path: str) -> str:
    """What the data set of a probe's config is called."""
    return Path(path).stem


def check_data_names(paths: Iterable[str], key: str) -> None:
    """Look at the names of the data sets of probes' configs.

    Raises:
        UserError: one is none, or two are alike: their results would lie in one directory.
    """
    found: dict[str, str] = {}
    for path in paths:
        name = check_name(data_name(path), f"{key}: the data set of {shown(path)}")
        if name in found:
            raise UserError(
                f"{key} names two data sets {name}, by their files' names, {found[name]} and {path}; rename one of "
                "the files"
            )
        found[name] = path
