"""Files that a config names and that are not there: what each is made from, and what it will hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from timecat.config.data import DataConfig
from timecat.data.sources.open_source import BUILT_IN, FASHION_MNIST, directory_of
from timecat.data.sources.outline import Outline, outline
from timecat.errors import UserError


@dataclass(frozen=True)
class Origin:
    """What a file is made from, and how, as `timecat write` takes it."""

    source: str
    test_fraction: float | None = None
    max_side: int | None = None
    skip_broken: bool = False

    def absent(self) -> str | None:
        """That the directory of its images is not there, and what mends it; None where it is, or needs none."""
        if self.source in BUILT_IN:
            needed = FASHION_MNIST if self.source != "digits" else None
            mend = "install it: apt-get install dataset-fashion-mnist"
        else:
            needed = Path(self.source.partition(":")[2] or self.source)
            mend = "mend it, or put the images there"
        if needed is None or needed.is_dir() or self.source.startswith("torchvision:"):
            return None
        named = "" if str(needed) == self.source else f" as {needed}"
        return f"data.source {self.source}: no such directory{named}; {mend}"

    def outline(self, path: Path) -> Outline:
        """What the file will hold.

        Raises:
            UserError: no such source, or it has no such split.
        """
        splits = outline(self.source, self.test_fraction)
        if path.stem not in splits or path.suffix != ".beton":
            names = ", ".join(f"{name}.beton" for name in splits)
            raise UserError(
                f"{path}: the source {self.source} has no such split, it makes {names}; mend the file's name"
            )
        return splits[path.stem]


def origin_of(data: DataConfig, path: Path) -> Origin | None:
    """What a file of a `data` section is made from; None without a source.

    Raises:
        UserError: the file would lie inside its source.
    """
    source = data.sources[path]
    if source is None:
        return None
    if (data.directory / source).is_dir():
        source = str(data.directory / source)
    images = directory_of(source)
    if images is not None and path.resolve().is_relative_to(images.resolve()):
        raise UserError(f"{path}: lies inside its source {source}; name another file, or move the images")
    return Origin(source, data.test_fraction, data.max_side, data.skip_broken)


def missing_files(sections: Iterable[DataConfig]) -> dict[Path, Origin | None]:
    """The files that are not there, and what each is made from.

    Raises:
        UserError: as `origin_of`.
    """
    found: dict[Path, Origin | None] = {}
    for data in sections:
        for path in data.sources:
            if not path.exists() and path not in found:
                found[path] = origin_of(data, path)
    return found


def no_source(path: Path) -> UserError:
    """That a file is not there, and nothing tells what it is made from."""
    return UserError(f"{path}: no such file; write it with `timecat write SOURCE {path.parent}`")


def outline_of(data: DataConfig, path: Path) -> Outline | None:
    """What a file that is not there will hold; None where no source tells.

    Raises:
        UserError: as `origin_of` and `Origin.outline`.
    """
    origin = origin_of(data, path)
    return None if origin is None else origin.outline(path)
