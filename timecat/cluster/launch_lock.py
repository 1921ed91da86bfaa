"""One launch of a study at a time, on whichever machine: a file that names its owner and when it was taken."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeGuard

from timecat import files
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory

PATIENCE = 60.0  # seconds that a launch waits for another one
TOO_OLD = 600.0  # seconds after which a launch on another machine is taken for dead


@contextmanager
def launch_lock(directory: StudyDirectory) -> Iterator[None]:
    """Hold <study>/launch/lock while the body runs; that of a launch that died is taken over.

    Raises:
        UserError: another launch holds it for longer than a launch takes.
    """
    path = directory.launch_lock
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    mine = _mine()
    while not _take(path, mine):
        if not _break_dead(path) and time.monotonic() > end:
            owner = files.read_json(path) or {}
            raise UserError(
                f"{directory} is being launched by {owner.get('user')} on {owner.get('host')} (process "
                f"{owner.get('process')}) since {owner.get('since')}; if that is not so, remove {path}"
            )
        time.sleep(0.2)
    try:
        yield
    finally:
        if files.read_json(path) == mine:  # it may be another's, if ours was taken for dead
            path.unlink(missing_ok=True)


def _mine() -> dict:
    return {
        "user": os.environ.get("USER", str(os.getuid())),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "time": time.time(),
    }


def _take(path: Path, mine: dict) -> bool:
    """Whether the lock is ours: its content is there before its name, and only one can make the name."""
    written = path.with_name(f"lock.{mine['host']}-{mine['process']}")
    written.write_text(json.dumps(mine) + "\n")
    try:
        os.link(written, path)
        return True
    except FileExistsError:
        return False
    finally:
        written.unlink()


def _break_dead(path: Path) -> bool:
    """Remove the lock of a launch that died; whether it did.

    One process at a time looks and removes: else a slower one removes the lock that a faster one has just taken.

    Raises:
        UserError: what lies there is no lock.
    """
    with (path.parent / "lock.break").open("w") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        owner = files.read_json(path)
        if not _is_owner(owner):
            if path.exists() and files.read_json(path) == owner:  # its content was there before its name
                raise UserError(f"{path}: is no lock of timecat launch; remove it, where no launch of this study runs")
            return False
        if not _is_dead(owner, path):
            return False
        # Under another name first: what was moved is looked at again, where several machines share no flock.
        moved = path.with_name(f"lock.dead-{socket.gethostname()}-{os.getpid()}")
        try:
            os.rename(path, moved)
        except FileNotFoundError:
            return False
        if files.read_json(moved) != owner:  # a live one that came in between: give it back
            with suppress(FileExistsError):
                os.link(moved, path)
        moved.unlink()
        return True


def _is_owner(content: Any) -> TypeGuard[dict[str, Any]]:
    return (
        isinstance(content, dict)
        and isinstance(content.get("host"), str)
        and isinstance(content.get("process"), int)
        and not isinstance(content["process"], bool)
    )


def _is_dead(owner: dict, path: Path) -> bool:
    if owner.get("host") == socket.gethostname():
        return not Path(f"/proc/{owner['process']}").exists()
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > TOO_OLD
    return False
