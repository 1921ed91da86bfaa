"""Settings that won at the edge of what was tried: the best may lie beyond it."""

from collections.abc import Mapping, Sequence
from typing import Any

from timecat.config.files import ProbeFile
from timecat.config.probe import EPOCHS
from timecat.study.reported import CatSummary

MARK = "'"  # behind a setting
KEYS = {"lr": "probe.lrs", "weight decay": "probe.weight_decays", "epochs": "trainer.max_epochs"}
FACTOR = 10  # from the edge of a grid to what is tried next


def edges(probe: ProbeFile) -> dict[str, tuple[float, ...]]:
    """By what is chosen, the values behind which a better one may lie; nothing of what was not chosen from several."""
    grid = probe.probe.grid(probe.model.lr)
    tried = {"lr": {lr for lr, _ in grid}, "weight decay": {decay for _, decay in grid}}
    found: dict[str, tuple[float, ...]] = {
        what: (min(values), max(values)) for what, values in tried.items() if len(values) > 1
    }
    if probe.probe.solver == "sgd":
        found["epochs"] = (probe.trainer.max_epochs or EPOCHS,)
    return found


def marked(values: Sequence[float | None], at: Sequence[float]) -> str:
    """What was chosen, repetition by repetition, once where it is the same for all; marked at an edge."""
    words = [f"{value:g}{MARK * (value in at)}" for value in values if value is not None]
    return words[0] if len(set(words)) == 1 else ", ".join(words)


def edge_notes(probe: ProbeFile, cats: Mapping[str, CatSummary]) -> list[str]:
    """What to try, for each setting that won at an edge."""
    values_of = {name: of_data for name, row in cats.items() if (of_data := _chosen(row, probe.name))}
    lines = []
    for what, at in edges(probe).items():
        for value in at:
            names = [name for name, values in values_of.items() if value in values[what]]
            if not names:
                continue
            beyond = 2 * value if what == "epochs" else value * FACTOR if value == max(at) else value / FACTOR
            edge = "the last" if what == "epochs" else "the largest tried" if value == max(at) else "the smallest tried"
            whose = ", ".join(names) if len(names) < len(cats) else "all"
            lines.append(f"{MARK} {what} {value:g} is {edge} ({whose}): try {beyond:g} too, {KEYS[what]}")
    return lines


def _chosen(row: CatSummary, data: str) -> dict[str, list[Any]]:
    """What was chosen for a cat's heads, repetition by repetition; nothing of heads that a probe did not choose."""
    found = row["acc1"].get(data)
    if found is None or row["head"] != "linear":
        return {}
    return {"lr": found["lrs"], "weight decay": found["weight_decays"], "epochs": found["epochs"]}
