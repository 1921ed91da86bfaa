"""A frozen network from a file of weights: a ResNet of ours, or whatever torchvision and timm have by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import torchvision
from torch import Tensor, nn

from timecat.errors import UserError
from timecat.networks.resnet import channels_last, resnet_from_state
from timecat.networks.weights import differences, read_state, read_weights


class Backbone(Protocol):
    """A network that gives features (b, num_features) of normalised images (b, 3, h, w)."""

    num_features: int

    def features(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what network they are of.

    Attributes:
        features: that it is to give.
        backbone: torchvision:NAME or timm:NAME; None of a ResNet under torchvision's keys, which its shapes tell.
    """

    path: Path
    features: int
    backbone: str | None = None


class Named(nn.Module):
    """A network of torchvision or timm without its classifier."""

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features

    def features(self, images: Tensor) -> Tensor:
        """What the classifier would get (b, num_features)."""
        return self.network(images)


def load_backbone(weights: Weights, device: torch.device) -> Backbone:
    """The network, frozen and in eval mode; ResNets in channels_last.

    Raises:
        UserError: no such file, no network of that name, weights that are not its, or another number of features.
    """
    if weights.backbone is None:
        network: nn.Module = resnet_from_state(read_weights(weights.path), str(weights.path)).to(device)
        channels_last(network)
    else:
        network = _named(weights.backbone, weights.path).to(device)
    backbone = cast(Backbone, network.eval().requires_grad_(False))
    if backbone.num_features != weights.features:
        mend = "model.depth and model.width" if weights.backbone is None else "features"
        raise UserError(
            f"{weights.path}: gives {backbone.num_features:,} features, its cat says {weights.features:,}; mend {mend} "
            "of this cat"
        )
    return backbone


def _named(backbone: str, path: Path) -> Named:
    library, _, name = backbone.partition(":")
    state = read_state(path)
    if library == "torchvision":
        return _of_torchvision(name, state, path)
    if library == "timm":
        return _of_timm(name, state, path)
    raise UserError(f"backbone {backbone!r}: must be torchvision:NAME or timm:NAME, such as torchvision:vit_b_16")


def _of_torchvision(name: str, state: dict[str, Tensor], path: Path) -> Named:
    """The model of this name; its last linear layer is its classifier."""
    try:
        network = torchvision.models.get_model(name, weights=None)
    except ValueError:
        known = ", ".join(torchvision.models.list_models(module=torchvision.models))
        raise UserError(f"backbone torchvision:{name}: no such model; there are {known}") from None
    layers = [(key, module) for key, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UserError(f"backbone torchvision:{name}: ends in no linear layer; take another network")
    key, classifier = layers[-1]
    parent, _, attribute = key.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    _load(network, state, (f"{key}.", "aux", "AuxLogits."), path, f"torchvision:{name}")
    return Named(network, classifier.in_features)


def _of_timm(name: str, state: dict[str, Tensor], path: Path) -> Named:
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(f"backbone timm:{name}: timm is not installed; pip install timm") from None
    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UserError(f"backbone timm:{name}: {' '.join(str(error).split())}; see timm.list_models()") from None
    classifiers = network.pretrained_cfg.get("classifier") or "fc"
    ends = [classifiers] if isinstance(classifiers, str) else list(classifiers)
    _load(network, state, tuple(f"{end}." for end in ends), path, f"timm:{name}")
    features = getattr(network, "head_hidden_size", None) or network.num_features
    return Named(network, int(features))


def _load(network: nn.Module, state: dict[str, Tensor], of_classifier: tuple[str, ...], path: Path, name: str) -> None:
    """Load all but the classifier.

    Raises:
        UserError: keys are missing, unexpected or of another shape; the first ones are named.
    """
    kept = {key: value for key, value in state.items() if not key.startswith(of_classifier)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(of_classifier)}
    if found := differences(kept, wanted):
        raise UserError(f"{path}: holds no weights of {name} ({found})")
    network.load_state_dict(kept, strict=False)
