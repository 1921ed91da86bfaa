"""One data set's stored features, ready to be classified: a study's cats, or extractors that are not ours."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from timecat import files
from timecat.config.files import ProbeFile
from timecat.config.study import StudyConfig
from timecat.extraction.external import ExternalFeatures
from timecat.extraction.extract import FeatureStore
from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.memory import memory_full
from timecat.extraction.parts import images_of
from timecat.extraction.projection import projected
from timecat.heads.external import ArrayStore, feature_key
from timecat.heads.passes import Passes
from timecat.heads.probe import devices, feature_keys
from timecat.heads.sources import Source, images_of_features, is_of_these_images
from timecat.heads.sweep import Concatenation
from timecat.study import progress
from timecat.study.directory import ProbeDirectory, read_record
from timecat.study.results import FINISHED_WORK, projection_of
from timecat.study.study import Study


@dataclass(frozen=True)
class StoredCat:
    """One cat in one repetition.

    Attributes:
        key: a hash of its features.
        weights: SHA-256 of the files that they are made of, and how they are projected.
    """

    cat: str
    repetition: str
    of: Concatenation
    key: str
    weights: list[str]

    @property
    def entry(self) -> dict[str, Any]:
        """What a record's entry of it begins with."""
        return {"key": self.key, "weights": self.weights, "features": self.of.features}


@dataclass(frozen=True)
class StoredFeatures:
    """One data set's.

    Attributes:
        train_part: the training images, in the first view where there are augmented ones.
    """

    source: Source
    probe: ProbeFile
    passes: Passes
    directory: ProbeDirectory
    cats: list[StoredCat]

    @property
    def train_part(self) -> str:
        parts = self.passes.store.parts.values()
        return next(part.name for part in parts if part.split == "train" and part.name != "heldout")

    def matrix(self, part: str, cat: StoredCat, beside: int) -> FeatureMatrix:
        """The cat's features of a part, columns in the order of its members.

        Args:
            beside: bytes that other things take of the device's memory.
        """
        return self.passes.matrix(part, list(cat.of.snapshots), beside)

    def begin(self, path: Path, kind: Any, settings: dict[str, Any], *others: Path) -> dict[str, Any]:
        """The record there is, or a new one; one of other images or settings gets a name of its own first.

        Args:
            kind: the TypedDict that the record is.
            others: files beside it that go with it.

        Raises:
            UserError: the record is damaged.
        """
        record, settings = read_record(path, kind, FINISHED_WORK), files.as_json(settings)
        if record is not None:
            if record["settings"] == settings and is_of_these_images(self.source, self.probe, record):
                return record
            digest = files.sha256(path)[:16]
            for each in (path, *others):
                if each.exists():
                    shutil.move(each, self.directory.earlier(each, digest))
        images = images_of_features(self.source, self.probe)
        return {"data": self.probe.name, "settings": settings, "images": files.as_json(images), "cats": {}}


def images_to_fit(source: Source, probe: ProbeFile) -> int:
    """Training images that are not held out; looks at the data before long work.

    Raises:
        UserError: the data make no sense.
    """
    if isinstance(source, ExternalFeatures):
        return len(source.split()[0])
    images = images_of(probe)
    images.beton("test")
    return len(images.split()[0])


@contextmanager
def opened(source: Source, probe: ProbeFile) -> Iterator[StoredFeatures]:
    """The features, computed where they are missing; no other process works on this data set meanwhile.

    Raises:
        UserError: a member is not trained yet, arrays make no sense, or another process works on this data set.
    """
    directory = source.directory.probe(probe.name)
    try:
        with progress.probing(directory):
            of = _of_extractors if isinstance(source, ExternalFeatures) else _of_study
            yield of(source, probe, directory)  # pyright: ignore[reportArgumentType] (each of its own kind)
    except torch.OutOfMemoryError:
        raise memory_full(probe.path, probe.probe, torch.device(devices(probe)[0])) from None


def _of_study(study: Study, probe: ProbeFile, directory: ProbeDirectory) -> StoredFeatures:
    on = devices(probe)
    store = FeatureStore(study, probe, on)
    seeded = [cat for cat in study.seeded_cats(probe.name) if cat.cat.head == "linear"]
    store.extract(list({snapshot.name: snapshot for cat in seeded for snapshot in cat.snapshots}.values()))
    keys = feature_keys(store, seeded)
    cats = [
        StoredCat(
            cat.cat.name,
            str(cat.repetition),
            projected(cat),
            keys[cat.name],
            [*(store.weights(each) for each in cat.snapshots), *projection_of(cat)],
        )
        for cat in seeded
    ]
    passes = Passes(store, keys, torch.device(on[0]), directory, study.checkpoint_minutes)
    return StoredFeatures(study, probe, passes, directory, cats)


def _of_extractors(features: ExternalFeatures, probe: ProbeFile, directory: ProbeDirectory) -> StoredFeatures:
    cats = [
        StoredCat(cat.extractor, "0", cat, feature_key(features, cat), [str(h) for h in features.hashes(cat.extractor)])
        for cat in features.cats
    ]
    for block in {block.name: block for cat in features.cats for block in cat.snapshots}.values():
        block.check()
    keys = {cat.of.name: cat.key for cat in cats}
    device = torch.device(devices(probe)[0])
    passes = Passes(ArrayStore(features), keys, device, directory, StudyConfig.checkpoint_minutes)
    return StoredFeatures(features, probe, passes, directory, cats)


def unfinished(record: dict[str, Any], cats: Sequence[StoredCat]) -> list[StoredCat]:
    """The cats that the record has no entry of with these features; such an entry is removed."""
    left = []
    for cat in cats:
        if record["cats"].get(cat.cat, {}).get(cat.repetition, {}).get("key") != cat.key:
            record["cats"].get(cat.cat, {}).pop(cat.repetition, None)
            left.append(cat)
    return left
