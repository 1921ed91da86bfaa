"""What the report says of cats that were trained further: a row for each, beside the study's cats."""

import statistics

import numpy as np

from timecat.config.files import ProbeFile
from timecat.report.collect import read_predictions, results_by_cat
from timecat.report.estimate import intervals, shown, unit_of, words
from timecat.study.arrays import check_predictions, read_npz
from timecat.study.reported import Report
from timecat.study.results import FINISHED_WORK, read_results
from timecat.study.study import Study
from timecat.study.tuned import Difference, Tuned, TunedAccuracy, TunedSummary, is_of, read_tuned
from timecat.tables import Section, Table, points, score

TITLE = "tuned: cats that were trained further, top-1 %"
NOTE = (
    "tuned: images are those of tuning alone, once for each network that saw them, in one repetition; with all runs: "
    "of the grid too; networks: that an image goes through at inference"
)
Right = dict[int, np.ndarray]  # by repetition, whether each test image was classified rightly


def add_tuned(study: Study, content: Report) -> None:
    """Put into the report what was made of its cats as they are on disk, where it is chosen on held-out images too."""
    if content["protocol"] != "heldout":
        return
    found: dict[str, TunedSummary] = {}
    cats = {(cat.cat.name, cat.repetition): cat for cat in study.seeded_cats()}
    for name, directories in study.directory.all_tuned().items():
        repetitions = {}
        for number, directory in directories.items():
            tuned = read_tuned(directory)
            cat = cats.get((tuned["cat"], number)) if tuned else None
            if tuned and is_of(study, tuned, cat):
                repetitions[number] = tuned
        if repetitions:
            found[name] = _summary(study, content, name, repetitions)
    if found:
        content["tuned"] = found


def _summary(study: Study, content: Report, name: str, repetitions: dict[int, Tuned]) -> TunedSummary:
    first = next(iter(repetitions.values()))
    probes = [probe for probe in study.probes if all(probe.name in tuned["data"] for tuned in repetitions.values())]
    return {
        "method": first["method"],
        "cat": first["cat"],
        "repetitions": list(repetitions),
        "images_of_cat": study.cats[first["cat"]].images,
        "images": first["images"],
        "images_in_all": first["images_in_all"],
        "teacher_images": first["teacher_images"],
        "members": first["members"],
        "parameters": first["parameters"],
        "features": first["features"],
        "acc1": {probe.name: _accuracy(study, content, name, repetitions, probe) for probe in probes},
    }


def _accuracy(
    study: Study, content: Report, name: str, repetitions: dict[int, Tuned], probe: ProbeFile
) -> TunedAccuracy:
    right, labels = {}, np.empty(0)
    for number in repetitions:
        path = study.directory.tuned(name, number).predictions(probe.name)
        arrays = read_npz(path, FINISHED_WORK) or {}
        check_predictions(path, arrays, ["predicted"], FINISHED_WORK)
        labels = arrays["labels"]
        right[number] = arrays["predicted"] == labels
    values = [tuned["data"][probe.name]["acc1"] for tuned in repetitions.values()]
    cat = next(iter(repetitions.values()))["cat"]
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": _interval(list(right.values())),
        "to_baseline": _difference(right, _right(study, probe, study.baseline, labels)),
        "to_cat": _difference(right, _right(study, probe, cat, labels)),
    }


def _right(study: Study, probe: ProbeFile, cat: str, labels: np.ndarray) -> Right:
    """Of a cat of the study; nothing where it has no result on these images."""
    results = read_results(study, probe, "heldout")
    by_cat = results_by_cat(study, results) if results else {}
    if cat not in by_cat:
        return {}
    arrays = read_predictions(study, probe, "heldout", {cat: by_cat[cat]})
    if not np.array_equal(arrays["labels"], labels):
        return {}
    return {int(name.rpartition("_")[2]): arrays[name] == labels for name in by_cat[cat]}


def _difference(ours: Right, theirs: Right) -> Difference | None:
    both = [number for number in ours if number in theirs]
    if not both:
        return None
    differences = [ours[number] * 1.0 - theirs[number] for number in both]
    return {"mean": 100 * float(np.mean(differences)), "interval": _interval(differences)}


def _interval(by_repetition: list[np.ndarray]) -> tuple[float, float]:
    return shown(intervals(np.stack(by_repetition) * 1.0), unit_of(len(by_repetition)))


def tuned_section(content: Report) -> Section | None:
    """A row for each tuned cat and data set; None where nothing was tuned."""
    header = ["tuned", "method", "of", "data", "top-1 [95 %]", f"to {content['baseline']}", "to its cat"]
    header += ["images", "with all runs", "networks"]
    counts = {len(tuned["repetitions"]) for tuned in content.get("tuned", {}).values()}
    ways = sorted({words(unit_of(count), count) for count in counts})
    rows, notes = [], [f"{NOTE}; [95 %]: {' or '.join(ways)}, differences paired"]
    for name, tuned in content.get("tuned", {}).items():
        for data, value in tuned["acc1"].items():
            differences = [_points(value["to_baseline"]), _points(value["to_cat"])]
            costs = [f"{tuned['images']:,}", f"{tuned['images_in_all']:,}", str(tuned["members"])]
            top1 = score(value["mean"], value["interval"])
            rows.append([name, tuned["method"], tuned["cat"], data, top1, *differences, *costs])
        if tuned["teacher_images"]:
            notes.append(
                f"{name}: beside its images {tuned['teacher_images']:,} forward passes of {tuned['cat']}'s members, "
                f"and the {tuned['images_of_cat']:,} images that these were trained on"
            )
    return Section("Tuned", [Table(TITLE, header, rows, left=4)], notes) if rows else None


def _points(difference: Difference | None) -> str:
    return points(difference["mean"], difference["interval"]) if difference else ""
