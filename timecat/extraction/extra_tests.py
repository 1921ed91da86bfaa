"""The further test sets of a probe: their images, and what their labels mean to the probe's heads."""

from dataclasses import dataclass

import numpy as np

from timecat.config.data import extra_split
from timecat.config.files import ProbeFile
from timecat.data.class_map import labels_of_test
from timecat.data.datamodule import ImageData
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
        labels, among = labels_of_test(data.index, probe.model.num_classes, name)
        found.append(ExtraTest(name, part, labels, among, False))
    return found
