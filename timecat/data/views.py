"""Which part of which image a network sees: crops and flips as pure functions of (seed, epoch, sample index).

A view of a sample is a box (top, left, height, width) in the stored image, whatever lies outside being black, then a
resize to the resolution, then perhaps a horizontal flip. Boxes come from a counter-based generator, so a sample's view
depends neither on the batch it is in nor on the number of workers, ranks or restarts.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from timecat.config.data import DataConfig, Interpolation, Normalisation, Preset

# mean and standard deviation by channel, of 1
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# the mean of single images' deviations, as in kuangliu/pytorch-cifar and in the public code of arXiv 2506.18221
CIFAR_PUBLIC = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
MEAN_AND_STD: dict[Normalisation, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": IMAGENET,
    "cifar": CIFAR,
    "cifar_public": CIFAR_PUBLIC,
}
NORMALISATIONS: dict[Preset, Normalisation] = {"imagenet": "imagenet", "small": "cifar"}


@dataclass(frozen=True)
class View:
    """How boxes are drawn.

    Args:
        crop: `resized` draws a box of random area and aspect as torchvision's RandomResizedCrop (Szegedy et al. 2015);
            `shifted` moves the whole image by up to `padding` pixels of the output in either direction, as a random
            crop of the padded image does (He et al. 2016, section 4.2); `center` takes the central square of
            `center_share` of the shorter side; `whole` takes all of it.
        flip: mirror half of the samples.
        scale: range of the box's area over the image's area, for `resized`.
        ratio: range of the box's width over its height, for `resized`.
        padding: pixels of the output, for `shifted`.
        interpolation: `area` is FFCV's (OpenCV's INTER_AREA), `bicubic` Pillow's, as torchvision resizes; it is slower.
        center_share: side of the box over the image's shorter side, for `center`; 224/256 is resize 256, crop 224.
    """

    crop: Literal["resized", "shifted", "center", "whole"]
    flip: bool = False
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: int = 0
    interpolation: Interpolation = "area"
    center_share: float = 224 / 256


EVAL_VIEWS: dict[Preset, View] = {"imagenet": View("center"), "small": View("whole")}
TRAIN_VIEWS: dict[Preset, View] = {
    "imagenet": View("resized", flip=True),
    "small": View("shifted", flip=True, padding=4),
}


def eval_view(data: DataConfig) -> View:
    """How images are seen in evaluation: as the preset says, where the config does not."""
    view = EVAL_VIEWS[data.view]
    return replace(view, interpolation=data.interpolation) if data.interpolation else view


def train_view(data: DataConfig) -> View:
    """How images are seen in training: as the preset says, where the config does not."""
    preset = TRAIN_VIEWS[data.view] if data.augment else EVAL_VIEWS[data.view]
    given = {key: getattr(data, key) for key in ("flip", "padding", "scale", "interpolation")}
    return replace(preset, **{key: value for key, value in given.items() if value is not None})


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014) on uint64, wrapping."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, epoch: int | np.ndarray, indices: np.ndarray, draws: int) -> np.ndarray:
    """Float64 in [0, 1) of shape (n, draws): row i is a function of (seed, epoch, indices[i]) alone.

    Args:
        epoch: of all rows, or int64 (n,).
    """
    with np.errstate(over="ignore"):
        key = _mix(_mix(np.array([seed], np.uint64) + _GOLDEN) + np.asarray(epoch).astype(np.uint64) * _GOLDEN)
        rows = _mix(key + (indices.astype(np.uint64) + np.uint64(1)) * _GOLDEN)[:, None]
        columns = (np.arange(draws, dtype=np.uint64) + np.uint64(1))[None, :] * _GOLDEN
        return (_mix(rows + columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def boxes(
    view: View, heights: np.ndarray, widths: np.ndarray, resolution: int, random: np.ndarray | None = None
) -> np.ndarray:
    """Boxes of n samples.

    Args:
        heights, widths: int64 (n,), pixels of the stored images.
        resolution: side of the output in pixels.
        random: what `uniform` gives with draws=DRAWS; needed where the view is random.

    Returns:
        int64 (n, 5): top, left, height, width, flip (0 or 1). Top and left may be negative, and the box may be larger
        than the image: what lies outside is black.
    """
    n = len(heights)
    out = np.zeros((n, 5), np.int64)
    if view.crop == "resized":
        assert random is not None
        out[:, :4] = _resized(view, heights, widths, random)
    elif view.crop == "shifted":
        assert random is not None
        steps = 2 * view.padding + 1
        shift = (random[:, 1:3] * steps).astype(np.int64) - view.padding
        out[:, 0] = np.rint(shift[:, 0] * heights / resolution)
        out[:, 1] = np.rint(shift[:, 1] * widths / resolution)
        out[:, 2], out[:, 3] = heights, widths
    elif view.crop == "center":
        side = np.maximum(np.rint(np.minimum(heights, widths) * view.center_share), 1).astype(np.int64)
        out[:, 0], out[:, 1] = (heights - side) // 2, (widths - side) // 2
        out[:, 2] = out[:, 3] = side
    else:
        out[:, 2], out[:, 3] = heights, widths
    if view.flip:
        assert random is not None
        out[:, 4] = random[:, 0] < 0.5
    return out


ATTEMPTS = 10
DRAWS = 3 + 4 * ATTEMPTS  # flip, two shifts, then area, aspect, top, left for each attempt of `resized`


def _resized(view: View, heights: np.ndarray, widths: np.ndarray, random: np.ndarray) -> np.ndarray:
    """RandomResizedCrop: the first of ten draws that fits, else the largest central box within the aspects."""
    tries = random[:, 3:].reshape(-1, ATTEMPTS, 4)
    height, width = heights[:, None], widths[:, None]
    area = height * width * (view.scale[0] + tries[:, :, 0] * (view.scale[1] - view.scale[0]))
    low, high = np.log(view.ratio[0]), np.log(view.ratio[1])
    aspect = np.exp(low + tries[:, :, 1] * (high - low))
    w = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    h = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = np.argmax(fits, axis=1)
    row = np.arange(len(heights))
    w, h = w[row, first], h[row, first]
    top = (tries[row, first, 2] * (heights - h + 1)).astype(np.int64)
    left = (tries[row, first, 3] * (widths - w + 1)).astype(np.int64)
    none = ~fits.any(axis=1)
    if none.any():
        in_ratio = widths / heights
        fallback_w = np.where(in_ratio > view.ratio[1], np.rint(heights * view.ratio[1]), widths).astype(np.int64)
        fallback_h = np.where(in_ratio < view.ratio[0], np.rint(widths / view.ratio[0]), heights).astype(np.int64)
        w, h = np.where(none, fallback_w, w), np.where(none, fallback_h, h)
        top = np.where(none, (heights - h) // 2, top)
        left = np.where(none, (widths - w) // 2, left)
    return np.stack([top, left, h, w], axis=1)
