"""The report as tables: a cat a row; in the terminal and in report.md."""

from collections.abc import Sequence

from timecat.features.external import ExternalFeatures
from timecat.report import cost_table, few_shot, knn
from timecat.report.estimate import words
from timecat.report.markdown import markdown_table
from timecat.report.significance import interval_notes, mark
from timecat.study import saturation
from timecat.study.budget import is_equal
from timecat.study.plan import Cat
from timecat.study.reported import Gap, Gaps, Report
from timecat.study.study import Study
from timecat.terminal import print_table

OWN = "the members' own classifiers, their probabilities averaged; no head is fitted"


def print_data(study: Study, content: Report, name: str) -> None:
    """Print what one data set's heads give, and their winning settings."""
    header, rows = data_cells(study, content, name)
    two_lines = [cell.replace(" [", "\n[") if "[" in cell else cell.replace(" ", "\n", 1) for cell in header]
    print_table(data_title(content, name), two_lines, rows, left=["cat"])


def data_title(content: Report, name: str) -> str:
    data = next(data for data in content["data"] if data["name"] == name)
    chosen = "best on the test set" if content["protocol"] == "paper" else "chosen on held-out data"
    title = f"{name}: {data['test_images']:,} test images, {data['classes']:,} classes; heads {chosen}"
    missing = data["classes_without_test_image"]
    title += f"; {missing:,} classes have no test image and count nowhere" if missing else ""
    return f"{title}; 95 % by {words(data['unit'], data['repetitions'])}"


def data_cells(study: Study | ExternalFeatures, content: Report, name: str) -> tuple[list[str], list[list[str]]]:
    header = ["cat", "top-1 [95 %]", f"to {study.baseline} [95 %]", "top-5", "mean class", "worst class"]
    header += ["weight decay", "epochs", "lr"]
    rows = []
    for cat, row in content["cats"].items():
        value = row["acc1"].get(name)
        if value is None:
            continue
        difference = ""
        if value["difference"] is not None and value["difference_interval"] and cat != study.baseline:
            low, high = value["difference_interval"]
            difference = f"{value['difference']:+.1f} [{low:+.1f}, {high:+.1f}]{mark(value)}"
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
                _settings(value["weight_decays"]) if row["head"] == "linear" else row["head"],
                _settings(value["epochs"]),
                _settings(value["lrs"]),
            ]
        )
    if len({row[-1] for row in rows if row[-1]}) < 2:  # one learning rate for all is no choice
        header, rows = header[:-1], [row[:-1] for row in rows]
    return header, rows


def _settings(values: Sequence[float | None]) -> str:
    """What was chosen, repetition by repetition."""
    words = [f"{value:g}" for value in values if value is not None]
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def cells(study: Study, content: Report) -> tuple[list[str], list[list[str]]]:
    names = [data["name"] for data in content["data"]]
    header = ["cat", "members x steps", "images", "features", *names]
    rows = []
    for cat in study.cats.values():
        row = content["cats"][cat.name]
        cells = [cat.name, cat.budget, f"{cat.images:,}" if cat.images else "?", str(row["features"] or "")]
        for name in names:
            value = row["acc1"].get(name)
            if value is None:
                cells.append("")
                continue
            spread = f" ± {value['sd']:.1f}" if value["sd"] is not None else ""
            shown = cat.name != study.baseline and value["difference"] is not None
            cells.append(
                f"{value['mean']:.1f}{spread}" + (f" ({value['difference']:+.1f}){mark(value)}" if shown else "")
            )
        rows.append(cells)
    return header, rows


def print_gaps(study: Study, content: Report) -> None:
    """Print what the cats' frozen features lack on each component of the mixture."""
    for name, gaps in content.get("gaps", {}).items():
        header, rows = gap_cells(gaps, content, name)
        print_table(gap_title(content, name, gaps), header, rows, left=["cat"])


def gap_title(content: Report, name: str, gaps: Gaps) -> str:
    data = next(data for data in content["data"] if data["name"] == name)
    direct = f"direct training {gaps['direct']:.1f}"
    if gaps["of_share"] is not None:
        direct += f", on its share of the images {gaps['of_share']:.1f}"
    share, way = f"{100 * gaps['share']:.3g} % of the mixture", words(data["unit"], data["repetitions"])
    return f"{name}, {share}: top-1 % of {data['test_images']:,} test images; {direct}; 95 % by {way}"


def gap_cells(gaps: Gaps, content: Report, name: str) -> tuple[list[str], list[list[str]]]:
    several = any(gap["sd"] is not None for gap in gaps["to_direct"].values())
    header = ["cat", "transfer", "gap to direct [95 %]", *(["± seeds"] if several else [])]
    header += ["gap to its share [95 %]"] if gaps["to_share"] else []
    rows = []
    for cat, gap in gaps["to_direct"].items():
        row = [cat, f"{content['cats'][cat]['acc1'][name]['mean']:.1f}", _points(gap)]
        row += [f"{gap['sd']:.1f}" if gap["sd"] is not None else ""] if several else []
        row += [_points(gaps["to_share"][cat])] if gaps["to_share"] else []
        rows.append(row)
    return header, rows


def _points(gap: Gap) -> str:
    low, high = gap["interval"]
    return f"{gap['mean']:+.1f} [{low:+.1f}, {high:+.1f}]"


def print_costs(content: Report) -> None:
    """Print what the cats cost."""
    print_table(cost_table.TITLE, *cost_cells(content), left=["cat"])


def cost_cells(content: Report, heads: bool = False) -> tuple[list[str], list[list[str]]]:
    """Of the cats whose costs are known."""
    known = {name: row["costs"] for name, row in content["cats"].items() if row["costs"] is not None}
    return cost_table.cells(known, content["baseline"], heads)


def notes(study: Study, content: Report) -> list[str]:
    """What the numbers are worth."""
    lines = []
    counts = {len(value["values"]) for row in content["cats"].values() for value in row["acc1"].values()}
    most = max(counts)
    if most > 1:
        lines.append(f"mean ± standard deviation over {most} repetitions with different seeds")
    else:
        lines.append("one repetition: differences within the spread between seeds mean nothing; see study.repetitions")
    different: dict[str, list[str]] = {}
    for cat in study.cats.values():
        if cat.head == "own":
            different.setdefault(OWN, []).append(cat.name)
        if cat.difference and cat.direct is None:
            different.setdefault(cat.difference, []).append(cat.name)
    lines += [f"{', '.join(names)}: {what}" for what, names in different.items()]
    baseline: Cat = study.cats[study.baseline]
    for cat in study.cats.values():
        share = study.share(cat)
        if cat.direct is None and share and not is_equal(share):
            lines.append(f"{cat.name}: {share:.3g} times the images of {baseline.name}")
    for name, value in content["cats"][baseline.name]["acc1"].items():
        if len(value["values"]) > 1:
            lines.append(
                f"what one seed is worth: {baseline.name} on {name} alone ranges from "
                f"{min(value['values']):.1f} to {max(value['values']):.1f}"
            )
    if content.get("gaps"):
        lines.append(
            "gap: top-1 of a network trained on the component alone less that of the cat's frozen features, both by a "
            f"linear probe; direct: at {baseline.name}'s images, its share: at the component's share of them"
        )
    lines += interval_notes(content)
    if content["protocol"] == "paper":
        lines.append("weight decay and epoch chosen ON THE TEST SET, as the paper reports: for comparison with it only")
    else:
        lines.append("weight decay and epoch chosen on data held out of the training set; test sets read once")
    return lines


def markdown(study: Study, content: Report, image: str, cost_image: str) -> str:
    lines = [
        f"# {study.name}: linear probes on frozen features",
        "",
        f"Top-1 % (difference to {study.baseline}); images are those of pretraining, all members together.",
        "",
        *markdown_table(*cells(study, content)),
        "",
        *(f"- {note}" for note in notes(study, content)),
        "",
        f"![top-1 against members]({image})",
        "",
    ]
    lines += [
        f"## Costs{cost_table.TITLE.removeprefix('costs')}",
        "",
        *markdown_table(*cost_cells(content, heads=True)),
        "",
    ]
    lines += [f"![top-1 against costs]({cost_image})", ""]
    if content.get("gaps"):
        lines += ["## Transfer against direct training, by component", ""]
    for name, gaps in content.get("gaps", {}).items():
        lines += [gap_title(content, name, gaps), "", *markdown_table(*gap_cells(gaps, content, name)), ""]
    for found in content.get("saturation", {}).values():
        title = f"How saturated: {found['data']}"
        lines += [f"## {title}", "", *markdown_table(*saturation.cells(found)), ""]
        lines += [*markdown_table(*saturation.curve_cells(found)), ""]
        lines += [*(f"- {note}" for note in saturation.notes(found)), ""]
        lines += [f"![rank and gain](probe/{found['data']}/saturation.png)", ""]
    lines += other_classifiers(content)
    for data in content["data"]:
        lines += [f"## {data_title(content, data['name'])}", ""]
        lines += [*markdown_table(*data_cells(study, content, data["name"])), ""]
    return "\n".join(lines)


def other_classifiers(content: Report) -> list[str]:
    """Lines of what nearest neighbours and heads on few images gave."""
    lines = []
    for found in content.get("knn", {}).values():
        lines += [f"## {knn.title(found)}", "", *markdown_table(*knn.cells(found)), ""]
        lines += [*(f"- {note}" for note in knn.notes(found)), ""]
    for found in content.get("few_shot", {}).values():
        lines += [f"## {few_shot.title(found)}", "", *markdown_table(*few_shot.cells(found)), ""]
        if len(found["cats"]) > 1:
            lines += [f"Gain over {found['baseline']}, points:", "", *markdown_table(*few_shot.gain_cells(found)), ""]
        lines += [*(f"- {note}" for note in few_shot.notes(found)), ""]
        lines += [f"![top-1 and gain against images a class](probe/{found['data']}/few_shot.png)", ""]
    return lines
