"""How far images of a class have fallen together."""

import torch
from torch import Tensor


def collapse_within_classes(features: Tensor, labels: Tensor) -> float:
    """NC1 (Papyan, Han and Donoho 2020, arXiv 2008.08186): tr(S_W pinv(S_B)) / C; 0 where each class is one point.

    Args:
        features: floating (n, d).
        labels: int64 (n,), of C classes that have an image.
    """
    features = features.double()
    numbers, place, counts = labels.unique(return_inverse=True, return_counts=True)
    means = torch.zeros(len(numbers), features.shape[1], dtype=torch.float64, device=features.device)
    means = means.index_add_(0, place, features) / counts[:, None]
    inside, between = features - means[place], means - means.mean(0)
    scatter = between.T @ between / len(numbers)
    return float(
        torch.trace(torch.linalg.pinv(scatter, hermitian=True) @ (inside.T @ inside)) / len(features) / len(numbers)
    )
