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
from timecat.errors import UserError

BATCHES_AHEAD = 3


class BetonLoader:
    """Iterate over batches of a .beton: (images uint8 (b, side, side, 3), labels int64 (b,), indices int64 (b,)).

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
        self.workers = max(1, min(workers, len(os.sched_getaffinity(0))))
        self.epoch = 0
        self.batches_done = 0
        self._resume_at = 0
        self._running: _Prefetch | None = None
        self._file = np.memmap(beton.path, np.uint8, mode="r")
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
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        if not self.drop_last:
            return order[self.rank :: self.world]
        order = order[: len(self) * self.batch_size * self.world]
        return order.reshape(-1, self.world, self.batch_size)[:, self.rank].ravel()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        start, self._resume_at = self._resume_at, 0
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[tuple[torch.Tensor, ...]]:
        self.close()
        order, epoch = self.order(), self.epoch
        chunks = [order[i : i + self.batch_size] for i in range(start * self.batch_size, len(order), self.batch_size)]
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

    def read(self, indices: np.ndarray, epoch: int, pool: ThreadPoolExecutor | None = None) -> tuple[torch.Tensor, ...]:
        """One batch of the given samples as they are seen in the given epoch."""
        beton = self.beton
        heights, widths = beton.heights[indices], beton.widths[indices]
        side = self.side(epoch)
        random = views.uniform(self.seed, epoch, indices, views.DRAWS)
        boxes = views.boxes(self.view, heights, widths, side, random)
        images = torch.empty((len(indices), side, side, 3), dtype=torch.uint8, pin_memory=self.pin)
        out, failed = images.numpy(), np.zeros(len(indices), np.int64)
        rows = (beton.offsets[indices], beton.sizes[indices], beton.modes[indices], heights, widths, boxes, out, failed)
        edges = np.linspace(0, len(indices), min(self.workers, len(indices)) + 1).astype(int)
        parts = [slice(a, b) for a, b in pairwise(edges)]
        fill = kernel.fill_bicubic if self.view.interpolation == "bicubic" else kernel.fill
        if pool is None or len(parts) == 1:
            fill(self._file, *rows)
        else:
            list(pool.map(lambda part: fill(self._file, *(row[part] for row in rows)), parts))
        for i in np.flatnonzero(failed):
            self._decode_again(int(indices[i]), boxes[i], out[i])
        return images, torch.from_numpy(beton.labels[indices]), torch.from_numpy(indices.copy())

    def _decode_again(self, index: int, box: np.ndarray, out: np.ndarray) -> None:
        """Ask turbojpeg what was wrong with a JPEG; `timecat write` stores none of these, other writers may."""
        start, size = int(self.beton.offsets[index]), int(self.beton.sizes[index])
        height, width = int(self.beton.heights[index]), int(self.beton.widths[index])
        source, pixels = np.array(self._file[start : start + size]), np.empty((height, width, 3), np.uint8)
        why = kernel.complaint(source, pixels)
        if why is not None:
            raise UserError(
                f"{self.beton.path}: image {index} is broken ({why}); write the file again with `timecat write`"
            )
        pixels.setflags(write=False)
        (kernel.see_bicubic if self.view.interpolation == "bicubic" else kernel.see)(pixels, box, out)


class _Prefetch:
    """A thread that reads batches ahead; its exceptions come out of `next`, and `close` always ends it."""

    def __init__(self, loader: BetonLoader, chunks: list[np.ndarray], epoch: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(BATCHES_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(loader, chunks, epoch), daemon=True)
        self._thread.start()

    def _run(self, loader: BetonLoader, chunks: list[np.ndarray], epoch: int) -> None:
        try:
            with ThreadPoolExecutor(loader.workers) as pool:
                for chunk in chunks:
                    if not self._put(loader.read(chunk, epoch, pool)):
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
