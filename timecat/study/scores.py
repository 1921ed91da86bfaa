"""What heads are worth on test sets, as results.json and report.json have it."""

from typing import Any, NotRequired, TypedDict

from timecat.config.data import DataConfig

# A class by its number, and its top-1 in percent.
WorstClass = TypedDict("WorstClass", {"class": int, "acc1": float})


class Scores(TypedDict):
    """Top-1, top-5 and their kin in percent; per_class has None for classes without a test image."""

    acc1: float
    acc5: float
    mean_per_class: float
    worst_class: WorstClass
    per_class: list[float | None]


class Calibration(TypedDict):
    """What the probabilities are worth; timecat/heads/calibration.py has each one's meaning."""

    nll: float
    ece: float
    brier: float
    selective: dict[str, float]
    aurc: float


class ExtraTestResult(TypedDict):
    """What a chosen head is worth on one of data.tests.

    Keys:
        settings: what of its config it is a function of.
        key: a hash of what its features and labels are a function of.
        images: their number.
        classes: how many a prediction is among.
        scores, calibration: not of a set that is ood.
        auroc: of telling data.test's images from those of a set that is ood, in percent, by score: `softmax`, the
            largest probability, and `logit`, the largest logit.
    """

    settings: dict[str, Any]
    key: str
    images: int
    classes: int
    scores: NotRequired[Scores]
    calibration: NotRequired[Calibration]
    auroc: NotRequired[dict[str, float]]


class Spread(TypedDict):
    """A score of the repetitions, and its mean and standard deviation."""

    mean: float
    sd: float | None
    values: list[float]


class CalibrationSummary(TypedDict):
    """A cat's `Calibration` over its repetitions."""

    nll: Spread
    ece: Spread
    brier: Spread
    selective: dict[str, Spread]
    aurc: Spread


class ExtraScore(Spread):
    """Top-1 or AUROC in percent of a cat on one of data.tests.

    Keys:
        interval, difference_interval: 95 %: of top-1 by bootstrap over the test images, of AUROC by DeLong et al. 1988.
        difference: to the baseline, on the same images.
    """

    interval: tuple[float, float]
    difference: float | None
    difference_interval: tuple[float, float] | None


class ExtraTestSummary(TypedDict):
    """One of data.tests in the report.

    Keys:
        ood: whether it is.
        cats: of each cat, by measure: acc1, or auroc_softmax and auroc_logit.
    """

    images: int
    classes: int
    ood: bool
    cats: dict[str, dict[str, ExtraScore]]


def extra_settings(data: DataConfig) -> dict[str, dict[str, Any]]:
    """What of each of data.tests its results are a function of."""
    return {
        name: {"test": test.test, "classes": test.classes, "ood": test.ood} for name, test in data.extra_tests.items()
    }
