"""Features of several members side by side, in batches: from the device's memory where they fit, else from files."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

BATCHES_AHEAD = 3


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

    def batches(self, order: Iterable[Tensor]) -> Iterator[Tensor]:
        """Float32 (b, columns) on the device for each of the int64 row numbers (b,) in `order`."""
        if self.all is not None:
            for rows in order:
                yield self.all.index_select(0, rows.to(self.device)).float()
            return
        pin, dtype = self.device.type == "cuda", self.dtype

        def gather(rows: Tensor) -> Tensor:
            return self._gather(rows, torch.empty(len(rows), self.columns, dtype=dtype, pin_memory=pin))

        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future[Tensor]] = deque()
            for rows in order:
                ahead.append(pool.submit(gather, rows))
                if len(ahead) > BATCHES_AHEAD:
                    yield ahead.popleft().result().to(self.device, non_blocking=True).float()
            while ahead:
                yield ahead.popleft().result().to(self.device, non_blocking=True).float()
