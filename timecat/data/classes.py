"""How many classes images have, where the config does not say."""

from pathlib import Path

from timecat.config.data import DataConfig
from timecat.data.beton import class_names, read_beton
from timecat.data.missing import outline_of
from timecat.errors import UserError


def num_classes(data: DataConfig) -> int:
    """Of the training images: the files tell, or where one is not there its source, and both tell the same.

    Raises:
        UserError: neither is there, or one of them makes no sense.
    """
    if not data.mixture:
        return _of_file(data, data.training_files[0])
    counts = [_of_file(data, path) for path in data.component_files.values()]
    return sum(counts) if data.label_space == "side_by_side" else max(counts)


def _of_file(data: DataConfig, path: Path) -> int:
    if path.exists():
        return len(class_names(path)) or read_beton(path).num_classes
    made_of = outline_of(data, path)
    if made_of is None:
        raise UserError(
            f"model.num_classes is not given, and neither {path} nor a data.source is there to tell it; add it"
        )
    return len(made_of.classes)
