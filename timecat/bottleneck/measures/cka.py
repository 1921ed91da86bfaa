"""How alike two sets of features are, whatever rotation and scale lie between them."""

from torch import Tensor


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414), 0 to 1.

    Args:
        one, other: floating (n, d) and (n, e), features of the same n images.
    """
    one, other = (each.double() - each.double().mean(0) for each in (one, other))
    together = (one.T @ other).square().sum()
    apart = (one.T @ one).square().sum().sqrt() * (other.T @ other).square().sum().sqrt()
    return float(together / apart) if apart > 0 else 0.0
