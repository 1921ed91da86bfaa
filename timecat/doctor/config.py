"""A config's own places: are its images there, is there room for its runs, do enough cores decode for its GPUs?"""

from collections.abc import Iterator
from pathlib import Path

from timecat.cluster.few_cores import few_cores
from timecat.config.data import DataConfig
from timecat.config.files import ProbeFile
from timecat.config.read import read_config
from timecat.doctor.disk import room
from timecat.doctor.line import Line
from timecat.doctor.locks import locks
from timecat.errors import UserError
from timecat.study.study import Study


def check(configs: list[str]) -> Iterator[Line]:
    """Of a study's config or a probe's."""
    try:
        config = read_config(configs)
        if "probe" in config:
            probe = ProbeFile.parse(configs[-1], config)
            yield Line("config", f"{configs[-1]}: a probe of {probe.model.num_classes} classes")
            yield from _images([probe.data])
            return
        study = Study.read(configs)
        yield Line("config", f"{configs[-1]}: study {study.name}, {len(study.members)} members")
        yield from _images([*study.all_data, *(each.data for each in study.probes)])
    except UserError as error:
        told = str(error) if str(error).startswith(configs[-1]) else f"{configs[-1]}: {error}"
        yield Line("config", told, "mend the config", broken=True)
        return
    yield room("study.root", Path(study.file.study.root))
    yield locks("its locks", Path(study.file.study.root))
    few = few_cores(study, study.trainer.devices_per_member)
    if few is not None:
        yield Line("its cores", *few)


def _images(sections: list[DataConfig]) -> Iterator[Line]:
    """Folders of the images, and files that neither are there nor can be written."""
    files = {path: source for data in sections for path, source in data.sources.items()}
    for folder in dict.fromkeys(data.directory for data in sections):
        yield room("data.root", folder, writes=any(not path.exists() for path in files))
    missing = [path for path, source in files.items() if not path.exists() and source is None]
    there = sum(path.exists() for path in files)
    value = f"{there} of {len(files)} .beton files are there"
    if missing:
        mend = f"{missing[0]}: write it with `timecat write SOURCE {missing[0].parent}`"
        yield Line("images", value, mend, broken=True)
    else:
        yield Line("images", value if there == len(files) else f"{value}; timecat run writes the others")
