"""A chosen head's logits of test images as float16, which tell the predictions that they were kept with."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from timecat import files
from timecat.errors import UserError

LARGEST = float(np.finfo(np.float16).max)
CHECKED = 1024  # rows


def as_float16(logits: np.ndarray, predicted: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Round logits, float32 (n, classes), to float16 within its range, so that the largest stays where it is.

    A class that would tie with the predicted one by rounding gets the next smaller number: argmax gives the prediction.

    Args:
        predicted: class of the largest logit, int (n,).
        among: class numbers that predictions are among, int (k,); all where not given.
    """
    half = np.clip(logits, -LARGEST, LARGEST).astype(np.float16)
    largest = np.take_along_axis(half, predicted[:, None].astype(np.int64), 1)
    tied = half == largest
    tied[np.arange(len(tied)), predicted] = False
    if among is not None:
        inside = np.zeros(half.shape[1], bool)
        inside[among] = True
        tied &= inside
    below = np.nextafter(largest, np.float16(-np.inf))
    return np.where(tied, below, half)


def write_logits(path: Path, logits: np.ndarray) -> None:
    """Write float16 (n, classes) as .npy, whole or not at all."""

    def write(file: BinaryIO) -> None:  # np.save would not say that the disk is full
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(logits))
        file.write(np.ascontiguousarray(logits).reshape(-1).data)

    files.write_with(path, write)


def read_logits(
    path: Path, predicted: np.ndarray, among: np.ndarray | None = None, rows: int | None = None
) -> np.ndarray:
    """The memory-mapped logits, float16 (n, classes).

    Args:
        predicted: what the head predicts by its results, int (n,).
        among: class numbers that predictions are among; all where not given.
        rows: how many are looked at, evenly spaced; all where not given.

    Raises:
        UserError: there are none, or their largest is not where the predictions are.
    """
    wrong = UserError(
        f"{path}: does not hold the logits of the predictions beside it; remove it, and `timecat probe` makes it again"
    )
    try:
        files.check_regular(path)
        logits = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        mend = "probe.logits was false, or it was removed; with it true, `timecat probe` makes it"
        raise UserError(f"{path}: no such file; {mend}") from None
    except Exception:  # numpy's many, of a header that makes no sense
        raise wrong from None
    if logits.ndim != 2 or logits.dtype != np.float16 or len(logits) != len(predicted):
        raise wrong
    count = len(logits) if rows is None else min(rows, len(logits))
    for part in np.array_split(np.linspace(0, len(logits) - 1, count).astype(np.int64), -(-count // CHECKED)):
        some = logits[part] if among is None else logits[part][:, among]
        told = predicted[part] if among is None else np.searchsorted(among, predicted[part])
        if (some[np.arange(len(part)), np.minimum(told, some.shape[1] - 1)] < some.max(1)).any():
            raise wrong
    return logits
