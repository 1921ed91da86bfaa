"""What cats cost, as a table: in the plan, in the report, beside each other and beside the baseline."""

from collections.abc import Mapping

from timecat.study.cat_costs import Costs
from timecat.study.reported import Report
from timecat.tables import Section, Table
from timecat.terminal import short

TITLE = "costs: training in all, inference of an image with the head (docs/costs.md)"
ALIKE = 0.02  # data sets whose inference differs by less share a column, which shows the first one's


def cost_section(content: Report, image: str) -> Section:
    """Of the cats whose costs are known."""
    known = {name: row["costs"] for name, row in content["cats"].items() if row["costs"] is not None}
    return Section("Costs", [cost_table(known, content["baseline"], heads=True)], image=("top-1 against costs", image))


def cost_table(costs: Mapping[str, Costs], baseline: str, heads: bool = False) -> Table:
    """A row a cat.

    Args:
        heads: with the size of each data set's head.
    """
    names = list(dict.fromkeys(name for each in costs.values() for name in each["inference_flops"]))
    shared = _shared(costs, names)
    header = ["cat", "features", "parameters", "training", f"of {baseline}'s"]
    for group in shared:
        header += [f"inference{_of(group, shared)}", f"of {baseline}'s"]
    by_bytes = _equal(costs, names) if heads else []
    header += [f"head{_of(group, by_bytes)}" for group in by_bytes]
    base = costs[baseline]
    rows = []
    for cat, each in costs.items():
        row = [cat, f"{each['features']:,}", short(each["parameters"])]
        row += [short(each["training_flops"], "FLOP"), _ratio(each["training_flops"], base["training_flops"])]
        for group in shared:
            name = next((name for name in group if name in each["inference_flops"]), None)
            value = each["inference_flops"][name] if name else None
            row += [short(value, "FLOP"), _ratio(value, base["inference_flops"].get(name or ""))] if name else ["", ""]
        for group in by_bytes:
            name = next((name for name in group if name in each["head_bytes"]), None)
            row.append(short(each["head_bytes"][name], "B") if name else "")
        rows.append(row)
    return Table(TITLE, header, rows)


def _of(group: list[str], groups: list[list[str]]) -> str:
    """Of which data sets a column is, where there are several such columns."""
    return f", {', '.join(group)}" if len(groups) > 1 else ""


def _shared(costs: Mapping[str, Costs], names: list[str]) -> list[list[str]]:
    """The data sets in groups, within which each cat's inference costs nearly the same."""

    def is_alike(one: str, other: str) -> bool:
        for each in costs.values():
            first, second = each["inference_flops"].get(one), each["inference_flops"].get(other)
            if first is not None and second is not None and abs(first - second) > ALIKE * first:
                return False
        return True

    groups: list[list[str]] = []
    for name in names:
        group = next((group for group in groups if is_alike(group[0], name)), None)
        groups.append([name]) if group is None else group.append(name)
    return groups


def _equal(costs: Mapping[str, Costs], names: list[str]) -> list[list[str]]:
    """The data sets in groups, whose heads have the same sizes."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        sizes = {each["head_bytes"][name] for each in costs.values() if name in each["head_bytes"]}
        groups.setdefault(tuple(sorted(sizes)), []).append(name)
    return list(groups.values())


def _ratio(value: float | None, base: float | None) -> str:
    return "?" if value is None or not base else f"{value / base:.2f}"
