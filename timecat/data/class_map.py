"""What the labels of a further test set mean to a probe: by their numbers, or by the classes' names."""

import numpy as np

from timecat.config.data import extra_split
from timecat.data.beton import class_names
from timecat.data.index import ImageIndex
from timecat.errors import UserError


def labels_of_test(index: ImageIndex, classes: int, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels int64 (n,) of one of data.tests, as the probe numbers its classes, and which of these have an image, int64
    (k,) ascending, where they go by name; None where they go by number.

    Args:
        classes: of the probe.

    Raises:
        UserError: a file is missing or damaged, or its classes are not those of the training file.
    """
    where, beton = f"data.tests.{name}", index.beton(extra_split(name))
    how, train = index.config.extra_tests[name].classes, index.files["train"]
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
