"""Images as a network sees them, without torch: the loader's pixels before they are normalised, to be looked at."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timecat.config.data import DataConfig
from timecat.data import views
from timecat.data.beton import Beton, class_names, read_beton
from timecat.data.index import ImageIndex
from timecat.data.kernel import decode, see_bicubic
from timecat.data.order import permuted
from timecat.data.views import View
from timecat.errors import UserError


@dataclass(frozen=True)
class Seen:
    """Some images.

    Attributes:
        images: uint8 (n, side, side, 3).
        names: of their classes, where the file tells them, else the labels.
    """

    images: np.ndarray
    names: list[str]


def seen_in_training(data: DataConfig, seed: int, steps: int, count: int) -> Seen:
    """The first images of a member's training, in their order, augmented as they are there.

    Args:
        seed, steps: of the member.
    """
    index = ImageIndex(data)
    beton, (indices, _) = index.beton("train"), index.split()
    if index.mixture is not None:
        whole = len(indices) // data.batch_size * data.batch_size
        order, draws = (each[:count] for each in index.mixture.epoch(seed, 0, whole))
    else:
        order = permuted(indices, seed, 0)[:count]
        draws = np.zeros(len(order), np.int64)
    per_epoch = max(1, len(indices) // data.batch_size)
    side = data.train_side(0, -(-steps // per_epoch)) if data.train_resolution else data.resolution
    random = views.uniform(seed, draws, order, views.DRAWS)
    return _see(beton, order, views.train_view(data), side, random)


def seen_in_evaluation(data: DataConfig, path: Path, count: int) -> Seen:
    """Images of a file as evaluation sees them, one class after the other, of each the first ones."""
    beton = read_beton(path)
    order = np.argsort(beton.labels, kind="stable")
    sorted_labels = beton.labels[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_labels, sorted_labels)  # among those of its class
    chosen = np.sort(np.argsort(place, kind="stable")[:count])
    return _see(beton, order[chosen], views.eval_view(data), data.resolution, None)


def _see(beton: Beton, order: np.ndarray, view: View, side: int, random: np.ndarray | None) -> Seen:
    from timecat.data import cv2_kernel  # FFCV's pixels, without the wait for its compiled one

    boxes = views.boxes(view, beton.heights[order], beton.widths[order], side, random)
    parts = beton.joined or (beton,)
    starts = np.cumsum([0, *map(len, parts)])
    out = np.zeros((len(order), side, side, 3), np.uint8)
    for row, (sample, box) in enumerate(zip(order.tolist(), boxes, strict=True)):
        number = int(np.searchsorted(starts, sample, side="right")) - 1 if beton.joined else 0
        file = np.memmap(parts[number].path, np.uint8, mode="r")
        start, size = int(beton.offsets[sample]), int(beton.sizes[sample])
        height, width = int(beton.heights[sample]), int(beton.widths[sample])
        pixels = np.asarray(file[start : start + size])
        if beton.modes[sample]:
            pixels = pixels.reshape(height, width, 3)
        else:
            pixels, why = decode(pixels, height, width)
            if not pixels.size:
                raise UserError(f"{parts[number].path}: image {sample - int(starts[number])} is broken ({why})")
        (see_bicubic if view.interpolation == "bicubic" else cv2_kernel.see)(pixels, box, out[row])
    names = class_names(parts[0].path) if len(parts) == 1 else []
    labels = beton.labels[order].tolist()
    return Seen(out, [names[label] if label < len(names) else str(label) for label in labels])
