"""A directory in which the documentation's commands run in seconds, in place of a clone after `make demo`.

There lie configs/ with fewer repetitions, images and epochs and narrower networks (SHORTER), a few images of
Fashion-MNIST, small folders of images, and members with random weights where others have trained for minutes. Names,
cats and steps are those of the documentation, so that every command finds what it names.
"""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.support.blocks import ROOT
from tests.support.terminal import COLUMNS
from timecat.data.sources import open_source, outline, spurious
from timecat.heads import few_shot
from timecat.networks.resnet import resnet
from timecat.report.compare import pictures

IMAGES = {"train": 2000, "t10k": 500}  # of Fashion-MNIST
HALF_AS_WIDE = {"\n  width: 16": "\n  width: 8", "{width: 32}": "{width: 16}"}
SHORTER = {
    "demo.yaml": {**HALF_AS_WIDE, "repetitions: 3": "repetitions: 1", "train_images: 60000": "train_images: 2000"},
    "probe/fashion-mnist.yaml": {
        "subset: 10000": "subset: 400",
        "batch_size: 256": "batch_size: 64",
        "max_epochs: 28": "max_epochs: 2",
    },
    "probe/digits.yaml": {
        "holdout: 0.2": "holdout: 0.2\n  subset: 300",
        "batch_size: 256": "batch_size: 64",
        "max_epochs: 60": "max_epochs: 2",
    },
    "tune/finetune.yaml": {"images: 5120": "images: 256"},
    "tune/two_stage.yaml": {"images: 5120": "images: 256"},
    "bottleneck/mixture.yaml": {
        **HALF_AS_WIDE,
        "repetitions: 3": "repetitions: 1",
        "train_images: 61000": "train_images: 3000",
    },
    "bottleneck/dominoes.yaml": {**HALF_AS_WIDE, "repetitions: 3": "repetitions: 1"},
    "bottleneck/probe/dominoes.yaml": {"max_epochs: 60": "max_epochs: 2", "batch_size: 256": "batch_size: 64"},
    "features/digits.yaml": {"[1.e-3, 1.e-2, 1.e-1, 1.0, 10.0]": "[1.0]"},
}
OF_THE_MACHINE = ("TIMECAT", "SLURM_", "NO_COLOR", "COLUMNS", "LINES", "TERM")


def prepare(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Fill the folder and go there."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name, changes in SHORTER.items():
        path = folder / "configs" / name
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, f"{name}: {old}"
            text = text.replace(old, new)
        path.write_text(text)
    _write_less_fashion(folder / "fashion-mnist")
    _write_images(folder)
    _write_weights(folder)
    patch.setattr(open_source, "FASHION_MNIST", folder / "fashion-mnist")
    patch.setattr(outline, "_of_name", outline._of_name.__wrapped__)  # others have asked for the whole of it
    patch.setattr(few_shot, "DRAWS", 1)
    for name in ("confusion_picture", "classes_picture"):  # dozens, a fifth of a second each
        patch.setattr(pictures, name, lambda *_: (folder / "shoe.png").read_bytes())
    patch.setattr(spurious, "PRETRAINING", 100)  # of each garment; the rest of the 200 is the target's
    for name in [name for name in os.environ if name.startswith(OF_THE_MACHINE)]:
        patch.delenv(name)
    patch.setenv("TERM", "xterm-256color")
    patch.setenv("COLUMNS", str(COLUMNS))
    patch.setenv("TIMECAT_KERNEL", "cv2")  # the same pixels, imported in no time
    patch.chdir(folder)


def _write_less_fashion(folder: Path) -> None:
    """The first images of Fashion-MNIST, in its own format."""
    folder.mkdir()
    for split, count in IMAGES.items():
        for part, start, size in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
            name = f"{split}-{part}-ubyte.gz"
            with gzip.open(open_source.FASHION_MNIST / name) as file:
                head, body = file.read(start), file.read(count * size)
            head = head[:4] + count.to_bytes(4, "big") + head[8:]
            (folder / name).write_bytes(gzip.compress(head + body, compresslevel=1))


def _write_images(folder: Path) -> None:
    """photos/ and flowers/, a directory of images for each class, and shoe.png; all are digits."""
    images, labels = load_digits(return_X_y=True)
    for name, classes in (("photos", (0, 1)), ("flowers", (2, 3))):
        for label in classes:
            (folder / name / str(label)).mkdir(parents=True)
            for number, image in enumerate(images[labels == label][:25]):
                _as_image(image).save(folder / name / str(label) / f"{number:02}.png")
    _as_image(images[0]).save(folder / "shoe.png")


def _as_image(digit: np.ndarray) -> Image.Image:
    grey = Image.fromarray((digit.reshape(8, 8) * (255 / 16)).astype(np.uint8))
    return grey.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")


def _write_weights(folder: Path) -> None:
    """Files of state dicts of others, of smaller networks than these have."""
    (folder / "checkpoints_80k").mkdir()
    for name in ("resnet50-torchvision", "checkpoints_80k/checkpoint_run0", "checkpoints_80k/checkpoint_run1"):
        torch.save(resnet(50, 8, 10).state_dict(), folder / f"{name}.pth")
