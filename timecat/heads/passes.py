"""Passes over one data set's stored features: training the heads of a group together, and reading them on other images.

A pass that takes long is saved between epochs, and goes on from there after a kill.
"""

import hashlib
import json
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from timecat.config.files import ProbeFile
from timecat.config.probe import EPOCHS
from timecat.features.matrix import FeatureMatrix
from timecat.features.parts import Part
from timecat.heads.linear_probe import learning_rate
from timecat.heads.sgd import Heads
from timecat.heads.sweep import Block, Concatenation, columns, head_bytes
from timecat.progress_bar import bar
from timecat.study.directory import ProbeDirectory
from timecat.study.results import head_settings

LOGITS_AT_ONCE = 1 << 25  # of an evaluation, 128 MiB of float32
Logits = Callable[[Tensor], Tensor]  # (cats, K, classes, b) of features (b, columns)


class Store(Protocol):
    """Where features come from: a `FeatureStore`, or arrays that somebody else wrote.

    Attributes:
        name: of the data set.
        probe: its config.
        parts: by name, the training ones and `test`.
    """

    name: str
    probe: ProbeFile
    parts: dict[str, Part]

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows to train on, rows held out) of the training set, int64."""
        ...

    def labels(self, part: Part) -> np.ndarray:
        """int64 (n,)."""
        ...

    def load(self, part: Part, snapshot: Any) -> Tensor:
        """The features (n, width) of one of its own blocks, of a floating type."""
        ...


class Passes:
    """What all passes of a data set share.

    Args:
        keys: of each cat by name, a hash of its features.
        directory: where a pass lies until it is finished.
        minutes: how much work a kill may cost.

    Attributes:
        fit, all: rows of the training images that are not held out, and of all, int64.
        held: rows of the held-out images in `held_part`.
        labels: int64, by part.
    """

    def __init__(
        self,
        store: Store,
        keys: dict[str, str],
        device: torch.device,
        directory: ProbeDirectory,
        minutes: float,
    ) -> None:
        self.store, self.probe, self.device = store, store.probe, device
        self.grid = self.probe.probe.grid(self.probe.model.lr)
        self.classes, self.epochs = self.probe.model.num_classes, self.probe.trainer.max_epochs or EPOCHS
        self._keys, self._directory, self._seconds = keys, directory, 60 * minutes
        self.labels = {part.name: torch.from_numpy(store.labels(part)).to(device) for part in store.parts.values()}
        # the parts that epochs take in turn, and the one where the held-out images are seen as in evaluation
        self._views = [part for part in store.parts.values() if part.split == "train" and part.name != "heldout"]
        self.held_part = "heldout" if "heldout" in store.parts else self._views[0].name
        fit, held = store.split()
        train = self._views[0].indices
        self.fit, self.all = np.searchsorted(train, fit), np.arange(len(train))
        self.held = torch.from_numpy(np.searchsorted(store.parts[self.held_part].indices, held))
        self._snapshots: list[Block] = []
        self._matrices: dict[str, FeatureMatrix] = {}

    def matrix(self, part: str, snapshots: list[Block], heads: int) -> FeatureMatrix:
        """Features of a part; measured until other members are asked for, as choosing and training again read the same.

        Args:
            heads: bytes that the heads take beside it.
        """
        if self._snapshots != snapshots:
            self._snapshots, self._matrices = snapshots, {}
        if part not in self._matrices:
            loaded = [self.store.load(self.store.parts[part], snapshot) for snapshot in snapshots]
            room = self.probe.probe.memory_gb * 1e9 - heads - sum(other.bytes for other in self._matrices.values())
            self._matrices[part] = FeatureMatrix(loaded, self.device, room)
        return self._matrices[part]

    def train(
        self,
        cats: Sequence[Concatenation],
        rates: np.ndarray,
        decays: np.ndarray,
        rows: np.ndarray,
        *,
        epochs: int,
        horizon: int,
        purpose: str,
        measured_on: str,
        measure: Callable[[int, Heads, FeatureMatrix], None],
        measured: dict[str, Any],
    ) -> None:
        """Train K heads for each cat: epoch e visits default_rng([seed, e]).permutation(rows), as BetonLoader does.

        Args:
            rates, decays: learning rates and weight decays (cats, K).
            epochs, horizon: epochs to train, and the length that the learning rate's schedule is laid out for.
            purpose: what the progress bar calls it.
            measured_on, measure: the part whose features `measure` gets after each epoch.
            measured: what `measure` gathers; it is saved with the heads.
        """
        seed, batch = self.probe.seed, self.probe.data.batch_size
        snapshots, slices = columns(cats)
        size = sum(head_bytes(cat.features, self.classes) for cat in cats) * rates.shape[1]
        heads = Heads(slices, rates, decays, classes=self.classes, seed=seed, device=self.device)
        content = [rates.tolist(), decays.tolist(), hashlib.sha256(rows.data).hexdigest(), horizon, purpose]
        path = self._path(cats, content)
        start, saved = self._resume(path, heads, measured), time.monotonic()
        whole = len(rows) - len(rows) % batch
        title = f"{self.store.name}: {rates.size} heads, {purpose}"
        with bar(title, epochs * whole, "images", start * whole) as advance:
            for epoch in range(start, epochs):
                factor = learning_rate(1.0, epoch, horizon)
                order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(rows)[:whole])
                part = self._views[epoch % len(self._views)].name
                batches = order.split(batch)
                features = self.matrix(part, snapshots, size).batches(batches)
                for numbers, values in zip(batches, features, strict=True):
                    heads.step(values, self.labels[part][numbers.to(self.device)], factor)
                    advance(len(numbers))
                measure(epoch, heads, self.matrix(measured_on, snapshots, size))
                if time.monotonic() - saved > self._seconds and epoch + 1 < epochs:
                    self._save(path, epoch + 1, heads, measured)
                    saved = time.monotonic()
        path.unlink(missing_ok=True)

    def _path(self, cats: Sequence[Concatenation], content: list[Any]) -> Path:
        """Where an unfinished pass lies; every other one has another name."""
        of = [[self._keys[cat.name] for cat in cats], head_settings(self.probe), content]
        return self._directory.unfinished_pass(hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16])

    def _save(self, path: Path, epoch: int, heads: Heads, measured: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        torch.save({"epoch": epoch, "heads": heads.state(), "kept": measured}, temporary)
        os.replace(temporary, path)

    def _resume(self, path: Path, heads: Heads, measured: dict[str, Any]) -> int:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return 0
        heads.load_state(state["heads"])
        measured.update(state["kept"])
        return state["epoch"]

    def accuracy(self, logits: Logits, matrix: FeatureMatrix, shape: tuple[int, int, int]) -> Tensor:
        """Top-1 on the held-out images in percent, float64 (cats, K) on the CPU; NaN of a head that diverged.

        Args:
            shape: of the logits without their last dimension.
        """
        labels = self.labels[self.held_part]
        right = torch.zeros(shape[:2], dtype=torch.float64, device=self.device)
        for numbers, values in _evaluate(logits, matrix, self.held, shape):
            largest, best = values.max(2)  # NaN where one is
            right += (best == labels[numbers.to(self.device)]).sum(2)
            right[~largest.isfinite().all(2)] = torch.nan
        return (100 * right / len(self.held)).cpu()

    def predict(self, logits: Logits, matrix: FeatureMatrix, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Of the test images: the likeliest class, int32 (cats, K, n), -1 by a head that diverged, and whether the
        label is among the five likeliest, bool (cats, K, n); on the CPU."""
        predicted, in_top5 = [], []
        for numbers, values in _evaluate(logits, matrix, torch.arange(matrix.rows), shape):
            labels = self.labels["test"][numbers.to(self.device)].expand(*shape[:2], 1, -1)
            largest, best = values.max(2)
            predicted.append(best.int().masked_fill_(~largest.isfinite(), -1).cpu())
            in_top5.append(((values > values.gather(2, labels)).sum(2) < 5).cpu())
        return torch.cat(predicted, 2), torch.cat(in_top5, 2)


def _evaluate(
    logits: Logits, matrix: FeatureMatrix, rows: Tensor, shape: tuple[int, int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(row numbers, logits) of the rows, as many at once as memory allows."""
    batches = rows.split(max(1, min(LOGITS_AT_ONCE // int(np.prod(shape)), 8192)))
    for numbers, features in zip(batches, matrix.batches(batches), strict=True):
        yield numbers, logits(features)
