"""FFCV <-> Lightning: batches of a .beton as a function of (seed, epoch, batch) alone, resumable at any batch.

`ffcv.Loader` itself is not used: it cannot be resumed (a seed fixes the order but not the crops), an exception in its
thread hangs the reader, an epoch left early leaks its thread and buffers, a corrupt JPEG passes as garbage, and each
loader compiles anew. Here FFCV's kernels (see `kernel`) fill the boxes that `views` draws.

One thread begins BATCHES_AHEAD batches before they are asked for: it asks the disk for their bytes, draws boxes, and
cuts them into small parts. The workers take these one after the other, so that none waits for another at a batch's end.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice, pairwise

import numpy as np
import torch

from timecat.data import views
from timecat.data.beton import Beton
from timecat.data.bus_error import tell_bus_errors
from timecat.data.index import check_batch
from timecat.data.kernel import decode, fill_bicubic, is_harmless, kernel, see_bicubic
from timecat.data.mixture import Mixture
from timecat.data.order import Order, permuted
from timecat.errors import UserError
from timecat.process import cores

BATCHES_AHEAD = 4
PART = 1 << 20  # pixels: a worker takes about so many at once, 5 to 8 ms of JPEGs
SMALL = 1 << 14  # bytes: images below it come with their neighbours, which Linux reads around each page
ADVICE = 1 << 17  # bytes: what Linux reads of one advice at least, whatever the disk (its read_ahead_kb)

Batch = tuple[torch.Tensor, ...]


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
        ordered: that function.
        drop_last: only whole batches over all ranks (training); else each rank visits its share, no sample twice.
        mixture: components of `indices` that an epoch draws from in their shares, with drop_last.
        batches_per_step: of accumulated gradients; with drop_last, an epoch has whole steps only.
        rank, world: this process among those that share each global batch.
        workers: threads that decode, at most one a core of this process.
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
        ordered: Order = permuted,
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
        self.mixture, self.ordered = mixture, ordered
        self._kernel = kernel()
        self._see: Callable[..., None] = self._kernel.see
        self._see_all: Callable[..., None] = self._kernel.fill
        if view.interpolation == "bicubic":
            self._see, self._see_all = see_bicubic, partial(fill_bicubic, self._kernel.fill)
        self.workers = max(1, min(workers, cores()))
        self.epoch = 0
        self.batches_done = 0
        self._resume_at = 0
        self._pools: tuple[ThreadPoolExecutor, ...] = ()
        self._files = [np.memmap(each.path, np.uint8, mode="r") for each in beton.joined or (beton,)]
        self._descriptors = [os.open(each.path, os.O_RDONLY) for each in beton.joined or (beton,)]
        for descriptor in self._descriptors:
            weakref.finalize(self, os.close, descriptor)
        self._ends = [int((each.offsets + each.sizes).max()) for each in beton.joined or (beton,)]
        tell_bus_errors()
        self._starts = np.cumsum([0, *(len(each) for each in beton.joined)])  # of the files' samples
        if len(self) == 0:
            check_batch(beton.path, len(indices), batch_size * world * batches_per_step)

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
                order = self.ordered(order, self.seed, self.epoch)
        if not self.drop_last:
            return order[self.rank :: self.world], draws[self.rank :: self.world]
        shape = -1, self.world, self.batch_size
        order, draws = (each[:images].reshape(shape)[:, self.rank].ravel() for each in (order, draws))
        return order, draws

    def __iter__(self) -> Iterator[Batch]:
        start, self._resume_at = self._resume_at, 0
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[Batch]:
        self.close()
        (order, draws), epoch, size = self._visits(), self.epoch, self.batch_size
        self.batches_done = start
        begins, pool = self._pools = ThreadPoolExecutor(1), ThreadPoolExecutor(self.workers)
        ahead: deque[Future[tuple[Batch, list[Future[None]]]]] = deque()
        todo = iter(range(start * size, len(order), size))
        try:
            while True:
                for i in islice(todo, BATCHES_AHEAD + 1 - len(ahead)):
                    this = slice(i, i + size)
                    ahead.append(begins.submit(self._begin, order[this], draws[this], epoch, pool))
                if not ahead:
                    return
                batch, parts = ahead.popleft().result()
                for part in parts:
                    part.result()
                self.batches_done += 1
                yield batch
        finally:
            _shut(begins, pool)

    def close(self) -> None:
        """Stop the threads of an epoch that was left early; safe to call at any time."""
        _shut(*self._pools)
        self._pools = ()

    def _begin(
        self, indices: np.ndarray, draws: np.ndarray, epoch: int, pool: ThreadPoolExecutor
    ) -> tuple[Batch, list[Future[None]]]:
        """One batch of the given samples as they are seen in the given epoch; whole when its parts are done.

        Args:
            draws: the number of each sample's draw of a random view, int64 (b,).
        """
        self._check_length()
        self._read_ahead(indices)
        beton, side = self.beton, self.side(epoch)
        heights, widths = beton.heights[indices], beton.widths[indices]
        random = views.uniform(self.seed, draws, indices, views.DRAWS)
        boxes = views.boxes(self.view, heights, widths, side, random)
        images = torch.empty((len(indices), side, side, 3), dtype=torch.uint8, pin_memory=self.pin)
        out = images.numpy()
        count = min(len(indices), -(-int(np.maximum(heights * widths, side * side).sum()) // PART))
        edges = np.linspace(0, len(indices), count + 1).astype(int).tolist()
        parts = [pool.submit(self._fill, indices[a:b], boxes[a:b], out[a:b]) for a, b in pairwise(edges)]
        of_samples = [beton.labels[indices], indices.copy()]
        if beton.groups is not None:
            of_samples.append(beton.groups[indices])
        return (images, *map(torch.from_numpy, of_samples)), parts

    def _check_length(self) -> None:
        """Refuse a file that was cut since: a read beyond its end is a bus error and no exception."""
        for each, descriptor, end in zip(
            self.beton.joined or (self.beton,), self._descriptors, self._ends, strict=True
        ):
            size = os.fstat(descriptor).st_size
            if size < end:
                raise UserError(
                    f"{each.path}: was cut while it was read, {size:,} bytes of {end:,} are left; put it back whole, "
                    "then the same command goes on from its last checkpoint"
                )

    def _read_ahead(self, indices: np.ndarray) -> None:
        """Ask the disk for the bytes of samples, neighbours together, so that no worker waits for page after page."""
        if self.beton.sizes[indices].mean() < SMALL:
            return
        of_file = self._file_of(indices)
        for number in np.unique(of_file):
            mine = indices[of_file == number]
            mine = mine[np.argsort(self.beton.offsets[mine])]
            starts, ends = self.beton.offsets[mine], self.beton.offsets[mine] + self.beton.sizes[mine]
            gaps = np.flatnonzero(starts[1:] > ends[:-1])
            for start, end in zip(starts[[0, *(gaps + 1)]].tolist(), ends[[*gaps, -1]].tolist(), strict=True):
                for at in range(start, end, ADVICE):
                    os.posix_fadvise(self._descriptors[number], at, min(ADVICE, end - at), os.POSIX_FADV_WILLNEED)

    def _file_of(self, indices: np.ndarray) -> np.ndarray:
        """The number of each sample's file, int64."""
        return np.searchsorted(self._starts[1:-1], indices, side="right")

    def _fill(self, indices: np.ndarray, boxes: np.ndarray, out: np.ndarray) -> None:
        """Write the view of each sample, whichever file it is in, to uint8 (n, side, side, 3)."""
        beton, failed = self.beton, np.zeros(len(indices), np.int64)
        index = beton.offsets, beton.sizes, beton.modes, beton.heights, beton.widths
        rows = [*(each[indices] for each in index), boxes]
        if len(self._files) == 1:
            self._see_all(self._files[0], *rows, out, failed)
        else:
            of_file = self._file_of(indices)
            for number in np.unique(of_file):
                mine = np.flatnonzero(of_file == number)
                seen, bad = np.empty_like(out[mine]), np.zeros(len(mine), np.int64)
                self._see_all(self._files[number], *(row[mine] for row in rows), seen, bad)
                out[mine], failed[mine] = seen, bad
        for i in np.flatnonzero(failed):
            self._decode_again(int(indices[i]), boxes[i], out[i])

    def _decode_again(self, index: int, box: np.ndarray, out: np.ndarray) -> None:
        """Ask turbojpeg what was wrong with a JPEG; `timecat write` stores none of these, damage and others do."""
        start, size = int(self.beton.offsets[index]), int(self.beton.sizes[index])
        height, width = int(self.beton.heights[index]), int(self.beton.widths[index])
        number = int(self._file_of(np.array([index]))[0])
        source = np.array(self._files[number][start : start + size])
        pixels, why = decode(source, height, width)
        if not pixels.size or (why and not is_harmless(why)):
            path, place = (self.beton.joined or (self.beton,))[number].path, index - int(self._starts[number])
            raise UserError(f"{path}: image {place} is broken ({why}); write the file again with `timecat write`")
        pixels.setflags(write=False)
        self._see(pixels, box, out)


def _shut(*pools: ThreadPoolExecutor) -> None:
    for pool in pools:
        pool.shutdown(cancel_futures=True)
