""".npy files that somebody else wrote: memory-mapped, never unpickled, and checked before anything is trained."""

from pathlib import Path

import numpy as np

from timecat import files
from timecat.errors import UserError

FLOATS = ("float16", "float32", "float64")
ROWS_AT_ONCE = 8192


def open_array(path: Path, where: str) -> np.ndarray:
    """Memory-map an array; what is changed in memory never reaches the file.

    Args:
        where: the key that names the file, for errors.

    Raises:
        UserError: no such file, or it is not a whole .npy of numbers.
    """
    try:
        files.check_regular(path)
        return np.lib.format.open_memmap(path, mode="c")  # not np.load, which takes pickles and .npz too
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file, from the working directory or beside the config; mend {where}"
        ) from None
    except (OSError, ValueError, EOFError, TypeError, SyntaxError):
        raise UserError(
            f"{path}: is not a whole .npy of numbers; write it by numpy.save, of an array of a number type ({where})"
        ) from None


def open_whole_numbers(path: Path, where: str, below: int | None = None) -> np.ndarray:
    """Labels or groups, int64 (n,), from 0.

    Raises:
        UserError: as `open_array`, it has other dimensions or another type, or a number is out of range.
    """
    stored = open_array(path, where)
    if stored.ndim != 1:
        raise UserError(f"{path}: has the shape {stored.shape}; {where} is one number a row, of shape (rows,)")
    if stored.dtype.kind not in "iu":
        raise UserError(f"{path}: holds {stored.dtype}; {where} must be whole numbers, as by .astype(numpy.int64)")
    numbers = stored.astype(np.int64)
    wrong = np.flatnonzero((numbers < 0) | (numbers >= below if below is not None else False))
    if len(wrong):
        row, range_ = int(wrong[0]), "0 or more" if below is None else f"0 to {below - 1:,}, below model.num_classes"
        raise UserError(f"{path}: row {row:,} is {stored[row]}; {where} must be {range_}")
    return numbers


def open_features(path: Path, where: str, rows: int, labels: Path) -> np.ndarray:
    """Features (rows, d) of a floating type; `check_finite` looks at them.

    Args:
        labels: the file that has so many rows, for errors.

    Raises:
        UserError: as `open_array`, or the array has other dimensions, another type, or another number of rows.
    """
    array = open_array(path, where)
    if array.ndim != 2 or not array.shape[1]:
        raise UserError(f"{path}: has the shape {array.shape}; {where} must be of shape (rows, features)")
    if array.dtype.name not in FLOATS or not array.dtype.isnative:
        raise UserError(f"{path}: holds {array.dtype}; {where} must be float16, float32 or float64: use .astype")
    if len(array) != rows:
        raise UserError(
            f"{path}: has {len(array):,} rows, {labels} has {rows:,}; write both of the same rows ({where})"
        )
    return array


def check_finite(array: np.ndarray, path: Path) -> None:
    """Look at all features, as the float32 that heads train on.

    Raises:
        UserError: one is not a finite number.
    """
    for start in range(0, len(array), ROWS_AT_ONCE):
        with np.errstate(over="ignore"):
            values = array[start : start + ROWS_AT_ONCE].astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            row, column = (int(number) for number in np.argwhere(~finite)[0])
            value = array[start + row, column]
            raise UserError(
                f"{path}: row {start + row:,}, column {column:,} is {value}, no finite float32; mend the extractor, or "
                "remove this column or row"
            )
