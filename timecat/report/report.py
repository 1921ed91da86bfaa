"""`timecat report`: the study's table, picture and TensorBoard image, from the results on disk alone."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from timecat import files
from timecat.config import data_name
from timecat.errors import UserError
from timecat.heads.scores import interval
from timecat.report.picture import picture, to_tensorboard
from timecat.study.study import TOLERANCE, Cat, Study
from timecat.terminal import fits, print_table, say


def results_path(directory: Path, protocol: str) -> Path:
    """Of the results in a data set's directory; those by the paper's protocol have a name of their own."""
    return directory / f"results{_suffix(protocol)}.json"


def predictions_path(directory: Path, protocol: str) -> Path:
    """Of the test images' labels and what each cat and repetition predicts."""
    return directory / f"predictions{_suffix(protocol)}.npz"


def _suffix(protocol: str) -> str:
    return "" if protocol == "heldout" else f"_{protocol}"


def report(study: Study, protocol: str = "heldout") -> dict[str, Any]:
    """Print the table; write report.json, report.md, the picture as report.png and report.svg, and for TensorBoard.

    Raises:
        UserError: no probe has a result yet.
    """
    content = collect(study, protocol)
    title = f"{study.name}: linear probes on frozen features, top-1 % (difference to {study.baseline})"
    header, rows = _cells(study, content)
    if not fits(header, rows):
        rows = [[cell.replace(" (", "\n(") for cell in row] for row in rows]
    print_table(title, header, rows, left=["cat"])
    for line in _notes(study, content):
        say(line)
    path = study.directory / f"report{_suffix(protocol)}.json"
    png_path = path.with_suffix(".png")
    if files.read_json(path) != content or not png_path.exists():
        files.write_bytes(path.with_suffix(".md"), _markdown(study, content, png_path.name).encode())
        png = picture(study, content, "png")
        files.write_bytes(path.with_suffix(".svg"), picture(study, content, "svg"))
        files.write_bytes(png_path, png)
        to_tensorboard(study.directory / path.stem, png)
        files.write_json(path, content)
    say(f"{path.with_suffix('.md')}  {png_path}  tensorboard --logdir {study.directory}")
    return content


def collect(study: Study, protocol: str = "heldout") -> dict[str, Any]:
    """For each cat its budget, and for each data set what its heads are worth, in percent.

    Top-1 is the mean over the repetitions, with their standard deviation and a 95 % interval by bootstrap over the test
    images; so is the difference to the baseline, on the same images.

    Raises:
        UserError: no probe has a result yet, or results whose predictions are not there.
    """
    content: dict[str, Any] = {"study": study.name, "baseline": study.baseline, "protocol": protocol, "data": []}
    results, right = {}, {}
    for path in study.probes:
        directory = study.directory / "probe" / data_name(path)
        found = files.read_json(results_path(directory, protocol))
        if found and "protocol" in found and "classes" in found:
            results[data_name(path)] = found
            right[data_name(path)] = _right(found, predictions_path(directory, protocol))
    if not results:
        raise UserError(f"{study.directory}: no probe has a result yet; run `timecat probe` first")
    for name, found in results.items():
        shares = [entry["per_class"] for cat in found["cats"].values() for entry in cat["repetitions"].values()]
        content["data"].append(
            {
                "name": name,
                "test_images": found["test_images"],
                "classes": found["classes"],
                "classes_without_test_image": sum(rate is None for rate in shares[0]) if shares else 0,
            }
        )
    content["cats"] = {
        cat.name: {
            "members": cat.members,
            "steps": cat.steps,
            "images": cat.images,
            "model": cat.model,
            "features": None,
            "acc1": {},
        }
        for cat in study.cats.values()
    }
    for name, found in results.items():
        images = {}  # for each cat the share of its repetitions that are right, image by image
        for cat in [study.cats[study.baseline], *study.cats.values()]:
            repetitions = found["cats"].get(cat.name, {}).get("repetitions", {})
            plan = (cat.steps, cat.members)  # not what an earlier plan called by the same name
            kept = {k: entry for k, entry in repetitions.items() if (entry["steps"], len(entry["seeds"])) == plan}
            if not kept:
                continue
            images[cat.name] = np.mean([right[name][f"{cat.name}_{key}"] for key in kept], axis=0)
            row = content["cats"][cat.name]
            row["features"] = next(iter(kept.values()))["features"]
            row["acc1"][name] = {
                **_summary(list(kept.values()), images[cat.name]),
                **_difference(images[cat.name], images.get(study.baseline)),
            }
    if not any(row["acc1"] for row in content["cats"].values()):
        raise UserError(f"{study.directory}: no probe has a result of these cats yet; run `timecat probe` first")
    return content


def _right(found: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """Which test images each cat and repetition gets right, float64 (n,)."""
    wrong = UserError(f"{path}: does not hold the predictions that the results beside it are of; run `timecat probe`")
    try:
        with np.load(path) as arrays:
            labels, right = arrays["labels"], {}
            for cat, entries in found["cats"].items():
                for key, entry in entries["repetitions"].items():
                    right[f"{cat}_{key}"] = (arrays[f"{cat}_{key}"] == labels).astype(np.float64)
                    if abs(100 * right[f"{cat}_{key}"].mean() - entry["acc1"]) > 1e-6:
                        raise wrong
    except (OSError, KeyError, ValueError, EOFError):
        raise wrong from None
    return right


def _summary(entries: list[dict[str, Any]], right: np.ndarray) -> dict[str, Any]:
    values = [entry["acc1"] for entry in entries]
    classes = np.array([[np.nan if rate is None else rate for rate in entry["per_class"]] for entry in entries])
    rates = classes.mean(0)
    worst = int(np.nanargmin(rates))
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
        "interval": interval(right),
        "acc5": statistics.fmean(entry["acc5"] for entry in entries),
        "mean_per_class": statistics.fmean(entry["mean_per_class"] for entry in entries),
        "worst_class": {"class": worst, "acc1": float(rates[worst])},
        "weight_decays": [entry["weight_decay"] for entry in entries],
        "lrs": [entry["lr"] for entry in entries],
        "epochs": [entry["epochs"] for entry in entries],
    }


def _difference(right: np.ndarray, baseline: np.ndarray | None) -> dict[str, Any]:
    if baseline is None:
        return {"difference": None, "difference_interval": None}
    difference = right - baseline
    return {"difference": 100 * float(difference.mean()), "difference_interval": interval(difference)}


def print_data(study: Study, content: dict[str, Any], name: str) -> None:
    """Print what one data set's heads give, and their winning settings."""
    header, rows = data_cells(study, content, name)
    two_lines = [cell.replace(" [", "\n[") if "[" in cell else cell.replace(" ", "\n", 1) for cell in header]
    print_table(_data_title(content, name), two_lines, rows, left=["cat"])


def _data_title(content: dict[str, Any], name: str) -> str:
    data = next(data for data in content["data"] if data["name"] == name)
    chosen = "best on the test set" if content["protocol"] == "paper" else "chosen on held-out data"
    title = f"{name}: {data['test_images']:,} test images, {data['classes']:,} classes; heads {chosen}"
    missing = data["classes_without_test_image"]
    return title + (f"; {missing:,} classes have no test image and count nowhere" if missing else "")


def data_cells(study: Study, content: dict[str, Any], name: str) -> tuple[list[str], list[list[str]]]:
    header = ["cat", "top-1 [95 %]", f"to {study.baseline} [95 %]", "top-5", "mean class", "worst class"]
    header += ["weight decay", "epochs", "lr"]
    rows = []
    for cat, row in content["cats"].items():
        value = row["acc1"].get(name)
        if value is None:
            continue
        difference = ""
        if value["difference"] is not None and cat != study.baseline:
            low, high = value["difference_interval"]
            difference = f"{value['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        low, high = value["interval"]
        worst = value["worst_class"]
        rows.append(
            [
                cat,
                f"{value['mean']:.1f} [{low:.1f}, {high:.1f}]",
                difference,
                f"{value['acc5']:.1f}",
                f"{value['mean_per_class']:.1f}",
                f"{worst['class']}: {worst['acc1']:.1f}",
                *(_settings(value[key]) for key in ("weight_decays", "epochs", "lrs")),
            ]
        )
    if all(row[-1] == rows[0][-1] for row in rows):  # one learning rate for all is no choice
        header, rows = header[:-1], [row[:-1] for row in rows]
    return header, rows


def _settings(values: list[float | None]) -> str:
    """What was chosen, repetition by repetition."""
    told = [f"{value:g}" for value in values if value is not None]
    return told[0] if len(set(told)) == 1 else ", ".join(told)


def _cells(study: Study, content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = [data["name"] for data in content["data"]]
    header = ["cat", "members x steps", "images", "features", *names]
    rows = []
    for cat in study.cats.values():
        row = content["cats"][cat.name]
        cells = [cat.name, f"{cat.members} x {cat.steps:,}", f"{cat.images:,}", str(row["features"] or "")]
        for name in names:
            value = row["acc1"].get(name)
            if value is None:
                cells.append("")
                continue
            spread = f" ± {value['sd']:.1f}" if value["sd"] is not None else ""
            shown = cat.name != study.baseline and value["difference"] is not None
            cells.append(f"{value['mean']:.1f}{spread}" + (f" ({value['difference']:+.1f})" if shown else ""))
        rows.append(cells)
    return header, rows


def _notes(study: Study, content: dict[str, Any]) -> list[str]:
    """What the numbers are worth."""
    notes = []
    counts = {len(value["values"]) for row in content["cats"].values() for value in row["acc1"].values()}
    most = max(counts)
    if most > 1:
        notes.append(f"mean ± standard deviation over {most} repetitions with different seeds")
    else:
        notes.append("one repetition: differences within the spread between seeds mean nothing; see study.repetitions")
    for cat in study.cats.values():
        if cat.model:
            notes.append(f"{cat.label.replace(',', ': members with', 1)}")
    baseline: Cat = study.cats[study.baseline]
    for cat in study.cats.values():
        if not 1 / TOLERANCE <= cat.images / baseline.images <= TOLERANCE:
            notes.append(f"{cat.name}: {cat.images / baseline.images:.3g} times the images of {baseline.name}")
    for name, value in content["cats"][baseline.name]["acc1"].items():
        if len(value["values"]) > 1:
            notes.append(
                f"what one seed is worth: {baseline.name} on {name} alone ranges from "
                f"{min(value['values']):.1f} to {max(value['values']):.1f}"
            )
    notes.append("[95 %]: bootstrap over the test images; differences paired on the same images")
    if content["protocol"] == "paper":
        notes.append("weight decay and epoch chosen ON THE TEST SET, as the paper reports: for comparison with it only")
    else:
        notes.append("weight decay and epoch chosen on data held out of the training set; test sets read once")
    return notes


def _markdown(study: Study, content: dict[str, Any], image: str) -> str:
    lines = [
        f"# {study.name}: linear probes on frozen features",
        "",
        f"Top-1 % (difference to {study.baseline}); images are those of pretraining, all members together.",
        "",
        *_markdown_table(*_cells(study, content)),
        "",
        *(f"- {note}" for note in _notes(study, content)),
        "",
        f"![top-1 against members]({image})",
        "",
    ]
    for data in content["data"]:
        lines += [f"## {_data_title(content, data['name'])}", ""]
        lines += [*_markdown_table(*data_cells(study, content, data["name"])), ""]
    return "\n".join(lines)


def _markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    rule = "|" + "|".join("---" if i == 0 else "--:" for i in range(len(header))) + "|"
    return ["| " + " | ".join(header) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)]
