"""The Text tab: the config, the plan, the report."""

import dataclasses
import re
from typing import Any

import yaml

from timecat.report.cost_table import cost_table
from timecat.study.cat_costs import costs_of_cats
from timecat.study.study import Study
from timecat.tables import Table

MEMBERS = 60  # that the plan lists; study.json has all


def config_text(study: Study) -> str:
    """The config with what the command line changed, as YAML; keys that have their default are left out."""
    file = study.file
    whole = {"seed_everything": file.seed, "study": _given(file.study), **file.written}
    lines = yaml.safe_dump(_plain(whole), sort_keys=False, default_flow_style=None, width=100).splitlines()
    return "\n".join(f"    {line}" for line in lines)


def _given(section: Any) -> dict[str, Any]:
    """The keys of a dataclass that are not its defaults."""
    found = {}
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if field.name == "cats":
            value = {name: _given(cat) for name, cat in value.items()}
        if value != default:
            found[field.name] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def plan_text(study: Study) -> str:
    """The cats, what they cost, and the members that are trained."""
    cats = Table(
        "cats",
        ["cat", "members x steps", "images", "otherwise"],
        [
            [cat.name, cat.budget, f"{cat.images:,}" if cat.images else "?", cat.difference]
            for cat in study.cats.values()
        ],
    )
    costs = cost_table(costs_of_cats(study), study.baseline)
    members = [
        [plan.name, str(plan.seed), f"{plan.steps:,}", f"{plan.steps * study.batch_size:,}"]
        for plan in study.members[:MEMBERS]
    ]
    trained = Table("members", ["directory", "seed", "steps", "images"], members)
    lines = [f"{study.repetitions} repetitions, global batch {study.batch_size:,}", ""]
    for title, table in (("Cats", cats), ("Costs", costs), ("Members to train", trained)):
        lines += [f"### {title}", "", *table.markdown()]
    if len(study.members) > MEMBERS:
        lines.append(f"and {len(study.members) - MEMBERS} more in {study.directory.plan.name}")
    return "\n".join(lines)


def report_text(report: str) -> str:
    """report.md without its pictures, which stand in the Images tab."""
    return re.sub(r"!\[[^]]*\]\([^)]*\)\n?", "", report)
