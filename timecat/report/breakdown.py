"""`timecat report --by class|component|group`: who gains and who is left behind, from predictions on disk."""

from typing import Literal, TypedDict

import numpy as np

from timecat.config.files import ProbeFile
from timecat.data.beton import class_names
from timecat.data.mixture import group_numbers
from timecat.errors import UserError
from timecat.extraction.external import ExternalFeatures
from timecat.heads.scores import DRAWS
from timecat.report.collect import read_predictions, results_by_cat
from timecat.report.estimate import intervals, shown, unit_of
from timecat.report.external import results_by_extractor
from timecat.study.directory import Protocol
from timecat.study.reported import Unit
from timecat.study.results import CatResult, read_results
from timecat.study.study import Study

By = Literal["class", "component", "group"]


class Worst(TypedDict):
    """The worst subgroup, and the central 95 % of the worst one's top-1 over bootstrap samples within each subgroup."""

    name: str
    acc1: float
    interval: tuple[float, float]


class CatBreakdown(TypedDict):
    """A cat's top-1 in percent, mean of the repetitions: on all test images, and by subgroup.

    Keys:
        interval: 95 %, over the data set's unit.
    """

    acc1: float
    interval: tuple[float, float]
    mean: float
    worst: Worst
    by: list[float]
    repetitions: int


class Breakdown(TypedDict):
    """One data set, broken down.

    Keys:
        repetitions, unit: as DataSummary has them.
        names, images: of the subgroups that have test images, and how many these are.
    """

    data: str
    test_images: int
    repetitions: int
    unit: Unit
    names: list[str]
    images: list[int]
    cats: dict[str, CatBreakdown]


def breakdowns(study: Study | ExternalFeatures, protocol: Protocol, by: By) -> list[Breakdown]:
    """Each data set that can be broken down so.

    Raises:
        UserError: none can.
    """
    if by == "component" and not (isinstance(study, Study) and study.data.mixture):
        raise UserError("--by component: no member trains on a mixture; add data.mixture, or take --by class")
    if isinstance(study, ExternalFeatures):
        found = [_breakdown(study, study.probe, protocol, by, results_by_extractor(study, protocol)[1])]
    else:
        results = [(probe, read_results(study, probe, protocol)) for probe in study.probes]
        by_cats = [(probe, results_by_cat(study, each)) for probe, each in results if each is not None]
        found = [_breakdown(study, probe, protocol, by, by_cat) for probe, by_cat in by_cats if by_cat]
    there = [each for each in found if each is not None]
    if not there:
        why = {
            "class": "no probe has a result of these cats yet; run `timecat probe` first",
            "group": "no test images with groups are probed; write them with `timecat write --groups`, then probe",
            "component": "no probed data set is of a component: none has its name, or groups that it has",
        }
        raise UserError(f"{study.directory}: {why[by]}")
    return there


def _breakdown(
    study: Study | ExternalFeatures,
    probe: ProbeFile,
    protocol: Protocol,
    by: By,
    by_cat: dict[str, dict[str, CatResult]],
) -> Breakdown | None:
    arrays = read_predictions(study, probe, protocol, by_cat)
    subgroup, names = _subgroups(study, probe, arrays, by)
    there = [number for number in range(len(names)) if (subgroup == number).any()]
    if not there:
        return None
    cats: dict[str, CatBreakdown] = {}
    repetitions = min(map(len, by_cat.values()))
    unit = unit_of(repetitions)
    for cat, of_cat in by_cat.items():
        by_repetition = np.stack([arrays[name] == arrays["labels"] for name in of_cat]).astype(float)
        right = by_repetition.mean(0)
        parts = [right[subgroup == number] for number in there]
        rates = [100 * float(part.mean()) for part in parts]
        worst = int(np.argmin(rates))
        cats[cat] = {
            "acc1": 100 * float(right.mean()),
            "interval": shown(intervals(by_repetition), unit),
            "mean": float(np.mean(rates)),
            "worst": {"name": names[there[worst]], "acc1": rates[worst], "interval": worst_interval(parts)},
            "by": rates,
            "repetitions": len(of_cat),
        }
    counts = [int((subgroup == number).sum()) for number in there]
    return {
        "data": probe.name,
        "test_images": len(subgroup),
        "repetitions": repetitions,
        "unit": unit,
        "names": [names[number] for number in there],
        "images": counts,
        "cats": cats,
    }


def _subgroups(
    study: Study | ExternalFeatures, probe: ProbeFile, arrays: dict[str, np.ndarray], by: By
) -> tuple[np.ndarray, list[str]]:
    """Of each test image the number of its subgroup, -1 for none; and the subgroups' names."""
    labels = arrays["labels"]
    if by == "class":
        names = class_names(probe.data.files["test"]) if isinstance(study, Study) else []
        return labels, names if len(names) > labels.max() else [str(k) for k in range(int(labels.max()) + 1)]
    groups, group_names = arrays.get("groups"), [str(name) for name in arrays.get("group_names", ())]
    if by == "group" or isinstance(study, ExternalFeatures):
        if groups is None:
            return np.full(len(labels), -1), []
        return groups, group_names or [str(number) for number in range(int(groups.max()) + 1)]
    components = study.data.components
    if probe.name in components:
        return np.full(len(labels), list(components).index(probe.name)), list(components)
    component = np.full(len(labels), -1)
    for number, config in enumerate(components.values()):
        if groups is not None and config.groups is not None:
            mine = [each for each in group_numbers(config.groups, group_names) if each is not None]
            component[np.isin(groups, mine)] = number
    return component, list(components)


def worst_interval(parts: list[np.ndarray]) -> tuple[float, float]:
    """The central 95 % of the smallest of the parts' means, in percent, over bootstrap samples within each part.

    Whichever part is the worst one counts in each sample, so that the interval covers which one it is.

    Args:
        parts: of each subgroup how often its images are right, float (n_g,).
    """
    rng, least = np.random.default_rng(0), np.full(DRAWS, np.inf)
    for part in parts:
        different, counts = np.unique(part, return_counts=True)
        drawn = rng.multinomial(len(part), counts / len(part), size=DRAWS)
        least = np.minimum(least, drawn @ different / len(part))
    low, high = np.quantile(100 * least, (0.025, 0.975))
    return float(low), float(high)
