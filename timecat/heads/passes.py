"""Passes over one data set's stored features: training the heads of a group together, and reading them on other images.

A pass that takes long is saved between epochs, or where it is asked to stop, and goes on from there. What one measured
is kept until the results are written.
"""

import hashlib
import json
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from timecat import files
from timecat.cluster.stop import Stop
from timecat.config.files import ProbeFile
from timecat.config.probe import EPOCHS
from timecat.data.order import in_blocks
from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.memory import device_room
from timecat.extraction.parts import Part
from timecat.extraction.precision import float32_products, may_be_tf32
from timecat.heads.kept_logits import as_float16
from timecat.heads.linear_probe import learning_rate
from timecat.heads.sgd import Heads
from timecat.heads.sweep import Block, Concatenation, columns, head_bytes
from timecat.progress_bar import bar
from timecat.study.directory import ProbeDirectory
from timecat.study.directory import Protocol as NameOfProtocol
from timecat.study.results import head_settings

LOGITS_AT_ONCE = 1 << 25  # of an evaluation, 128 MiB of float32
Logits = Callable[[Tensor], Tensor]  # (cats, K, classes, b) of features (b, columns)


class Reading(NamedTuple):
    """What a head says of n test images.

    Attributes:
        predicted: the likeliest class, int32 (n,), -1 by a head that diverged.
        in_top5: whether the label is among the five likeliest, bool (n,).
        logits: float16 (n, classes).
    """

    predicted: np.ndarray
    in_top5: np.ndarray
    logits: np.ndarray


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
        stop: what signals ask for.
        protocol: for which heads are chosen.

    Attributes:
        fit, all: rows of the training images that are not held out, and of all, int64.
        held: rows of the held-out images in `held_part`.
        room: bytes of the device's memory, for heads and features.
        labels: int64, by part.
    """

    def __init__(
        self,
        store: Store,
        keys: dict[str, str],
        device: torch.device,
        directory: ProbeDirectory,
        minutes: float,
        stop: Stop | None = None,
        protocol: NameOfProtocol = "heldout",
    ) -> None:
        self._stop, self._through = stop or Stop(), list[Path]()
        self._protocol: NameOfProtocol = protocol
        self.store, self.probe, self.device = store, store.probe, device
        self.room = device_room(self.probe.probe, device)
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
            room = self.room - heads - sum(other.bytes for other in self._matrices.values())
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
        last_batch: bool = False,
        measure: Callable[[int, Heads, Callable[[str], FeatureMatrix]], None],
        measured: dict[str, Any],
    ) -> None:
        """Train K heads for each cat: epoch e visits `in_blocks(rows, seed, e)`, as a probe on images does.

        Products are in TF32 where the device has it and features are not of IEEE float32 either.

        Args:
            rates, decays: learning rates and weight decays (cats, K).
            epochs, horizon: epochs to train, and the length that the learning rate's schedule is laid out for.
            purpose: what the progress bar calls it.
            last_batch: train on an epoch's last batch where it is not full, unless it is one image alone, which
                BatchNorm cannot normalise.
            measure: is called after each epoch, with its number, the heads, and what gives the features of a part.
            measured: what `measure` gathers; it is saved with the heads.
        """
        seed, batch = self.probe.seed, self.probe.data.batch_size
        snapshots, slices = columns(cats)
        size = sum(head_bytes(cat.features, self.classes) for cat in cats) * rates.shape[1]
        heads = Heads(slices, rates, decays, classes=self.classes, seed=seed, device=self.device)
        digest = hashlib.sha256(rows.data).hexdigest()
        content = [rates.tolist(), decays.tolist(), digest, horizon, purpose, last_batch, "chosen heads are kept"]
        path = self._path(cats, content)
        (start, done), saved = self._resume(path, heads, measured), time.monotonic()
        left = len(rows) % batch
        whole = len(rows) - (0 if last_batch and left > 1 else left)
        title = f"{self.store.name}: {rates.size} heads, {purpose}"

        def features_of(part: str) -> FeatureMatrix:
            return self.matrix(part, snapshots, size)

        before, tf32 = start * whole + min(done * batch, whole), may_be_tf32(self.probe.probe)
        shown = bar(title, epochs * whole, "images", before)
        with self._stop.at_a_check(), float32_products(tf32=tf32), shown as advance:
            for epoch in range(start, epochs):
                factor = learning_rate(1.0, epoch, horizon)
                order = torch.from_numpy(in_blocks(rows, seed, epoch)[:whole])
                part = self._views[epoch % len(self._views)].name
                order = order[done * batch :]
                labels = self.labels[part][order.to(self.device)].split(batch)
                features = self.matrix(part, snapshots, size).batches(order, batch)
                for of_batch, values in zip(labels, features, strict=True):
                    heads.step(values, of_batch, factor)
                    advance(len(of_batch))
                    done += 1
                    if self._stop.is_set():
                        self._save(path, epoch, done, heads, measured)
                        self._stop.check()
                measure(epoch, heads, features_of)
                done = 0
                if time.monotonic() - saved > self._seconds and epoch + 1 < epochs:
                    self._save(path, epoch + 1, 0, heads, measured)
                    saved = time.monotonic()
            self._save(path, epochs, 0, None, measured)
            self._through.append(path)

    def forget(self) -> None:
        """What the passes that are through were for is written."""
        while self._through:
            self._through.pop().unlink(missing_ok=True)

    def forget_all(self) -> None:
        """All results of the data set are written; a stop between two of one pass leaves it here, of use no more."""
        for path in self._directory.unfinished_passes(self._protocol):
            path.unlink(missing_ok=True)

    def _path(self, cats: Sequence[Concatenation], content: list[Any]) -> Path:
        """Where an unfinished pass lies; every other one has another name."""
        of = [[self._keys[cat.name] for cat in cats], head_settings(self.probe), content]
        return self._directory.unfinished_pass(hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16], self._protocol)

    def _save(self, path: Path, epoch: int, batches: int, heads: Heads | None, measured: dict[str, Any]) -> None:
        """So many epochs and batches of the next one are done; without heads, all of them."""
        state = heads.state() if heads is not None else None
        content = {"epoch": epoch, "batches": batches, "heads": state, "kept": measured}
        try:
            files.write_with(path, lambda file: torch.save(content, file))
        except RuntimeError as error:  # torch's of a full disk
            if not isinstance(error.__context__, OSError):
                raise
            error.__context__.filename = str(path)
            raise error.__context__ from None

    def _resume(self, path: Path, heads: Heads, measured: dict[str, Any]) -> tuple[int, int]:
        """Epochs and batches that are done."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return 0, 0
        if state["heads"] is not None:
            heads.load_state(state["heads"])
        measured.update(state["kept"])
        return state["epoch"], state.get("batches", 0)

    def accuracy(self, logits: Logits, matrix: FeatureMatrix, shape: tuple[int, int, int], part: str) -> Tensor:
        """Top-1 on the held-out images, or those of `test`, in percent, float64 (cats, K) on the CPU; NaN of a head
        that diverged.

        Args:
            matrix: of the part.
            shape: of the logits without their last dimension.
        """
        rows = self.held if part == self.held_part else torch.arange(matrix.rows)
        labels = self.labels[part][rows.to(self.device)]
        right = torch.zeros(shape[:2], dtype=torch.float64, device=self.device)
        for place, values in _evaluate(logits, matrix, rows, shape):
            largest, best = values.max(2)  # NaN where one is
            right += (best == labels[place]).sum(2)
            right.masked_fill_(~largest.isfinite().all(2), torch.nan)
        return (100 * (right / len(rows))).cpu()

    @float32_products(tf32=False)
    def read(
        self,
        cat: Concatenation,
        logits: Logits,
        part: Part | None = None,
        labels: np.ndarray | None = None,
        among: np.ndarray | None = None,
    ) -> Reading:
        """What one head says of test images; features come from their files, batch by batch.

        Args:
            logits: (1, 1, classes, b) of the cat's own features (b, D).
            part, labels: the images, and their classes int64 (n,); data.test's where not given.
            among: the class numbers that predictions are among, int64 (k,) ascending; all where not given.
        """
        part = part or self.store.parts["test"]
        of_images = self.labels["test"] if labels is None else torch.from_numpy(labels).to(self.device)
        outside = torch.zeros(self.classes, 1, device=self.device)
        if among is not None:
            outside[:] = -torch.inf
            outside[among] = 0.0
        matrix = FeatureMatrix([self.store.load(part, snapshot) for snapshot in cat.snapshots], self.device, 0)
        predicted, in_top5 = np.empty(matrix.rows, np.int32), np.empty(matrix.rows, bool)
        kept = np.empty((matrix.rows, self.classes), np.float16)
        for rows, values in _evaluate(logits, matrix, torch.arange(matrix.rows), (1, 1, self.classes)):
            told = values[0, 0] + outside
            largest, best = told.max(0)
            predicted[rows] = best.int().masked_fill_(~largest.isfinite(), -1).cpu().numpy()
            in_top5[rows] = ((told > told.gather(0, of_images[rows][None])).sum(0) < 5).cpu().numpy()
            kept[rows] = as_float16(values[0, 0].T.cpu().numpy(), best.cpu().numpy(), among)
        return Reading(predicted, in_top5, kept)


def _evaluate(
    logits: Logits, matrix: FeatureMatrix, rows: Tensor, shape: tuple[int, int, int]
) -> Iterator[tuple[slice, Tensor]]:
    """(places in `rows`, logits), as many at once as memory allows."""
    at_once = max(1, min(LOGITS_AT_ONCE // int(np.prod(shape)), 8192))
    for number, features in enumerate(matrix.batches(rows, at_once)):
        yield slice(number * at_once, number * at_once + len(features)), logits(features)
