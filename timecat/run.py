"""`timecat run`: every stage of a study on this machine; each skips what is finished."""

from dataclasses import asdict

from timecat.config.data import DataConfig
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
    from timecat.data.missing import missing_files, no_source
    from timecat.data.write.write import write

    todo = missing_files(sections)
    for path, origin in todo.items():
        if origin is None:
            raise no_source(path)
        origin.outline(path)
    for path, origin in todo.items():
        if origin is not None and not path.exists():
            how = {key: value for key, value in asdict(origin).items() if key != "source"}
            write(origin.source, path.parent, **how)
