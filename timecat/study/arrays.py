"""Arrays that a study has left in .npz files, read whole, and never believed where they are damaged."""

from pathlib import Path

import numpy as np

from timecat.files import open_regular
from timecat.study.record import PUT_BACK, damaged


def read_npz(path: Path, mend: str = PUT_BACK) -> dict[str, np.ndarray] | None:
    """All arrays of an .npz by name; None where there is no such file. Nothing in it is unpickled.

    Args:
        mend: what to do with a damaged one, for the error.

    Raises:
        UserError: it is no .npz, or damaged.
    """
    if not path.exists():
        return None
    try:
        with open_regular(path) as file, np.load(file) as arrays:
            return dict(arrays)
    except Exception as error:  # zipfile, zlib and numpy each have their own for bytes that make no sense
        raise damaged(path, f"{type(error).__name__} {error}".strip(), mend) from None


def check_predictions(path: Path, arrays: dict[str, np.ndarray], names: list[str], mend: str = PUT_BACK) -> None:
    """Look whether arrays are predictions: `labels`, and of each name a class of each image.

    Raises:
        UserError: they are not.
    """
    labels = arrays.get("labels")
    if labels is None or labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        raise damaged(path, "it has no labels", mend)
    for name in names:
        found = arrays.get(name)
        if found is None or found.shape != labels.shape or found.dtype.kind not in "iu":
            raise damaged(path, f"it has no predictions of {name}", mend)
    groups = arrays.get("groups")
    if groups is not None and (groups.shape != labels.shape or groups.dtype.kind not in "iu"):
        raise damaged(path, "its groups are not those of its labels", mend)


def is_as_often_right(arrays: dict[str, np.ndarray], name: str, acc1: float) -> bool:
    """Whether predictions have this top-1 in percent."""
    return abs(100 * (arrays[name] == arrays["labels"]).mean() - acc1) <= 1e-6
