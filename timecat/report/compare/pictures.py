"""The Images tab: what the networks are shown, the report, and where each cat's heads are wrong."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from timecat.config.files import ProbeFile
from timecat.data.beton import class_names
from timecat.data.seen import seen_in_evaluation, seen_in_training
from timecat.report.collect import read_predictions
from timecat.report.compare.confusion import classes_picture, confusion, confusion_picture
from timecat.report.compare.grid import grid
from timecat.report.compare.tags import STUDY, WRONG
from timecat.study.directory import Protocol
from timecat.study.results import CatResult
from timecat.study.study import Study
from timecat.tensorboard_events import image

IMAGES = 30  # of a grid


def images_seen(study: Study) -> Iterable[Any]:
    """For TensorBoard: a grid of the first images of a training, and one of what each probe is tested on.

    Of members of several kinds the first one's; of files that are not there yet nothing.
    """
    plan = next(iter(study.members), None)
    if plan is not None and all(path.exists() for path in plan.data.training_files):
        seen = seen_in_training(plan.data, plan.seed, plan.steps, IMAGES)
        yield image(f"{STUDY}/seen in training", grid(seen))
    for probe in study.probes:
        path = probe.data.files["test"]
        if path.exists():
            yield image(f"{STUDY}/seen in evaluation: {probe.name}", grid(seen_in_evaluation(probe.data, path, IMAGES)))


def pictures_of_heads(
    study: Study, probe: ProbeFile, protocol: Protocol, by_cat: dict[str, dict[str, CatResult]]
) -> tuple[Any, dict[str, Any]]:
    """For TensorBoard: top-1 of each class by all cats, and of each cat by name what is taken for what.

    Args:
        by_cat: of each cat that has any, its results by SeededCat's name.

    Raises:
        UserError: as `read_predictions`.
    """
    arrays, classes = read_predictions(study, probe, protocol, by_cat), probe.model.num_classes
    labels, known = arrays["labels"], class_names(probe.data.files["test"])
    names = [known[k] if k < len(known) else str(k) for k in range(classes)]
    there = np.flatnonzero(np.bincount(labels, minlength=classes))
    found, rates = {}, {}
    for cat, results in by_cat.items():
        matrix = confusion(labels, [arrays[name] for name in results], classes)
        rates[cat] = matrix.diagonal()[there]
        found[cat] = image(f"{WRONG}/{probe.name}", confusion_picture(f"{cat} on {probe.name}", matrix, names))
    by_class = classes_picture(f"{probe.name}: {len(labels):,} test images", rates, [names[k] for k in there])
    return image(f"{WRONG}/{probe.name}, by class", by_class), found
