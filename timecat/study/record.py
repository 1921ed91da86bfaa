"""A JSON file of a study: read with the type that it has, so that nothing that is damaged or edited is believed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timecat import files
from timecat.errors import UserError
from timecat.study.schema import mismatch

VERSION = 2  # of the JSON files; those of version 1 do not tell theirs
CHECKSUM = "checksum"  # a key of theirs: SHA-256 of the others; earlier files have none
PUT_BACK = "put it back from a copy, or remove it: the command that made it makes it again"


def read_record(path: Path, kind: Any = dict, mend: str = PUT_BACK, *, again: bool = False) -> dict[str, Any] | None:
    """A JSON file of a study, or None where there is none.

    Args:
        kind: the TypedDict that it is.
        mend: what to do with a damaged one, for the error.
        again: a damaged one counts as none, as it costs nothing to make it again.

    Raises:
        UserError: it is damaged, is none of these, cannot be read, or is of a version that this timecat does not know.
    """
    try:
        content = files.load_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        if again:
            return None
        raise damaged(path, f"no JSON, {error}", mend) from None
    why = None if isinstance(content, dict) else "it holds no section of keys"
    version = 1 if why else content.get("version", 1)
    if why is None and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        why = "its version is no whole number"
    if why is None and version > VERSION:
        raise UserError(
            f"{path}: is of version {version}, this timecat reads 1 to {VERSION}; use the one that wrote it"
        )
    checksum = None if why else content.pop(CHECKSUM, None)
    if checksum not in (None, _checksum(content)):
        why = "its checksum is wrong"
    if why is None and kind is not dict:
        why = mismatch(content, kind)
    if why is None:
        return content
    if again:
        return None
    raise damaged(path, why, mend)


def damaged(path: Path, why: str, mend: str = PUT_BACK) -> UserError:
    """That a file is not what was written, and what to do."""
    return UserError(f"{path}: is damaged or was edited ({why}); {mend}")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file of a study, whole or not at all."""
    kept = {key: value for key, value in content.items() if key not in ("version", CHECKSUM)}
    record = files.as_json({"version": VERSION, **kept})
    files.write_json(path, {**record, CHECKSUM: _checksum(record)})


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
