"""FFCV <-> Lightning: batches of a .beton as a function of (seed, epoch, batch) alone, resumable at any batch.

FFCV gives the file format and its compiled kernels (turbojpeg decode, OpenCV area resize). `ffcv.Loader` itself is not
used: it cannot be resumed (a seed fixes the order but not the crops), an exception in its thread hangs the reader, an
epoch left early leaks its thread and buffers, a corrupt JPEG passes as garbage, and each loader compiles anew. Here one
cached kernel serves every loader: decode, crop, resize and flip the boxes that `views` draws. This file is the only one
that reaches into FFCV, which pyproject.toml pins.
"""

import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import types

from timecat.data import views
from timecat.data.beton import JPEG, Beton
from timecat.errors import UserError

_threads = torch.get_num_threads()
import ffcv.libffcv  # noqa: E402 (1.0.2: the extension's C functions, by ctypes)

torch.set_num_threads(_threads)  # importing ffcv sets it to 1 (ffcv/pipeline/compiler.py)

BATCHES_AHEAD = 3
HARMLESS = (
    "extraneous bytes before marker",
    "unknown JFIF revision",
)  # libjpeg's warnings at which the pixels are whole

_library = ffcv.libffcv.lib
_library.tjGetErrorStr.restype = ffcv.libffcv.ctypes.c_char_p

# Named symbols, not ctypes pointers: numba caches compiled code that calls a symbol and refuses to cache a pointer.
for _name in ("imdecode", "resize"):
    _address = ffcv.libffcv.ctypes.cast(getattr(ffcv.libffcv.lib, _name), ffcv.libffcv.c_void_p).value
    llvmlite.binding.add_symbol(f"timecat_ffcv_{_name}", _address)
_decode_jpeg = types.ExternalFunction(
    "timecat_ffcv_imdecode",
    types.int32(types.uintp, types.uint64, *[types.uint32] * 2, types.uintp, *[types.uint32] * 6, *[types.uint8] * 2),
)
_resize_area = types.ExternalFunction("timecat_ffcv_resize", types.void(*[types.int64] * 11))


# numba frees an array after its last use, and an address taken of it does not count as one: addresses are taken only in
# functions that get the array from a caller, who still holds it. No 1-d uint8 array is written to: ffcv.Loader makes
# numba take these for read-only in the whole process (ffcv/memory_managers/os_cache.py).


@numba.njit(nogil=True, cache=True)
def _decode(data, image):
    """Decode a JPEG's bytes into uint8 (height, width, 3); not 0 where turbojpeg has something to say."""
    height, width, _ = image.shape
    return _decode_jpeg(data.ctypes.data, data.size, height, width, image.ctypes.data, height, width, 0, 0, 1, 1, 0, 0)


@numba.njit(nogil=True, cache=True)
def _resize(image, top, bottom, left, right, out):
    _resize_area(
        *(0, image.ctypes.data, image.shape[0], image.shape[1], top, bottom, left, right),
        *(out.ctypes.data, out.shape[0], out.shape[1]),
    )


@numba.njit(nogil=True, cache=True)
def _see(image, box, out):
    """Write the box of an image, black where it reaches beyond, to uint8 (side, side, 3)."""
    height, width, _ = image.shape
    top, left, box_height, box_width, flip = box
    bottom, right = top + box_height, left + box_width
    if top < 0 or left < 0 or bottom > height or right > width:
        row0, row1, column0, column1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
        padded = np.zeros((box_height, box_width, 3), np.uint8)
        padded[row0 - top : row1 - top, column0 - left : column1 - left] = image[row0:row1, column0:column1]
        _resize(padded, 0, box_height, 0, box_width, out)
    else:
        _resize(image, top, bottom, left, right, out)
    if flip:
        side = out.shape[1]
        for row in range(side):
            for column in range(side // 2):
                for channel in range(3):
                    kept = out[row, column, channel]
                    out[row, column, channel] = out[row, side - 1 - column, channel]
                    out[row, side - 1 - column, channel] = kept


@numba.njit(nogil=True, cache=True)
def _fill(file, offsets, sizes, modes, heights, widths, boxes, out, failed):
    """Write the view of each sample into `out`, uint8 (n, side, side, 3); `failed[i]` = 1 where turbojpeg complains.

    `file` is the mapped file, read-only uint8; the other arrays are rows of the index and of `views.boxes`.
    """
    for i in range(len(offsets)):
        data = file[offsets[i] : offsets[i] + sizes[i]]
        if modes[i] == JPEG:
            image = np.empty((heights[i], widths[i], 3), np.uint8)
            if _decode(data, image) != 0:
                failed[i] = 1
                continue
            _see(image, boxes[i], out[i])
        else:
            _see(data.reshape((heights[i], widths[i], 3)), boxes[i], out[i])


class BetonLoader:
    """Iterate over batches of a .beton: (images uint8 (b, side, side, 3), labels int64 (b,), indices int64 (b,)).

    Each batch owns its memory (page-locked where `pin`), so it may be kept as long as one likes. Lightning finds
    `batch_sampler.sampler.set_epoch` and `state_dict`; nothing is started before the first `next`.

    Args:
        beton: the file's index.
        indices: samples to visit, int64 (n,).
        view: how they are seen.
        resolution: side of the output in pixels.
        batch_size: images of one batch on this rank.
        seed: of order and boxes; members of an ensemble differ by it.
        shuffle: visit in an order that is a function of (seed, epoch); else in the order of `indices`.
        drop_last: only whole batches over all ranks (training); else each rank visits its share, no sample twice.
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
        resolution: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        pin: bool = False,
    ) -> None:
        self.beton, self.indices, self.view, self.resolution = beton, indices, view, resolution
        self.batch_size, self.seed, self.shuffle, self.drop_last = batch_size, seed, shuffle, drop_last
        self.rank, self.world, self.pin = rank, world, pin
        self.workers = max(1, min(workers, len(os.sched_getaffinity(0))))
        self.epoch = 0
        self.batches_done = 0
        self._resume_at = 0
        self._running: _Prefetch | None = None
        self._file = np.memmap(beton.path, np.uint8, mode="r")
        if len(self) == 0:
            raise UserError(
                f"{beton.path}: its {len(indices):,} images do not fill one batch of {batch_size * world:,}; "
                "choose a smaller data.batch_size"
            )

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.indices) // (self.batch_size * self.world)
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
        """The samples that this rank visits in this epoch, int64; rank r takes every world-th of the common order."""
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(order)
        if self.drop_last:
            order = order[: len(self) * self.batch_size * self.world]
        return order[self.rank :: self.world]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        start, self._resume_at = self._resume_at, 0
        return self._batches(start)

    def _batches(self, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
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
        random = views.uniform(self.seed, epoch, indices, views.DRAWS)
        boxes = views.boxes(self.view, heights, widths, self.resolution, random)
        images = torch.empty(
            (len(indices), self.resolution, self.resolution, 3), dtype=torch.uint8, pin_memory=self.pin
        )
        out, failed = images.numpy(), np.zeros(len(indices), np.int64)
        rows = (beton.offsets[indices], beton.sizes[indices], beton.modes[indices], heights, widths, boxes, out, failed)
        edges = np.linspace(0, len(indices), min(self.workers, len(indices)) + 1).astype(int)
        parts = [slice(a, b) for a, b in pairwise(edges)]
        if pool is None or len(parts) == 1:
            _fill(self._file, *rows)
        else:
            list(pool.map(lambda part: _fill(self._file, *(row[part] for row in rows)), parts))
        for i in np.flatnonzero(failed):
            self._decode_again(int(indices[i]), boxes[i], out[i])
        return images, torch.from_numpy(beton.labels[indices]), torch.from_numpy(indices.copy())

    def _decode_again(self, index: int, box: np.ndarray, out: np.ndarray) -> None:
        """Ask turbojpeg what was wrong with a JPEG; `timecat write` stores none of these, other writers may."""
        start, size = int(self.beton.offsets[index]), int(self.beton.sizes[index])
        height, width = int(self.beton.heights[index]), int(self.beton.widths[index])
        source, pixels = np.array(self._file[start : start + size]), np.empty((height, width, 3), np.uint8)
        code = ffcv.libffcv.imdecode(source, pixels, height, width, height, width)
        why = _library.tjGetErrorStr().decode(errors="replace")  # of this thread's last call
        if code and not any(harmless in why for harmless in HARMLESS):
            raise UserError(
                f"{self.beton.path}: image {index} is broken ({why}); write the file again with `timecat write`"
            )
        pixels.setflags(write=False)
        _see(pixels, box, out)


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
