"""`timecat run`: every stage of a study on this machine; each skips what is finished."""

from pathlib import Path

from timecat.config.data import DataConfig
from timecat.errors import UserError
from timecat.study.study import Study


def run(study: Study, arguments: list[str]) -> int:
    """Write missing data, train the members, probe, report; the exit status of the first stage that does not finish."""
    from timecat.cluster.stop import stop_on_signal, until_stopped
    from timecat.heads.probe import probe
    from timecat.members.fit import fit
    from timecat.report.compare.compare import write_comparison
    from timecat.report.report import print_data, report

    def show(name: str) -> None:
        print_data(study, name)
        write_comparison(study)

    write_missing([*study.all_data, *(each.data for each in study.probes)])
    with stop_on_signal() as stop:
        status = fit(study, arguments, stop)
    if status:
        return status
    write_comparison(study)
    if study.probes:
        status = until_stopped(lambda stop: probe(study, show=show, stop=stop))
        if status == 0:
            report(study)
    return status


def write_missing(sections: list[DataConfig]) -> None:
    """Write the .beton files that `data` sections name and that are not there, each from its `source`.

    Raises:
        UserError: files are missing and there is no source, the source has no such split, or its directory holds the
            file; all are looked at before any is written.
    """
    from timecat.data.sources.open_source import directory_of
    from timecat.data.write.write import write

    todo: dict[Path, str] = {}
    for data in sections:
        for path, source in data.sources.items():
            if path.exists() or path in todo:
                continue
            if source is None:
                raise UserError(f"{path}: no such file; write it with `timecat write SOURCE {path.parent}`")
            if (data.directory / source).is_dir():
                source = str(data.directory / source)
            images = directory_of(source)
            if images is not None and path.resolve().is_relative_to(images.resolve()):
                raise UserError(f"{path}: lies inside its source {source}; name another file, or move the images")
            todo[path] = source
    for path, source in todo.items():
        if not path.exists():
            write(source, path.parent)
        if not path.exists():
            raise UserError(f"{path}: the source {source} has no such split; mend data.{path.stem}")
