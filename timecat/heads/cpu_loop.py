"""What heads do on a CPU besides products, as loops that numba compiles: each number is taken from memory few times.

Columns do not meet, and a column's sums are in the order of its classes or images, so results do not depend on threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecat.heads.linear_probe import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, MOMENTUM

COLUMNS = 256  # at a time: rows of that many stay in the first cache, for each of the update's tensors
WIDE = 1024  # the same where there is one tensor
BY_THREADS = 1 << 21  # numbers above which several threads pay

try:
    import numba
except ImportError:  # it comes with FFCV
    HAS_LOOP = False

    def _compiled(loop: Callable[..., None], /) -> Callable[..., None]:
        return loop
else:
    HAS_LOOP = True
    _compiled = numba.njit(nogil=True, error_model="numpy", cache=os.access(Path(__file__).parent, os.W_OK))


@_compiled
def _normalise(features, mean, variance, momentum, eps, start, stop):
    rows = len(features)
    count, others = np.float32(rows), np.float32(rows - 1)
    for first in range(start, stop, WIDE):
        last = min(first + WIDE, stop)
        beyond, scale = np.zeros(last - first, np.float32), np.zeros(last - first, np.float32)
        base = features[0, first:last].copy()  # what differs from it, and its mean, lose no digits to a large mean
        for row in range(rows):
            x = features[row, first:last]
            for i in range(last - first):
                beyond[i] += x[i] - base[i]
        for i in range(last - first):
            beyond[i] /= count
        for row in range(rows):
            x = features[row, first:last]
            for i in range(last - first):
                x[i] = (x[i] - base[i]) - beyond[i]
                scale[i] += x[i] * x[i]
        for i in range(last - first):
            mean[first + i] += momentum * (base[i] + beyond[i] - mean[first + i])
            variance[first + i] += momentum * (scale[i] / others - variance[first + i])
            scale[i] = np.float32(1) / np.sqrt(scale[i] / count + eps)
        for row in range(rows):
            x = features[row, first:last]
            for i in range(last - first):
                x[i] *= scale[i]


@_compiled
def _update(weight, velocity, gradient, bias, affine, of_affine, rates, decays, factor, momentum, start, stop):
    heads, classes, _ = weight.shape
    for head in range(heads):
        rate, decay = factor * rates[head], decays[head]
        for first in range(start, stop, COLUMNS):
            last = min(first + COLUMNS, stop)
            gain, shift = affine[0, head, 0, first:last], affine[1, head, 0, first:last]
            of_gain, of_shift = of_affine[0, head, 0, first:last], of_affine[1, head, 0, first:last]
            of_gain[:], of_shift[:] = 0.0, 0.0
            for label in range(classes):
                w, v = weight[head, label, first:last], velocity[head, label, first:last]
                g, offset = gradient[head, label, first:last], bias[head, label, 0]
                for i in range(last - first):
                    of_gain[i] += g[i] * w[i]
                    of_shift[i] += offset * w[i]
                    whole = g[i] * gain[i] + offset * shift[i] + w[i] * decay
                    v[i] = momentum * v[i] + whole
                    w[i] -= rate * (whole + momentum * v[i])


def normalise(features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """What torch's batch_norm gives in training, in place, of float32 features (b, columns), b above 1; and its running
    statistics (columns,)."""
    given = [tensor.numpy() for tensor in (features, mean, variance)]
    numbers = np.float32(BATCH_NORM_MOMENTUM), np.float32(BATCH_NORM_EPS)
    _by_columns(_normalise, [(*given, *numbers)], [features.shape[1]], features.numel())
    return features


def update_all(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    bias: Tensor,
    affine: Tensor,
    of_affine: Tensor,
    rates: Tensor,
    decays: Tensor,
    factor: float,
    widths: list[int],
) -> None:
    """`timecat.heads.update.update` for each cat, whose features stand side by side; tensors are contiguous, float32.

    Args:
        weight, velocity, gradient: (K, classes, D), of all cats.
        bias: the biases' gradient (cats, K, classes, 1).
        affine: gain and shift (2, K, 1, D).
        of_affine: (2, K, 1, D), to which their gradient is written.
        rates, decays: learning rates and weight decays (cats, K), and the factor of the rates.
        widths: features of each cat.
    """
    whole = [tensor.numpy() for tensor in (weight, velocity, gradient)]
    both = affine.numpy(), of_affine.numpy()
    biases, *of_cat = (tensor.numpy() for tensor in (bias, rates, decays))
    numbers = np.float32(factor), np.float32(MOMENTUM)
    given = [(*whole, biases[k], *both, *(each[k] for each in of_cat), *numbers) for k in range(len(widths))]
    _by_columns(_update, given, widths, weight.numel())


def _by_columns(loop: Callable[..., None], given: list[tuple[Any, ...]], widths: list[int], numbers: int) -> None:
    """Run a loop on the columns of each piece, which follow one another; several threads share them where it pays."""
    threads, jobs, start = (torch.get_num_threads() if numbers > BY_THREADS else 1), [], 0
    for arguments, width in zip(given, widths, strict=True):
        ends = [start + width * share // threads for share in range(threads + 1)]
        jobs += [(*arguments, *ends_of) for ends_of in pairwise(ends)]
        start += width
    if threads == 1:
        for job in jobs:
            loop(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(loop, *job) for job in jobs]:
            done.result()
