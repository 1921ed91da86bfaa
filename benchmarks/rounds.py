"""Timings in rounds that take turns, so that what else a machine does meets every way alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypedDict, TypeVar

import torch

T = TypeVar("T")


class Timing(TypedDict):
    """Of the rounds; their unit is the caller's."""

    median: float
    least: float
    most: float


def timing(values: list[float]) -> Timing:
    """Median and spread.

    Raises:
        AssertionError: a value is not a finite number.
    """
    assert all(value == value and abs(value) != float("inf") for value in values), values
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def with_quartiles(values: list[float]) -> str:
    """The median, and between what half of the values lie."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def in_turns(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each way returns, round by round; each round begins with another way."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    order = list(ways)
    for _ in range(rounds):
        for name in order:
            found[name].append(ways[name]())
        order = [*order[1:], *order[:1]]
    return found


def seconds(work: Callable[[], object], device: torch.device, times: int, warmup: int = 2) -> float:
    """Seconds of one call, over so many, the device's work included."""
    for _ in range(warmup):
        work()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / times


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gigabytes(device: torch.device) -> float | None:
    """The most that was allocated since `forget_peak`; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def forget_peak(device: torch.device) -> None:
    """Count the peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
