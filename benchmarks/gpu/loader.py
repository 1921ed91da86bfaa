"""What the loader gives while the device idles and while it trains on the batches, against other loaders.

Each way is a process of its own (benchmarks.loader_process); they take turns. Training is ResNet50 in bfloat16 on whole
batches, copied to the device, or a small network on a CPU. `one batch` loads nothing, and so bounds all others.
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.loader_process import cpu_ms, started
from benchmarks.loader_ways import OURS, PIL, STOCK
from benchmarks.photos import write_photos
from benchmarks.rounds import in_turns, timing
from timecat.data.write.write import write
from timecat.process import cores

WAYS = (OURS, STOCK, PIL, "tensor decode", "one batch")
SIZES = {"500x375": ((500, 375), 98), "341x256": ((341, 256), 90)}  # pixels, JPEG quality
ENOUGH = 50  # seconds, after which one round must do


def rate(epoch: dict[str, float]) -> float:
    return epoch["images"] / epoch["wall"]


def loader(device: torch.device, small: bool) -> dict[str, Any]:
    """By size and workers: images/s of each way, idle and training, and the latter over that of `one batch`."""
    batch, rounds, begin = 16 if small else 128, 2, time.perf_counter()
    counts = {workers: 64 if small else 384 if workers == 1 else 2048 for workers in sorted({1, cores()})}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for size, (pixels, quality) in SIZES.items():
            for workers, count in counts.items():
                folder = directory / size / str(workers)
                write_photos(folder / "photos", count, pixels, quality, distinct=32 if small else 256)
                write(str(folder / "photos"), folder / "beton", storage="jpeg", splits=["train"], progress=False)
        processes, why_not = started(WAYS, directory, batch, f"{next(iter(SIZES))}/1", device.type)
        try:
            for size in SIZES:
                for workers in counts:
                    told = found[f"{size}, {workers} worker{'s' * (workers > 1)}"] = {}
                    for train in (False, True):
                        asked = {"size": f"{size}/{workers}", "workers": workers, "train": train}
                        ways = {each.way: partial(each.epoch, **asked) for each in processes}
                        late = time.perf_counter() - begin > ENOUGH
                        told.update(_told(in_turns(ways, 1 if late else rounds), train))
        finally:
            for process in processes:
                process.close()
    return found | {"not measured": why_not or None}


def _told(figures: dict[str, list[dict[str, float]]], train: bool) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for way, epochs in figures.items():
        if train:
            told[f"{way}: images/s, training"] = timing([rate(each) for each in epochs])
            if way != "one batch":
                pairs = zip(epochs, figures["one batch"], strict=True)
                told[f"{way}: its share of one batch's"] = statistics.median(rate(a) / rate(b) for a, b in pairs)
        elif way != "one batch":
            told[f"{way}: images/s, idle"] = timing([rate(each) for each in epochs])
            told[f"{way}: CPU-ms an image"] = timing([cpu_ms(each) for each in epochs])
    return told
