"""torchvision's classification data sets as sources."""

import difflib
import hashlib
import inspect
import operator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from timecat.data.rgb import upright_rgb
from timecat.data.sources.images import Split, of_files
from timecat.errors import UserError


def read_torchvision(source: str, root: str | Path | None, download: bool) -> list[Split]:
    """The splits of torchvision:NAME, whose files lie in `root`."""
    from torchvision import datasets

    name = source.removeprefix("torchvision:")
    kinds: dict[str, Any] = {
        n: k for n, k in vars(datasets).items() if inspect.isclass(k) and "root" in inspect.signature(k).parameters
    }
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, cutoff=0.4) or ["CIFAR10", "FashionMNIST"]
        raise UserError(f"{source}: torchvision has no such data set; did you mean {' or '.join(near)}?")
    if root is None:
        raise UserError(f"{source}: say where its files lie with --root DIR")
    parameters = inspect.signature(kinds[name]).parameters
    if download and "download" not in parameters:
        raise UserError(f"{source}: torchvision cannot fetch it; leave --download out and put its files in {root}")
    options = {"download": True} if download else {}

    def opened(**split: Any) -> Any:
        try:
            return kinds[name](root=str(root), **options, **split)
        except Exception as error:  # whatever torchvision raises
            if isinstance(error, ValueError) and "for argument split" in str(error):
                return None  # it has no split of this name
            reason = " ".join(str(error).split())[:200]
            remedy = f"put its files in {root}" if download else f"put its files in {root} or add --download"
            raise UserError(f"{source}: cannot be opened ({reason}); {remedy}") from None

    if "train" in parameters:
        sets = {"train": opened(train=True), "test": opened(train=False)}
    elif "split" in parameters:
        sets = {
            "train": opened(split="train") or opened(split="trainval"),
            "val": opened(split="val") or opened(split="valid"),
            "test": opened(split="test"),
        }
    else:
        sets = {"train": opened()}
    if not sets["train"]:
        raise UserError(f"{source}: has no train split; write its images as a directory of classes and name that")
    return [_split(source, key, dataset, root) for key, dataset in sets.items() if dataset]


def _split(source: str, name: str, dataset: Any, root: str | Path) -> Split:
    if hasattr(dataset, "loader"):
        dataset.loader = Path  # gives the file in place of the decoded image
    count = len(dataset)
    try:
        probed = {i: dataset[i] for i in (0, count // 2, count - 1)}
        image = probed[0][0]
        targets = {i: int(operator.index(probed[i][1])) for i in probed}
        if min(targets.values()) < 0 or not isinstance(image, Path | Image.Image):
            raise TypeError
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"{source}: gives no image with one class label; choose a classification data set") from None
    for field in ("targets", "labels", "_labels", "y"):
        labels = np.asarray(getattr(dataset, field, ()))
        if labels.shape == (count,) and labels.dtype.kind in "iu" and all(labels[i] == k for i, k in targets.items()):
            break
    else:
        labels = np.array([dataset[i][1] for i in range(count)])
    labels = labels.astype(np.int64)
    names = getattr(dataset, "classes", None) or range(labels.max() + 1)
    classes = tuple(k if isinstance(k, str) else ", ".join(k) if isinstance(k, tuple) else str(k) for k in names)
    if isinstance(image, Path):
        return of_files(name, classes, [str(dataset[i][0]) for i in range(count)], labels, root)
    digest = hashlib.sha256(labels.tobytes())
    data = np.asarray(getattr(dataset, "data", ()))
    if data.dtype == np.uint8:
        digest.update(np.ascontiguousarray(data).data)
    else:  # images that are decoded one by one: 16 of them stand for all
        for i in np.linspace(0, count - 1, 16).astype(int):
            digest.update(dataset[i][0].tobytes())
    return Split(name, classes, labels, False, lambda i: np.asarray(upright_rgb(dataset[i][0])), digest.hexdigest())
