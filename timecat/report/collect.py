"""The report's content, from the results on disk alone."""

import statistics

import numpy as np

from timecat.config.files import ProbeFile
from timecat.data import checksums
from timecat.errors import UserError
from timecat.extraction.external import ExternalFeatures
from timecat.heads.kept_logits import CHECKED, read_logits
from timecat.heads.predictions import HEADS_AGAIN
from timecat.report.calibration import summarise
from timecat.report.estimate import holm, intervals, p_values, shown, unit_of
from timecat.report.extra_tests import add_extra_tests
from timecat.report.few_shot import summarise_few_shot
from timecat.report.knn import summarise_knn
from timecat.study.arrays import check_predictions, is_as_often_right, read_npz
from timecat.study.cat_costs import costs_of_cats
from timecat.study.directory import Protocol
from timecat.study.reported import Accuracy, DataSummary, Gap, Gaps, Report, Unit
from timecat.study.results import CatResult, Results, read_results, result_of
from timecat.study.saturation import read_saturation
from timecat.study.study import Study


def collect(study: Study, protocol: Protocol = "heldout") -> Report:
    """For each cat its budget and costs, and for each data set what its heads are worth, in percent.

    Top-1 is the mean over the repetitions, with their standard deviation and 95 % intervals; so is the difference to
    the baseline, on the same images, with its p-values.

    Raises:
        UserError: no probe has a result of these cats yet, or results whose predictions are not there.
    """
    costs = costs_of_cats(study)
    report: Report = {
        "study": study.name,
        "baseline": study.baseline,
        "protocol": protocol,
        "data": [],
        "cats": {
            cat.name: {
                "members": cat.members,
                "steps": cat.steps,
                "budget": cat.budget,
                "images": cat.images,
                "model": cat.model,
                "head": cat.head,
                "differs": bool(cat.difference) or cat.head != "linear",
                "direct": cat.direct,
                "features": None,
                "costs": costs[cat.name],
                "acc1": {},
            }
            for cat in study.cats.values()
        },
    }
    for probe in study.probes:
        results = read_results(study, probe, protocol)
        if results is None:
            continue
        by_cat = results_by_cat(study, results)
        if by_cat:
            checksums.warn_of(probe.data.files.values())
            report["data"].append(data_summary(probe, results, by_cat))
            add(report, study, probe, by_cat, protocol)
            add_extra_tests(report, study, probe, by_cat, protocol)
            add_labels_wanted(report, study, probe)
            if (saturation := read_saturation(study, probe)) is not None:
                report.setdefault("saturation", {})[probe.name] = saturation
    if not report["data"]:
        raise UserError(f"{study.directory}: no probe has a result of these cats yet; run `timecat probe` first")
    return report


def results_by_cat(study: Study, results: Results) -> dict[str, dict[str, CatResult]]:
    """Of each cat that has any, its results by SeededCat's name."""
    by_cat: dict[str, dict[str, CatResult]] = {}
    for seeded in study.seeded_cats(results["data"]):
        result = result_of(study, results, seeded)
        if result is not None:
            by_cat.setdefault(seeded.cat.name, {})[seeded.name] = result
    return by_cat


def data_summary(probe: ProbeFile, results: Results, by_cat: dict[str, dict[str, CatResult]]) -> DataSummary:
    """What the report says of a data set.

    Args:
        by_cat: of each cat that has any, its results by SeededCat's name.
    """
    first = next(result for of_cat in by_cat.values() for result in of_cat.values())
    repetitions = min(map(len, by_cat.values()))
    return {
        "name": probe.name,
        "test_images": results["test_images"],
        "classes": results["classes"],
        "classes_without_test_image": sum(rate is None for rate in first["per_class"]),
        "repetitions": repetitions,
        "unit": unit_of(repetitions),
    }


def add(
    report: Report,
    study: Study | ExternalFeatures,
    probe: ProbeFile,
    by_cat: dict[str, dict[str, CatResult]],
    protocol: Protocol,
) -> None:
    """Put into the report what each cat is worth on one data set.

    Raises:
        UserError: predictions.npz is not that of the results.
    """
    arrays = read_predictions(study, probe, protocol, by_cat)
    right = {cat: _by_repetition(cat, of_cat, arrays) for cat, of_cat in by_cat.items()}
    unit: Unit = next(data["unit"] for data in report["data"] if data["name"] == probe.name)
    baseline = right.get(study.baseline)
    found: dict[str, Accuracy] = {}
    for cat, of_cat in by_cat.items():
        row = report["cats"][cat]
        row["features"] = next(iter(of_cat.values()))["features"]
        difference = None if baseline is None else _paired(right[cat], baseline)
        found[cat] = row["acc1"][probe.name] = _accuracy(list(of_cat.values()), right[cat], difference, unit)
    others = {cat: value["p_values"] for cat, value in found.items() if cat != study.baseline}
    raw = {cat: p for cat, of_cat in others.items() if of_cat is not None and (p := of_cat[unit]) is not None}
    for cat, p in holm(raw).items():
        found[cat]["p_corrected"] = p
    scored = {cat: [r["calibration"] for r in of_cat.values() if "calibration" in r] for cat, of_cat in by_cat.items()}
    if calibrated := summarise(scored):
        report.setdefault("calibration", {})[probe.name] = calibrated
    gaps = _gaps(study, probe.name, right, unit) if isinstance(study, Study) else None
    if gaps is not None:
        report.setdefault("gaps", {})[probe.name] = gaps


def add_labels_wanted(report: Report, study: Study | ExternalFeatures, probe: ProbeFile) -> None:
    """Put into the report what nearest neighbours and heads on few images gave, where they were asked."""
    if report["protocol"] != "heldout":
        return
    if (neighbours := summarise_knn(study, probe)) is not None:
        report.setdefault("knn", {})[probe.name] = neighbours
    if (few := summarise_few_shot(study, probe)) is not None:
        report.setdefault("few_shot", {})[probe.name] = few


def _by_repetition(cat: str, of_cat: dict[str, CatResult], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of each repetition whether a test image is right, float (n,)."""
    return {name.removeprefix(f"{cat}_"): (arrays[name] == arrays["labels"]).astype(float) for name in of_cat}


def _paired(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> np.ndarray | None:
    """Differences (repetitions, n) of the repetitions that both have."""
    both = [ours[repetition] - theirs[repetition] for repetition in ours if repetition in theirs]
    return np.stack(both) if both else None


def _gaps(study: Study, data: str, right: dict[str, dict[str, np.ndarray]], unit: Unit) -> Gaps | None:
    """What the cats' frozen features lack on a component, where it was trained on directly."""
    direct = {cat.of_share: cat.name for cat in study.cats.values() if cat.direct == data and cat.name in right}
    if False not in direct:
        return None

    def gaps(other: str) -> dict[str, Gap]:
        cats = [cat.name for cat in study.cats.values() if cat.direct is None and cat.name in right]
        pairs = {cat: _paired(right[other], right[cat]) for cat in cats}
        return {cat: _gap(difference, unit) for cat, difference in pairs.items() if difference is not None}

    def top1(cat: str) -> float:
        return 100 * float(np.mean(list(right[cat].values())))

    share = direct.get(True)
    return {
        "share": study.data.shares[data],
        "direct": top1(direct[False]),
        "of_share": top1(share) if share else None,
        "to_direct": gaps(direct[False]),
        "to_share": gaps(share) if share else {},
    }


def _gap(difference: np.ndarray, unit: Unit) -> Gap:
    values = (100 * difference.mean(1)).tolist()
    sd, found = statistics.stdev(values) if len(values) > 1 else None, intervals(difference)
    mean = 100 * float(difference.mean())
    return {"mean": mean, "sd": sd, "values": values, "interval": shown(found, unit), "intervals": found}


def read_predictions(
    study: Study | ExternalFeatures, probe: ProbeFile, protocol: Protocol, by_cat: dict[str, dict[str, CatResult]]
) -> dict[str, np.ndarray]:
    """A data set's predictions.npz: labels int64 (n,), what each cat and repetition predicts int32 (n,), and groups.

    Raises:
        UserError: it does not hold the predictions that these results are of, or logits are not of these predictions.
    """
    path = study.directory.probe(probe.name).predictions(protocol)
    wrong = UserError(f"{path}: does not hold the predictions that the results beside it are of; run `timecat probe`")
    if (arrays := read_npz(path, HEADS_AGAIN)) is None:
        raise wrong
    check_predictions(path, arrays, [name for of_cat in by_cat.values() for name in of_cat], HEADS_AGAIN)
    for of_cat in by_cat.values():
        for name, result in of_cat.items():
            if not is_as_often_right(arrays, name, result["acc1"]):
                raise wrong
            if (logits := study.directory.probe(probe.name).logits(name, protocol)).exists():
                read_logits(logits, arrays[name], rows=CHECKED)
    return arrays


def _accuracy(
    results: list[CatResult], right: dict[str, np.ndarray], difference: np.ndarray | None, unit: Unit
) -> Accuracy:
    values = [result["acc1"] for result in results]
    classes = np.array([[np.nan if rate is None else rate for rate in result["per_class"]] for result in results])
    rates = classes.mean(0)
    worst = int(np.nanargmin(rates))
    found = intervals(np.stack(list(right.values())))
    of_difference = None if difference is None else intervals(difference)
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": shown(found, unit),
        "intervals": found,
        "acc5": statistics.fmean(result["acc5"] for result in results),
        "mean_per_class": statistics.fmean(result["mean_per_class"] for result in results),
        "worst_class": {"class": worst, "acc1": float(rates[worst])},
        "weight_decays": [result["weight_decay"] for result in results],
        "lrs": [result["lr"] for result in results],
        "epochs": [result["epochs"] for result in results],
        "difference": None if difference is None else 100 * float(difference.mean()),
        "difference_interval": None if of_difference is None else shown(of_difference, unit),
        "difference_intervals": of_difference,
        "p_values": None if difference is None else p_values(difference),
        "p_corrected": None,
    }
