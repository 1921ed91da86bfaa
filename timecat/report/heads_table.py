"""What the heads on one data set are worth, and which settings won: a cat a row."""

from timecat.extraction.external import ExternalFeatures
from timecat.report.edges import edge_notes, edges, marked
from timecat.report.estimate import words
from timecat.report.significance import mark
from timecat.study.reported import Report
from timecat.study.saved_plan import read_preprocessing
from timecat.study.study import Study
from timecat.tables import Section, Table, points, score


def heads_section(study: Study, content: Report, name: str) -> Section:
    """The table of a data set, and what to try where a setting won at the edge of what was tried."""
    table, (probe,) = heads_table(study, content, name), study.probes_named(name)
    return Section(table.title, [table], edge_notes(probe, content["cats"]) if content["protocol"] == "heldout" else [])


def heads_table(study: Study | ExternalFeatures, content: Report, name: str) -> Table:
    """The table of a data set."""
    (probe,) = [study.probe] if isinstance(study, ExternalFeatures) else study.probes_named(name)
    kept = read_preprocessing(study.directory.probe(name).preprocessing(content["protocol"]))
    classes, at = kept[1] if kept else (), edges(probe)
    header = ["cat", "top-1 [95 %]", f"to {study.baseline} [95 %]", "top-5", "mean class", "worst class"]
    header += ["weight decay", "epochs", "lr"]
    rows = []
    for cat, row in content["cats"].items():
        value = row["acc1"].get(name)
        if value is None:
            continue
        difference = "" if cat == study.baseline else points(value["difference"], value["difference_interval"])
        worst = value["worst_class"]
        worst_name = classes[worst["class"]] if worst["class"] < len(classes) else str(worst["class"])
        rows.append(
            [
                cat,
                score(value["mean"], value["interval"]),
                difference + (mark(value) if difference else ""),
                f"{value['acc5']:.1f}",
                f"{value['mean_per_class']:.1f}",
                f"{worst_name}: {worst['acc1']:.1f}",
                marked(value["weight_decays"], at.get("weight decay", ())) if row["head"] == "linear" else row["head"],
                marked(value["epochs"], at.get("epochs", ())),
                marked(value["lrs"], at.get("lr", ())),
            ]
        )
    if len({row[-1] for row in rows if row[-1]}) < 2:  # one learning rate for all is no choice
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(_title(content, name), header, rows)


def _title(content: Report, name: str) -> str:
    data = next(data for data in content["data"] if data["name"] == name)
    chosen = "best on the test set" if content["protocol"] == "paper" else "chosen on held-out data"
    title = f"{name}: {data['test_images']:,} test images, {data['classes']:,} classes; heads {chosen}"
    missing = data["classes_without_test_image"]
    title += f"; {missing:,} classes have no test image and count nowhere" if missing else ""
    return f"{title}; 95 % by {words(data['unit'], data['repetitions'])}"
