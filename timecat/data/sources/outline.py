"""What a source holds, without its pixels: classes, and the label of each image of each split."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from timecat.data.sources.folders import SPLITS, images_of_classes, split_folders
from timecat.data.sources.open_source import BUILT_IN, directory_of, open_source
from timecat.data.split import TEST_SEED, stratified_split
from timecat.errors import UserError


@dataclass(frozen=True)
class Outline:
    """One split of a source.

    Attributes:
        classes: class k's name at place k.
        labels: int64 (n,), in the order of `timecat write`.
    """

    classes: tuple[str, ...]
    labels: np.ndarray


def outline(source: str, test_fraction: float | None = None) -> dict[str, Outline]:
    """The splits that `timecat write` would make of a source; of a directory no file is looked into.

    Raises:
        UserError: as `open_source`, or a source that needs more than its name.
    """
    if source.startswith("torchvision:"):
        raise UserError(
            f"data.source {source}: a config cannot say where its files lie; write it with `timecat write {source} OUT "
            "--root DIR`, and leave source out"
        )
    directory = directory_of(source)
    if directory is None and ":" not in source and source not in BUILT_IN:
        directory = Path(source)
    if directory is None:
        return _of_name(source, test_fraction)
    return _of_directory(directory, test_fraction, _changed(directory))


@lru_cache
def _of_name(source: str, test_fraction: float | None) -> dict[str, Outline]:
    return {each.name: Outline(each.classes, each.labels) for each in open_source(source, None, test_fraction)}


def _changed(directory: Path) -> tuple[int, ...]:
    """When it, its splits and their classes were changed last; nothing of one that is not there."""
    if not directory.is_dir():
        return ()
    below = [child for child in directory.iterdir() if child.is_dir()]
    below += [each for child in below if child.name in SPLITS for each in child.iterdir() if each.is_dir()]
    return tuple(path.stat().st_mtime_ns for path in sorted([directory, *below]))


@lru_cache
def _of_directory(directory: Path, test_fraction: float | None, changed: tuple[int, ...]) -> dict[str, Outline]:
    """Kept while it stays as it is: a plan asks again and again, and a million files take seconds to list."""
    folders = split_folders(directory)
    found = {}
    for name, folder in folders.items():
        classes, _, labels = images_of_classes(folder, folders["train"])
        found[name] = Outline(classes, labels)
    if test_fraction is None:
        return found
    if len(found) > 1:
        raise UserError(f"{directory}: has the splits {', '.join(found)} of its own; remove data.test_fraction")
    classes, labels = found["train"].classes, found["train"].labels
    kept, held = stratified_split(labels, test_fraction, TEST_SEED, str(directory), classes)
    return {"train": Outline(classes, labels[kept]), "test": Outline(classes, labels[held])}
