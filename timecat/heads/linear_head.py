"""A chosen head: one affine map of normalised features, kept so that it can read other test sets."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from timecat import files
from timecat.errors import UserError


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

    def save(self, path: Path) -> str:
        """Write it as .npz, an array a field; its SHA-256."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in self._asdict().items()}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType] (no key is allow_pickle)
        files.write_bytes(path, buffer.getvalue())
        return files.sha256(path)

    @classmethod
    def load(cls, path: Path, digest: str) -> "LinearHead":
        """Read what `save` wrote.

        Raises:
            UserError: it is another file than was written.
        """
        if files.sha256(path) != digest:
            raise UserError(
                f"{path}: is not the head that the results tell of; remove it, `timecat probe` trains it again"
            )
        with np.load(path) as arrays:
            return cls(*(torch.from_numpy(arrays[name]) for name in cls._fields))
