"""Members' features of a data set, computed once: one decode of each image serves all members and all devices share.

A part is a set of images in one view: `test`; `train` in the evaluation view; or, with augmented views,
`train_view<k>` for each and `heldout` in the evaluation view.
"""

import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecat.cluster.stop import Stop, deaf_children
from timecat.config.files import ProbeFile
from timecat.errors import UserError
from timecat.extraction.compute import Work, compute
from timecat.extraction.file import FeatureFile
from timecat.extraction.memory import device_room
from timecat.extraction.parts import Part, images_of, parts
from timecat.extraction.precision import resolved
from timecat.extraction.projection import Projected, Projections
from timecat.extraction.soup import make_soup
from timecat.networks.backbone import Weights
from timecat.process import PARENT, compute_threads, die_with_parent
from timecat.progress_bar import bar
from timecat.study.directory import Protocol
from timecat.study.plan import Snapshot
from timecat.study.protocols import as_seen_by
from timecat.study.study import Study
from timecat.terminal import say


class FeatureStore:
    """Features of one data set, of every member of a study.

    Args:
        probe: of the data set.
        devices: where the backbones run, a process each where there are several.
        protocol: whose normalisation of the images it is.
        stop: what signals ask for.

    Attributes:
        probe: as the protocol sees it, with what `auto` is on the devices.

    Raises:
        UserError: the devices do not compute in the probe's precision.
    """

    def __init__(
        self,
        study: Study,
        probe: ProbeFile,
        devices: list[str],
        protocol: Protocol = "heldout",
        stop: Stop | None = None,
    ) -> None:
        self._stop = stop or Stop()
        seen = as_seen_by(protocol, probe)
        self._protocol: Protocol = "heldout" if seen == probe else protocol  # files are shared where all is the same
        self.config = resolved(probe.probe, devices)
        self.study, self.probe, self.name = study, replace(seen, probe=self.config), probe.name
        self.data, self.devices = images_of(self.probe), devices
        self.parts = parts(self.data, self.config.views)
        self._projections = Projections(self)
        self._keys = {part.name: self._key_of(part) for part in self.parts.values()}

    def _key_of(self, part: Part) -> dict[str, Any]:
        data, beton = self.data, self.data.beton(part.split)
        view = data.train_view if part.view else data.eval_view
        return {
            "data": [beton.fingerprint(), beton.sample_hash()],
            "images": hashlib.sha256(part.indices.tobytes()).hexdigest(),
            "view": str(view),
            **({"draw": part.view, "seed": data.seed} if part.view else {}),
            "resolution": data.config.resolution,
            "mean": data.mean.tolist(),
            "std": data.std.tolist(),
            "precision": self.config.precision,
            "storage": self.config.storage,
        }

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(images to train on, images held out) of the training file, int64."""
        return self.data.split()

    def labels(self, part: Part) -> np.ndarray:
        return self.data.beton(part.split).labels[part.indices]

    def groups(self, part: Part) -> dict[str, np.ndarray]:
        """The images' groups int64 (n,) and `group_names`, where their file has groups; else nothing."""
        beton = self.data.beton(part.split)
        if beton.groups is None:
            return {}
        return {"groups": beton.groups[part.indices], "group_names": np.array(beton.group_names)}

    def key(self, part: Part, snapshot: Snapshot) -> dict[str, Any]:
        """What features are a function of: the weights' hash, the data's, the view, the types, and how a ResNet's
        BatchNorms are computed, where it is by folding them."""
        if part.name not in self._keys:
            self._keys[part.name] = self._key_of(part)
        norms = {"batch_norm": "folded"} if self._file(snapshot).backbone is None else {}
        return {"weights": self.weights(snapshot), **self._keys[part.name], **norms}

    def weights(self, snapshot: Snapshot) -> str:
        """What tells a snapshot's weights from all others.

        Raises:
            UserError: it is not finished.
        """
        digest = self.study.digest(snapshot)
        if digest is None:
            raise UserError(f"{self.study.snapshot_path(snapshot)}: not trained yet; run `timecat fit` first")
        return digest

    def array(self, part: Part, snapshot: Snapshot) -> FeatureFile:
        path = self.study.directory.feature_file(self.name, part.name, snapshot.name, self._protocol)
        return FeatureFile(path, self.key(part, snapshot), len(part.indices), snapshot.width, self.config.storage)

    def load(self, part: Part, snapshot: Snapshot | Projected) -> Tensor:
        """The memory-mapped features (images, width) of one member; or what a map leaves of a cat's, in memory."""
        if isinstance(snapshot, Projected):
            return self._projections.apply(part, snapshot)
        return self.array(part, snapshot).load()

    def extract(self, snapshots: list[Snapshot], tests: Sequence[Part] = ()) -> int:
        """Compute what is missing, in one pass over each part's images for all members whose weights fit in memory.

        Args:
            tests: parts beside the data set's own.

        Returns:
            How many images went through a backbone.

        Raises:
            UserError: a snapshot is missing or is not what was trained, features are not finite, the disk is full.
        """
        every = {**self.parts, **{part.name: part for part in tests}}
        missing = {
            part.name: [
                (snapshot, array) for snapshot in snapshots if not (array := self.array(part, snapshot)).is_complete()
            ]
            for part in every.values()
        }
        wanted = {snapshot.name: snapshot for arrays in missing.values() for snapshot, _ in arrays}
        if not wanted:
            return 0
        for snapshot in wanted.values():
            for each in snapshot.trained:
                self.study.directory.member(each.plan.name).verify(each.step)
            if snapshot.soup:
                make_soup(self.study, snapshot, torch.device(self.devices[0]))
        self._check_disk([array for arrays in missing.values() for _, array in arrays])
        return self._extract(
            [
                (every[name], [(self._file(snapshot), array) for snapshot, array in arrays])
                for name, arrays in missing.items()
            ]
        )

    def _file(self, snapshot: Snapshot) -> Weights:
        backbone = snapshot.elsewhere.backbone if snapshot.elsewhere else None
        return Weights(self.study.snapshot_path(snapshot), snapshot.width, backbone)

    def _check_disk(self, arrays: list[FeatureFile]) -> None:
        directory = self.study.directory.features
        directory.mkdir(exist_ok=True)
        needed = sum(array.bytes for array in arrays if len(array.missing()) == array.shards)
        free = shutil.disk_usage(directory).free
        if needed > free:
            raise UserError(
                f"{directory}: the features of {self.name} need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; "
                "make room, or choose another study.root or probe.storage"
            )

    def _extract(self, missing: list[tuple[Part, list[tuple[Weights, FeatureFile]]]]) -> int:
        count, works = len(self.devices), []
        room = device_room(self.config, torch.device(self.devices[0]))
        for part, queue in missing:
            while queue:
                sizes = np.cumsum([file.path.stat().st_size for file, _ in queue])
                fit = max(1, int((sizes <= room).sum()))  # members that are on a device at once
                (found, arrays), queue = zip(*queue[:fit], strict=True), queue[fit:]
                for array in arrays:
                    array.begin()
                shards = sorted({shard for array in arrays for shard in array.missing()})
                works += [
                    Work(rank, part, found, arrays, shards[rank::count], self.devices[rank], self.config)
                    for rank in range(count)
                ]
        arrays = [array for work in works if work.rank == 0 for array in work.arrays]
        images = sum(array.rows(shard).stop - array.rows(shard).start for array in arrays for shard in array.missing())
        started = time.monotonic()
        with bar(f"features of {self.name}", images, "images") as shown:

            def advance(count: int) -> None:
                shown(count)
                self._stop.check()  # what a signal raises is lost in a callback of C code, as of numba's compiler

            if count == 1:
                for work in works:
                    compute(work, self.data, advance)
            else:
                self._in_processes(works, advance)
        for array in arrays:
            array.finish()
        snapshots, seconds = len({file for _, queue in missing for file, _ in queue}), time.monotonic() - started
        say(f"features of {self.name}: {images:,} forward passes of {snapshots} snapshots in {seconds:,.0f} s")
        return images

    def _in_processes(self, works: list[Work], advance: Callable[[int], None]) -> None:
        """A process for each device; the first error ends them all."""
        context = multiprocessing.get_context("spawn")  # FFCV and CUDA do not survive a fork
        counter = context.Value("q", 0)
        count = len(self.devices)
        threads = compute_threads(count)
        with ProcessPoolExecutor(count, context, _start, (counter, threads, os.getpid())) as pool:
            with deaf_children():
                jobs: list[Future[None]] = [
                    pool.submit(_compute, [work for work in works if work.rank == rank], self.probe)
                    for rank in range(count)
                ]
            seen = 0
            try:
                while True:
                    done, running = wait(jobs, timeout=0.5)
                    advance(counter.value - seen)
                    seen = counter.value
                    for job in done:
                        job.result()
                    if not running:
                        return
            except BaseException as error:
                for process in list(pool._processes.values()):  # a pool can be told to end only from Python 3.14 on
                    process.kill()
                if isinstance(error, BrokenProcessPool):
                    raise UserError(
                        f"features of {self.name}: a process was killed (memory?); the same command goes on from there"
                    ) from None
                raise


_counter: Any = None


def _start(counter: Any, threads: int, parent: int) -> None:
    global _counter
    os.environ[PARENT] = str(parent)
    die_with_parent(1)
    torch.set_num_threads(threads)
    _counter = counter


def _compute(works: list[Work], probe: ProbeFile) -> None:
    def advance(count: int) -> None:
        with _counter.get_lock():
            _counter.value += count

    data = images_of(probe)
    data.workers = data.workers or torch.get_num_threads()
    for work in works:
        compute(work, data, advance)
