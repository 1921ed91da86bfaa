"""The counterexample on the terminal."""

from collections.abc import Sequence

import numpy as np

from timecat.bottleneck.counterexample.kept import wilson
from timecat.bottleneck.counterexample.mixture import FEATURES, TASKS, Exact, least_risk
from timecat.bottleneck.counterexample.outcome import Outcome
from timecat.bottleneck.counterexample.sparse import Segment
from timecat.terminal import print_table, say

NAMES = [f"P[{task}]" for task in range(1, 5)]


def print_exact(exact: Exact) -> None:
    """Risks of the features on each task and on the mixture; gaps of what the mixture's best classifier keeps."""
    shown = [*exact.keeps, "both"]
    header = ["task", "weight", "direct", *FEATURES, *(f"gap {name}" for name in shown)]
    rows = [
        [
            name,
            f"{exact.weights[task]:.4g}",
            risk(exact.direct[task]),
            *(risk(exact.transfer[kept][task]) for kept in FEATURES),
            *(risk(exact.gap(kept)[task]) for kept in shown),
        ]
        for task, name in enumerate(NAMES)
    ]
    rows.append(["mixture", "1", "", *(risk(exact.mixture[name]) for name in FEATURES), *("" for _ in shown)])
    print_table("exact: least 0-1 risk of an affine classifier, by enumeration", header, rows, left=["task"])
    kept = " or ".join(exact.keeps)
    either = " (a tie: one extractor keeps one of them)" if len(exact.keeps) > 1 else ""
    say(
        f"On the mixture {kept} alone is as good as both features{either}: {risk(exact.mixture['both'])}. direct: "
        "features and classifier chosen for the task. phi1, phi2, both: these features frozen, the classifier refit on "
        "the task. gap: the latter less the former; both features concatenated have none."
    )


def print_sparse(paths: dict[str, list[Segment]]) -> None:
    """What the sparse linear learner keeps, by loss and penalty."""
    rows = [
        [loss, f"{part.lowest:.4f} to {part.highest:.4f}", part.keeps, _range(part.risk), starved(part.keeps)]
        for loss, parts in paths.items()
        for part in parts
    ]
    print()
    header = ["loss", "L1 penalty", "keeps", "own risk", "then errs on"]
    print_table("a sparse linear learner on the mixture", header, rows, left=header)
    say("own risk: of its own classifier on the mixture, 0-1. errs on: by any affine classifier of what it kept.")


def print_networks(outcome: Outcome, seeds: int, clear: float) -> None:
    """What small networks keep, and what cats of them win back."""
    rows = []
    for cats in outcome.cats:
        if cats.width > 1 and cats.networks > 1:
            continue  # these are in the file
        name = "direct" if cats.name == "direct" else "one" if cats.networks == 1 else f"cat of {cats.networks}"
        gap = "" if cats.name == "direct" else f"{outcome.gap(cats).mean() + 0.0:.3f}"
        steps = f"{cats.networks} x {cats.steps:,}"
        rows.append([str(cats.width), name, steps, str(cats.number), *(f"{value:.3f}" for value in cats.risk), gap])
    print()
    header = ["width", "networks", "steps", "n", *NAMES, "mean gap"]
    print_table(
        f"small tanh networks by SGD, {seeds} seeds: mean 0-1 risk, head refit", header, rows, left=["networks"]
    )
    say(
        "direct: trained on the task; the others on the mixture. width: hidden units of a network. A head counts as "
        f"right where it parts the points by {100 * clear:g} % of their spread."
    )
    for width, counts in outcome.kept.items():
        shares = ", ".join(f"{name} {share(count, seeds)}" for name, count in counts.items() if count)
        say(
            f"width {width}: one network on the mixture keeps (95 % interval) {shares}; its own head errs "
            f"{outcome.own[width]:.3f} on the mixture, on average."
        )


def starved(keeps: str) -> str:
    """The tasks that an affine classifier of these features errs on."""
    if " or " in keeps:
        return "it depends"
    features = np.zeros((4, 1)) if keeps == "none" else FEATURES[keeps]
    wrong = [name for name, task in zip(NAMES, TASKS, strict=True) if least_risk(features, task) > 0]
    return "all" if len(wrong) == len(NAMES) else " ".join(wrong) or "none"


def share(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def risk(value: float) -> str:
    return f"{value + 0.0:.4f}"


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.3f}" for value in values)
    return low if low == high else f"{low} to {high}"
