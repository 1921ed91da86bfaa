"""What the report says of cats that were trained further: a row for each, beside the study's cats."""

import statistics

import numpy as np

from timecat.config.files import ProbeFile
from timecat.heads.scores import interval
from timecat.report.collect import read_predictions, results_by_cat
from timecat.study.reported import Report
from timecat.study.results import read_results
from timecat.study.study import Study
from timecat.study.tuned import Difference, Tuned, TunedAccuracy, TunedSummary, is_of, read_tuned
from timecat.terminal import print_table, say

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
            if tuned and cat and is_of(study, tuned, cat):
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
        with np.load(study.directory.tuned(name, number).predictions(probe.name)) as arrays:
            labels = arrays["labels"]
            right[number] = arrays["predicted"] == labels
    values = [tuned["data"][probe.name]["acc1"] for tuned in repetitions.values()]
    cat = next(iter(repetitions.values()))["cat"]
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": interval(np.mean(list(right.values()), axis=0)),
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
    images = np.mean([ours[number] * 1.0 - theirs[number] for number in both], axis=0)
    return {"mean": 100 * float(images.mean()), "interval": interval(images)}


TITLE = "Tuned: cats that were trained further, top-1 % [95 %]"


def cells(content: Report) -> tuple[list[str], list[list[str]]]:
    """A row for each tuned cat and data set."""
    header = ["tuned", "method", "of", "data", "top-1", f"to {content['baseline']}", "to its cat"]
    header += ["images", "with all runs", "networks"]
    rows = []
    for name, tuned in content.get("tuned", {}).items():
        for data, value in tuned["acc1"].items():
            spread = f" ± {value['sd']:.1f}" if value["sd"] is not None else ""
            low, high = value["interval"]
            shown = f"{value['mean']:.1f}{spread}" if spread else f"{value['mean']:.1f} [{low:.1f}, {high:.1f}]"
            differences = [_points(value["to_baseline"]), _points(value["to_cat"])]
            costs = [f"{tuned['images']:,}", f"{tuned['images_in_all']:,}", str(tuned["members"])]
            rows.append([name, tuned["method"], tuned["cat"], data, shown, *differences, *costs])
    return header, rows


def _points(difference: Difference | None) -> str:
    if difference is None:
        return ""
    low, high = difference["interval"]
    return f"{difference['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"


def notes(content: Report) -> list[str]:
    """What the numbers are worth."""
    lines = [
        "tuned: images are those of tuning alone, once for each network that saw them, in one repetition; with all "
        "runs: of the grid too; networks: that an image goes through at inference"
    ]
    for name, tuned in content.get("tuned", {}).items():
        if tuned["teacher_images"]:
            lines.append(
                f"{name}: beside its images {tuned['teacher_images']:,} forward passes of {tuned['cat']}'s members, "
                f"and the {tuned['images_of_cat']:,} images that these were trained on"
            )
    return lines


def print_tuned(content: Report) -> None:
    """Print the rows, where there are any."""
    header, rows = cells(content)
    if rows:
        print_table(TITLE, header, rows, left=["tuned", "method", "of", "data"])
        for note in notes(content):
            say(note)


def tuned_lines(content: Report) -> list[str]:
    """The section of report.md; nothing where nothing was tuned."""
    header, rows = cells(content)
    if not rows:
        return []
    rule = "|" + "|".join("---" if column < 4 else "--:" for column in range(len(header))) + "|"
    table = ["| " + " | ".join(header) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)]
    title, _, measure = TITLE.partition(": ")
    return [
        f"## {title}",
        "",
        f"{measure.capitalize()}.",
        "",
        *table,
        "",
        *(f"- {note}" for note in notes(content)),
        "",
    ]
