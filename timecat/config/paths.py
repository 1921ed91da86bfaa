"""Where a config, or what a config names, is looked for.

On a command line a config is relative to the working directory, else it is timecat's own of that name, as
configs/demo.yaml is from any directory. A file that is named inside a config (a probe, a study, weights, arrays) is
relative to the config's folder or, failing that, to the nearest folder above it that has it, then to the working
directory; a config may then be timecat's own. `data.root` and `study.root`, where things are written, are relative to
the working directory.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from timecat.errors import UserError
from timecat.packaged import packaged
from timecat.process import is_first_rank
from timecat.terminal import say


def on_command_line(path: str) -> str:
    """A config as a command line names it: as it is, or the path of timecat's own, which is said."""
    own = packaged(path)
    if own is None or Path(path).exists():
        return path
    _tell(f"timecat: {path}: not here, so timecat's own: {own}")
    return str(own)


@cache
def _tell(line: str) -> None:
    if is_first_rank():
        say(line, error=True)


def folders_of(configs: Iterable[str]) -> tuple[Path, ...]:
    """Of merged configs, the last one's folder and those above it first."""
    folders = [folder for path in reversed(list(configs)) for folder in Path(path).resolve().parents]
    return tuple(dict.fromkeys(folders))


def places(path: str, folders: Iterable[Path]) -> list[Path]:
    """Where what a config names may be, the likeliest first; relative where the working directory has it.

    Args:
        folders: `folders_of` the config.
    """
    here, found = Path.cwd(), []
    for place in (*(folder / path for folder in folders), Path(path)):
        found.append(place.relative_to(here) if place.is_relative_to(here) and not Path(path).is_absolute() else place)
    return list(dict.fromkeys(found))


def find_config(path: str, folders: Iterable[Path], key: str) -> Path:
    """A config that the key of another one names.

    Raises:
        UserError: there is none.
    """
    place = next((place for place in places(path, folders) if place.is_file()), packaged(path))
    if place is None:
        raise UserError(f"{path}: no such file, from the config or the working directory; mend {key}")
    return place
