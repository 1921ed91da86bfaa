"""Loaders one after the other, without a pause between them."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from timecat.data.loader import BetonLoader

Batch = tuple[Any, ...]


def one_ahead(loaders: Sequence[BetonLoader]) -> Generator[Iterator[Batch], None, None]:
    """The batches of each loader; while one is read the next one has begun, and holds its first batches ready.

    A loader has batches for each shard of features, so that these are a function of the shard alone and not of where an
    extraction was stopped before.
    """

    def begin(loader: BetonLoader) -> tuple[Iterator[Batch], Batch]:
        batches = iter(loader)
        return batches, next(batches)

    def of(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
        yield first
        yield from rest

    with ThreadPoolExecutor(1, "loader") as pool:
        try:
            following = pool.submit(begin, loaders[0])
            for number in range(len(loaders)):
                rest, first = following.result()
                if number + 1 < len(loaders):
                    following = pool.submit(begin, loaders[number + 1])
                yield of(first, rest)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for loader in loaders:
                loader.close()
