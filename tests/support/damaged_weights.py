"""Files of weights that something damaged: what reads them gives finite weights or one line."""

import random
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from tests.support.hostile import SECONDS, limited
from timecat.errors import UserError
from timecat.members.checkpoint import save_snapshot
from timecat.networks.resnet import resnet
from timecat.networks.weights import read_weights

END = 6000  # bytes at either end, where the structure of a file is


def _torch(legacy: bool) -> Callable[[Path, dict[str, Tensor]], None]:
    return lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=not legacy)


FORMATS: dict[str, tuple[str, Callable[[Path, dict[str, Tensor]], None]]] = {
    "zip": ("weights.pth", _torch(legacy=False)),
    "legacy": ("weights.pth", _torch(legacy=True)),
    "safetensors": ("weights.safetensors", lambda path, state: safetensors.torch.save_file(state, path)),
    "snapshot": ("snapshot_8.pt", save_snapshot),
}
CHECKED = ("zip", "snapshot")  # have checksums of all that they hold


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return resnet(10, 8, 10, "small").state_dict()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes cut, inserted, zeroed, moved or written over; anywhere, or where the structure is."""
    size = len(content)
    places = (rng.randrange(size), rng.randrange(min(END, size)), size - 1 - rng.randrange(min(END, size)))
    place, length = rng.choice(places), min(2 ** rng.randrange(12), size)
    end = min(size, place + length)
    damaged = bytearray(content)
    kind = rng.randrange(8)
    if kind < 3:
        for _ in range(1 + 7 * (kind == 2)):
            damaged[min(size - 1, place + rng.randrange(32))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del damaged[place:]
    elif kind == 4:
        del damaged[place:end]
    elif kind == 5:
        damaged[place:place] = rng.randbytes(length)
    elif kind == 6:
        damaged[place:end] = rng.choice([bytes(end - place), b"\xff" * (end - place), rng.randbytes(end - place)])
    else:
        other = rng.randrange(size)
        damaged[place:end] = damaged[other : other + end - place]
    return bytes(damaged)


def try_damaged(directory: Path, format_: str, seeds: range) -> dict[str, int]:
    """Read files that are damaged by these seeds; how many were refused, and how many read.

    Raises:
        AssertionError: one was neither refused in a line nor read as finite weights, which are the original's where the
            format has checksums.
    """
    name, write = FORMATS[format_]
    original, path = weights(), directory / name
    write(path, original)
    whole, counts = path.read_bytes(), {"refused": 0, "read": 0}
    for seed in seeds:
        path.write_bytes(mutated(whole, random.Random(f"{format_} {seed}")))
        with limited(SECONDS):
            try:
                found = read_weights(path)
            except UserError as error:
                assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 500, (seed, str(error))
                counts["refused"] += 1
                continue
        counts["read"] += 1
        assert all(v.isfinite().all() for v in found.values()), (format_, seed)
        assert all(v.is_floating_point() or key.endswith("num_batches_tracked") for key, v in found.items()), seed
        if format_ in CHECKED:
            assert found.keys() == original.keys(), (format_, seed)
            assert all(torch.equal(found[key], value) for key, value in original.items()), (format_, seed)
    return counts
