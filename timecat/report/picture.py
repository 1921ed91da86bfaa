"""The report's picture: top-1 against the number of members, and the gaps to direct training."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

from timecat.figure import as_bytes, color_sequence, pyplot
from timecat.report.estimate import words as words_of
from timecat.study.budget import is_equal
from timecat.study.reported import Accuracy, CatSummary, Gap, Gaps, Report
from timecat.study.study import Study

COLUMNS = 3  # panels beside each other; more data sets go on below
MARKERS = "*PDX^v"  # of cats that are no point of the line; where there are more, all cats have a row each


def picture(study: Study, content: Report, kind: str) -> bytes:
    """Top-1, one panel a data set, and below it what frozen features lack beside direct training, where that was asked.

    Top-1 stands against the number of members, cats of another kind or budget as stars; where there are many of these,
    each cat has a row.
    """
    budget = content["cats"][content["baseline"]]["images"] or 1  # not known of networks from elsewhere
    shown = {name: row for name, row in content["cats"].items() if row["direct"] is None}
    stars = {
        name: name if share == 1 else f"{name}, {share:.3g} x the images"
        for name, row in shown.items()
        if (share := row["images"] / budget) and (row["differs"] or not is_equal(share))
    }
    in_rows, gaps = len(stars) > len(MARKERS), content.get("gaps", {})
    data = content["data"]
    height = 1.6 + 0.3 * len(shown) if in_rows else 3.8
    columns = len(data) if len(data) <= COLUMNS else -(-len(data) // -(-len(data) // COLUMNS))
    heights = ([height, 3.4] if gaps else [height]) * -(-len(data) // columns)
    figure, panels = pyplot().subplots(
        len(heights),
        columns,
        figsize=(4.6 * columns + 0.4 + 1.2 * in_rows, sum(heights) + 0.2),
        squeeze=False,
        height_ratios=heights,
    )
    kinds = 2 if gaps else 1
    places = [panel for row in panels[::kinds] for panel in row]
    for panel in places[len(data) :]:
        panel.set_visible(False)
    for panel, of_data, colour in zip(places, data, cycle(color_sequence()), strict=False):
        name = of_data["name"]
        if in_rows:
            _rows(panel, shown, name, colour)
        else:
            _line(panel, {cat: row for cat, row in shown.items() if name in row["acc1"]}, stars, name, colour)
        if name in gaps and not in_rows:
            panel.axhline(gaps[name]["direct"], color="grey", linestyle="--", linewidth=1, label="direct training")
        panel.set_title(f"{name}: {of_data['test_images']:,} test images", fontsize=10)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if not in_rows:
            panel.legend(frameon=False, fontsize=8)
    for row in panels[::kinds] if not in_rows else ():
        row[0].set_ylabel("linear probe, top-1 %")
    below = [panel for row in panels[1::kinds] for panel in row] if gaps else []
    for place, panel in enumerate(below):
        name = data[place]["name"] if place < len(data) else ""
        if name in gaps:
            _gaps(panel, name, gaps[name])
        else:
            panel.set_visible(False)
        if place % columns == 0:
            panel.set_ylabel("gap to direct training, points")
    figure.suptitle(f"{study.name}: {budget:,} pretraining images each", fontsize=11)
    figure.text(0.5, 0.004, _caption(content), ha="center", fontsize=7.5, color="grey")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    return as_bytes(figure, kind)


def _caption(content: Report) -> str:
    most = max(len(value["values"]) for row in content["cats"].values() for value in row["acc1"].values())
    words = f"thick bars: standard deviation over {most} repetitions; " if most > 1 else "one repetition; "
    words += f"{'thin bars' if most > 1 else 'bars'}: 95 % over the test images; "
    if gaps := content.get("gaps"):
        ways = {words_of(data["unit"], data["repetitions"]) for data in content["data"] if data["name"] in gaps}
        words += f"bars of gaps: 95 %, {' or '.join(sorted(ways))}; "
    dots = "dots: the repetitions; " if most > 1 else ""
    return f"{words}{dots}timecat report CONFIG"


def _line(panel: Any, rows: dict[str, CatSummary], stars: dict[str, str], name: str, colour: Any) -> None:
    """Top-1 against the number of members."""
    line = [(row["members"], row["acc1"][name]) for cat, row in rows.items() if cat not in stars]
    line.sort(key=lambda point: point[0])
    panel.plot(
        [members for members, _ in line],
        [value["mean"] for _, value in line],
        marker="o",
        color=colour,
        label="cats at the same budget",
    )
    for members, value in line:
        _spread(panel.vlines, members, value, colour)
        panel.plot([members] * len(value["values"]), value["values"], ".", color=colour, alpha=0.35)
    for (cat, label), marker in zip(stars.items(), MARKERS, strict=False):
        if cat in rows:
            value, members = rows[cat]["acc1"][name], rows[cat]["members"]
            panel.plot(members, value["mean"], marker, markersize=11, color="black", label=label)
            _spread(panel.vlines, members, value, "black")
    panel.set_xlabel("members")
    panel.set_xticks(sorted({row["members"] for row in rows.values()}))


def _spread(line: Callable[..., Any], at: float, value: Accuracy, colour: Any) -> None:
    """The standard deviation over the repetitions, thick, and the interval over the test images, thin."""
    line(at, *value["intervals"]["images"], color=colour, linewidth=0.8)
    if value["sd"]:
        line(at, value["mean"] - value["sd"], value["mean"] + value["sd"], color=colour, linewidth=3, alpha=0.7)


def _rows(panel: Any, rows: dict[str, CatSummary], name: str, colour: Any) -> None:
    """Top-1 of each cat in a row of its own."""
    for place, row in enumerate(rows.values()):
        value = row["acc1"].get(name)
        if value is not None:
            panel.plot(value["mean"], place, "o", color=colour)
            _spread(panel.hlines, place, value, colour)
            panel.plot(value["values"], [place] * len(value["values"]), ".", color=colour, alpha=0.35)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.invert_yaxis()
    panel.set_xlabel("top-1 %")


def _gaps(panel: Any, name: str, gaps: Gaps) -> None:
    """For each cat the gap to direct training at equal images, and at the component's share of them."""
    kinds = [
        ("direct training at equal images", gaps["to_direct"], "tab:red"),
        ("at its share of them", gaps["to_share"], "lightgrey"),
    ]
    kinds = [kind for kind in kinds if kind[1]]
    for place, (label, by_cat, colour) in enumerate(kinds):
        width = 0.8 / len(kinds)
        for number, gap in enumerate(by_cat.values()):
            x = number + width * (place - (len(kinds) - 1) / 2)
            panel.bar(
                x, gap["mean"], width, yerr=_bars(gap), capsize=3, color=colour, label=label if not number else ""
            )
            if len(gap["values"]) > 1:
                panel.plot([x] * len(gap["values"]), gap["values"], ".", color="black", alpha=0.5)
    panel.axhline(0, color="black", linewidth=0.8)
    panel.set_xticks(range(len(gaps["to_direct"])), list(gaps["to_direct"]))
    panel.set_title(f"{name}, {100 * gaps['share']:.3g} % of the mixture", fontsize=10)
    panel.grid(axis="y", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2)


def _bars(gap: Gap) -> list[list[float]]:
    low, high = gap["interval"]
    return [[gap["mean"] - low], [high - gap["mean"]]]
