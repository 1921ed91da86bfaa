"""knn.json: nearest neighbours on each cat's features, as `timecat knn` leaves it; and what the report shows of it."""

from typing import Any, TypedDict


class KnnSetting(TypedDict):
    """k and temperature, None where all votes weigh alike, and top-1 in percent on the held-out images."""

    k: int
    temperature: float | None
    acc1: float


class KnnOfCat(TypedDict):
    """One cat in one repetition.

    Keys:
        key: a hash of what the features are a function of.
        weights: SHA-256 of the files that they are made of.
        features: their number.
        k, temperature: what was chosen; chosen_by_acc1 its top-1 in percent on the held-out images.
        acc1: on the test images.
        settings: all that it was chosen from.
    """

    key: str
    weights: list[str]
    features: int
    k: int
    temperature: float | None
    chosen_by_acc1: float
    acc1: float
    settings: list[KnnSetting]


class Knn(TypedDict):
    """knn.json of one data set.

    Keys:
        train_images: that vote on the test images.
        settings: all that results are a function of beside the features.
        images: what the features are a function of beside weights.
        cats: by cat and repetition. knn.npz beside it has the test images' `labels` and what each <cat>_<repetition>
            predicts.
    """

    data: str
    train_images: int
    held_images: int
    test_images: int
    settings: dict[str, Any]
    images: dict[str, Any]
    cats: dict[str, dict[str, KnnOfCat]]


class KnnRow(TypedDict):
    """A cat in the report, top-1 in percent, mean of the repetitions.

    Keys:
        values: by repetition, as are ks and temperatures, what was chosen.
        interval, difference_interval: 95 %, by bootstrap over the test images, or by Student's t over repetitions where
            there are enough.
        difference: to the baseline, on the same images, repetition by repetition.
    """

    features: int
    acc1: float
    values: list[float]
    interval: tuple[float, float]
    difference: float | None
    difference_interval: tuple[float, float] | None
    ks: list[int]
    temperatures: list[float | None]


class KnnSummary(TypedDict):
    """One data set in the report.

    Keys:
        repetitions: that all cats have.
        tried: settings that one was chosen of.
    """

    data: str
    baseline: str
    train_images: int
    held_images: int
    test_images: int
    repetitions: int
    tried: int
    cats: dict[str, KnnRow]
