"""A linear head in closed form: quick enough for every subset of members that one likes to ask about."""

import torch
from torch import Tensor

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the penalty, over the number of images


def chosen_rows(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(rows to fit, rows to choose the penalty on): four fifths and one fifth, seeded; int64."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).to(device)
    cut = max(1, count // 5)
    return order[cut:], order[:cut]


def solve(gram: Tensor, moments: Tensor, count: int, strength: float) -> Tensor:
    """The ridge solution (X'X + strength n I)^-1 X'Y, of float64 gram (d, d) and moments (d, e)."""
    penalty = strength * count * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.cholesky_solve(moments, torch.linalg.cholesky(gram + penalty))


class RidgeHeads:
    """Ridge classifiers on any of the columns of a feature matrix, from one pass over it.

    Least squares on labels of +1 and -1 and standardised features, as scikit-learn's RidgeClassifier; the penalty is
    chosen for top-1 on a fifth of the images that are fitted, and the head is then fitted on all of them.

    Args:
        features: floating (n, d), of the images to fit.
        labels: int64 (n,).
        classes: their number.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        features = features.double()
        self.mean, self.std = features.mean(0), features.std(0).clamp(min=1e-12)
        targets = 2.0 * torch.nn.functional.one_hot(labels, classes).double() - 1
        self._inner, self._outer = chosen_rows(len(features), features.device)
        self._features, self._labels = (features - self.mean) / self.std, labels
        self._all = self._moments(self._features, targets)
        self._fit = self._moments(self._features[self._inner], targets[self._inner])

    @staticmethod
    def _moments(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        mean, offset = features.mean(0), targets.mean(0)
        centred = features - mean
        return centred.T @ centred, centred.T @ (targets - offset), mean, offset, len(features)

    def predict(self, columns: Tensor, held: Tensor) -> Tensor:
        """The class of each held-out image, int64 (m,).

        Args:
            columns: int64 (k,), those that the head sees.
            held: floating (m, d), features of the held-out images.
        """
        outer = self._features[self._outer][:, columns]
        labels = self._labels[self._outer]
        right = {s: int((self._classify(self._fit, columns, s, outer) == labels).sum()) for s in STRENGTHS}
        best = max(STRENGTHS, key=lambda strength: (right[strength], strength))
        scaled = (held[:, columns].double() - self.mean[columns]) / self.std[columns]
        return self._classify(self._all, columns, best, scaled)

    def _classify(
        self, moments: tuple[Tensor, Tensor, Tensor, Tensor, int], columns: Tensor, strength: float, seen: Tensor
    ) -> Tensor:
        gram, cross, mean, offset, count = moments
        weights = solve(gram[columns][:, columns], cross[columns], count, strength)
        return ((seen - mean[columns]) @ weights + offset).argmax(1)
