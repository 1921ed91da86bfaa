"""A directory that nobody else can write to, for what is loaded as code."""

import os
import stat
import tempfile
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make the directory with mode 0700, or take it where it is this user's alone; else a new one of another name.

    In a directory like /tmp anybody may make it first, or a link in its place, and what lies there would be run: only
    one that belongs to this user, that nobody else can enter, and that is no link is taken.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if not ours or stat.S_IMODE(found.st_mode) & 0o077:
            return Path(tempfile.mkdtemp(prefix=f"{path.name}-", dir=path.parent))
    return path
