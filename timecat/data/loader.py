"""FFCV <-> Lightning: batches of a .beton as a function of (seed, epoch, batch) alone, resumable at any batch.

`ffcv.Loader` itself is not used: it cannot be resumed (a seed fixes the order but not the crops), an exception in its
thread hangs the reader, an epoch left early leaks its thread and buffers, a corrupt JPEG passes as garbage, and each
loader compiles anew. Here FFCV's kernels (see `kernel`) fill the boxes that `views` draws.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from timecat.data import kernel, views
from timecat.data.beton import Beton
from timecat.data.mixture import Mixture
from timecat.errors import UserError

BATCHES_AHEAD = 3


class BetonLoader:
    """Iterate over batches of a .beton: (images uint8 (b, side, side, 3), labels int64 (b,), indices int64 (b,)).

    Where the samples have groups, or are of a mixture's components, int64 (b,) of these follows.

    Each batch owns its memory (page-locked where `pin`), so it may be kept as long as one likes. Lightning finds
    `batch_sampler.sampler.set_epoch` and `state_dict`; nothing is started before the first `next`.

    Args:
        beton: the file's index.
        indices: samples to visit, int64 (n,).
        view: how they are seen.
        resolution: side of the output in pixels, or a function of the epoch that gives it.
        batch_size: images of one batch on this rank.
        seed: of order and boxes; members of an ensemble differ by it.
        shuffle: visit in an order that is a function of (seed, epoch); else in the order of `indices`.
        drop_last: only whole batches over all ranks (training); else each rank visits its share, no sample twice.
        mixture: components of `indices` that an epoch draws from in their shares, with drop_last.
        batches_per_step: of accumulated gradients; with drop_last, an epoch has whole steps only.
        rank, world: this process among those that share each global batch.
        workers: threads that decode.
        pin: page-locked memory, for asynchronous copies to a GPU.
    """

    def __init__(
        self,
        beton: Beton,
        indices: np.ndarray,
        *,
        view: views.View,
        resolution: int | Callable[[int], int],
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        mixture: Mixture | None = None,
        batches_per_step: int = 1,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        pin: bool = False,
    ) -> None:
        self.beton, self.indices, self.view = beton, indices, view
        self.side = resolution if callable(resolution) else lambda epoch: resolution
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.batches_per_step, self.rank, self.world, self.pin = batches_per_step, rank, world, pin
        self.mixture = mixture
        self.workers = max(1, min(workers, len(os.sched_getaffinity(0))))
        self.epoch = 0
        self.batches_done = 0
        self._resume_at = 0
        self._running: _Prefetch | None = None
        self._files = [np.memmap(each.path, np.uint8, mode="r") for each in beton.joined or (beton,)]
        self._starts = np.cumsum([0, *(len(each) for each in beton.joined)])  # of the files' samples
        if len(self) == 0:
            raise UserError(
                f"{beton.path}: its {len(indices):,} images do not fill one batch of "
                f"{batch_size * world * batches_per_step:,}; "
                "choose a smaller data.batch_size"
            )

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.indices) // (self.batch_size * self.world * self.batches_per_step) * self.batches_per_step
        share = len(range(self.rank, len(self.indices), self.world))
        return -(-share // self.batch_size)

    @property
    def batch_sampler(self) -> "BetonLoader":  # what Lightning looks through for set_epoch
        return self

    @property
    def sampler(self) -> "BetonLoader":
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _state_key(self) -> dict[str, int]:
        return {"seed": self.seed, "images": len(self.indices), "batch_size": self.batch_size, "world": self.world}

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "batches_done": self.batches_done, **self._state_key()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batch at which `state_dict` was taken.

        Raises:
            UserError: the state belongs to another seed, number of images, batch size or number of processes.
        """
        for key, value in self._state_key().items():
            if state[key] != value:
                raise UserError(
                    f"{self.beton.path}: the checkpoint was made with {key} {state[key]}, now {value}; "
                    "resume with the same, or start afresh in another study.name"
                )
        self.epoch = state["epoch"]
        self.batches_done = state["batches_done"]
        self._resume_at = self.batches_done % len(self)

    def order(self) -> np.ndarray:
        """The samples that this rank visits in this epoch, int64; rank r takes every world-th of the common order.

        In training a step's images fall into as many parts as it has batches, over all ranks, each a piece of the
        order; so they are the same whether they are trained on one after the other, by several ranks or side by side.
        """
        return self._visits()[0]

    def _visits(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples that this rank visits, and the number of each one's draw of a random view, both int64."""
        images = len(self) * self.batch_size * self.world
        if self.mixture is not None:
            order, draws = self.mixture.epoch(self.seed, self.epoch, images)
        else:
            order, draws = self.indices, np.full(len(self.indices), self.epoch)
            if self.shuffle:
                order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        if not self.drop_last:
            return order[self.rank :: self.world], draws[self.rank :: self.world]
        shape = -1, self.world, self.batch_size
        order, draws = (each[:images].reshape(shape)[:, self.rank].ravel() for each in (order, draws))
        return order, draws

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        start, self._resume_at = self._resume_at, 0
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[tuple[torch.Tensor, ...]]:
        self.close()
        (order, draws), epoch, size = self._visits(), self.epoch, self.batch_size
        chunks = [(order[i : i + size], draws[i : i + size]) for i in range(start * size, len(order), size)]
        self.batches_done = start
        running = self._running = _Prefetch(self, chunks, epoch)
        try:
            for batch in running:
                self.batches_done += 1
                yield batch
        finally:
            running.close()

    def close(self) -> None:
        """Stop the threads of an epoch that was left early; safe to call at any time."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def read(
        self,
        indices: np.ndarray,
        epoch: int,
        pool: ThreadPoolExecutor | None = None,
        draws: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """One batch of the given samples as they are seen in the given epoch.

        Args:
            draws: the number of each sample's draw of a random view, int64 (b,); the epoch by default.
        """
        beton = self.beton
        heights, widths = beton.heights[indices], beton.widths[indices]
        side = self.side(epoch)
        random = views.uniform(self.seed, epoch if draws is None else draws, indices, views.DRAWS)
        boxes = views.boxes(self.view, heights, widths, side, random)
        images = torch.empty((len(indices), side, side, 3), dtype=torch.uint8, pin_memory=self.pin)
        out, failed = images.numpy(), np.zeros(len(indices), np.int64)
        rows = (beton.offsets[indices], beton.sizes[indices], beton.modes[indices], heights, widths, boxes, out, failed)
        edges = np.linspace(0, len(indices), min(self.workers, len(indices)) + 1).astype(int)
        parts = [slice(a, b) for a, b in pairwise(edges)]
        if pool is None or len(parts) == 1:
            self._fill(indices, rows)
        else:
            list(pool.map(lambda part: self._fill(indices[part], tuple(row[part] for row in rows)), parts))
        for i in np.flatnonzero(failed):
            self._decode_again(int(indices[i]), boxes[i], out[i])
        of_samples = [beton.labels[indices], indices.copy()]
        if beton.groups is not None:
            of_samples.append(beton.groups[indices])
        return images, *map(torch.from_numpy, of_samples)

    def _file_of(self, indices: np.ndarray) -> np.ndarray:
        """The number of each sample's file, int64."""
        return np.searchsorted(self._starts[1:-1], indices, side="right")

    def _fill(self, indices: np.ndarray, rows: tuple[Any, ...]) -> None:
        """Write the view of each sample, whichever file it is in; rows as kernel.fill takes them, views of arrays."""
        fill: Any = kernel.fill_bicubic if self.view.interpolation == "bicubic" else kernel.fill
        if len(self._files) == 1:
            return fill(self._files[0], *rows)
        *given, out, failed = rows
        of_file = self._file_of(indices)
        for number, file in enumerate(self._files):
            mine = np.flatnonzero(of_file == number)
            seen, bad = np.empty_like(out[mine]), np.zeros(len(mine), np.int64)
            fill(file, *(row[mine] for row in given), seen, bad)
            out[mine], failed[mine] = seen, bad

    def _decode_again(self, index: int, box: np.ndarray, out: np.ndarray) -> None:
        """Ask turbojpeg what was wrong with a JPEG; `timecat write` stores none of these, other writers may."""
        start, size = int(self.beton.offsets[index]), int(self.beton.sizes[index])
        height, width = int(self.beton.heights[index]), int(self.beton.widths[index])
        number = int(self._file_of(np.array([index]))[0])
        source = np.array(self._files[number][start : start + size])
        pixels = np.empty((height, width, 3), np.uint8)
        why = kernel.complaint(source, pixels)
        if why is not None:
            path, place = (self.beton.joined or (self.beton,))[number].path, index - int(self._starts[number])
            raise UserError(f"{path}: image {place} is broken ({why}); write the file again with `timecat write`")
        pixels.setflags(write=False)
        (kernel.see_bicubic if self.view.interpolation == "bicubic" else kernel.see)(pixels, box, out)


class _Prefetch:
    """A thread that reads batches ahead; its exceptions come out of `next`, and `close` always ends it."""

    def __init__(self, loader: BetonLoader, chunks: list[tuple[np.ndarray, np.ndarray]], epoch: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(BATCHES_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(loader, chunks, epoch), daemon=True)
        self._thread.start()

    def _run(self, loader: BetonLoader, chunks: list[tuple[np.ndarray, np.ndarray]], epoch: int) -> None:
        try:
            with ThreadPoolExecutor(loader.workers) as pool:
                for chunk, draws in chunks:
                    if not self._put(loader.read(chunk, epoch, pool, draws)):
                        return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        while True:
            try:
                item = self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._thread.is_alive():
                    continue
                raise RuntimeError("the loading thread died") from None
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
