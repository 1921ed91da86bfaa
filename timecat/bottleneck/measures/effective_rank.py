"""How many directions features really use."""

import torch
from torch import Tensor


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the covariance's normalised eigenvalues (Roy and Vetterli 2007, on variances).

    1 where all variance lies in one direction, d where it is the same in all d.

    Args:
        features: floating (n, d), n > 1; they are centred here.
    """
    values = _variances(features)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum())) if len(shares) else 0.0


def _variances(features: Tensor) -> Tensor:
    """Eigenvalues of the covariance, by the smaller of the two Gram matrices; 0 or more."""
    centred = features.double() - features.double().mean(0)
    if centred.shape[0] < centred.shape[1]:
        centred = centred.T
    return torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
