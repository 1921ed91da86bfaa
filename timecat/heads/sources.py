"""What other classifiers than the probe's are tried on: a study's cats, or extractors that are not ours.

And which of a record of them is of the features as they are. A record is a JSON file with `images`, what the features
are a function of beside the weights, and `cats`: by cat and repetition an entry with `weights`.
"""

from pathlib import Path
from typing import Any

from timecat.config.files import ProbeFile
from timecat.extraction.external import ExternalFeatures
from timecat.study.directory import read_record
from timecat.study.results import FINISHED_WORK, are_the_same, image_settings, projection_of
from timecat.study.study import Study

Source = Study | ExternalFeatures


def probes_of(source: Source, data: str | None) -> list[ProbeFile]:
    """The data set of this name; all without one.

    Raises:
        UserError: there is none.
    """
    return [source.probe] if isinstance(source, ExternalFeatures) else source.probes_named(data)


def weights_of(source: Source, data: str) -> dict[str, dict[str, list[str | None]]]:
    """By cat and repetition SHA-256 of the files that its features are made of, None of one that is gone; and how they
    are projected, where they are."""
    if isinstance(source, ExternalFeatures):
        return {name: {"0": source.hashes(name)} for name in source.extractors}
    found: dict[str, dict[str, list[str | None]]] = {}
    for cat in source.seeded_cats(data):
        if cat.cat.head == "linear":
            now = [*(source.digest(snapshot) for snapshot in cat.snapshots), *projection_of(cat)]
            found.setdefault(cat.cat.name, {})[str(cat.repetition)] = now
    return found


def images_of_features(source: Source, probe: ProbeFile) -> dict[str, Any]:
    """What features are a function of beside weights: data keys, or of extractors' the hashes of the labels."""
    return source.label_hashes() if isinstance(source, ExternalFeatures) else image_settings(probe)


def is_of_these_images(source: Source, probe: ProbeFile, record: dict[str, Any]) -> bool:
    """Whether a record is of the images that the config names; files that are gone are taken as they were."""
    now = {key: value for key, value in images_of_features(source, probe).items() if value is not None}
    return {**record["images"], **now} == {**now, **record["images"]}


def read_current(source: Source, probe: ProbeFile, path: Path, kind: Any) -> dict[str, Any] | None:
    """A record with the entries of the cats as they are planned and on disk; None where it has none.

    Raises:
        UserError: it is damaged, or of a version that this timecat does not know.
    """
    record = read_record(path, kind, FINISHED_WORK)
    if record is None or not is_of_these_images(source, probe, record):
        return None
    cats: dict[str, dict[str, Any]] = {}
    for name, repetitions in weights_of(source, probe.name).items():
        for repetition, now in repetitions.items():
            entry = record["cats"].get(name, {}).get(repetition)
            if entry is not None and are_the_same(entry["weights"], now):
                cats.setdefault(name, {})[repetition] = entry
    return {**record, "cats": cats} if cats else None
