"""The frozen concatenation: several snapshots as one feature extractor, and perhaps a classifier on it."""

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from timecat.errors import UserError
from timecat.networks.backbone import Backbone, Weights, load_backbone
from timecat.networks.resnet import ScaledResNet, channels_last, resnet_from_state
from timecat.networks.weights import read_weights


class FrozenCat(nn.Module):
    """Features of ordered snapshots side by side: always in eval mode, without gradients.

    A forward takes normalised images (b, 3, h, w) and gives (b, num_features): the members' penultimate features, after
    ReLU and global average pooling, concatenated in the order of the snapshots and not scaled (arXiv 2506.18221); with
    a head, its logits (b, num_classes). `forward_features` and `forward_head` are the two halves of it, as timm has
    them.

    Args:
        snapshots: one file, or several, with the weights of any ResNets, as `read_weights` takes them, or patterns such
            as runs/demo/member_[0-3]_300/*.pt, whose matches are taken in sorted order. Depth, width and stem of each
            follow from its shapes. A `Weights` names a network of torchvision or timm.
        head: a module from features to logits, with `num_classes`.
        classes: the names of its classes.
        transform: from an image to what a forward takes; None where nobody knows how the snapshots' images were
            normalised.

    Attributes:
        num_features: of all members.
        num_classes: of the head; 0 without one.

    Raises:
        UserError: no file, a file without a state dict, or one that fits no ResNet.
    """

    def __init__(
        self,
        snapshots: str | Path | Sequence[str | Path | Weights],
        head: nn.Module | None = None,
        classes: Sequence[str] = (),
        transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(_network(snapshot) for snapshot in find_snapshots(snapshots))
        self.head, self.classes, self.transform = head, tuple(classes), transform
        self.num_features = sum(network.num_features for network in self._networks())
        self.num_classes = 0 if head is None else cast(int, head.num_classes)
        self.requires_grad_(False)
        self.eval()

    def _networks(self) -> list[Backbone]:
        return [cast(Backbone, member) for member in self.members]

    def train(self, mode: bool = True) -> "FrozenCat":
        """Stay in eval mode: BatchNorm's statistics belong to the snapshots."""
        return super().train(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (b, num_features) of normalised images (b, 3, h, w)."""
        return torch.cat([network.features(images) for network in self._networks()], dim=1)

    @torch.no_grad()
    def forward_features(self, images: Tensor) -> Tensor:
        """The members' last feature maps side by side (b, num_features, h', w') of normalised images (b, 3, h, w).

        Raises:
            UserError: a member is no ResNet, or their maps differ in size; `features` has what all give.
        """
        maps = []
        for network in self.members:
            if not isinstance(network, ScaledResNet):
                raise UserError("a member is no ResNet, and has no feature maps; take cat.features(images)")
            maps.append(network.feature_maps(images))
        if len({each.shape[2:] for each in maps}) > 1:
            raise UserError("the members' feature maps differ in size; take cat.features(images)")
        return torch.cat(maps, dim=1)

    @torch.no_grad()
    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """What a forward makes of feature maps (b, num_features, h', w'); with pre_logits, and without a head, the
        features (b, num_features)."""
        features = maps.mean((2, 3))
        return features if pre_logits or self.head is None else self.head(features)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return features if self.head is None else self.head(features)


def _network(snapshot: Path | Weights) -> nn.Module:
    if isinstance(snapshot, Weights):
        return cast(nn.Module, load_backbone(snapshot, torch.device("cpu")))
    network = resnet_from_state(read_weights(snapshot), str(snapshot))
    channels_last(network)
    return network


def find_snapshots(patterns: str | Path | Sequence[str | Path | Weights]) -> list[Path | Weights]:
    """Files and the sorted matches of patterns, in the order given.

    Raises:
        UserError: a pattern matches nothing, or there is none.
    """
    found: list[Path | Weights] = []
    for pattern in [patterns] if isinstance(patterns, str | Path) else patterns:
        if isinstance(pattern, Weights):
            found.append(pattern)
            continue
        matches = [str(pattern)] if Path(pattern).exists() else sorted(glob(str(pattern)))
        if not matches:
            raise UserError(f"{pattern}: no such snapshot; train it with `timecat fit`, or mend model.snapshots")
        found += map(Path, matches)
    if not found:
        raise UserError("model.snapshots is empty; name the members' snapshot_<step>.pt files")
    return found
