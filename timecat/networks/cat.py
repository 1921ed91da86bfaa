"""The frozen concatenation: several snapshots as one feature extractor."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from timecat.errors import UserError
from timecat.networks.resnet import ScaledResNet, channels_last, resnet_from_state
from timecat.networks.weights import read_weights


class FrozenCat(nn.Module):
    """Features of ordered snapshots side by side: always in eval mode, without gradients.

    A forward takes normalised images (b, 3, h, w) and gives (b, num_features): the members' penultimate features, after
    ReLU and global average pooling, concatenated in the order of the snapshots and not scaled (arXiv 2506.18221).

    Args:
        snapshots: files with the weights of any ResNets, as `read_weights` takes them, or patterns such
            as runs/demo/member_[0-3]_300/*.pt, whose matches are taken in sorted order. Depth, width and stem of each
            follow from its shapes.

    Raises:
        UserError: no file, a file without a state dict, or one that fits no ResNet.
    """

    def __init__(self, snapshots: Sequence[str | Path]) -> None:
        super().__init__()
        self.members = nn.ModuleList()
        for path in find_snapshots(snapshots):
            network = resnet_from_state(read_weights(path), str(path))
            channels_last(network)
            self.members.append(network)
        self.num_features = sum(network.num_features for network in self._networks())
        self.requires_grad_(False)
        self.eval()

    def _networks(self) -> list[ScaledResNet]:
        return [cast(ScaledResNet, member) for member in self.members]

    def train(self, mode: bool = True) -> "FrozenCat":
        """Stay in eval mode: BatchNorm's statistics belong to the snapshots."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([network.features(images) for network in self._networks()], dim=1)


def find_snapshots(patterns: Sequence[str | Path]) -> list[Path]:
    """Files and the sorted matches of patterns, in the order given.

    Raises:
        UserError: a pattern matches nothing, or there is none.
    """
    paths: list[Path] = []
    for pattern in map(str, patterns):
        matches = [pattern] if Path(pattern).exists() else sorted(glob(pattern))
        if not matches:
            raise UserError(f"{pattern}: no such snapshot; train it with `timecat fit`, or mend model.snapshots")
        paths += map(Path, matches)
    if not paths:
        raise UserError("model.snapshots is empty; name the members' snapshot_<step>.pt files")
    return paths
