"""A step of a probe's heads, all together, against BatchNorm1d + Linear + fused SGD, one head after the other.

The shapes are those of the paper's probes on a cat of five ResNet50s; features lie on the device, or in files.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.rounds import forget_peak, in_turns, peak_gigabytes, seconds, timing
from timecat.extraction.matrix import FeatureMatrix
from timecat.heads.sgd import Heads
from timecat.heads.sweep import head_bytes

# members of 2,048 features, classes, heads of the cat, training images
SHAPES = {"iNat18": (5, 8142, 2, 20_000), "ImageNet": (5, 1000, 6, 40_000), "CIFAR100": (5, 100, 6, 45_000)}
BATCH, DECAY = 256, 1e-4


def plain_steps(features: Tensor, labels: Tensor, classes: int, count: int) -> Any:
    """A step of each of `count` heads in PyTorch's own words."""
    heads = []
    for _ in range(count):
        head = nn.Sequential(nn.BatchNorm1d(features.shape[1]), nn.Linear(features.shape[1], classes))
        head.to(features.device)
        fused = features.device.type == "cuda"
        heads.append((head, torch.optim.SGD(head.parameters(), 0.01, momentum=0.9, nesterov=True, fused=fused)))

    def step() -> None:
        for head, optimizer in heads:
            loss = nn.functional.cross_entropy(head(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def heads(device: torch.device, small: bool) -> dict[str, Any]:
    """ms a step of all heads and of the same heads one by one, their ratio, GB/s of weights, peak GB; and streamed."""
    found = {}
    rounds, times = (3, 3) if small else (5, 10)
    for name, (members, classes, count, images) in SHAPES.items():
        width = 128 if small else 2048
        classes, images = (max(10, classes // 64), 2048) if small else (classes, images)
        columns = members * width
        forget_peak(device)
        features = torch.randn(BATCH, columns, device=device)
        labels = torch.randint(classes, (BATCH,), device=device)
        rates = np.full((1, count), 0.01)
        ours = Heads([[slice(0, columns)]], rates, np.full((1, count), DECAY), classes=classes, seed=0, device=device)
        bytes_of_weights = 4 * count * classes * columns
        steps = {
            "together": partial(ours.step, features, labels, 1.0),
            "one by one": plain_steps(features.clone(), labels, classes, count),
        }
        ways = {way: partial(seconds, each, device, times) for way, each in steps.items()}
        values = {way: [1e3 * each for each in of_way] for way, of_way in in_turns(ways, rounds).items()}
        assert torch.isfinite(ours.weight).all(), f"{name}: weights are not finite"
        entry = {f"{way} ms": timing(each) for way, each in values.items()}
        entry["together / one by one"] = timing([a / b for a, b in zip(*values.values(), strict=True)])
        entry["weights' bytes x 9, GB/s"] = 9e-6 * bytes_of_weights / entry["together ms"]["median"]
        entry["peak GB"] = peak_gigabytes(device)
        entry["heads GB, as planned"] = 1e-9 * count * head_bytes(columns, classes)
        entry |= streamed(device, ours, members, width, images)
        found[f"{name}, {count} heads, {columns:,} x {classes:,}"] = entry
        del ours, steps, ways
    return found


def streamed(device: torch.device, heads: Heads, members: int, width: int, images: int) -> dict[str, Any]:
    """ms a step where batches come from the device's memory, and from files."""
    classes = heads.shape[2]
    with tempfile.TemporaryDirectory() as name:
        parts = []
        for member in range(members):
            path = Path(name) / f"{member}.npy"
            np.save(path, np.random.default_rng(member).normal(size=(images, width)).astype(np.float16))
            parts.append(torch.from_numpy(np.load(path, mmap_mode="r")))
        order = torch.from_numpy(np.random.default_rng(0).permutation(images))
        labels = torch.randint(classes, (BATCH,), device=device)
        times = {}
        for place, room in (("resident", float("inf")), ("streamed", 0.0)):
            matrix = FeatureMatrix(parts, device, room)

            def epoch(matrix: FeatureMatrix = matrix) -> None:
                for batch in matrix.batches(order, BATCH):
                    if len(batch) == BATCH:
                        heads.step(batch, labels, 0.0)

            steps = images // BATCH
            times[f"an epoch's step, {place}, ms"] = 1e3 * seconds(epoch, device, 1, warmup=1) / steps
    return times
