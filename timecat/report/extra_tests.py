"""The report on a probe's further test sets: one head, several test sets, side by side."""

import statistics
from pathlib import Path

import numpy as np

from timecat.config.files import ProbeFile
from timecat.errors import UserError
from timecat.heads.ood import SCORES, auroc, delong, placements
from timecat.heads.predictions import HEADS_AGAIN
from timecat.heads.scores import interval
from timecat.report.calibration import summarise
from timecat.study.arrays import read_npz
from timecat.study.directory import Protocol
from timecat.study.reported import Report
from timecat.study.results import CatResult, missing_tests
from timecat.study.scores import ExtraScore, ExtraTestResult, ExtraTestSummary
from timecat.study.study import Study
from timecat.tables import Section, Table, points, spread

NOTE = (
    "further test sets: top-1 % of the same heads; of a set of other classes AUROC %: how often heads are less sure of "
    "one of its images than of one of the first column's, by the largest probability (softmax) or logit; differences "
    "[95 %] to the baseline on the same images; docs/scores.md"
)


def add_extra_tests(
    report: Report, study: Study, probe: ProbeFile, by_cat: dict[str, dict[str, CatResult]], protocol: Protocol
) -> None:
    """Put into the report what each cat is worth on each of the data set's further test sets that it has read.

    Raises:
        UserError: predictions are not those of the results.
    """
    for name, config in probe.data.extra_tests.items():
        read = {
            cat: {
                seeded: result.get("tests", {})[name]
                for seeded, result in of_cat.items()
                if name not in missing_tests(probe, result)
            }
            for cat, of_cat in by_cat.items()
        }
        read = {cat: of_cat for cat, of_cat in read.items() if of_cat}
        if not read:
            continue
        path = study.directory.probe(probe.name).test(name).predictions(protocol)
        first = next(result for of_cat in read.values() for result in of_cat.values())
        summary: ExtraTestSummary = {
            "images": first["images"],
            "classes": first["classes"],
            "ood": config.ood,
            "cats": (_aurocs if config.ood else _accuracies)(study, path, read),
        }
        report.setdefault("tests", {}).setdefault(probe.name, {})[name] = summary
        scored = {
            cat: [each["calibration"] for each in of_cat.values() if "calibration" in each]
            for cat, of_cat in read.items()
        }
        if found := summarise(scored):
            report.setdefault("calibration", {})[f"{probe.name}/{name}"] = found


def _accuracies(
    study: Study, path: Path, read: dict[str, dict[str, ExtraTestResult]]
) -> dict[str, dict[str, ExtraScore]]:
    arrays, wrong = _arrays(path)
    found, right = {}, {}
    for cat, of_cat in read.items():
        values = []
        for seeded, result in of_cat.items():
            if seeded not in arrays or "labels" not in arrays or "scores" not in result:
                raise wrong
            values.append(arrays[seeded] == arrays["labels"])
            if not abs(100 * values[-1].mean() - result["scores"]["acc1"]) <= 1e-6:
                raise wrong
        right[cat] = np.mean(values, axis=0)
        found[cat] = [100 * float(each.mean()) for each in values]
    baseline = right.get(study.baseline)
    return {
        cat: {"acc1": _score(found[cat], interval(mine), *_against(cat, study.baseline, mine, baseline))}
        for cat, mine in right.items()
    }


def _against(
    cat: str, base: str, mine: np.ndarray, baseline: np.ndarray | None
) -> tuple[float | None, tuple[float, float] | None]:
    if baseline is None or cat == base:
        return None, None
    return 100 * float((mine - baseline).mean()), interval(mine - baseline)


def _aurocs(study: Study, path: Path, read: dict[str, dict[str, ExtraTestResult]]) -> dict[str, dict[str, ExtraScore]]:
    arrays, wrong = _arrays(path)
    found: dict[str, dict[str, ExtraScore]] = {cat: {} for cat in read}
    for score in SCORES:
        values: dict[str, list[float]] = {}
        placed: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for cat, of_cat in read.items():
            sides = []
            for seeded, result in of_cat.items():
                if f"{seeded}_{score}" not in arrays or "ood" not in arrays:
                    raise wrong
                of_all, other = arrays[f"{seeded}_{score}"], arrays["ood"]
                own = of_all[~other], of_all[other]
                value = auroc(*own)
                if not abs(value - result.get("auroc", {}).get(score, -1.0)) <= 1e-6:
                    raise wrong
                sides.append(placements(*own))
                values.setdefault(cat, []).append(value)
            placed[cat] = np.mean([own for own, _ in sides], axis=0), np.mean([other for _, other in sides], axis=0)
        base = placed.get(study.baseline)
        for cat, (own, other) in placed.items():
            difference = between = None
            if base is not None and cat != study.baseline:
                difference = 100 * float((own - base[0]).mean())
                between = delong(own - base[0], other - base[1])
            found[cat][f"auroc_{score}"] = _score(values[cat], delong(own, other), difference, between)
    return found


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], UserError]:
    wrong = UserError(f"{path}: does not hold the predictions that the results are of; remove it, run `timecat probe`")
    arrays = read_npz(path, HEADS_AGAIN)
    if arrays is None or len({len(array) if array.ndim else 0 for array in arrays.values()}) > 1:
        raise wrong
    return arrays, wrong


def _score(
    values: list[float],
    between: tuple[float, float],
    difference: float | None,
    difference_between: tuple[float, float] | None,
) -> ExtraScore:
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": between,
        "difference": difference,
        "difference_interval": difference_between,
    }


def extra_section(content: Report, data: str | None = None) -> Section | None:
    """A table of each data set that has further test sets, or of one: a cat a row, a test set a column."""
    tables = []
    for name, tests in content.get("tests", {}).items():
        if data not in (None, name):
            continue
        kinds = [
            (test, measure)
            for test, summary in tests.items()
            for measure in ([f"auroc_{score}" for score in SCORES] if summary["ood"] else ["acc1"])
        ]
        header = ["cat", name]
        header += [f"{name}/{test}" + (f" {measure[6:]}" if measure != "acc1" else "") for test, measure in kinds]
        rows = []
        for cat, row in content["cats"].items():
            if name in row["acc1"]:
                scores = [tests[test]["cats"].get(cat, {}).get(measure) for test, measure in kinds]
                rows.append([cat, f"{row['acc1'][name]['mean']:.1f}", *(_cell(score) for score in scores)])
        words = [
            f"{test} {summary['images']:,} images"
            + (", AUROC" if summary["ood"] else f" of {summary['classes']:,} classes")
            for test, summary in tests.items()
        ]
        tables.append(Table(f"{name} on further test sets: {'; '.join(words)}", header, rows, fold=" ("))
    return Section("Further test sets", tables, [NOTE]) if tables else None


def _cell(score: ExtraScore | None) -> str:
    if score is None:
        return ""
    difference = points(score["difference"], score["difference_interval"])
    return spread(score["mean"], score["sd"]) + (f" ({difference})" if difference else "")
