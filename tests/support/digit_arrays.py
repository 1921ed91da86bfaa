"""Features that are not ours: scikit-learn's digits as .npy, and a config of them."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import RBFSampler

TRAIN, TEST = 600, 500


def digit_arrays() -> dict[str, np.ndarray]:
    """Labels, pixels and random Fourier features, by the names of their files."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    fourier = RBFSampler(gamma=0.001, n_components=60, random_state=0).fit(images)
    found: dict[str, np.ndarray] = {}
    for split, rows in (("train", order[:TRAIN]), ("test", order[TRAIN : TRAIN + TEST])):
        found[f"y_{split}"] = labels[rows]
        found[f"raw_{split}"] = images[rows] / 13
        found[f"fourier_{split}"] = fourier.transform(images[rows]).astype(np.float16)
    return found


def write_arrays(folder: Path, arrays: dict[str, np.ndarray], name: str = "c", **sections: dict[str, Any]) -> str:
    """The arrays, and a config of the extractors `raw`, `fourier` and `both`; results: runs/digits/probe/<name>."""
    for file, array in arrays.items():
        np.save(folder / f"{file}.npy", array)
    config: dict[str, Any] = {
        "seed_everything": 0,
        "features": {
            "name": "digits",
            "root": str(folder / "runs"),
            "labels": {"train": "y_train.npy", "test": "y_test.npy"},
            "extractors": {
                "raw": {"train": "raw_train.npy", "test": "raw_test.npy"},
                "fourier": {"train": "fourier_train.npy", "test": "fourier_test.npy"},
                "both": {"of": ["fourier", "raw"]},
            },
        },
        "probe": {"weight_decays": [0.1], "solver": "lbfgs"},
        "model": {"num_classes": 10},
        "data": {"holdout": 0.2},
        "trainer": {"accelerator": "cpu"},
    }
    for section, keys in sections.items():
        config[section] = {**config[section], **keys}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return str(folder / f"{name}.yaml")
