"""`timecat run`: every stage of a study on this machine; each skips what is finished."""

from pathlib import Path
from typing import Any

from timecat.config import read_probe_config
from timecat.data.root import data_root
from timecat.errors import UserError
from timecat.study.study import Study


def run(study: Study, arguments: list[str]) -> int:
    """Write missing data, train the members, probe, report; the exit status of the first stage that does not finish."""
    from timecat.cluster.stop import stop_on_signal
    from timecat.heads.probe import probe
    from timecat.members.fit import fit
    from timecat.report.report import report

    write_missing(study.config.get("data") or {})
    for path in study.probes:
        write_missing(read_probe_config(path).get("data") or {})
    with stop_on_signal() as stop:
        status = fit(study, arguments, stop)
    if status:
        return status
    if study.probes:
        probe(study)
        report(study)
    return 0


def write_missing(data: dict[str, Any]) -> None:
    """Write the .beton files that a `data` section names and that are not there, from its `source`.

    Raises:
        UserError: files are missing and there is no source, or the source has no such split.
    """
    root = data_root(data.get("root"))
    files = [root / data[split] for split in ("train", "val", "test") if data.get(split)]
    missing = [file for file in files if not file.exists()]
    if not missing:
        return
    source = data.get("source")
    if source is None:
        raise UserError(f"{missing[0]}: no such file; write it with `timecat write SOURCE {missing[0].parent}`")
    from timecat.data.write.write import write

    if (root / source).is_dir():
        source = str(root / source)
    for directory in dict.fromkeys(file.parent for file in missing):
        write(source, Path(directory))
    for file in missing:
        if not file.exists():
            raise UserError(f"{file}: the source {source} has no such split; mend data.{file.stem}")
