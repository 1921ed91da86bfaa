"""`timecat report`: the study's table, picture and TensorBoard image, from the results on disk alone."""

from timecat import files
from timecat.report import tables
from timecat.report.calibration import calibration_lines, print_calibration
from timecat.report.collect import collect
from timecat.report.cost_picture import cost_picture
from timecat.report.extra_tests import extra_lines, print_extra_tests
from timecat.report.picture import picture
from timecat.report.tuned import add_tuned, print_tuned, tuned_lines
from timecat.study.directory import Protocol, read_record, write_record
from timecat.study.reported import Report
from timecat.study.study import Study
from timecat.tensorboard_events import write_events
from timecat.terminal import fits, print_table, say


def report(study: Study, protocol: Protocol = "heldout") -> Report:
    """Print the tables; write report.json, report.md, and the pictures as .png, .svg, and for TensorBoard.

    Raises:
        UserError: no probe has a result yet.
    """
    content = collect(study, protocol)
    add_tuned(study, content)
    title = f"{study.name}: linear probes on frozen features, top-1 % (difference to {study.baseline})"
    header, rows = tables.cells(study, content)
    if not fits(header, rows):
        rows = [[cell.replace(" (", "\n(") for cell in row] for row in rows]
    print_table(title, header, rows, left=["cat"])
    tables.print_gaps(study, content)
    tables.print_costs(content)
    print_extra_tests(content)
    print_calibration(content)
    print_tuned(content)
    for line in tables.notes(study, content):
        say(line)
    path, markdown = study.directory.report(protocol, ".json"), study.directory.report(protocol, ".md")
    png_path = study.directory.report(protocol, ".png")
    if not _is_written(study, content, protocol):
        for tag, draw, path_of in (
            ("report", picture, study.directory.report),
            ("report_costs", cost_picture, study.directory.cost_picture),
        ):
            png = draw(study, content, "png")
            files.write_bytes(path_of(protocol, ".svg"), draw(study, content, "svg"))
            files.write_bytes(path_of(protocol, ".png"), png)
            write_events(study.directory.report(protocol, ""), tag, png)
        cost_path = study.directory.cost_picture(protocol, ".png")
        lines = [tables.markdown(study, content, png_path.name, cost_path.name)]
        lines += [*extra_lines(content), *calibration_lines(content), *tuned_lines(content)]
        files.write_bytes(markdown, "\n".join(lines).encode())
        write_record(path, content)
    say(f"{markdown}  {png_path}  tensorboard --logdir {study.directory}")
    return content


def _is_written(study: Study, content: Report, protocol: Protocol) -> bool:
    written = read_record(study.directory.report(protocol, ".json"))
    pictures = (study.directory.report(protocol, ".png"), study.directory.cost_picture(protocol, ".png"))
    if written is None or not all(path.exists() for path in pictures):
        return False
    return {key: value for key, value in written.items() if key != "version"} == files.as_json(content)


def print_data(study: Study, name: str, protocol: Protocol = "heldout") -> None:
    """Print what one data set's heads give, and their winning settings."""
    content = collect(study, protocol)
    tables.print_data(study, content, name)
    print_extra_tests(content, name)
