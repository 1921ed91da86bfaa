"""What a probe reads of its data set: parts, each the images of one file in one view."""

from dataclasses import asdict, dataclass

import numpy as np

from timecat.config.files import ProbeFile
from timecat.data.datamodule import ImageData
from timecat.data.order import in_blocks


def images_of(probe: ProbeFile) -> ImageData:
    """A probe's images, in the order of its heads' training."""
    data = ImageData(**{**asdict(probe.data), "num_classes": probe.model.num_classes, "seed": probe.seed})
    data.ordered = in_blocks
    return data


@dataclass(frozen=True)
class Part:
    """Images of one file in one view.

    Attributes:
        name: its directory.
        split: of the data, `train` or `test`.
        view: 0 for the evaluation view, else the number of the augmented one.
        indices: samples of the split, int64, ascending.
    """

    name: str
    split: str
    view: int
    indices: np.ndarray


def parts(data: ImageData, views: int) -> dict[str, Part]:
    """What a probe reads, by name; the largest first."""
    fit, held = data.split()
    train = np.sort(np.concatenate([fit, held]))
    test = Part("test", "test", 0, np.arange(len(data.beton("test")), dtype=np.int64))
    if not views:
        found = [Part("train", "train", 0, train), test]
    else:
        drawn = [Part(f"train_view{view}", "train", view, train) for view in range(1, views + 1)]
        found = [*drawn, Part("heldout", "train", 0, held), test]
    return {part.name: part for part in found}
