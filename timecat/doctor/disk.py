"""Room on the disks where data, runs and temporary files lie, and whether timecat may write there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from timecat.config.data import DataConfig
from timecat.config.study import StudyConfig
from timecat.doctor.line import Line
from timecat.terminal import short

MOUNTS = Path("/proc/self/mounts")
LEAST = 5e9  # bytes: of ImageNet's training images one ResNet50's features take 5.2 GB in float16


def check() -> Iterator[Line]:
    data = DataConfig(train="train.beton").directory
    yield room("data", data, writes=not data.exists())
    yield room("runs", Path(StudyConfig.root))
    yield temporary(Path(tempfile.gettempdir()))


def room(what: str, folder: Path, writes: bool = True) -> Line:
    """Free disk where a folder lies, or would.

    Args:
        writes: timecat writes there; else it may be read-only, and full.
    """
    place = there(folder)
    free = shutil.disk_usage(place).free
    kind, _ = mounted(place)
    value = f"{folder}{'' if folder.exists() else ', not there yet'}: {short(free, 'B')} free ({kind})"
    if writes and not os.access(place, os.W_OK | os.X_OK):
        return Line(what, f"{value}, not yours to write to", f"give another one ({_key(what)}), or rights to this")
    return Line(what, value, f"make room, or give another one ({_key(what)})" if writes and free < LEAST else "")


def temporary(folder: Path) -> Line:
    """Where compiled code lies before it is run."""
    free, (kind, options) = shutil.disk_usage(folder).free, mounted(folder)
    value = f"{folder}: {short(free, 'B')} free ({kind})"
    if "noexec" in options:
        return Line("temporary", f"{value}, noexec", "torch.compile loads code from there: set TMPDIR elsewhere")
    return Line("temporary", value, "" if free >= LEAST / 10 else "make room there, or set TMPDIR elsewhere")


def there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    place = folder.absolute()
    return next(each for each in (place, *place.parents) if each.is_dir())


def mounted(folder: Path) -> tuple[str, list[str]]:
    """Kind of the file system that a folder lies on, such as ext4 or nfs4, and the options that it is mounted with."""
    found, longest = ("unknown", [""]), -1
    for line in MOUNTS.read_text().splitlines():
        _, point, kind, options, *_ = line.split(" ")
        point = Path(point.replace("\\040", " "))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= longest:  # later ones hide earlier ones
            found, longest = (kind, options.split(",")), len(point.parts)
    return found


def _key(what: str) -> str:
    return "data.root or TIMECAT_DATA" if what.startswith("data") else "study.root"
