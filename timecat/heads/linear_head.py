"""A chosen head, kept so that it can read other test sets: an affine map of normalised features, or one a member."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from timecat import files
from timecat.errors import UserError
from timecat.study.arrays import read_npz


class LinearHead(NamedTuple):
    """logits = weight @ ((features - mean) * scale) + bias, float32.

    Attributes:
        mean, scale: of a cat's features, (D,); what a BatchNorm learned is in weight and bias.
        weight, bias: (classes, D) and (classes,).
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> "LinearHead":
        return LinearHead(*(tensor.to(device) for tensor in self))

    def logits(self, features: Tensor) -> Tensor:
        """Logits (1, 1, classes, b) of a cat's float32 features (b, D), on the head's device."""
        standard = (features - self.mean) * self.scale
        return torch.addmm(self.bias[:, None], self.weight, standard.T)[None, None]


class EnsembleHead(NamedTuple):
    """A head on each member's features: the logarithm of their mean probability.

    Attributes:
        heads: in the order of the members, whose features are side by side.
    """

    heads: tuple[LinearHead, ...]

    def to(self, device: torch.device) -> "EnsembleHead":
        return EnsembleHead(tuple(head.to(device) for head in self.heads))

    def logits(self, features: Tensor) -> Tensor:
        """(1, 1, classes, b) of a cat's float32 features (b, D), on the heads' device."""
        parts = features.split([len(head.mean) for head in self.heads], 1)
        members = [head.logits(part).log_softmax(2) for part, head in zip(parts, self.heads, strict=True)]
        return torch.stack(members).logsumexp(0) - math.log(len(self.heads))


KeptHead = LinearHead | EnsembleHead


class Classifier(nn.Module):
    """A kept head as a module: logits (b, num_classes) of features (b, D), float32.

    A member's standardisation is part of its linear layer's weight and bias; several layers are an ensemble's.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.widths, self.num_classes = [layer.in_features for layer in layers], layers[0].out_features

    @classmethod
    def of(cls, head: KeptHead) -> "Classifier":
        return cls([_layer(one) for one in (head.heads if isinstance(head, EnsembleHead) else (head,))])

    @classmethod
    def of_state(cls, state: dict[str, Tensor]) -> "Classifier":
        """Of what `state_dict` gave."""
        weights = [state[f"layers.{k}.weight"] for k in range(len(state) // 2)]
        found = cls([nn.Linear(weight.shape[1], weight.shape[0]) for weight in weights])
        found.load_state_dict(state)
        return found

    def forward(self, features: Tensor) -> Tensor:
        parts = features.split(self.widths, 1)
        logits = [layer(part) for layer, part in zip(self.layers, parts, strict=True)]
        if len(logits) == 1:
            return logits[0]
        return torch.stack([each.log_softmax(1) for each in logits]).logsumexp(0) - math.log(len(logits))


def _layer(head: LinearHead) -> nn.Linear:
    layer = nn.Linear(len(head.mean), len(head.bias))
    weight = head.weight.double() * head.scale.double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(head.bias.double() - weight @ head.mean.double())
    return layer


def save_head(head: KeptHead, path: Path) -> str:
    """Write a head as .npz, an array a field of each of its linear heads; its SHA-256."""
    heads = head.heads if isinstance(head, EnsembleHead) else (head,)
    buffer = io.BytesIO()
    arrays = {
        f"{name}_{k}": tensor.cpu().numpy() for k, one in enumerate(heads) for name, tensor in one._asdict().items()
    }
    np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType] (no key is allow_pickle)
    files.write_bytes(path, buffer.getvalue())
    return files.sha256(path)


def load_head(path: Path, digest: str) -> KeptHead:
    """Read what `save_head` wrote.

    Raises:
        UserError: it is another file than was written.
    """
    if not path.is_file() or files.sha256(path) != digest:
        raise UserError(f"{path}: is not the head that the results tell of; remove it, `timecat probe` makes it again")
    arrays, fields = read_npz(path) or {}, LinearHead._fields
    count = len(arrays) // len(fields)
    heads = [LinearHead(*(torch.from_numpy(arrays[f"{name}_{k}"]) for name in fields)) for k in range(count)]
    return heads[0] if len(heads) == 1 else EnsembleHead(tuple(heads))
