"""Files that hold weights, opened with suspicion: nothing is run, no more is read than is there, checksums are checked.

What torch.save writes since version 1.6 is a zip, whose entries have checksums; what it wrote before, and safetensors,
have none. What came from a training of ours has its hash in done.json besides.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from timecat import files
from timecat.errors import UserError
from timecat.networks.finite import first_not_finite

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHARED = 4  # times the bytes that are stored that all tensors may have, as tied weights are several tensors
DIRECTORY = 0x10  # MS-DOS's attribute, in an entry of a zip
FLAGS = 0x0808  # of an entry: names are UTF-8, sizes stand behind the content
AGAIN = "save plain tensors again: torch.save({key: value.float().contiguous() for …}, …)"


def read_file(path: str | Path) -> Any:
    """What a file holds, tensors on the CPU; nothing but tensors and plain containers is unpickled.

    Raises:
        UserError: no such file, no file, a damaged one, or one that torch.save and safetensors did not write.
    """
    path = Path(path)
    try:
        head = files.read_regular(path, 9)
    except files.NotRegular:
        raise UserError(f"{path}: is no file; name a file of weights, such as snapshot_<step>.pt") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such snapshot; train it with `timecat fit`, or mend model.snapshots") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or its place") from None
    if not head:
        raise UserError(f"{path}: is empty; put it back from where it came")
    try:
        if head.startswith(b"PK\x03\x04"):
            check_zip(path)
        elif path.suffix == ".safetensors" or _is_safetensors(head, path.stat().st_size):
            return safetensors.torch.load_file(path)
        # of a path torch.load believes the name; it warns of what is refused all the same
        with files.open_regular(path) as file, warnings.catch_warnings(action="ignore"):
            return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        if (unknown := re.search(r"GLOBAL ([\w.]+)", str(error))) is None:
            raise _unreadable(path, "a damaged pickle, or one of more than tensors") from None
        raise UserError(
            f"{path}: holds {unknown[1]} beside tensors; if you trust it, save its weights alone: "
            "torch.save(model.state_dict(), …)"
        ) from None
    except Exception as error:  # whatever zipfile, pickle, torch and safetensors make of a damaged file
        raise _unreadable(path, " ".join(str(error).split()) or type(error).__name__) from None


def check_tensor(path: str, key: str, value: Tensor) -> None:
    """Refuse what is no plain tensor of the CPU; before anything is computed with it.

    Raises:
        UserError: naming it.
    """
    kind = None
    if value.layout != torch.strided or value.is_nested:
        kind = "is sparse or nested"
    elif value.device.type != "cpu":
        kind = f"has no values (device {value.device.type} has no numbers)"
    elif value.is_quantized:
        kind = "is quantised"
    elif value.is_complex():
        kind = f"is complex ({value.dtype})"
    elif value.is_floating_point() and value.dtype not in FLOATS:
        kind = f"is of {value.dtype}"
    elif value.numel() * value.element_size() > value.untyped_storage().nbytes():
        kind = f"of shape {tuple(value.shape)} is larger than what the file holds of it"
    if kind is not None:
        raise UserError(f"{path}: {key} {kind}; {AGAIN}")


def check_numbers(path: str, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no finite float32, and variances below 0.

    Raises:
        UserError: naming the first one.
    """
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in state.values()}
    if sum(value.numel() * value.element_size() for value in state.values()) > SHARED * sum(stored.values()):
        raise UserError(f"{path}: its tensors share numbers many times over; {AGAIN}")
    floats = ((key, value.float()) for key, value in state.items() if value.is_floating_point())
    if (key := first_not_finite(floats)) is not None:
        raise UserError(
            f"{path}: {key} holds numbers that are not finite in float32: a training that diverged, or a damaged file; "
            "take an earlier snapshot, or put the file back from where it came"
        )
    for key, value in state.items():
        if key.endswith("running_var") and value.numel() and float(value.float().min()) < 0:
            raise UserError(f"{path}: {key} holds a variance below 0; put the file back from where it came")


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file that has another name begins as one of safetensors: the length of a JSON object, and this."""
    return len(head) == 9 and head[8:] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size


def check_zip(path: Path) -> None:
    """Look at every checksum: torch.load does not.

    Nor does it read what the directory calls a directory, and gives memory as it finds it (torch 2.15, by miniz).

    Raises:
        UserError: one is wrong, or this is another zip than torch.save writes.
        zipfile.BadZipFile: and others; its directory is damaged.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith(".npy") for name in names) or not any(name.endswith("data.pkl") for name in names):
            raise UserError(f"{path}: is a zip of something else than weights; it must be saved by torch.save")
        if any(entry.is_dir() or entry.external_attr & DIRECTORY or entry.flag_bits & ~FLAGS for entry in entries):
            raise UserError(f"{path}: is damaged (its table of contents); put it back from where it came")
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size for entry in entries
        ):
            raise UserError(f"{path}: is compressed, as torch.save leaves nothing; {AGAIN}")
        if sum(entry.file_size for entry in entries) > size or len(set(names)) < len(names):
            raise UserError(f"{path}: tells of more than it holds; put it back from where it came")
        if (broken := archive.testzip()) is not None:
            raise UserError(f"{path}: is damaged (the checksum of {broken} is wrong); put it back from where it came")


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: cannot be read as weights ({why[:80]}); it must be saved by torch.save, or as .safetensors"
    )
