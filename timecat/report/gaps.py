"""What the cats' frozen features lack on each component of a mixture, against direct training on it alone."""

from timecat.report.estimate import words
from timecat.study.reported import Gaps, Report
from timecat.tables import Section, Table, points

NOTE = (
    "gap: top-1 of a network trained on the component alone less that of the cat's frozen features, both by a linear "
    "probe; direct: at {}'s images, its share: at the component's share of them"
)


def gap_section(content: Report) -> Section | None:
    """A table a component that was trained on directly; None where none was."""
    tables = [_table(gaps, content, name) for name, gaps in content.get("gaps", {}).items()]
    notes = [NOTE.format(content["baseline"])]
    return Section("Transfer against direct training, by component", tables, notes) if tables else None


def _table(gaps: Gaps, content: Report, name: str) -> Table:
    data = next(data for data in content["data"] if data["name"] == name)
    direct = f"direct training {gaps['direct']:.1f}"
    if gaps["of_share"] is not None:
        direct += f", on its share of the images {gaps['of_share']:.1f}"
    share, way = f"{100 * gaps['share']:.3g} % of the mixture", words(data["unit"], data["repetitions"])
    title = f"{name}, {share}: top-1 % of {data['test_images']:,} test images; {direct}; 95 % by {way}"
    several = any(gap["sd"] is not None for gap in gaps["to_direct"].values())
    header = ["cat", "transfer", "gap to direct [95 %]", *(["± seeds"] if several else [])]
    header += ["gap to its share [95 %]"] if gaps["to_share"] else []
    rows = []
    for cat, gap in gaps["to_direct"].items():
        row = [cat, f"{content['cats'][cat]['acc1'][name]['mean']:.1f}", points(gap["mean"], gap["interval"])]
        row += [f"{gap['sd']:.1f}" if gap["sd"] is not None else ""] if several else []
        if gaps["to_share"]:
            of_share = gaps["to_share"][cat]
            row.append(points(of_share["mean"], of_share["interval"]))
        rows.append(row)
    return Table(title, header, rows)
