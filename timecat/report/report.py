"""`timecat report`: the study's tables, pictures and TensorBoard's comparison, from the results on disk alone."""

from timecat import files
from timecat.report.calibration import calibration_section
from timecat.report.collect import collect
from timecat.report.compare.compare import write_comparison
from timecat.report.cost_picture import cost_picture
from timecat.report.cost_table import cost_section
from timecat.report.extra_tests import extra_section
from timecat.report.few_shot import few_shot_section
from timecat.report.gaps import gap_section
from timecat.report.heads_table import heads_section
from timecat.report.knn import knn_section
from timecat.report.overview import overview
from timecat.report.picture import picture
from timecat.report.tuned import add_tuned, tuned_section
from timecat.study.directory import Protocol, read_record, write_record
from timecat.study.reported import Report
from timecat.study.saturation import saturation_section
from timecat.study.study import Study
from timecat.tables import markdown
from timecat.terminal import say


def report(study: Study, protocol: Protocol = "heldout") -> Report:
    """Print the tables; write report.json, report.md, the pictures as .png and .svg, and TensorBoard's comparison.

    Raises:
        UserError: no probe has a result yet.
    """
    content = collect(study, protocol)
    add_tuned(study, content)
    path, png_path = study.directory.report(protocol, ".json"), study.directory.report(protocol, ".png")
    cost_path, markdown_path = study.directory.cost_picture(protocol, ".png"), study.directory.report(protocol, ".md")
    first, costs = overview(study, content, png_path.name), cost_section(content, cost_path.name)
    further = [gap_section(content), extra_section(content), calibration_section(content), tuned_section(content)]
    found = [section for section in further if section is not None]
    for section in (*found, costs, first):  # the last one is what a terminal shows at the end
        section.show()
    if not _is_written(study, content, protocol):
        for draw, path_of in ((picture, study.directory.report), (cost_picture, study.directory.cost_picture)):
            for kind in ("svg", "png"):
                files.write_bytes(path_of(protocol, f".{kind}"), draw(study, content, kind))
        sections = [first, costs, *found, *map(saturation_section, content.get("saturation", {}).values())]
        sections += map(knn_section, content.get("knn", {}).values())
        sections += map(few_shot_section, content.get("few_shot", {}).values())
        sections += [heads_section(study, content, data["name"]) for data in content["data"]]
        files.write_bytes(markdown_path, markdown(f"{study.name}: linear probes on frozen features", sections).encode())
        write_record(path, content)
    write_comparison(study, protocol)
    say(f"{markdown_path}  {png_path}  tensorboard --logdir {study.directory.compare(protocol)}")
    return content


def _is_written(study: Study, content: Report, protocol: Protocol) -> bool:
    written = read_record(study.directory.report(protocol, ".json"), again=True)
    paths = (study.directory.report, study.directory.cost_picture)
    made = [path_of(protocol, suffix) for path_of in paths for suffix in (".png", ".svg")]
    if written is None or not all(path.is_file() for path in [*made, study.directory.report(protocol, ".md")]):
        return False
    return {key: value for key, value in written.items() if key != "version"} == files.as_json(content)


def print_data(study: Study, name: str, protocol: Protocol = "heldout") -> None:
    """Print what one data set's heads give, and their winning settings."""
    content = collect(study, protocol)
    heads_section(study, content, name).show()
    if (extra := extra_section(content, name)) is not None:
        extra.show()
