"""The further test sets of a probe: their images, and what their labels mean to the probe's heads."""

from dataclasses import dataclass

import numpy as np

from timecat.config.data import extra_split
from timecat.config.files import ProbeFile
from timecat.data.beton import class_names
from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.extraction.parts import Part


@dataclass(frozen=True)
class ExtraTest:
    """One of data.tests.

    Attributes:
        part: its images.
        labels: of them, int64 (n,), as the probe numbers its classes; 0 where it is ood.
        among: the classes that predictions are among, int64 (k,) ascending; None for all.
        ood: its classes are none of the probe's.
    """

    name: str
    part: Part
    labels: np.ndarray
    among: np.ndarray | None
    ood: bool


def extra_tests(probe: ProbeFile, data: ImageData) -> list[ExtraTest]:
    """All of a probe's, in the order of its config.

    Raises:
        UserError: a file is missing or damaged, or its classes are not those of the training file.
    """
    found = []
    for name, config in probe.data.extra_tests.items():
        split = extra_split(name)
        part = Part(split, split, 0, np.arange(len(data.beton(split)), dtype=np.int64))
        if config.ood:
            found.append(ExtraTest(name, part, np.zeros(len(part.indices), np.int64), None, True))
            continue
        labels, among = _labels(probe, data, name)
        found.append(ExtraTest(name, part, labels, among, False))
    return found


def _labels(probe: ProbeFile, data: ImageData, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels int64 (n,) as the probe numbers classes, and which of these have an image, where they go by name."""
    where, classes, beton = f"data.tests.{name}", probe.model.num_classes, data.beton(extra_split(name))
    how, train = probe.data.extra_tests[name].classes, data.files["train"]
    ours, theirs = class_names(train)[:classes], class_names(beton.path)
    if how == "by_name" and not (ours and theirs):
        nameless = beton.path if ours else train
        raise UserError(
            f"{where}.classes by_name: no classes in {nameless.with_suffix('.json')}; write the file again with "
            "`timecat write`, or choose by_number"
        )
    if how == "by_number" or not (ours and theirs):
        if beton.num_classes > classes:
            raise UserError(
                f"{beton.path}: label {beton.num_classes - 1} is out of range of the probe's {classes} classes; give "
                f"{where}.classes by_name, or ood where it has other classes"
            )
        return beton.labels, None
    numbers = {each: number for number, each in enumerate(ours)}
    there = np.unique(beton.labels)
    if there[-1] >= len(theirs):
        raise UserError(
            f"{beton.path}: label {there[-1]} has no name in the JSON beside it; choose {where}.classes by_number"
        )
    unknown = [theirs[label] for label in there if theirs[label] not in numbers]
    if unknown:
        more = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        raise UserError(
            f"{beton.path}: {train} has no class {', '.join(unknown[:3])}{more}; mend the names in the JSON beside "
            f"it, or choose {where}.classes by_number, or {where}.ood true"
        )
    mapped = np.array([numbers[theirs[label]] if label in there else -1 for label in range(there[-1] + 1)], np.int64)
    labels = mapped[beton.labels]
    return labels, np.unique(labels)
