"""What is installed of timecat and of the libraries that it stands on, without importing any of them."""

import ctypes
import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path

from timecat import __version__

KERNEL = "TIMECAT_KERNEL"  # an environment variable, of this process and those that it starts: ffcv or cv2
DISTRIBUTION = "timecat-ensembles"


def version(distribution: str) -> str | None:
    """Of an installed distribution, without a build's local part such as +cu132; None where there is none."""
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def toolkit_of_torch() -> str | None:
    """What torch was built for, such as CUDA 13.2 or ROCm 7.1; None where it is for the CPU alone, or is not there."""
    written = _folder("torch") / "version.py"
    found = re.search(
        r"^(cuda|hip)\b[^=\n]*=\s*'([\d.]+)", written.read_text() if written.is_file() else "", re.MULTILINE
    )
    return f"{'CUDA' if found[1] == 'cuda' else 'ROCm'} {found[2]}" if found else None


def in_one_line() -> str:
    """As `timecat 0.1.0, torch 2.15.0 (CUDA 13.2), kernel ffcv 1.0.2`."""
    torch = version("torch")
    built = f"torch {torch} ({toolkit_of_torch() or 'CPU'})" if torch else "no torch"
    is_ffcv = os.environ.get(KERNEL) != "cv2" and ffcv_fails() is None
    kernel = f"ffcv {version('ffcv')}" if is_ffcv else "simplejpeg+cv2"
    return f"timecat {__version__}, {built}, kernel {kernel}"


def ffcv_fails() -> str | None:
    """Why FFCV cannot be imported: it is not installed, or a library that it was built with is gone; else None."""
    built = list(_folder("ffcv").glob("_libffcv*.so"))
    try:
        for path in built:
            ctypes.CDLL(str(path))
    except OSError as error:
        return f"does not load ({error})"
    return None if built else "is not installed"


def _folder(package: str) -> Path:
    """Where a package lies, or would."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else Path("nowhere") / package
