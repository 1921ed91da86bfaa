"""Locks where runs lie, tried by two processes: `flock` keeps a member, a probe and a file from being made twice, and a
hard link a study from being launched twice."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from timecat.config.study import StudyConfig
from timecat.doctor.disk import mounted, there
from timecat.doctor.line import Line

# another process: 0 where it gets the lock, 1 where it is held, 2 where there are none
OTHER = """if True:
    import fcntl, sys
    try:
        fcntl.flock(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(1)
    except OSError:
        sys.exit(2)
"""
LOCAL = ("local_lock=all", "local_lock=flock", "nolock", "localflock")  # options of nfs and lustre
NONE = "SLURM alone keeps tasks apart: start no member twice; Lustre: mount with -o flock"


def check() -> Iterator[Line]:
    yield locks("locks", Path(StudyConfig.root))


def locks(what: str, folder: Path) -> Line:
    """Whether locks work where a folder lies, or would."""
    place = there(folder)
    kind, options = mounted(place)
    where = f"{folder} ({kind})"
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".timecat-doctor-") as file:
            why, links = _flock(file.fileno(), file.name), _links(Path(file.name))
    except OSError as error:
        return Line(what, f"{where}: cannot be tried ({error.strerror})", "give a study.root that is yours to write to")
    if why:
        return Line(what, f"{where}: {why}", NONE)
    local = [option for option in options if option in LOCAL]
    if local:
        here = f"{where}: flock works, but within this machine alone (mounted with {local[0]})"
        return Line(what, here, "train a member from one machine at a time, or mount without it")
    if not links:
        return Line(
            what, f"{where}: flock works, hard links do not", "timecat launch cannot lock: give another study.root"
        )
    return Line(what, f"{where}: flock and hard links work, tried by two processes")


def _flock(file: int, path: str) -> str:
    """What is wrong with flock on the open file; nothing where it keeps this process and another one apart."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return f"no flock ({error.strerror})"
    held = _other(path)
    fcntl.flock(file, fcntl.LOCK_UN)
    return "" if (held, _other(path)) == (1, 0) else "flock does not keep two processes apart"


def _other(path: str) -> int:
    return subprocess.run([sys.executable, "-I", "-S", "-c", OTHER, path], stderr=subprocess.DEVNULL).returncode


def _links(file: Path) -> bool:
    link = file.with_name(f"{file.name}-link")
    try:
        os.link(file, link)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            link.unlink()
    return True
