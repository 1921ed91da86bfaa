"""iNaturalist 2018 as a source: two JSON lists of images whose directories are their labels."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from timecat.data.sources.images import Split, of_files, require
from timecat.errors import UserError
from timecat.files import read_regular

INAT2018 = "inat2018:"
_CLASSES = 8142


def read_inat2018(root: Path, wanted: Sequence[str] | None) -> list[Split]:
    """The splits: SPLIT2018.json lists the images; the directory that holds an image is its label, 0 to 8141.

    The train split's largest label makes the number of classes, of both splits.
    """
    require(f"{INAT2018}{root}", wanted, ("train", "val"))
    train = _read_list(root, "train")
    num_classes = int(train[1].max()) + 1
    classes = tuple(str(k) for k in range(num_classes))
    result = []
    for name in ("train", "val"):
        if wanted is None or name in wanted:
            paths, labels = train if name == "train" else _read_list(root, name)
            if labels.max() >= num_classes:
                raise UserError(f"{paths[labels.argmax()]}: is of a class that train2018.json lacks; mend the files")
            result.append(of_files(name, classes, paths, labels, root, f"extract the data set's images to {root}"))
    return result


def _read_list(root: Path, name: str) -> tuple[list[str], np.ndarray]:
    """The paths and int64 labels of one split's images, in the order of its JSON."""
    path = root / f"{name}2018.json"
    remedy = "fetch the data set's own again"
    try:
        content = json.loads(read_regular(path))
        images = [(image["id"], image["file_name"]) for image in content["images"]]
        annotated = {note["image_id"]: note["category_id"] for note in content.get("annotations", ())}
        categories = [annotated.get(key) for key, _ in images]
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); {INAT2018}DIR needs train2018.json, and val2018.json unless "
            "--splits train"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: is no list of images with an id and a file_name each; {remedy}") from None
    if not images:
        raise UserError(f"{path}: lists no images; {remedy}")
    paths, labels = [], np.empty(len(images), dtype=np.int64)
    for i, (_, file) in enumerate(images):
        parts = file.split("/") if isinstance(file, str) and file.isprintable() else []
        label = parts[-2] if len(parts) > 1 else ""
        plain = label.isascii() and label.isdecimal() and parts[-1] and not {"", ".."} & set(parts[:-1])
        if not plain or len(label) > 4 or int(label) >= _CLASSES:
            what = f"the file_name {file!r} is not as .../CLASS/FILE with a CLASS from 0 to {_CLASSES - 1}"
            raise UserError(f"{path}: {what}; {remedy}")
        labels[i] = int(label)
        if categories[i] is not None and categories[i] != labels[i]:
            raise UserError(f"{path}: {file} is annotated as class {categories[i]}, not as its directory; {remedy}")
        paths.append(f"{root}/{file}")
    return paths, labels
