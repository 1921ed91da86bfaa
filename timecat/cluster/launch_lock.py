"""One launch of a study at a time, on whichever machine: a file that names its owner and when it was taken."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from timecat import files
from timecat.errors import UserError

PATIENCE = 60.0  # seconds that a launch waits for another one
TOO_OLD = 600.0  # seconds after which a launch on another machine is taken for dead


@contextmanager
def launch_lock(directory: Path) -> Iterator[None]:
    """Hold <directory>/launch/lock while the body runs; that of a launch that died is taken over.

    Raises:
        UserError: another launch holds it for longer than a launch takes.
    """
    path = directory / "launch" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    while not _take(path):
        owner = files.read_json(path) or {}
        if _is_dead(owner, path):
            with suppress(FileNotFoundError):  # of two that see it, one renames it
                os.rename(path, path.with_name(f"lock.dead-{socket.gethostname()}-{os.getpid()}"))
                path.with_name(f"lock.dead-{socket.gethostname()}-{os.getpid()}").unlink()
        elif time.monotonic() > end:
            raise UserError(
                f"{directory} is being launched by {owner.get('user')} on {owner.get('host')} (process "
                f"{owner.get('process')}) since {owner.get('since')}; if that is not so, remove {path}"
            )
        time.sleep(0.2)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _take(path: Path) -> bool:
    """Whether the lock is ours: its content is there before its name, and only one can make the name."""
    owner = {
        "user": os.environ.get("USER", str(os.getuid())),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "time": time.time(),
    }
    mine = path.with_name(f"lock.{owner['host']}-{owner['process']}")
    mine.write_text(json.dumps(owner) + "\n")
    try:
        os.link(mine, path)
        return True
    except FileExistsError:
        return False
    finally:
        mine.unlink()


def _is_dead(owner: dict, path: Path) -> bool:
    if owner.get("host") == socket.gethostname():
        return not Path(f"/proc/{owner['process']}").exists()
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > TOO_OLD
    return False
