"""few_shot.json: heads on few images a class, as `timecat few-shot` leaves it; and what the report shows of it."""

from typing import Any, TypedDict

ALL = "all"  # instead of a number of images a class


class Cell(TypedDict):
    """One head: of a cat, a repetition, a number of images a class and a draw.

    Keys:
        weight_decay: chosen_by_acc1 is its top-1 in percent on the held-out images.
        acc1: on all test images.
    """

    weight_decay: float
    chosen_by_acc1: float
    acc1: float


class FewShotOfCat(TypedDict):
    """One cat in one repetition.

    Keys:
        key: a hash of what the features are a function of.
        weights: SHA-256 of the files that they are made of.
        features: their number.
        cells: by images a class, a number or `all`, and draw.
    """

    key: str
    weights: list[str]
    features: int
    cells: dict[str, dict[str, Cell]]


class Size(TypedDict):
    """What a number of images a class means on this data set.

    Keys:
        train_images, held_images: that the head is trained on, and that choose its weight decay.
        short_classes: classes that have fewer images; all of theirs are used.
    """

    train_images: int
    held_images: int
    short_classes: int


class FewShot(TypedDict):
    """few_shot.json of one data set.

    Keys:
        classes: that have training images.
        sizes: by images a class.
        settings: all that cells are a function of beside the features.
        images: what the features are a function of beside weights.
        cats: by cat and repetition.
    """

    data: str
    classes: int
    test_images: int
    sizes: dict[str, Size]
    settings: dict[str, Any]
    images: dict[str, Any]
    cats: dict[str, dict[str, FewShotOfCat]]


class Mean(TypedDict):
    """Of draws x repetitions, in percent or points; interval: 95 %, Student's t over these, None of a single one."""

    mean: float
    interval: tuple[float, float] | None


class Point(TypedDict):
    """A cat's heads on a number of images a class.

    Keys:
        gain: over the baseline's on the same images, draw by draw.
    """

    acc1: Mean
    gain: Mean | None


class SizeSummary(Size):
    """A number of images a class, and how many heads of each cat its means are over."""

    shots: str
    draws: int
    repetitions: int


class FewShotSummary(TypedDict):
    """One data set in the report.

    Keys:
        cats: by cat and images a class.
    """

    data: str
    baseline: str
    classes: int
    test_images: int
    weight_decays: list[float]
    sizes: list[SizeSummary]
    cats: dict[str, dict[str, Point]]
