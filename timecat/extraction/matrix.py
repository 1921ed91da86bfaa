"""Features of several members side by side, in batches: from the device's memory where they fit, else from files."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from timecat.data.order import BLOCK, POOL

BATCHES_AHEAD = 3
PAGE = 4096  # bytes, of the page cache


class FeatureMatrix:
    """Rows are images, columns the features of all members.

    Args:
        members: for each its features (n, d), memory-mapped; of different types, or of float64, they become float32.
        device: where batches go.
        room: bytes that the matrix may take there.
    """

    def __init__(self, members: list[Tensor], device: torch.device, room: float) -> None:
        self.members, self.device = members, device
        self.rows, self.columns = len(members[0]), sum(member.shape[1] for member in members)
        self.all: Tensor | None = None
        types = {member.dtype for member in members}
        self.dtype = torch.float32 if len(types) > 1 or torch.float64 in types else members[0].dtype
        if self.rows * self.columns * self.dtype.itemsize <= room:
            self.all = torch.empty(self.rows, self.columns, dtype=self.dtype, device=device)
            self._gather(slice(None), self.all)

    @property
    def bytes(self) -> int:
        """What it takes of the device's memory."""
        return 0 if self.all is None else self.all.nbytes

    def _gather(self, rows: Tensor | slice, out: Tensor) -> Tensor:
        start = 0
        for member in self.members:
            stop = start + member.shape[1]
            out[:, start:stop] = member[rows]
            start = stop
        return out

    def batches(self, rows: Tensor, size: int) -> Iterator[Tensor]:
        """Float32 (b, columns) on the device of each `size` row numbers, int64 (n,) on the CPU; the last may be fewer.

        Row numbers go to the device once. From files, the POOL rows that come next are read while these are used, in
        the order in which they lie on the disk.
        """
        if self.all is not None:
            for numbers in rows.to(self.device).split(size):
                yield self.all.index_select(0, numbers).float()
            return
        pin, pools = self.device.type == "cuda", rows.split(POOL)

        def gather(numbers: Tensor) -> Tensor:
            return self._gather(numbers, torch.empty(len(numbers), self.columns, dtype=self.dtype, pin_memory=pin))

        with ThreadPoolExecutor(1) as gathering, ThreadPoolExecutor(1) as reading:
            read, ahead = deque[Future[None]](), deque[Future[Tensor]]()
            try:
                for first, numbers in zip(range(0, len(rows), size), rows.split(size), strict=True):
                    while len(read) < min(2 + first // POOL, len(pools)):
                        read.append(reading.submit(self.read_ahead, pools[len(read)]))
                    read[first // POOL].result()
                    ahead.append(gathering.submit(gather, numbers))
                    if len(ahead) > BATCHES_AHEAD:
                        yield ahead.popleft().result().to(self.device, non_blocking=True).float()
                while ahead:
                    yield ahead.popleft().result().to(self.device, non_blocking=True).float()
            finally:
                for future in (*read, *ahead):
                    future.cancel()

    def read_ahead(self, rows: Tensor) -> None:
        """Have the system read these rows, each member's as its file has them, so that batches find them in memory."""
        ascending = rows.sort().values
        apart = (ascending.diff() > BLOCK).nonzero()[:, 0] + 1
        for member in self.members:
            step = max(1, PAGE // member.itemsize)
            for run in ascending.tensor_split(apart):
                member[int(run[0]) : int(run[-1]) + 1].reshape(-1)[::step].sum()
