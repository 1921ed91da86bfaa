"""A cat that is trained: several ResNets side by side, and one linear layer on their concatenated features."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from timecat.config.tune import TunedHead
from timecat.networks.resnet import ScaledResNet, resnet_from_state
from timecat.networks.weights import read_weights

STD = 0.01  # of the linear layer's first weight, as a probe's


class CatClassifier(nn.Module):
    """The members' features (b, num_features) side by side, BatchNorm1d if asked for, dropout, a linear layer.

    Args:
        snapshots: files with the members' weights, as `read_weights` takes them; their own `fc` is left out.
        num_classes: outputs.
        head: how the linear layer starts; `probe` has BatchNorm1d before it.
        dropout: share of the features that are 0 in a training pass; the others are divided by the rest.
        freeze_statistics: the members' BatchNorm keeps to its running statistics in training too.
        seed: of the linear layer's first weight.

    Raises:
        UserError: as FrozenCat.
    """

    def __init__(
        self,
        snapshots: Sequence[Path],
        num_classes: int,
        head: TunedHead = "normal",
        dropout: float = 0.0,
        freeze_statistics: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList()
        for path in snapshots:
            network = resnet_from_state(read_weights(path), str(path))
            network.fc = cast(nn.Linear, nn.Identity())
            self.members.append(network)
        self.num_features = sum(network.num_features for network in self._networks())
        self.parameters_of_members = sum(parameter.numel() for parameter in self.members.parameters())
        self.freeze_statistics = freeze_statistics
        self.norm = nn.BatchNorm1d(self.num_features) if head == "probe" else None
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.num_features, num_classes)
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            first = torch.randn(num_classes, self.num_features, generator=generator)
            self.linear.weight.copy_(0 * first if head == "zero" else STD * first)
        nn.init.zeros_(self.linear.bias)
        self.train()  # Lightning keeps each module's mode as it finds it

    def _networks(self) -> list[ScaledResNet]:
        return [cast(ScaledResNet, member) for member in self.members]

    def train(self, mode: bool = True) -> "CatClassifier":
        super().train(mode)
        if self.freeze_statistics:
            self.members.train(False)
        return self

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (b, num_features) of normalised images (b, 3, h, w)."""
        return torch.cat([network.features(images) for network in self._networks()], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, num_classes) of normalised images (b, 3, h, w)."""
        features = self.features(images)
        return self.linear(self.dropout(features if self.norm is None else self.norm(features)))

    @torch.no_grad()
    def plain_head(self) -> dict[str, Tensor]:
        """fc.weight (classes, num_features) and fc.bias (classes,): the linear layer with BatchNorm1d's part in it."""
        weight, bias = self.linear.weight, self.linear.bias
        if self.norm is not None:
            scale = cast(Tensor, self.norm.weight) / (cast(Tensor, self.norm.running_var) + self.norm.eps).sqrt()
            bias = bias + weight @ (cast(Tensor, self.norm.bias) - cast(Tensor, self.norm.running_mean) * scale)
            weight = weight * scale
        return {"fc.weight": weight, "fc.bias": bias}

    def plain_state(self) -> dict[str, Tensor]:
        """Of one member a ResNet's state dict with `fc`; of several each one's under members.<k>, and `fc` of all."""
        members = [member.state_dict() for member in self.members]
        several = len(members) > 1
        keys = {
            (f"members.{number}.{key}" if several else key): value
            for number, state in enumerate(members)
            for key, value in state.items()
        }
        return {**keys, **self.plain_head()}

    def load_plain_state(self, state: dict[str, Tensor]) -> None:
        """Go to the weights of `plain_state`; BatchNorm1d is then gone, as its part is in the linear layer."""
        self.norm = None
        several = len(self.members) > 1
        for number, member in enumerate(self.members):
            prefix = f"members.{number}." if several else ""
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and k[:3] != "fc."}
            member.load_state_dict(own)
        self.linear.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
