"""JPEGs to measure with, made on the spot of scikit-learn's two photographs."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(directory: Path, count: int, size: tuple[int, int] = (500, 375), quality: int = 90) -> None:
    """`count` JPEGs in two classes, a folder each: crops of 500 x 375 pixels, reduced to `size`.

    Args:
        size: width and height in pixels.
    """
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    for name in ("china", "flower"):
        photo = load_sample_image(f"{name}.jpg")
        (directory / name).mkdir(parents=True)
        for i in range(count // 2):
            top, left = rng.integers(0, photo.shape[0] - 375 + 1), rng.integers(0, photo.shape[1] - 500 + 1)
            crop = Image.fromarray(photo[top : top + 375, left : left + 500])
            if crop.size != size:
                crop = crop.resize(size, Image.Resampling.LANCZOS)
            crop.save(directory / name / f"{i}.jpg", quality=quality)
