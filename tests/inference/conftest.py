"""A finished study of random members on photographs, which several test files load."""

import numpy as np
import pytest
from PIL import Image

from tests.support.photos import CLASSES, TEST, TRAIN, VIEWS
from tests.support.small_study import finish_members, write_probe, write_study
from timecat.cli import main
from timecat.data.write.write import write


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A study of random members with two probes of photographs, JPEG and PNG, in two views, stored in 100 pixels."""
    from sklearn.datasets import load_sample_image

    root, rng = tmp_path_factory.mktemp("loaded"), np.random.default_rng(0)
    for name, photo in zip(CLASSES, (load_sample_image("flower.jpg"), load_sample_image("china.jpg")), strict=True):
        for split, count in (("train", TRAIN), ("test", TEST)):
            (root / "photos" / split / name).mkdir(parents=True)
            for i in range(count):
                (top, left), (height, width) = rng.integers(0, 250, 2), rng.integers(70, 161, 2)
                image = Image.fromarray(photo[top : top + height, left : left + width])
                image.save(root / "photos" / split / name / f"{i:02}.{'png' if i % 2 else 'jpg'}")
    write(str(root / "photos"), root / "data", max_side=100, progress=False)
    data = {"root": str(root / "data"), "holdout": 0.2, "batch_size": 16}
    probes = [str(root / f"{name}.yaml") for name in VIEWS]
    cats = {"cat1": {"members": 1, "steps": 4}, "cat2": {"members": 2, "steps": 4}}
    cats["long"] = {"members": 1, "steps": 8}  # whose run the others share
    cats["mean"] = {"soup": "cat2"}
    settings = {"probes": probes, "repetitions": 2, "unequal_because": "a test"}
    config = write_study(
        root / "s.yaml", {**data, **VIEWS["photos"]}, {"num_classes": 2, "stem": "small"}, cats, **settings
    )
    for name, view in VIEWS.items():
        probe = {"weight_decays": [1e-4], "storage": "float32"}
        write_probe(root / f"{name}.yaml", {**data, **view}, probe, {"num_classes": 2}, {"max_epochs": 5})
    finish_members(config)
    assert main(["fit", "--config", config]) == 0
    assert main(["probe", "--config", config]) == 0
    return root
