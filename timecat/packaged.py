"""Where timecat's own configs and scripts lie: inside the package in a wheel, beside it in the sources."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_FOLDERS = ("configs", "launch")  # setup.py puts them into the wheel


def packaged(name: str) -> Path | None:
    """The file or folder that comes with timecat under this name, such as configs/demo.yaml; None where none does."""
    parts = Path(name).parts
    if not parts or parts[0] not in _FOLDERS or ".." in parts:
        return None
    root = _PACKAGE if (_PACKAGE / parts[0]).is_dir() else _PACKAGE.parent
    return root / name if (root / name).exists() else None
