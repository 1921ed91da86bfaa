"""JPEGs to measure with, made on the spot of scikit-learn's two photographs."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(
    directory: Path, count: int, size: tuple[int, int] = (500, 375), quality: int = 90, distinct: int | None = None
) -> None:
    """`count` JPEGs in two classes, a folder each: crops of 500 x 375 pixels, reduced to `size`.

    Args:
        size: width and height in pixels.
        distinct: so many are made, and the others are links to them; without a number all are.
    """
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    for name in ("china", "flower"):
        photo = load_sample_image(f"{name}.jpg")
        folder = directory / name
        folder.mkdir(parents=True)
        made = min(count, distinct or count) // 2
        for i in range(made):
            top, left = rng.integers(0, photo.shape[0] - 375 + 1), rng.integers(0, photo.shape[1] - 500 + 1)
            crop = Image.fromarray(photo[top : top + 375, left : left + 500])
            if crop.size != size:
                crop = crop.resize(size, Image.Resampling.LANCZOS)
            crop.save(folder / f"{i}.jpg", quality=quality)
        for i in range(made, count // 2):
            (folder / f"{i}.jpg").hardlink_to(folder / f"{i % made}.jpg")
