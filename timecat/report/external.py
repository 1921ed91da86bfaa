"""`timecat report` on features that were computed elsewhere: an extractor a row, with intervals; and the picture."""

from timecat import files
from timecat.errors import UserError
from timecat.extraction.blocks import seeded_name
from timecat.extraction.external import ExternalFeatures
from timecat.figure import as_bytes, pyplot
from timecat.report.calibration import calibration_section
from timecat.report.collect import add, add_labels_wanted, data_summary
from timecat.report.estimate import words
from timecat.report.few_shot import few_shot_section
from timecat.report.heads_table import heads_table
from timecat.report.knn import knn_section
from timecat.report.significance import interval_notes
from timecat.study.directory import Protocol, read_record, write_record
from timecat.study.reported import Report
from timecat.study.results import CatResult, Results
from timecat.tables import Section, Table, markdown
from timecat.tensorboard_events import write_events
from timecat.terminal import say


def collect_external(features: ExternalFeatures, protocol: Protocol = "heldout") -> Report:
    """What each extractor's head is worth, from the results on disk; steps and images, which we do not know, are 0.

    Raises:
        UserError: no extractor has a result yet, or results whose predictions are not there.
    """
    results, by_cat = results_by_extractor(features, protocol)
    report: Report = {
        "study": features.name,
        "baseline": features.baseline,
        "protocol": protocol,
        "data": [data_summary(features.probe, results, by_cat)],
        "cats": {
            name: {
                "members": len(features.config.blocks(name)),
                "steps": 0,
                "budget": "",
                "images": 0,
                "model": {},
                "head": "linear",
                "differs": False,
                "direct": None,
                "features": None,
                "costs": None,
                "acc1": {},
            }
            for name in features.extractors
        },
    }
    add(report, features, features.probe, by_cat, protocol)
    add_labels_wanted(report, features, features.probe)
    return report


def results_by_extractor(
    features: ExternalFeatures, protocol: Protocol
) -> tuple[Results, dict[str, dict[str, CatResult]]]:
    """The results of the data set, and those of each extractor that has any by its name in predictions.npz.

    Raises:
        UserError: none has.
    """
    results = features.read_results(protocol)
    by_cat = {
        name: {seeded_name(name): result}
        for name in features.extractors
        if (result := features.result_of(results, name)) is not None
    }
    if results is None or not by_cat:
        raise UserError(f"{features.directory}: no extractor has a result yet; run `timecat probe` first")
    return results, by_cat


def report_external(features: ExternalFeatures, protocol: Protocol = "heldout") -> Report:
    """Print the table; write report.json, report.md, the picture as report.png and report.svg, and for TensorBoard.

    Raises:
        UserError: as `collect_external`.
    """
    content = collect_external(features, protocol)
    paths = {suffix: features.directory.report(protocol, suffix) for suffix in (".md", ".svg", ".png", ".json", "")}
    first, calibration = _section(features, content, paths[".png"].name), calibration_section(content)
    shown = [calibration, first] if calibration else [first]
    for section in shown:
        section.show()
    written = read_record(paths[".json"], again=True) or {}
    if {**written, "version": 0} != {**files.as_json(content), "version": 0} or not paths[".png"].exists():
        png = _picture(features, content, "png")
        sections = [*reversed(shown), *map(knn_section, content.get("knn", {}).values())]
        sections += map(few_shot_section, content.get("few_shot", {}).values())
        text = markdown(f"{features.name}: linear heads on frozen features", sections)
        files.write_bytes(paths[".md"], text.encode())
        files.write_bytes(paths[".svg"], _picture(features, content, "svg"))
        files.write_bytes(paths[".png"], png)
        write_events(paths[""], "report", png)
        write_record(paths[".json"], content)
    say(f"{paths['.md']}  {paths['.png']}  tensorboard --logdir {features.directory}")
    return content


def print_heads(features: ExternalFeatures, protocol: Protocol) -> None:
    """Print what each extractor's head gives, and its winning settings."""
    for table in _section(features, collect_external(features, protocol), "").tables:
        table.show()


def _title(content: Report) -> str:
    (data,) = content["data"]
    chosen = "best on the test set" if content["protocol"] == "paper" else "chosen on held-out rows"
    title = f"{content['study']}: {data['test_images']:,} test rows, {data['classes']:,} classes; heads {chosen}"
    missing = data["classes_without_test_image"]
    return title + (f"; {missing:,} classes have no test row and count nowhere" if missing else "")


def _section(features: ExternalFeatures, content: Report, image: str) -> Section:
    """The table of the heads, with the number of features, and without columns that tell nothing."""
    (data,) = content["data"]
    table = heads_table(features, content, data["name"])
    header = ["extractor", "features", *table.header[1:]]
    rows = [[row[0], str(content["cats"][row[0]]["features"]), *row[1:]] for row in table.rows]
    empty = [index for index in range(len(header)) if not any(row[index] for row in rows)]
    if data["classes"] <= 5:
        empty.append(header.index("top-5"))
    kept = [index for index in range(len(header)) if index not in empty]
    header, rows = [header[index] for index in kept], [[row[index] for index in kept] for row in rows]
    title = _title(content)
    return Section(title, [Table(title, header, rows)], _notes(features, content), ("top-1 of each extractor", image))


def _notes(features: ExternalFeatures, content: Report) -> list[str]:
    """What the numbers are worth."""
    lines = [
        f"{name}: {' + '.join(features.config.blocks(name))}"
        for name, row in content["cats"].items()
        if row["members"] > 1 and row["acc1"]
    ]
    lines += interval_notes(content, "rows")
    if content["protocol"] == "paper":
        lines.append("weight decay and epoch chosen ON THE TEST SET, as the paper reports: for comparison with it only")
    else:
        lines.append("weight decay and epoch chosen on rows held out of the training set; the test set read once")
    missing = [name for name, row in content["cats"].items() if not row["acc1"]]
    if missing:
        lines.append(f"not probed as they are now: {', '.join(missing)}; timecat probe does it")
    return lines


def _picture(features: ExternalFeatures, content: Report, kind: str) -> bytes:
    """Top-1 of each extractor with its interval, the first one on top."""
    values = {name: row["acc1"][features.probe.name] for name, row in content["cats"].items() if row["acc1"]}
    figure, panel = pyplot().subplots(figsize=(6.4, 1.4 + 0.4 * len(values)))
    for place, value in enumerate(values.values()):
        low, high = value["interval"]
        panel.plot([low, high], [place, place], color="tab:blue")
        panel.plot(value["mean"], place, "o", color="tab:blue")
    panel.set_yticks(range(len(values)), [f"{name} ({content['cats'][name]['features']})" for name in values])
    panel.set_ylim(len(values) - 0.5, -0.5)
    (data,) = content["data"]
    panel.set_xlabel(f"linear head, top-1 %; 95 % by {words(data['unit'], data['repetitions'], 'test rows')}")
    panel.set_title(features.name, fontsize=11)
    panel.grid(axis="x", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return as_bytes(figure, kind)
