"""Timings in rounds that take turns, so that what else a machine does meets every way alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypedDict

import torch


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


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each way returns, round by round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
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
