"""The report's first table: a cat a row, a data set a column; and what its numbers are worth."""

from timecat.report.significance import mark, significance_note
from timecat.study.budget import is_equal
from timecat.study.plan import Cat
from timecat.study.reported import Accuracy, Report
from timecat.study.study import Study
from timecat.tables import Section, Table, spread

OWN = "the members' own classifiers, their probabilities averaged; no head is fitted"


def overview(study: Study, content: Report, image: str) -> Section:
    """The table of all cats."""
    names = [data["name"] for data in content["data"]]
    header = ["cat", "members x steps", "images", "features", *names]
    rows = []
    for cat in study.cats.values():
        row = content["cats"][cat.name]
        cells = [cat.name, cat.budget, f"{cat.images:,}" if cat.images else "?", str(row["features"] or "")]
        rows.append([*cells, *(_top1(row["acc1"].get(name), cat.name != study.baseline) for name in names)])
    title = f"{study.name}: linear probes on frozen features, top-1 % (difference to {study.baseline})"
    return Section(title, [Table(title, header, rows)], _notes(study, content), ("top-1 by members", image))


def _top1(value: Accuracy | None, compared: bool) -> str:
    if value is None:
        return ""
    shown = compared and value["difference"] is not None
    low, high = value["intervals"]["images"]
    difference = f" ({value['difference']:+.1f}){mark(value)}" if shown else ""
    return f"{spread(value['mean'], value['sd'])} [{low:.1f}, {high:.1f}]{difference}"


def _notes(study: Study, content: Report) -> list[str]:
    lines = []
    counts = {len(value["values"]) for row in content["cats"].values() for value in row["acc1"].values()}
    most = max(counts)
    if most > 1:
        lines.append(
            f"mean ± standard deviation over {most} repetitions with different seeds; [95 %] over the test images, by "
            "bootstrap"
        )
    else:
        lines.append("[95 %] over the test images, by bootstrap")
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
    lines += significance_note(content)
    if content["protocol"] == "paper":
        lines.append("weight decay and epoch chosen ON THE TEST SET, as the paper reports: for comparison with it only")
    else:
        lines.append("weight decay and epoch chosen on data held out of the training set; test sets read once")
    return lines
