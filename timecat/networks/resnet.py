"""torchvision's ResNet at any depth and width, and back from a state dict to the network it fits."""

import math
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from timecat.config.member import BOTTLENECKS_FROM, LAYERS, Depth, Init, Stem
from timecat.errors import UserError
from timecat.networks.ghost_batch_norm import GhostBatchNorm2d
from timecat.networks.weights import differences

STEMS: dict[int, Stem] = {7: "imagenet", 3: "small"}  # by the side of the first kernel


def channels_last(network: nn.Module) -> None:
    """Lay the weights out as channels_last."""
    network.to(memory_format=torch.channels_last)


class BlurConv2d(nn.Conv2d):
    """A strided convolution of images that a [1 2 1] x [1 2 1] / 16 filter has blurred (Zhang 2019, arXiv 1904.11486).

    The filter is in the state dict, as `blur`: so the weights fit no network without it.
    """

    blur: Tensor

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        row = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("blur", (row[:, None] * row / 16)[None, None])

    def forward(self, images: Tensor) -> Tensor:
        channels = images.shape[1]
        kernel = self.blur.to(images.dtype).expand(channels, 1, 3, 3)
        return super().forward(nn.functional.conv2d(images, kernel, padding=1, groups=channels))


class ScaledResNet(ResNet):
    """torchvision's ResNet with `width` channels where the original has 64; the same keys in its state dict.

    Args:
        block: BasicBlock or Bottleneck.
        layers: blocks in each of the four stages.
        width: channels of the first stage.
        num_classes: outputs of `fc`.
        stem: `imagenet` is 7x7 stride 2 and max pooling, `small` a 3x3 stride 1 convolution without pooling, for images
            of about 32 pixels (He et al. 2016, section 4.2).
        blurpool: blur before each strided convolution but the stem's.
        ghost_batch_size: as GhostBatchNorm2d takes it; BatchNorm2d without.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: tuple[int, ...],
        width: int = 64,
        num_classes: int = 1000,
        stem: Stem = "imagenet",
        blurpool: bool = False,
        ghost_batch_size: int | None = None,
    ) -> None:
        self.width = width
        norm = partial(GhostBatchNorm2d, ghost_batch_size=ghost_batch_size) if ghost_batch_size else nn.BatchNorm2d
        super().__init__(block, list(layers), num_classes, norm_layer=norm)
        if stem == "small":
            self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = norm(width)
        self.num_features = 8 * width * block.expansion
        self.fc = nn.Linear(self.num_features, num_classes)
        if blurpool:
            self._blur()

    def _blur(self) -> None:
        strided = [
            (parent, name, conv)
            for parent in self.modules()
            for name, conv in parent.named_children()
            if isinstance(conv, nn.Conv2d) and max(conv.stride) > 1 and conv is not self.conv1
        ]
        for parent, name, conv in strided:
            sides = (conv.kernel_size, conv.stride, conv.padding)
            blurred = BlurConv2d(conv.in_channels, conv.out_channels, *sides, bias=False)
            blurred.weight = conv.weight
            setattr(parent, name, blurred)

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, *args, **kwargs)

    def feature_maps(self, images: Tensor) -> Tensor:
        """What the last block gives (b, num_features, h', w') of images (b, 3, h, w), after ReLU."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features (b, num_features) of images (b, 3, h, w): after global average pooling, before fc."""
        return torch.flatten(self.avgpool(self.feature_maps(images)), 1)

    def _forward_impl(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


def resnet(
    depth: Depth,
    width: int = 64,
    num_classes: int = 1000,
    stem: Stem = "imagenet",
    *,
    init: Init = "torchvision",
    zero_init_residual: bool = False,
    blurpool: bool = False,
    ghost_batch_size: int | None = None,
) -> ScaledResNet:
    """A ResNet of depth 10, 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).

    Args:
        width, num_classes, stem, blurpool, ghost_batch_size: as ScaledResNet takes them.
        init: `torchvision` is Kaiming-normal by fan-out for convolutions and Linear's own for fc; `lecun` is normal by
            fan-in, truncated at two deviations, and N(0, 0.01) with bias 0 for fc (AlgoPerf's imagenet_resnet).
        zero_init_residual: the last BatchNorm of each block starts at 0, so that a block starts as the identity
            (Goyal et al. 2017).

    What depths and widths there are, MemberConfig says.
    """
    block = Bottleneck if depth >= BOTTLENECKS_FROM else BasicBlock
    network = ScaledResNet(block, LAYERS[depth], width, num_classes, stem, blurpool, ghost_batch_size)
    for module in network.modules():
        if init == "lecun" and isinstance(module, nn.Conv2d):
            _lecun_normal(module.weight)
        if zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(cast(nn.BatchNorm2d, last).weight)
    if init == "lecun":
        nn.init.normal_(network.fc.weight, std=0.01)
        nn.init.zeros_(network.fc.bias)
    return network


def _lecun_normal(weight: Tensor) -> None:
    """Variance 1 / fan-in after truncation at two deviations, which takes the deviation down to 0.8796 of itself."""
    std = 1 / math.sqrt(weight[0].numel()) / 0.87962566103423978
    nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)


def resnet_from_state(state: dict[str, Tensor], name: str) -> ScaledResNet:
    """The network that a torchvision-keyed state dict fits, with those weights: depth, width and stem from its shapes.

    Without `fc` in the state, the network gives its features.

    Args:
        name: what the state is called in an error.

    Raises:
        UserError: the keys or shapes are no ResNet's; those that are missing, unexpected or of another shape are named.
    """
    stem = state.get("conv1.weight")
    layers = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    )
    if stem is None or stem.ndim != 4 or stem.shape[2] not in STEMS or not all(layers):
        raise UserError(f"{name}: fits no ResNet (at 'conv1.weight'); give a state dict such as torchvision's resnet50")
    block = Bottleneck if "layer1.0.conv3.weight" in state else BasicBlock
    blurpool = any(key.endswith(".blur") for key in state)
    classes = state["fc.weight"].shape[:1].numel() if "fc.weight" in state else 1
    network = ScaledResNet(block, layers, stem.shape[0], classes, STEMS[stem.shape[2]], blurpool)
    if not any(key.startswith("fc.") for key in state):
        network.fc = cast(nn.Linear, nn.Identity())
    if found := differences(state, network.state_dict()):
        raise UserError(f"{name}: fits no ResNet ({found}); give a state dict such as torchvision's resnet50")
    network.load_state_dict(state, strict=False)
    return network
