"""report.json: the types of what the report says."""

from typing import Any, Literal, NotRequired, TypedDict

from timecat.config.study import HeadKind
from timecat.study.cat_costs import Costs
from timecat.study.directory import Protocol
from timecat.study.few_shot import FewShotSummary
from timecat.study.knn import KnnSummary
from timecat.study.saturation import Saturation
from timecat.study.scores import CalibrationSummary, ExtraTestSummary, WorstClass
from timecat.study.tuned import TunedSummary

Unit = Literal["images", "seeds"]


class Intervals(TypedDict):
    """95 % by bootstrap over the test images, and by Student's t over the repetitions; None of one repetition."""

    images: tuple[float, float]
    seeds: tuple[float, float] | None


class PValues(TypedDict):
    """Of a difference, two-sided: by flips of the signs of the test images' differences, and by Student's paired t over
    the repetitions; None of one repetition."""

    images: float
    seeds: float | None


class DataSummary(TypedDict):
    """A probe's data set in the report.

    Keys:
        repetitions: that all cats have on it.
        unit: what the intervals and p-values that are shown are over.
    """

    name: str
    test_images: int
    classes: int
    classes_without_test_image: int
    repetitions: int
    unit: Unit


class Accuracy(TypedDict):
    """What a cat's heads are worth on one data set, in percent.

    Keys:
        mean, sd, values: of the repetitions' top-1.
        interval, difference_interval: 95 %, over the data set's unit: what is shown.
        intervals, difference_intervals: over each unit.
        difference: to the baseline, on the same images, repetition by repetition.
        p_values: of the difference being 0, over each unit.
        p_corrected: the p-value over the data set's unit by Holm's correction over the data set's cats.
        weight_decays, lrs, epochs: what was chosen, by repetition.
    """

    mean: float
    sd: float | None
    values: list[float]
    interval: tuple[float, float]
    intervals: Intervals
    acc5: float
    mean_per_class: float
    worst_class: WorstClass
    weight_decays: list[float]
    lrs: list[float | None]
    epochs: list[int | None]
    difference: float | None
    difference_interval: tuple[float, float] | None
    difference_intervals: Intervals | None
    p_values: PValues | None
    p_corrected: float | None


class CatSummary(TypedDict):
    """A cat in the report: its budget, and its accuracy by data set.

    Keys:
        budget: members and steps in words.
        model: what its members' network has otherwise.
        head: linear, or the members' own.
        differs: whether its members differ from the config's in anything.
        direct: the component that it is trained on alone, by study.direct.
        costs: None where nothing of them is known.
    """

    members: int
    steps: int
    budget: str
    images: int
    model: dict[str, Any]
    head: HeadKind
    differs: bool
    direct: str | None
    features: int | None
    costs: Costs | None
    acc1: dict[str, Accuracy]


class Gap(TypedDict):
    """Top-1 of direct training less that of a probe on frozen features, in points, on the same test images.

    Keys:
        mean, sd, values: of the repetitions.
        interval: 95 %, over the data set's unit: what is shown.
        intervals: over each unit.
    """

    mean: float
    sd: float | None
    values: list[float]
    interval: tuple[float, float]
    intervals: Intervals


class Gaps(TypedDict):
    """What transfer from the mixture lacks on one component.

    Keys:
        share: of the mixture.
        direct, of_share: top-1 of direct training, with the baseline's images and with the component's share of them.
        to_direct, to_share: by cat.
    """

    share: float
    direct: float
    of_share: float | None
    to_direct: dict[str, Gap]
    to_share: dict[str, Gap]


class Report(TypedDict):
    """report.json.

    Keys:
        calibration: by test set, such as cifar10 or cifar10/v2, by cat.
        tests: by data set, of data.tests by name.
    """

    study: str
    baseline: str
    protocol: Protocol
    data: list[DataSummary]
    cats: dict[str, CatSummary]
    gaps: NotRequired[dict[str, Gaps]]
    saturation: NotRequired[dict[str, Saturation]]
    calibration: NotRequired[dict[str, dict[str, CalibrationSummary]]]
    tests: NotRequired[dict[str, dict[str, ExtraTestSummary]]]
    knn: NotRequired[dict[str, KnnSummary]]
    few_shot: NotRequired[dict[str, FewShotSummary]]
    tuned: NotRequired[dict[str, TunedSummary]]
