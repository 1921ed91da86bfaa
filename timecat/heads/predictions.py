"""predictions.npz: what heads predict of test images, an array a cat and repetition."""

import io
from pathlib import Path

import numpy as np

from timecat import files
from timecat.study.arrays import read_npz

HEADS_AGAIN = "put it back from a copy, or remove it, and `timecat probe` trains its heads again"


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """predictions.npz by name; nothing where there is none.

    Raises:
        UserError: it is damaged.
    """
    return read_npz(path, HEADS_AGAIN) or {}


def write_predictions(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write predictions.npz, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType] (no key is allow_pickle)
    files.write_bytes(path, buffer.getvalue())
