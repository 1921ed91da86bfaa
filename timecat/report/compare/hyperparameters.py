"""The HParams tab: what the cats cost, and what they are worth."""

from typing import Any

from timecat.report.compare.tags import top1
from timecat.study.cat_costs import Costs
from timecat.study.plan import Cat
from timecat.study.study import Study
from timecat.tensorboard_events import experiment

COLUMNS = ("members", "steps", "width", "images", "million parameters")  # TensorBoard ticks the first five


def hyperparameters(study: Study, cat: Cat, costs: Costs) -> dict[str, float | str]:
    """Of a cat, by column; of members that differ, all their widths."""
    seeded = next(seeded for seeded in study.seeded_cats() if seeded.cat is cat)
    widths = sorted({snapshot.plan.model.width for snapshot in seeded.trained})
    values: dict[str, Any] = {"members": cat.members, "steps": cat.steps or None, "images": cat.images or None}
    values["width"] = widths[0] if len(widths) == 1 else " + ".join(map(str, widths)) or None
    if (parameters := costs["parameters"]) is not None:
        values["million parameters"] = parameters / 1e6
    return {key: values[key] for key in COLUMNS if values.get(key) is not None}


def columns(data: list[str]) -> Any:
    """For TensorBoard: the hyperparameters, then the final top-1 on each data set."""
    return experiment(COLUMNS, {top1(name): f"{name}, top-1 %" for name in data})
