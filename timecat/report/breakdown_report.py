"""The breakdown as it is shown: printed, as markdown, and as a picture of mean and worst."""

from pathlib import Path
from typing import Any

from timecat import files
from timecat.extraction.external import ExternalFeatures
from timecat.figure import as_bytes, pyplot
from timecat.report.breakdown import Breakdown, By, breakdowns
from timecat.report.estimate import words
from timecat.study.directory import Protocol, read_record, write_record
from timecat.study.study import Study
from timecat.tables import Section, Table, markdown, score
from timecat.terminal import say

SHOWN = 12  # subgroups that the terminal shows; the files have all
PLURAL = {"class": "classes", "component": "components", "group": "groups"}


def report_by(study: Study | ExternalFeatures, protocol: Protocol, by: By) -> list[Breakdown]:
    """Print it; write report_by_<by>.json, .md, .png and .svg.

    Raises:
        UserError: no data set can be broken down so.
    """
    found = breakdowns(study, protocol, by)
    path = {suffix: study.directory.breakdown(protocol, by, suffix) for suffix in (".json", ".md", ".png", ".svg")}
    sections = []
    for each in found:
        title = f"{each['data']}: {each['test_images']:,} test images, {len(each['names'])} {PLURAL[by]}; top-1 %"
        summary, table = Table(title, *_summary(each, by), left=2), Table(f"by {by}", *_rows(each, by))
        summary.show()
        _worst(table, by).show()
        sections.append(Section(title, [summary, table]))
    ways = sorted({words(each["unit"], each["repetitions"]) for each in found})
    note = (
        f"mean: of the {PLURAL[by]}, each counted once; [95 %]: {' or '.join(ways)}; the worst {by}'s: bootstrap over "
        f"the test images within each {by}, whichever is the worst then"
    )
    say(note)
    sections.append(Section("Mean and worst", [], [note], ("mean and worst", path[".png"].name)))
    content: Any = {"by": by, "protocol": protocol, "data": found}
    there = read_record(path[".json"], again=True) or {}
    if {**there, "version": 0} == {**files.as_json(content), "version": 0} and all(map(Path.is_file, path.values())):
        say(f"{path['.md']}  {path['.png']}")
        return found
    files.write_bytes(path[".md"], markdown(f"{study.name}: top-1 % by {by}", sections).encode())
    for kind in ("svg", "png"):
        files.write_bytes(path[f".{kind}"], picture(study, found, by, kind))
    write_record(path[".json"], content)
    say(f"{path['.md']}  {path['.png']}")
    return found


def _worst(table: Table, by: By) -> Table:
    """What the terminal shows of a long one: the subgroups that are worst for the first cat."""
    if len(table.rows) <= SHOWN:
        return table
    which = f"the {SHOWN} of {len(table.rows)} {PLURAL[by]} that are worst for {table.header[2]}"
    return Table(which, table.header, sorted(table.rows, key=lambda row: float(row[2]))[:SHOWN])


def _summary(each: Breakdown, by: By) -> tuple[list[str], list[list[str]]]:
    rows = []
    for cat, value in each["cats"].items():
        worst = value["worst"]
        row = [cat, worst["name"], score(worst["acc1"], worst["interval"]), f"{value['mean']:.1f}"]
        rows.append([*row, score(value["acc1"], value["interval"])])
    return ["cat", f"worst {by}", "its top-1 [95 %]", f"mean of {PLURAL[by]}", "all images [95 %]"], rows


def _rows(each: Breakdown, by: By) -> tuple[list[str], list[list[str]]]:
    cats = each["cats"]
    rows = [
        [name, f"{images:,}", *(f"{value['by'][place]:.1f}" for value in cats.values())]
        for place, (name, images) in enumerate(zip(each["names"], each["images"], strict=True))
    ]
    return [by, "images", *cats], rows


def picture(study: Study | ExternalFeatures, found: list[Breakdown], by: By, kind: str) -> bytes:
    """A panel a data set: of each cat the mean over the subgroups, each subgroup, and the worst with its interval."""
    most = max(len(each["cats"]) for each in found)
    size = 5.2 * len(found) + 0.6, 1.9 + 0.42 * most
    figure, panels = pyplot().subplots(1, len(found), figsize=size, squeeze=False)
    for panel, each in zip(panels[0], found, strict=True):
        cats = each["cats"]
        for place, value in enumerate(cats.values()):
            first = place == 0
            panel.plot(
                value["by"], [place] * len(value["by"]), "|", color="grey", alpha=0.6, label=f"each {by}" * first
            )
            worst = value["worst"]
            low, high = worst["interval"]
            panel.plot([low, high], [place, place], color="tab:red", linewidth=2, alpha=0.6)
            panel.plot(
                worst["acc1"], place, "v", color="tab:red", markersize=8, label=f"worst {by}, 95 % interval" * first
            )
            panel.plot(value["mean"], place, "o", color="tab:blue", markersize=8, label=f"mean of {PLURAL[by]}" * first)
        panel.set_yticks(range(len(cats)), list(cats))
        panel.invert_yaxis()
        panel.set_xlabel("top-1 %")
        repetitions = max(value["repetitions"] for value in cats.values())
        seeds = f", mean of {repetitions} repetitions" if repetitions > 1 else ", one repetition"
        panel.set_title(f"{each['data']}: {each['test_images']:,} test images{seeds}", fontsize=10)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.93), ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"{study.name}: top-1 by {by}", fontsize=11, y=0.99)
    figure.text(0.5, 0.005, f"timecat report CONFIG --by {by}", ha="center", fontsize=8, color="grey")
    figure.tight_layout(rect=(0, 0.03, 1, 0.9))
    return as_bytes(figure, kind)
