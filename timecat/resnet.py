"""torchvision's ResNet at any depth and width, and back from a state dict to the network it fits."""

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from timecat.errors import UserError

LAYERS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
Stem = Literal["imagenet", "small"]


class ScaledResNet(ResNet):
    """torchvision's ResNet with `width` channels where the original has 64; the same keys in its state dict.

    Args:
        block: BasicBlock or Bottleneck.
        layers: blocks in each of the four stages.
        width: channels of the first stage.
        num_classes: outputs of `fc`.
        stem: `imagenet` is 7x7 stride 2 and max pooling, `small` a 3x3 stride 1 convolution without pooling, for images
            of about 32 pixels (He et al. 2016, section 4.2).
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: tuple[int, ...],
        width: int = 64,
        num_classes: int = 1000,
        stem: Stem = "imagenet",
    ) -> None:
        self.width = width
        super().__init__(block, list(layers), num_classes)
        if stem == "small":
            self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(width)
        self.num_features = 8 * width * block.expansion
        self.fc = nn.Linear(self.num_features, num_classes)

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, *args, **kwargs)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (b, num_features) of images (b, 3, h, w): after global average pooling, before fc."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return torch.flatten(self.avgpool(x), 1)

    def _forward_impl(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


def resnet(depth: int, width: int = 64, num_classes: int = 1000, stem: Stem = "imagenet") -> ScaledResNet:
    """A ResNet of depth 10, 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).

    Raises:
        UserError: another depth, or a width that is no positive multiple of 8.
    """
    if depth not in LAYERS:
        raise UserError(f"model.depth {depth} is no ResNet; choose one of {', '.join(map(str, LAYERS))}")
    if width < 8 or width % 8:
        raise UserError(f"model.width {width} must be a positive multiple of 8 (64 is the original)")
    return ScaledResNet(Bottleneck if depth >= 50 else BasicBlock, LAYERS[depth], width, num_classes, stem)


def resnet_from_state(state: dict[str, Tensor], name: str) -> ScaledResNet:
    """The network that a torchvision-keyed state dict fits, with those weights: depth, width and stem from its shapes.

    Args:
        name: what the state is called in an error.

    Raises:
        UserError: the keys or shapes are no ResNet's; the first that is wrong is named.
    """
    try:
        width, _, kernel, _ = state["conv1.weight"].shape
        block = Bottleneck if "layer1.0.conv3.weight" in state else BasicBlock
        layers = tuple(
            len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in range(1, 5)
        )
        stem: Stem = {7: "imagenet", 3: "small"}[kernel]
        network = ScaledResNet(block, layers, width, state["fc.weight"].shape[0], stem)
        wanted = network.state_dict()
        for key in [*wanted, *state]:
            if key not in state or key not in wanted or state[key].shape != wanted[key].shape:
                raise KeyError(key)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        wrong = error.args[0] if isinstance(error, KeyError) else "conv1.weight"
        raise UserError(f"{name}: fits no ResNet (at {wrong!r}); give a torchvision-keyed state dict") from None
    network.load_state_dict(state)
    return network
