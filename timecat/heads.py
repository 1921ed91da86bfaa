"""Linear heads on stored features: all weight decays of a cat trained side by side, as batched matrix products."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from timecat.linear_probe import learning_rate


@dataclass
class Heads:
    """H heads on D features: BatchNorm1d, whose statistics they share, its affine part, and a linear layer each."""

    norm: nn.BatchNorm1d  # statistics alone
    gain: Tensor  # (H, 1, D)
    shift: Tensor  # (H, 1, D)
    weight: Tensor  # (H, D, classes)
    bias: Tensor  # (H, 1, classes)

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (H, b, classes) of features (b, D)."""
        return torch.baddbmm(self.bias, torch.addcmul(self.shift, self.norm(features), self.gain), self.weight)


@torch.no_grad()
def accuracy(heads: Heads, features: Tensor, labels: Tensor, top: int = 1, batch: int = 8192) -> Tensor:
    """Top-k accuracy of each head in percent, float64 (H,), of features (n, D) and int64 labels (n,)."""
    heads.norm.eval()
    correct = torch.zeros(len(heads.weight), dtype=torch.float64)
    for start in range(0, len(features), batch):
        logits = heads(features[start : start + batch])
        hits = logits.topk(top, dim=2).indices == labels[start : start + batch, None]
        correct += hits.sum((1, 2)).double().cpu()
    return 100 * correct / len(features)


def train_heads(
    features: Tensor,
    labels: Tensor,
    indices: np.ndarray,
    *,
    classes: int,
    weight_decays: list[float],
    lr: float,
    epochs: int,
    horizon: int,
    batch_size: int,
    seed: int,
    held_out: np.ndarray | None = None,
) -> tuple[Heads, list[list[float]]]:
    """Train one head per weight decay, as `LinearProbe` does with one.

    The batches are those of `BetonLoader`: epoch e visits default_rng([seed, e]).permutation(indices), whole batches.

    Args:
        features, labels: float32 (n, D) and int64 (n,) on one device.
        indices: rows to train on, int64.
        epochs, horizon: epochs to train, and the length that the learning rate's schedule is laid out for.
        held_out: rows on which each head is measured after each epoch.

    Returns:
        The heads, and for each epoch the heads' held-out top-1 in percent (empty without held_out).
    """
    device, width, count = features.device, features.shape[1], len(weight_decays)
    generator = torch.Generator().manual_seed(seed)
    initial = 0.01 * torch.randn(width, classes, generator=generator)
    heads = Heads(
        nn.BatchNorm1d(width, affine=False, device=device),
        torch.ones(count, 1, width, device=device, requires_grad=True),
        torch.zeros(count, 1, width, device=device, requires_grad=True),
        initial.to(device).repeat(count, 1, 1).requires_grad_(),
        torch.zeros(count, 1, classes, device=device, requires_grad=True),
    )
    optimizer = torch.optim.SGD([heads.gain, heads.shift, heads.weight, heads.bias], lr, momentum=0.9, nesterov=True)
    decay = torch.tensor(weight_decays, device=device)[:, None, None]
    held = None if held_out is None else torch.from_numpy(held_out).to(device)
    whole = len(indices) - len(indices) % batch_size
    curve = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = learning_rate(lr, epoch, horizon)
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(indices)[:whole]).to(device)
        heads.norm.train()
        for rows in order.split(batch_size):
            logits = heads(features[rows])
            targets = labels[rows].expand(count, -1).reshape(-1)
            # summed over the heads: each one's gradient is that of its own mean loss
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum") / len(rows)
            optimizer.zero_grad()
            loss.backward()
            heads.weight.grad.addcmul_(decay, heads.weight.detach())
            heads.bias.grad.addcmul_(decay, heads.bias.detach())
            optimizer.step()
        if held is not None:
            curve.append(accuracy(heads, features[held], labels[held]).tolist())
    return heads, curve
