"""The second picture of the report: top-1 against what cats cost, in training and for an image."""

import math
import textwrap
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

from timecat.figure import as_bytes, color_sequence, pyplot
from timecat.report.estimate import words
from timecat.report.labels import Labelled, place_labels
from timecat.study.budget import is_equal
from timecat.study.reported import Accuracy, Report
from timecat.study.study import Study

MARKERS = "osD^vP*X<>p"  # one more than there are colours
LEGEND = 62  # characters of a line
APART = 0.03  # of the axis: between points of equal cost
ALIKE = 0.02  # of the axis: costs that are as good as equal


class _Family(NamedTuple):
    """Cats whose members are alike in all but their number and steps, in the order of their members."""

    cats: list[str]
    label: str
    colour: Any
    marker: str


def cost_picture(study: Study, content: Report, kind: str) -> bytes:
    """A row a data set: top-1 against training FLOPs and against inference FLOPs, a line a family of cats.

    Args:
        kind: png or svg.
    """
    families, data = _families(study, content), content["data"]
    half = -(-len(families) // 2)  # the legend's two columns
    lines = max(sum(each.label.count("\n") + 1 for each in some) for some in (families[:half], families[half:]))
    bottom = 0.4 + 0.19 * lines  # inches, of the legend and the caption
    height = 3.1 * len(data) + 0.45 + bottom
    figure, panels = pyplot().subplots(len(data), 2, figsize=(9, height), squeeze=False, sharey="row")
    axes = [("training of all members", "FLOP"), ("inference of one image", "FLOP")]
    labels = []
    for row, of_data in zip(panels, data, strict=True):
        name = of_data["name"]
        for number, (panel, (what, unit)) in enumerate(zip(row, axes, strict=True)):
            costs = {cat: _cost(content, cat, name if number else None) for family in families for cat in family.cats}
            labels.append((panel, _draw(panel, content, families, name, costs)))
            panel.set_xlabel(f"{what}, {unit}", fontsize=9)
        row[0].set_ylabel("linear probe, top-1 %", fontsize=9)
        shown = f"95 %, {words(of_data['unit'], of_data['repetitions'])}"
        row[0].set_title(f"{name}: {of_data['test_images']:,} test images; bars: {shown}", fontsize=9, loc="left")
    handles, names = _legend(panels[0][0], families)
    figure.legend(
        handles, names, loc="lower center", bbox_to_anchor=(0.5, 0.25 / height), ncols=2, frameon=False, fontsize=8
    )
    figure.suptitle(f"{study.name}: what cats are worth at what they cost", fontsize=11)
    figure.text(0.5, 0.06 / height, _caption(content), ha="center", fontsize=7.5, color="grey")
    figure.tight_layout(rect=(0, bottom / height, 1, 1))
    for panel, points in labels:
        place_labels(panel, points)
    return as_bytes(figure, kind)


def _families(study: Study, content: Report) -> list[_Family]:
    by_kind: dict[tuple[str, str, bool, str], list[str]] = {}
    for name, row in content["cats"].items():
        if row["direct"] is not None or row["costs"] is None or not row["acc1"]:
            continue
        cat = study.cats[name]
        share = study.share(cat) or 1.0
        more = "" if is_equal(share) else f"{share:.3g} x the images"
        alike = repr([cat.control, cat.project and cat.projection, *sorted({repr(each.different) for each in cat.of})])
        by_kind.setdefault((alike, cat.head, cat.of_one_run, more), []).append(name)
    families = []
    looks = zip(by_kind.items(), cycle(color_sequence()), cycle(MARKERS))
    for ((_, head, _, more), cats), colour, marker in looks:
        cats.sort(key=lambda name: content["cats"][name]["members"])
        several = len({repr(each.different) for each in study.cats[cats[0]].of}) > 1
        difference = "members of several kinds" if several else study.cats[cats[0]].difference
        what = ", ".join(filter(None, (difference, "the members' own heads" if head == "own" else "", more)))
        names = ", ".join(cats) if len(cats) < 5 else f"{cats[0]} to {cats[-1]}"
        label = textwrap.fill(f"{names}: {what}" if what else names, LEGEND)
        families.append(_Family(cats, label, colour, marker))
    return families


def _cost(content: Report, cat: str, data: str | None) -> float | None:
    """Of an image of a data set, or of training."""
    costs = content["cats"][cat]["costs"]
    if costs is None:
        return None
    return costs["training_flops"] if data is None else costs["inference_flops"].get(data)


def _draw(
    panel: Any, content: Report, families: Sequence[_Family], name: str, costs: dict[str, float | None]
) -> list[Labelled]:
    """Lines, points and bars of a panel; returns what is to be labelled."""
    values: dict[str, Accuracy] = {
        cat: row["acc1"][name] for cat, row in content["cats"].items() if name in row["acc1"]
    }
    places = _places({cat: cost for cat, cost in costs.items() if cost and cat in values})
    panel.set_xscale("log")
    _limits(panel, places.values())
    points = []
    for family in families:
        cats = [cat for cat in family.cats if cat in places]
        look = {"color": family.colour, "marker": family.marker, "markersize": 5, "linewidth": 1.2}
        means = [values[cat]["mean"] for cat in cats]
        bars = [
            [abs(end - values[cat]["mean"]) for cat in cats for end in values[cat]["interval"][k : k + 1]]
            for k in (0, 1)
        ]
        panel.errorbar([places[cat] for cat in cats], means, bars, capsize=2, elinewidth=0.9, **look)
        points += [
            Labelled(places[cat], values[cat]["mean"], *values[cat]["interval"], cat, family.colour) for cat in cats
        ]
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
    return points


def _places(costs: dict[str, float]) -> dict[str, float]:
    """Where cats stand on a logarithmic axis: at their cost, those of nearly equal cost side by side."""
    if not costs:
        return {}
    logs = {cat: math.log10(cost) for cat, cost in costs.items()}
    span = max(max(logs.values()) - min(logs.values()), 0.5)
    clusters: list[list[str]] = []
    for cat in sorted(logs, key=lambda cat: logs[cat]):
        if clusters and logs[cat] - logs[clusters[-1][0]] <= ALIKE * span:
            clusters[-1].append(cat)
        else:
            clusters.append([cat])
    places = {}
    for cluster in clusters:
        together = [cat for cat in logs if cat in cluster]  # in the families' order
        step = span * min(APART, 0.25 / len(together))
        for number, cat in enumerate(together):
            places[cat] = 10 ** (logs[cat] + step * (number - (len(together) - 1) / 2))
    return places


def _limits(panel: Any, places: Any) -> None:
    """Room for labels beside the outermost points; ticks such as 10 M."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    if places:
        logs = [math.log10(place) for place in places]
        room = 0.15 * max(max(logs) - min(logs), 0.5)
        panel.set_xlim(10 ** (min(logs) - room), 10 ** (max(logs) + room))
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panel.xaxis.set_major_formatter(EngFormatter())
    panel.xaxis.set_minor_formatter(NullFormatter())


def _legend(panel: Any, families: Sequence[_Family]) -> tuple[list[Any], list[str]]:
    handles = [panel.plot([], [], color=each.colour, marker=each.marker, markersize=5)[0] for each in families]
    return handles, [each.label for each in families]


def _caption(content: Report) -> str:
    unknown = [cat for cat, row in content["cats"].items() if row["costs"] and row["costs"]["training_flops"] is None]
    missing = f"without a known training cost: {', '.join(unknown)}; " if unknown else ""
    return f"{missing}points of equal cost stand side by side; docs/costs.md says what counts; timecat report CONFIG"
