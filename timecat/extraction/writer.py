"""Finished shards go to the disk in a thread, so that no device waits for hashes, writes and fsync."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from torch import Tensor

from timecat.extraction.file import FeatureFile


class Writer:
    """Writes shards one after the other, in the order in which they come; a context manager.

    At its end all are on the disk. Where the body ends by an error, the shard in writing is finished and those that
    wait are dropped: a shard is in its file's journal once it is whole, so what is dropped is computed anew.

    Args:
        ahead: shards that may wait, in memory.
    """

    def __init__(self, ahead: int) -> None:
        self._ahead, self._waiting = ahead, deque[Future[None]]()
        self._thread = ThreadPoolExecutor(1, "writer")

    def put(self, array: FeatureFile, shard: int, features: Tensor) -> None:
        """Write a shard, soon: features (rows, width) of the stored type on the CPU.

        Raises:
            UserError: an earlier one could not be written.
        """
        while len(self._waiting) >= self._ahead or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(array.write, shard, features))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
