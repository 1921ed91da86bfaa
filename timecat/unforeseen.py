"""What nobody foresaw: one line, and the traceback in a log; and what the operating system refuses, in one line.

`timecat.cli.main` raises what is unforeseen, so that whoever calls it, a test for one, sees it; only the command that a
shell calls ends in a line.
"""

import errno
import os
import tempfile
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

from timecat.errors import one_line
from timecat.files import NotRegular

FULL = "the disk is full; make room, and the same command goes on"
NO_PERMISSION = "no permission; change it (chmod, chown), or choose another root"
MENDS = {  # of what the operating system refuses, by errno
    errno.ENOSPC: FULL,
    errno.EDQUOT: "your quota of the disk is used up; make room, and the same command goes on",
    errno.EACCES: NO_PERMISSION,
    errno.EPERM: NO_PERMISSION,
    errno.EROFS: "the file system is read-only; mount it otherwise, or choose another root",
    errno.EEXIST: "is in the way: something else of this name is there; move it",
    errno.ENOTDIR: "is in the way: a file where a directory must be; move it, or choose another root",
    errno.EISDIR: "is in the way: a directory where a file must be; move it",
    errno.ENOTEMPTY: "is in the way: a directory that is not empty; move it",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose shorter names",
    errno.ELOOP: "symbolic links that lead to one another; mend them",
    errno.EMFILE: "too many open files; raise ulimit -n",
    errno.ENFILE: "too many open files on this machine; wait, or ask its administrator",
    errno.EIO: "the disk cannot be read or written (input/output error); look at it, and the same command goes on",
    errno.ESTALE: "the file server has forgotten it (stale file handle); the same command goes on",
    errno.EFBIG: "the file is larger than the file system or ulimit -f allows; raise it, or choose another root",
}


def refused(error: OSError) -> str | None:
    """What the operating system has refused, and what mends it, in a line; None of what is no user's to mend."""
    in_the_way = "is in the way: a pipe, a device or a directory where a file must be; move it"
    mend = in_the_way if isinstance(error, NotRegular) else MENDS.get(error.errno or 0)
    if mend is None or (not error.filename and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE)):
        return None
    path = error.filename2 or error.filename  # of a renaming what it was to become
    where = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes | os.PathLike) else ""
    return f"{where}{mend}"


def keep_traceback(error: BaseException, logs: Path | None) -> Path | None:
    """Write an error's traceback to a new file: in `logs`, else in the working directory, else in the temporary one.

    Returns:
        The file; None where none could be written.
    """
    text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace")
    name = f"error_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}.log"
    for path in _places(logs, name):
        try:
            with open(path, "xb") as file:  # never through a link that somebody laid there
                file.write(text)
            return path
        except OSError:
            continue
    try:
        file, path = tempfile.mkstemp(f"_{name}", "timecat_")
        with os.fdopen(file, "wb") as kept:
            kept.write(text)
        return Path(path)
    except OSError:
        return None


def _places(logs: Path | None, name: str) -> Iterable[Path]:
    if logs is not None and logs.parent.is_dir():
        try:
            logs.mkdir(exist_ok=True)
            yield logs / name
        except OSError:
            pass
    yield Path(f"timecat_{name}")


def in_words(error: BaseException, log: Path | None) -> str:
    """The error and where its traceback lies, in a line."""
    what = one_line(f"{type(error).__name__}: {error}", 300)
    where = f"the traceback is in {log}" if log else "no disk took its traceback"
    return f"an error that nobody foresaw: {what}; {where}; please report it"
