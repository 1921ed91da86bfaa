"""Files that are there whole or not at all."""

import errno
import hashlib
import json
import os
import platform
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_NAMES = ".*.tmp-*"  # a pattern of what `temporary_name` gives


def write_bytes(path: Path, content: bytes) -> None:
    """Write the content, whole or not at all."""
    write_with(path, lambda file: file.write(content))


def write_with(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write to a temporary name beside `path`, flush to disk, rename: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write's error names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A hidden name beside `path` that no other process has, on this machine or on another that shares the disk."""
    return path.with_name(f".{path.name}.tmp-{platform.node()}-{os.getpid()}")


def write_json(path: Path, content: Any) -> None:
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def as_json(content: Any) -> Any:
    """The content as it would be read back: lists for tuples, words for keys."""
    return json.loads(json.dumps(content))


class NotRegular(OSError):
    """A directory, a pipe or a device where a file must be."""


def open_regular(path: Path) -> BufferedReader:
    """A file to read from, opened without waiting for who writes into a pipe.

    Raises:
        NotRegular: it is no regular file.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def check_regular(path: Path) -> None:
    """Refuse what a library would open by its name, and then wait for who writes into a pipe; as `open_regular`."""
    open_regular(path).close()


def read_regular(path: Path, length: int = -1) -> bytes:
    """A file's bytes, or so many from its start; as `open_regular`."""
    with open_regular(path) as file:
        return file.read(length)


def load_json(path: Path) -> Any:
    """The file's content.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError, RecursionError: it is not JSON, or not a file.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    return json.loads(path.read_text("utf-8"))


def read_json(path: Path) -> Any | None:
    """The file's content, or None where there is no such file or it is not JSON."""
    try:
        return load_json(path)
    except (OSError, ValueError, RecursionError):
        return None


def sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
