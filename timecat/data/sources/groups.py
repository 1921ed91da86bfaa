"""Groups: a label beside the label, from a file beside the images, or from a level of their folders."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timecat import files
from timecat.data.sources.folders import SPLITS
from timecat.data.sources.images import Split, grouped
from timecat.data.sources.inat2018 import INAT2018
from timecat.errors import UserError

FOLDER = "folder:"


def with_groups(
    splits: Sequence[Split], groups: str, source: str, root: str | Path | None, option: str = "--groups"
) -> list[Split]:
    """The splits, each image with its group; groups are numbered in the order of their names.

    Args:
        groups: a CSV file of lines FILE,GROUP (a first line `file,group` is a header); a JSON object {"FILE": "GROUP"};
            or folder:N, the name of the N-th directory below the class's, N from 1. A FILE is a path from the source's
            directory.
        source, root: as `open_source` takes them.
        option: what gave them, for the errors.

    Raises:
        UserError: the source has no files, an image has no group, the file names an unknown image, or cannot be read.
    """
    if not all(split.files for split in splits):
        raise UserError(f"{option}: the images of {source} are no files of their own; leave it out")
    base = Path(source.removeprefix(INAT2018)) if not source.startswith("torchvision:") else Path(root or ".")
    files = [[os.path.relpath(str(split.item(i)), base) for i in range(len(split.labels))] for split in splits]
    if groups.startswith(FOLDER):
        given = _of_folders(files, groups, option)
    else:
        given = _of_file(Path(groups), option)
        known = {name for names in files for name in names}
        unknown = [name for name in given if name not in known and not (base / name).is_file()]
        if unknown:
            raise UserError(
                f"{groups}: names {len(unknown):,} unknown images, such as {unknown[0]!r}; names are paths from {base}"
            )
        lacking = [name for names in files for name in names if name not in given]
        if lacking:
            raise UserError(f"{groups}: has no group for {len(lacking):,} images, such as {lacking[0]!r}; add them")
    names = tuple(sorted(set(given.values())))
    number = {name: k for k, name in enumerate(names)}
    return [
        grouped(split, np.array([number[given[name]] for name in of_split], dtype=np.int64), names)
        for split, of_split in zip(splits, files, strict=True)
    ]


def _of_folders(files: Sequence[Sequence[str]], groups: str, option: str) -> dict[str, str]:
    level = groups.removeprefix(FOLDER)
    if not level.isdecimal() or int(level) < 1:
        raise UserError(f"{option} {groups}: say which directory below the class's, from folder:1 on")
    given = {}
    for names in files:
        parts = [name.split(os.sep) for name in names]
        class_at = 1 if all(part[0] in SPLITS for part in parts) else 0
        for name, part in zip(names, parts, strict=True):
            place = class_at + int(level)
            if place >= len(part) - 1:
                raise UserError(f"{option} {groups}: {name} has no such directory below its class's; choose another")
            given[name] = part[place]
    return given


def _of_file(path: Path, option: str) -> dict[str, str]:
    """Group by file name."""
    remedy = 'give lines FILE,GROUP, or JSON {"FILE": "GROUP"}'
    try:
        text = files.read_regular(path).decode()
        if path.suffix.lower() == ".json":
            content = json.loads(text)
            if not isinstance(content, dict):
                raise ValueError
            rows = [(name, str(group)) for name, group in content.items()]
        else:
            rows = [(row[0].strip(), row[1].strip()) for row in csv.reader(text.splitlines()) if row]
            if rows and rows[0] == ("file", "group"):
                rows = rows[1:]
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, IndexError, RecursionError, csv.Error):
        raise UserError(f"{option} {path}: is no list of files and their groups; {remedy}") from None
    given: dict[str, str] = {}
    for name, group in rows:
        name = os.path.normpath(name)
        if given.setdefault(name, group) != group:
            raise UserError(f"{option} {path}: {name} has two groups, {given[name]!r} and {group!r}; mend it")
        if not group:
            raise UserError(f"{option} {path}: {name} has an empty group; mend it")
    if not given:
        raise UserError(f"{option} {path}: names no image; {remedy}")
    return given
