"""What is shown of the images is what the loader gives: the same images, in the same boxes, to the pixel."""

import numpy as np
import pytest

from timecat.config.data import DataConfig
from timecat.config.section import parse_section
from timecat.data.beton import class_names
from timecat.data.datamodule import ImageData
from timecat.data.seen import seen_in_evaluation, seen_in_training

SMALL = {"train": "train.beton", "view": "small", "resolution": 28, "batch_size": 16, "holdout": 0.2}
PHOTOS = {"train": "train.beton", "view": "imagenet", "resolution": 64, "batch_size": 16}


@pytest.mark.parametrize("kind", ["small", "photos", "bicubic", "mixture"])
def test_the_first_images_of_training_are_the_loaders(digits, jpegs, rooms, kind):
    given = {
        "small": {**SMALL, "root": str(digits)},
        "photos": {**PHOTOS, "root": str(jpegs), "train_resolution": [32, 64]},
        "bicubic": {**PHOTOS, "root": str(jpegs), "interpolation": "bicubic"},
        "mixture": {
            **SMALL,
            "root": str(digits),
            "train": None,
            "mixture": {
                "digits": {"weight": 0.5, "train": "train.beton"},
                "rooms": {"weight": 0.5, "train": str(rooms / "train.beton")},
            },
        },
    }[kind]
    data = parse_section(DataConfig, given, "data")
    loader = ImageData(**{**given, "seed": 7, "steps": 9}).train_dataloader()
    images, labels, *_ = next(iter(loader))
    loader.close()
    seen = seen_in_training(data, seed=7, steps=9, count=16)
    assert np.array_equal(seen.images, images.numpy())
    if kind == "photos":
        names = class_names(jpegs / "train.beton")
        assert seen.names == [names[label] for label in labels.tolist()]


def test_images_of_evaluation_are_the_loaders_and_of_all_classes(digits):
    data = parse_section(DataConfig, {**SMALL, "root": str(digits), "test": "test.beton"}, "data")
    seen = seen_in_evaluation(data, digits / "test.beton", 20)
    assert seen.names == [str(digit) for digit in range(10) for _ in range(2)]
    images, labels, _ = next(iter(ImageData(**{**SMALL, "root": str(digits), "test": "test.beton"}).test_dataloader()))
    zero = int(np.flatnonzero(labels.numpy() == 0)[0])
    assert np.array_equal(seen.images[0], images[zero].numpy())
