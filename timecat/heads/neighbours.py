"""Weighted k-nearest-neighbour classification by cosine similarity, block by block."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from timecat.extraction.matrix import FeatureMatrix

BANK_ROWS = 8192  # training images compared with at once
QUERY_ROWS = 4096  # images classified at once, fewer where there are many classes
VOTES = 1 << 25  # numbers of a block


def classify(
    bank: FeatureMatrix,
    rows: Tensor,
    labels: Tensor,
    queries: FeatureMatrix,
    asked: Tensor,
    classes: int,
    settings: Sequence[tuple[int, float]],
    advance: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """The class with the largest sum of exp(similarity / temperature) over the k nearest training images.

    As in Wu et al. 2018 (arXiv 1805.01978) and DINO (arXiv 2104.14294). An infinite temperature gives each neighbour
    the same vote. Of classes with equal votes it is the lowest number.

    Args:
        rows, labels: the training images that vote, int64 (n,), of the bank's rows, and their labels, on its device.
        asked: rows of the queries, int64 (m,).
        settings: (k, temperature) of each; k at most n.
        advance: is told how many queries are done.

    Returns:
        int32 (settings, m) on the CPU.
    """
    most, device = max(k for k, _ in settings), bank.device
    found = []
    at_once = max(1, min(QUERY_ROWS, VOTES // max(classes, BANK_ROWS)))
    for features in queries.batches(asked, at_once):
        queried, near = nn.functional.normalize(features), torch.empty(len(features), 0, device=device)
        voters = torch.empty(len(features), 0, dtype=torch.int64, device=device)
        for of_block, others in zip(labels.split(BANK_ROWS), bank.batches(rows, BANK_ROWS), strict=True):
            similarity = queried @ nn.functional.normalize(others).T
            nearest, places = similarity.topk(min(most, len(of_block)), 1)
            near, voters = torch.cat([near, nearest], 1), torch.cat([voters, of_block[places]], 1)
            near, places = near.topk(min(most, near.shape[1]), 1)
            voters = voters.gather(1, places)
        found.append(torch.stack([_votes(near[:, :k], voters[:, :k], classes, t) for k, t in settings]).cpu())
        advance(len(features))
    return torch.cat(found, 1)


def _votes(near: Tensor, voters: Tensor, classes: int, temperature: float) -> Tensor:
    """The winner of each row, int32 (b,), of similarities and labels (b, k), the nearest first."""
    weights = torch.ones_like(near, dtype=torch.float64)
    if math.isfinite(temperature):  # less the largest, so that none overflows
        weights = ((near - near[:, :1]).double() / temperature).exp()
    votes = torch.zeros(len(near), classes, dtype=torch.float64, device=near.device)
    return votes.scatter_add_(1, voters, weights).argmax(1).int()
