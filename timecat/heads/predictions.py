"""predictions.npz: what heads predict of test images, an array a cat and repetition."""

import io
from pathlib import Path

import numpy as np

from timecat import files


def read_predictions(path: Path) -> dict[str, np.ndarray]:
    """predictions.npz by name; nothing where there is none, or a damaged one."""
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError):
        return {}


def write_predictions(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write predictions.npz, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType] (no key is allow_pickle)
    files.write_bytes(path, buffer.getvalue())
