"""The report's content, from the results on disk alone."""

import statistics

import numpy as np

from timecat.config.files import ProbeFile
from timecat.errors import UserError
from timecat.features.external import ExternalFeatures
from timecat.heads.scores import interval
from timecat.study.directory import Protocol
from timecat.study.results import (
    Accuracy,
    CatResult,
    DataSummary,
    Gap,
    Gaps,
    Report,
    Results,
    read_results,
    result_of,
)
from timecat.study.saturation import read_saturation
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
                "budget": cat.budget,
                "images": cat.images,
                "model": cat.model,
                "head": cat.head,
                "differs": bool(cat.difference) or cat.head != "linear",
                "direct": cat.direct,
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
        by_cat = results_by_cat(study, results)
        if by_cat:
            report["data"].append(data_summary(probe, results, by_cat))
            add(report, study, probe, by_cat, protocol)
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
    return {
        "name": probe.name,
        "test_images": results["test_images"],
        "classes": results["classes"],
        "classes_without_test_image": sum(rate is None for rate in first["per_class"]),
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
    images = {
        cat: np.mean([arrays[name] == arrays["labels"] for name in of_cat], axis=0) for cat, of_cat in by_cat.items()
    }
    for cat, of_cat in by_cat.items():
        row = report["cats"][cat]
        row["features"] = next(iter(of_cat.values()))["features"]
        row["acc1"][probe.name] = _accuracy(list(of_cat.values()), images[cat], images.get(study.baseline))
    gaps = _gaps(study, probe.name, by_cat, images) if isinstance(study, Study) else None
    if gaps is not None:
        report.setdefault("gaps", {})[probe.name] = gaps


def _gaps(
    study: Study, data: str, by_cat: dict[str, dict[str, CatResult]], images: dict[str, np.ndarray]
) -> Gaps | None:
    """What the cats' frozen features lack on a component, where it was trained on directly."""
    direct = {cat.of_share: cat.name for cat in study.cats.values() if cat.direct == data and cat.name in images}
    if False not in direct:
        return None

    def gap(other: str, cat: str) -> Gap:
        values = [
            theirs["acc1"] - ours["acc1"]
            for theirs, ours in zip(by_cat[other].values(), by_cat[cat].values(), strict=False)
        ]
        sd = statistics.stdev(values) if len(values) > 1 else None
        difference = images[other] - images[cat]
        return {"mean": 100 * float(difference.mean()), "sd": sd, "values": values, "interval": interval(difference)}

    cats = [cat.name for cat in study.cats.values() if cat.direct is None and cat.name in images]
    share = direct.get(True)
    return {
        "share": study.data.shares[data],
        "direct": 100 * float(images[direct[False]].mean()),
        "of_share": 100 * float(images[share].mean()) if share else None,
        "to_direct": {cat: gap(direct[False], cat) for cat in cats},
        "to_share": {cat: gap(share, cat) for cat in cats} if share else {},
    }


def read_predictions(
    study: Study | ExternalFeatures, probe: ProbeFile, protocol: Protocol, by_cat: dict[str, dict[str, CatResult]]
) -> dict[str, np.ndarray]:
    """A data set's predictions.npz: labels int64 (n,), what each cat and repetition predicts int32 (n,), and groups.

    Raises:
        UserError: it does not hold the predictions that these results are of.
    """
    path = study.directory.probe(probe.name).predictions(protocol)
    wrong = UserError(f"{path}: does not hold the predictions that the results beside it are of; run `timecat probe`")
    try:
        with np.load(path) as stored:
            arrays = dict(stored)
    except (OSError, ValueError, EOFError):
        raise wrong from None
    for of_cat in by_cat.values():
        for name, result in of_cat.items():
            if name not in arrays or abs(100 * (arrays[name] == arrays["labels"]).mean() - result["acc1"]) > 1e-6:
                raise wrong
    return arrays


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
