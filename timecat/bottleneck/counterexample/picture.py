"""The counterexample's picture: the points, the exact risks, what networks keep and what cats of them win back."""

from typing import Any

import numpy as np

from timecat.bottleneck.counterexample.kept import wilson
from timecat.bottleneck.counterexample.mixture import LABELS, PHI, POINTS, Exact, point_weights
from timecat.bottleneck.counterexample.outcome import KEPT, Cats, Outcome
from timecat.figure import as_bytes, pyplot

COLOURS = {"direct": "0.6", "one": "tab:red", "both": "tab:blue"}
TASK_NAMES = [f"P[{task}]" for task in range(1, 5)]
TASK_COLOURS = ["tab:orange", "tab:red", "tab:green", "tab:blue"]
TOP = 0.42  # of the axes of risk, of which 1/3 is the most
RISK = "0-1 risk (share misclassified)"


def picture(exact: Exact, outcome: Outcome, seeds: int, command: str, kind: str) -> bytes:
    """Four panels as a file of this kind, png or svg; the same file for the same numbers."""
    plot = pyplot()
    with plot.rc_context({"font.size": 9}):
        figure, panels = plot.subplots(2, 2, figsize=(10, 8.6))
        _points(panels[0, 0], exact)
        _exact(panels[0, 1], exact)
        _kept(panels[1, 0], outcome, seeds)
        _cats(panels[1, 1], outcome)
        for panel in panels.flat:
            panel.spines[["top", "right"]].set_visible(False)
        caption = (
            f"{command}\n"
            "a, b: exact, no samples. c, d: x → tanh hidden units → affine head, SGD on samples; heads refit on frozen "
            f"features. Seeds 0 to {seeds - 1}; Wilson 95 % intervals."
        )
        figure.text(0.01, 0.01, caption, fontsize=8, va="bottom")
        figure.tight_layout(rect=(0, 0.05, 1, 1), h_pad=2.5, w_pad=2.5)
        return as_bytes(figure, kind)


def _points(panel: Any, exact: Exact) -> None:
    """The mixture, and the boundary of its best classifier of one feature."""
    weights = point_weights(exact.weights)
    kept = exact.keeps[0]
    feature = int(kept == "phi2")
    pair = np.flatnonzero(PHI[:, feature])  # the two points that this feature tells from the others
    wrong = int(pair[weights[pair].argmin()])
    right = int(pair.sum() - wrong)
    half = PHI[right, feature] / 2
    reach = np.clip([half - 2.3, half + 2.3], -2.4, 2.4)
    panel.plot(reach, half - reach if feature == 0 else reach - half, "k--", label=f"best classifier of {kept} alone")
    for label, marker, colour in ((1, "o", "tab:blue"), (-1, "s", "tab:orange")):
        chosen = label == LABELS
        panel.scatter(
            *POINTS[chosen].T, s=3000 * weights[chosen] + 15, marker=marker, color=colour, label=f"y = {label:+d}"
        )
    panel.scatter(*POINTS[wrong], s=130, marker="x", color="black", label="misclassified", zorder=3)
    for number, (point, weight) in enumerate(zip(POINTS, weights, strict=True), 1):
        panel.annotate(
            f"point {number}\nweighs {weight:.3f}", point, (0, 24 * np.sign(point[1])), textcoords="offset points",
            ha="center", va="bottom" if point[1] > 0 else "top",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    panel.set(xlim=(-3.2, 3.2), ylim=(-2.5, 3.6), xlabel="x1", ylabel="x2", aspect="equal")
    panel.set_title(f"a  the mixture; {_either(exact)} alone errs {exact.mixture[kept]:.3f}", loc="left")
    legend = panel.legend(fontsize=8, loc="upper center", ncols=2, framealpha=1, edgecolor="none")
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([40])


def _either(exact: Exact) -> str:
    return " as well as ".join(exact.keeps)


def _exact(panel: Any, exact: Exact) -> None:
    """Direct and transfer risk of each task."""
    kept = exact.keeps[0]
    series = (
        ("direct: features chosen for the task", exact.direct, COLOURS["direct"]),
        (f"transfer: {kept} alone, as the mixture's best", exact.transfer[kept], COLOURS["one"]),
        ("transfer: phi1 and phi2 concatenated", exact.transfer["both"], COLOURS["both"]),
    )
    for place, (label, risks, colour) in enumerate(series):
        x = np.arange(4) + (place - 1) * 0.27
        panel.bar(x, risks, 0.25, color=colour, label=label)
        for at, value in zip(x, risks, strict=True):
            panel.text(at, value + 0.004, "1/3" if value > 0.3 else f"{value:.3g}", ha="center", color=colour)
    names = [f"{name}\nweight {weight:.3g}" for name, weight in zip(TASK_NAMES, exact.weights, strict=True)]
    panel.set_xticks(range(4), names)
    panel.set(ylim=(0, TOP + 0.1), ylabel=RISK)
    panel.set_title("b  exact risk of each task, best affine head", loc="left")
    panel.legend(fontsize=8, frameon=False, loc="upper left")


def _kept(panel: Any, outcome: Outcome, seeds: int) -> None:
    """The share of seeds that keep each feature."""
    for place, (width, counts) in enumerate(outcome.kept.items()):
        shares = np.array([counts[name] / seeds for name in KEPT])
        ends = np.array([wilson(counts[name], seeds) for name in KEPT]).T
        x = np.arange(len(KEPT)) + (place - 0.5) * 0.38
        colour = ("tab:red", "tab:purple")[place]
        units = "unit" if width == 1 else "units"
        errors = 100 * np.abs(ends - shares)
        panel.bar(
            x, 100 * shares, 0.36, yerr=errors, capsize=3, color=colour, alpha=0.75, label=f"{width} hidden {units}"
        )
        for at, end, value in zip(x, ends[1], shares, strict=True):
            panel.text(at, 100 * end + 1, f"{100 * value:.3g}", ha="center", va="bottom", color=colour)
    panel.set_xticks(range(len(KEPT)), ["phi1:\nP[1], P[2]", "phi2:\nP[3], P[4]", "both:\nall four", "neither"])
    panel.set(ylim=(0, 112), ylabel="share of seeds (%)", xlabel="kept feature: tasks that a refit head solves")
    panel.set_title(f"c  what one network on the mixture keeps, n = {seeds}", loc="left")
    panel.legend(fontsize=8, frameon=False, loc="upper left")


def _cats(panel: Any, outcome: Outcome) -> None:
    """Transfer risk against the number of networks, at equal steps in total."""
    whole = outcome.direct(1).steps
    cats = [one for one in outcome.cats if one.name == "cat" and one.width == 1]
    equal = [one for one in cats if one.steps == whole // one.networks]
    ticks = ["direct", *(f"{one.networks} x {one.steps:,}\nn = {one.number}" for one in equal)]
    for task, colour in enumerate(TASK_COLOURS):
        shift = (task - 1.5) * 0.07
        _risk(panel, [shift], [outcome.direct(1)], task, fmt="D", color=colour)
        x = [place + 1 + shift for place in range(len(equal))]
        _risk(panel, x, equal, task, fmt="o-", color=colour, label=TASK_NAMES[task])
    wide = next(one for one in outcome.cats if one.name == "cat" and one.width == 2)
    ticks.append(f"1 x {wide.steps:,}\nof 2 units")
    for task, colour in enumerate(TASK_COLOURS):
        _risk(panel, [len(equal) + 1 + (task - 1.5) * 0.07], [wide], task, fmt="*", color=colour)
    panel.axhline(1 / 3, color="0.6", linestyle=":", linewidth=1)
    panel.text(len(ticks) - 0.6, 1 / 3 + 0.004, "1/3: never solved", ha="right", color="0.4")
    panel.set_xticks(range(len(ticks)), ticks)
    panel.set(ylim=(-0.01, TOP), ylabel=RISK, xlabel="networks x steps, concatenated; n of them")
    panel.set_title("d  mean risk, refit heads, 1 hidden unit each", loc="left")
    panel.legend(fontsize=8, frameon=False, loc="upper left", ncols=4)


def _risk(panel: Any, x: list[float], cats: list[Cats], task: int, **style: Any) -> None:
    means = np.array([one.risk[task] for one in cats])
    ends = np.array([one.interval[task] for one in cats]).T
    panel.errorbar(x, means, np.abs(ends - means), capsize=2, markersize=5, **style)
