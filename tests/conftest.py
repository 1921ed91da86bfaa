"""Small real data that several test files share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: small tests lose time to its threads

import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

from timecat.data.write.write import write


def pytest_configure() -> None:
    """The same inputs of hypothesis each time, on every machine; and Ctrl-C for the processes that tests start.

    A script's background job ignores Ctrl-C, and so would every process that a test starts and then stops by it.
    """
    hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("same")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """train.beton (1,000) and test.beton (797) of scikit-learn's digits: ten classes, raw, 28 pixels."""
    out = tmp_path_factory.mktemp("digits")
    write("digits", out, progress=False)
    return out


@pytest.fixture(scope="session")
def jpegs(tmp_path_factory) -> Path:
    """train.beton: 63 JPEGs of 80 to 160 pixels a side, crops of two photographs, in three classes."""
    from sklearn.datasets import load_sample_image

    photos = {"flower": load_sample_image("flower.jpg"), "roof": load_sample_image("china.jpg")[200:]}
    photos["sky"] = load_sample_image("china.jpg")[:200]
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photos")
    for name, photo in photos.items():
        (folder / name).mkdir()
        for i in range(21):
            height, width = rng.integers(80, 161, 2)
            top, left = rng.integers(0, photo.shape[0] - height + 1), rng.integers(0, photo.shape[1] - width + 1)
            crop = Image.fromarray(photo[top : top + height, left : left + width])
            crop.save(folder / name / f"{i:02}.jpg", quality=90)
    out = tmp_path_factory.mktemp("jpegs")
    write(str(folder), out, splits=["train"], storage="jpeg", progress=False)
    return out


@pytest.fixture(scope="session")
def rooms(tmp_path_factory) -> Path:
    """train.beton: 60 images of two classes, each in two folders, which are the groups: in with 20 and out with 10."""
    out = tmp_path_factory.mktemp("rooms")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for group, count in (("in", 20), ("out", 10)):
            (out / "photos" / name / group).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
                image.save(out / "photos" / name / group / f"{i}.png")
    write(str(out / "photos"), out, groups="folder:1", progress=False)
    return out
