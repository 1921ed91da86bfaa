"""`timecat.heads.update` on a CPU, as one loop that numba compiles: each number is taken from memory once.

Columns do not meet, and a column's sums are in the order of its classes, so results do not depend on threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timecat.heads.linear_probe import MOMENTUM

COLUMNS = 256  # at a time: rows of that many stay in the first cache
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
    threads, jobs, start = (torch.get_num_threads() if weight.numel() > BY_THREADS else 1), [], 0
    for k, width in enumerate(widths):
        given = (*whole, biases[k], *both, *(each[k] for each in of_cat), *numbers)
        ends = [start + width * share // threads for share in range(threads + 1)]
        jobs += [(*given, *ends_of) for ends_of in pairwise(ends)]
        start += width
    if threads == 1:
        for job in jobs:
            _update(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(_update, *job) for job in jobs]:
            done.result()
