"""tuned/<name>/<repetition>/results.json: what a cat that was trained further is worth, and what it cost."""

from typing import Any, NotRequired, TypedDict, cast

from timecat.config.tune import Method
from timecat.study.directory import TunedDirectory, read_record
from timecat.study.plan import SeededCat
from timecat.study.results import FINISHED_WORK, ChosenResult
from timecat.study.study import Study


class TunedRun(TypedDict):
    """One training.

    Keys:
        name: of its directory.
        images: that it was trained on, once for each network that saw them.
        held_out_acc1: top-1 in percent on the held-out images at its end; None where none were.
        chosen: whether its weights are used.
        diverged: it has no weights.
    """

    name: str
    lr: float
    weight_decay: float
    images: int
    held_out_acc1: float | None
    chosen: bool
    diverged: NotRequired[bool]


class Tuned(TypedDict):
    """results.json of one repetition.

    Keys:
        settings: all that the weights are a function of, flat, beside `weights`.
        weights: SHA-256 of the cat's snapshots, in its order.
        images: that the weights that are used were trained on, once for each network that saw them.
        images_in_all: the same over all runs, those of the grid too.
        teacher_images: forward passes of the cat that distillation took.
        members: networks that an image goes through at inference.
        parameters: of these networks, without heads.
        runs: every training.
        files: SHA-256 of the weights that are used, by their path below the repetition's directory.
        data: what it is worth, by data set.
    """

    name: str
    method: Method
    cat: str
    repetition: int
    settings: dict[str, Any]
    weights: list[str]
    images: int
    images_in_all: int
    teacher_images: int
    members: int
    parameters: int
    features: int
    runs: list[TunedRun]
    files: dict[str, str]
    data: dict[str, ChosenResult]


class Difference(TypedDict):
    """Top-1 less another one's, in points, over the repetitions that both have, on the same test images.

    Keys:
        interval: 95 %, by bootstrap over the test images, or Student's t over the repetitions where there are enough.
    """

    mean: float
    interval: tuple[float, float]


class TunedAccuracy(TypedDict):
    """What it is worth on one data set, in percent, as `Accuracy` has it; None where the other has no result."""

    mean: float
    sd: float | None
    values: list[float]
    interval: tuple[float, float]
    to_baseline: Difference | None
    to_cat: Difference | None


class TunedSummary(TypedDict):
    """A tuned cat in the report; the counts are those of one repetition, as `Tuned` has them.

    Keys:
        images_of_cat: that its cat was pretrained on.
        repetitions: that are finished.
    """

    method: Method
    cat: str
    repetitions: list[int]
    images_of_cat: int
    images: int
    images_in_all: int
    teacher_images: int
    members: int
    parameters: int
    features: int
    acc1: dict[str, TunedAccuracy]


def read_tuned(directory: TunedDirectory) -> Tuned | None:
    """What a repetition is worth; None where it is not finished."""
    return cast(Tuned | None, read_record(directory.results, Tuned, FINISHED_WORK))


def is_of(study: Study, tuned: Tuned, cat: SeededCat | None) -> bool:
    """Whether it was made from the cat's members as they are on disk."""
    return cat is not None and tuned["weights"] == [study.digest(snapshot) for snapshot in cat.snapshots]
