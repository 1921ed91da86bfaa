"""Small networks trained by SGD on the mixture and on each task, all seeds at once; their frozen features.

A network is x -> tanh(x W + b) -> an affine head: its hidden units are the extractor, whose width is the bottleneck.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timecat.bottleneck.counterexample.mixture import LABELS, POINTS, Array

LR = 0.1  # constant, so that a short network is the beginning of a longer one
MOMENTUM = 0.9
BATCH = 32  # images a step, drawn from the distribution
BLOCK = 250  # seeds at once, which bounds the memory


@dataclass(frozen=True)
class Frozen:
    """Networks after some steps.

    Attributes:
        features: (distributions, seeds, 4, width) float64: hidden units on the four points.
        scores: (distributions, seeds, 4) float64: the own head's output on them.
    """

    features: Array
    scores: Array


def train(
    distributions: Array,
    width: int,
    seeds: int,
    snapshots: Iterable[int],
    weight_decay: float,
    advance: Callable[[int], None],
) -> dict[int, Frozen]:
    """Train a network for every distribution and seed, with the logistic loss.

    Seed k draws its own initialisation and images, whatever the number of seeds.

    Args:
        distributions: (distributions, 4), what each point weighs.
        width: hidden units.
        snapshots: the steps after which networks are frozen; the last one ends the training.
        weight_decay: on every parameter. It keeps tanh from saturating, where features differ too little to tell.
        advance: told how many more steps of a seed are done.
    """
    steps = sorted(set(snapshots))
    pieces: dict[int, list[Frozen]] = {step: [] for step in steps}
    for first in range(0, seeds, BLOCK):
        block = range(first, min(first + BLOCK, seeds))
        for step, frozen in _train_block(distributions, width, block, steps, weight_decay).items():
            pieces[step].append(frozen)
        advance(len(block) * steps[-1])
    return {
        step: Frozen(np.concatenate([p.features for p in some], 1), np.concatenate([p.scores for p in some], 1))
        for step, some in pieces.items()
    }


def _train_block(
    distributions: Array, width: int, seeds: range, snapshots: list[int], weight_decay: float
) -> dict[int, Frozen]:
    shape = (len(distributions), len(seeds))
    weight, head, drawn = _draw(distributions, width, seeds, snapshots[-1])
    # points come first, then units, then the networks, so that every operation runs along the networks
    parameters = weight, np.zeros_like(head), head, np.zeros(head.shape[1:])
    velocities = [np.zeros_like(parameter) for parameter in parameters]
    weight, bias, head, head_bias = parameters
    x1, x2 = POINTS.T[:, :, None, None]
    y = LABELS[:, None]
    frozen: dict[int, Frozen] = {}
    for step in range(1, snapshots[-1] + 1):
        hidden = np.tanh(x1 * weight[0] + x2 * weight[1] + bias)
        scores = (hidden * head).sum(1) + head_bias
        # of the mean logistic loss of a batch, in which point j came drawn[step, j] times
        to_scores = -y / (1 + np.exp(y * scores)) * (drawn[step - 1] / BATCH)
        to_hidden = to_scores[:, None] * head * (1 - hidden * hidden)
        slopes = (
            np.stack([(x1 * to_hidden).sum(0), (x2 * to_hidden).sum(0)]),
            to_hidden.sum(0),
            (hidden * to_scores[:, None]).sum(0),
            to_scores.sum(0),
        )
        for parameter, velocity, slope in zip(parameters, velocities, slopes, strict=True):
            velocity *= MOMENTUM
            velocity += slope + weight_decay * parameter
            parameter -= LR * velocity
        if step in snapshots:
            hidden = np.tanh(x1 * weight[0] + x2 * weight[1] + bias)
            scores = (hidden * head).sum(1) + head_bias
            features = np.moveaxis(hidden.reshape(4, width, *shape), (0, 1), (2, 3))
            frozen[step] = Frozen(features.copy(), np.moveaxis(scores.reshape(4, *shape), 0, 2).copy())
    return frozen


def _draw(distributions: Array, width: int, seeds: range, steps: int) -> tuple[Array, Array, NDArray[np.uint8]]:
    """First weights (2, width, n), heads (width, n) and how often a step draws each point (steps, 4, n); n networks."""
    weights, heads = [], []
    drawn = np.empty((steps, 4, len(distributions) * len(seeds)), dtype=np.uint8)
    for index, distribution in enumerate(distributions):
        for place, seed in enumerate(seeds):
            generator = np.random.default_rng([seed, index, width])
            weights.append(generator.normal(0, 2**-0.5, (2, width)))
            heads.append(generator.normal(0, width**-0.5, width))
            drawn[:, :, index * len(seeds) + place] = generator.multinomial(BATCH, distribution, size=steps)
    return np.stack(weights, -1), np.stack(heads, -1), drawn
