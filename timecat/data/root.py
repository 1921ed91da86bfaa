"""Where data lie; named once."""

import os
from pathlib import Path


def data_root(root: str | None) -> Path:
    """The config's data.root, else the environment's TIMECAT_DATA, else ./data."""
    return Path(root or os.environ.get("TIMECAT_DATA") or "data")
