"""Files of weights that nobody should believe: a line each, in no time, and nothing of them is run."""

import io
import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.damaged_weights import weights
from tests.support.hostile import SECONDS, limited
from timecat.errors import UserError
from timecat.networks.weights import read_state, read_weights

VARIANCE, WEIGHT = "bn1.running_var", "layer1.0.conv1.weight"


def with_number(number: float, key: str = WEIGHT, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    state = weights()
    state[key] = state[key].to(dtype)
    state[key].view(-1)[3] = number
    return state


def changed(change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    state = weights()
    return {**state, WEIGHT: change(state[WEIGHT])}


TENSORS = {
    "int8": (lambda: changed(lambda w: w.to(torch.int8)), "is of torch.int8"),
    "bool": (lambda: changed(lambda w: w > 0), "is of torch.bool"),
    "complex": (lambda: changed(lambda w: w.to(torch.complex64)), "is complex"),
    "float8": (lambda: changed(lambda w: w.to(torch.float8_e4m3fn)), "is of torch.float8"),
    "NaN": (lambda: with_number(math.nan), "not finite"),
    "infinite": (lambda: with_number(-math.inf), "not finite"),
    "too large": (lambda: with_number(1e300, dtype=torch.float64), "not finite in float32"),
    "a variance": (lambda: with_number(-1e-3, VARIANCE), "variance below 0"),
    "sparse": (lambda: changed(lambda w: w.to_sparse()), "is sparse"),
    "meta": (lambda: changed(lambda w: w.to("meta")), "has no numbers"),
    "expanded": (lambda: changed(lambda w: torch.ones(1).expand(10**12)), "is larger than what the file holds"),
    "shared": (lambda: {**weights(), **dict.fromkeys(map(str, range(999)), torch.ones(9999))}, "many times over"),
    "a name": (lambda: {**weights(), "layer\n1": torch.ones(3)}, "is no name of a tensor"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_a_tensor_that_is_no_weight_is_named(tmp_path, what):
    make, words = TENSORS[what]
    torch.save(make(), tmp_path / "w.pth")
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "w.pth")
    said = str(error.value)
    assert words in said and "\n" not in said and str(tmp_path / "w.pth") in said and "; " in said
    key = VARIANCE if what == "a variance" else WEIGHT
    assert key in said or what in ("shared", "a name")


def compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in content.items():
            archive.writestr(name, entry)


def flipped(path: Path) -> None:
    torch.save(weights(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Program:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def safetensors(header: dict) -> Callable[[Path], object]:
    text = json.dumps(header).encode()
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))


def program(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": Program(path.with_name("mark"))}, buffer)
    path.write_bytes(buffer.getvalue())


def legacy_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Program(path.with_name("mark"))))


TWICE = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
FILES = {
    "pipe": (os.mkfifo, "is no file"),
    "directory": (Path.mkdir, "is no file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is no file"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "empty": (Path.touch, "is empty"),
    "npz": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "something else than weights"),
    "compressed": (compressed, "is compressed"),
    "flipped": (flipped, "checksum"),
    "program": (program, "posix.mkdir"),
    "program, as before zips": (legacy_pickle, "cannot be read as weights"),
    "overlapping": (safetensors({"a": TWICE, "b": TWICE}), "cannot be read as weights"),
    "shape beyond the file": (
        safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        "cannot be read as weights",
    ),
    "header beyond the file": (lambda path: path.write_bytes(struct.pack("<Q", 2**50) + b"{}"), "cannot be read"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("what", FILES)
def test_a_file_of_something_else_is_named(tmp_path, what, suffix):
    make, words = FILES[what]
    path = tmp_path / f"w{suffix}"
    make(path)
    with pytest.raises(UserError) as error, limited(SECONDS):
        read_state(path)
    assert words in str(error.value) and "\n" not in str(error.value) and str(path) in str(error.value)
    assert not (tmp_path / "mark").exists()


def test_a_quantised_tensor_is_named(tmp_path):
    state = changed(lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8))
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"{WEIGHT} is quantised|_rebuild_qtensor|cannot be read"):
        read_weights(tmp_path / "w.pth")


def test_halves_and_doubles_are_weights(tmp_path):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.save(changed(lambda w, dtype=dtype: w.to(dtype)), tmp_path / "w.pth")
        assert read_weights(tmp_path / "w.pth")[WEIGHT].dtype == dtype
