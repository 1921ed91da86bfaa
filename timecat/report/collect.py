"""The report's content, from the results on disk alone."""

import statistics
from pathlib import Path

import numpy as np

from timecat.config.files import ProbeFile
from timecat.errors import UserError
from timecat.heads.scores import interval
from timecat.study.directory import Protocol
from timecat.study.results import Accuracy, CatResult, DataSummary, Report, Results, read_results, result_of
from timecat.study.study import Study


def collect(study: Study, protocol: Protocol = "heldout") -> Report:
    """For each cat its budget, and for each data set what its heads are worth, in percent.

    Top-1 is the mean over the repetitions, with their standard deviation and a 95 % interval by bootstrap over the test
    images; so is the difference to the baseline, on the same images.

    Raises:
        UserError: no probe has a result of these cats yet, or results whose predictions are not there.
    """
    report: Report = {
        "study": study.name,
        "baseline": study.baseline,
        "protocol": protocol,
        "data": [],
        "cats": {
            cat.name: {
                "members": cat.members,
                "steps": cat.steps,
                "images": cat.images,
                "model": cat.model,
                "features": None,
                "acc1": {},
            }
            for cat in study.cats.values()
        },
    }
    for probe in study.probes:
        results = read_results(study, probe, protocol)
        if results is None:
            continue
        by_cat = _results_by_cat(study, results)
        if by_cat:
            report["data"].append(_data_summary(probe, results, by_cat))
            _add(report, study, probe, by_cat, protocol)
    if not report["data"]:
        raise UserError(f"{study.directory}: no probe has a result of these cats yet; run `timecat probe` first")
    return report


def _results_by_cat(study: Study, results: Results) -> dict[str, dict[str, CatResult]]:
    """Of each cat that has any, its results by SeededCat's name."""
    by_cat: dict[str, dict[str, CatResult]] = {}
    for seeded in study.seeded_cats():
        result = result_of(study, results, seeded)
        if result is not None:
            by_cat.setdefault(seeded.cat.name, {})[seeded.name] = result
    return by_cat


def _data_summary(probe: ProbeFile, results: Results, by_cat: dict[str, dict[str, CatResult]]) -> DataSummary:
    first = next(result for of_cat in by_cat.values() for result in of_cat.values())
    return {
        "name": probe.name,
        "test_images": results["test_images"],
        "classes": results["classes"],
        "classes_without_test_image": sum(rate is None for rate in first["per_class"]),
    }


def _add(
    report: Report, study: Study, probe: ProbeFile, by_cat: dict[str, dict[str, CatResult]], protocol: Protocol
) -> None:
    results = {name: result for of_cat in by_cat.values() for name, result in of_cat.items()}
    right = _right(results, study.directory.probe(probe.name).predictions(protocol))
    images = {cat: np.mean([right[name] for name in of_cat], axis=0) for cat, of_cat in by_cat.items()}
    for cat, of_cat in by_cat.items():
        row = report["cats"][cat]
        row["features"] = next(iter(of_cat.values()))["features"]
        row["acc1"][probe.name] = _accuracy(list(of_cat.values()), images[cat], images.get(study.baseline))


def _right(results: dict[str, CatResult], path: Path) -> dict[str, np.ndarray]:
    """Which test images each cat and repetition gets right, float64 (n,)."""
    wrong = UserError(f"{path}: does not hold the predictions that the results beside it are of; run `timecat probe`")
    right = {}
    try:
        with np.load(path) as arrays:
            labels = arrays["labels"]
            for name, result in results.items():
                right[name] = (arrays[name] == labels).astype(np.float64)
                if abs(100 * right[name].mean() - result["acc1"]) > 1e-6:
                    raise wrong
    except (OSError, KeyError, ValueError, EOFError):
        raise wrong from None
    return right


def _accuracy(results: list[CatResult], right: np.ndarray, baseline: np.ndarray | None) -> Accuracy:
    values = [result["acc1"] for result in results]
    classes = np.array([[np.nan if rate is None else rate for rate in result["per_class"]] for result in results])
    rates = classes.mean(0)
    worst = int(np.nanargmin(rates))
    difference = None if baseline is None else right - baseline
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": interval(right),
        "acc5": statistics.fmean(result["acc5"] for result in results),
        "mean_per_class": statistics.fmean(result["mean_per_class"] for result in results),
        "worst_class": {"class": worst, "acc1": float(rates[worst])},
        "weight_decays": [result["weight_decay"] for result in results],
        "lrs": [result["lr"] for result in results],
        "epochs": [result["epochs"] for result in results],
        "difference": None if difference is None else 100 * float(difference.mean()),
        "difference_interval": None if difference is None else interval(difference),
    }
