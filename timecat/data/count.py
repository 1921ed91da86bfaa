"""How many images a training set has for the members, before anything is trained."""

from timecat.config.data import DataConfig
from timecat.data.beton import count_images
from timecat.data.missing import outline_of
from timecat.data.mixture import read_mixture
from timecat.errors import UserError


def train_images(data: DataConfig) -> int | None:
    """Images that members train on: the config's data.train_images, else the files' own count, or that of the source
    that they are made from; None without either."""
    paths = data.training_files
    count = data.train_images
    if count is None and all(path.exists() for path in paths):
        count = sum(map(len, read_mixture(data)[1].rows)) if data.mixture else count_images(paths[0])
    if count is None and not data.mixture and not paths[0].exists():
        try:
            made_of = outline_of(data, paths[0])
        except UserError:  # which `timecat.study.check` tells of
            return None
        count = None if made_of is None else len(made_of.labels)
    if count is None:
        return None
    return round(min(data.subset or count, count) * (1 - data.holdout))
