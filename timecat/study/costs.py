"""What a member costs, in closed form: parameters, and floating-point operations (FLOPs) of an image. No torch.

Counted as torch.utils.flop_counter.FlopCounterMode counts: a multiply-add is two operations; convolutions, blurs and
the linear layer alone, neither BatchNorm, ReLU, pooling nor the optimiser.
"""

from collections.abc import Iterator
from typing import NamedTuple

from timecat.config.member import BOTTLENECKS_FROM, EXPANSION, LAYERS, MemberConfig

BLUR = 3  # side of the filter


class _Convolution(NamedTuple):
    """A convolution without bias, and the BatchNorm behind it.

    Attributes:
        side: of what it gives.
        blurred: side of what is blurred before it; 0 where nothing is.
    """

    inputs: int
    outputs: int
    kernel: int
    side: int
    blurred: int = 0

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.kernel**2

    @property
    def flops(self) -> int:
        return 2 * self.weights * self.side**2

    @property
    def blur_flops(self) -> int:
        return 2 * self.inputs * BLUR**2 * self.blurred**2


def _convolutions(model: MemberConfig, resolution: int) -> Iterator[_Convolution]:
    """All of `timecat.networks.resnet.resnet`, in no order but that the stem is the first."""
    channels, side = model.width, resolution
    if model.stem == "imagenet":
        side = _halved(side)
        yield _Convolution(3, channels, 7, side)
        side = _halved(side)  # max pooling
    else:
        yield _Convolution(3, channels, 3, side)
    bottleneck = model.depth >= BOTTLENECKS_FROM
    for stage, blocks in enumerate(LAYERS[model.depth]):
        inner = model.width * 2**stage
        outer = inner * EXPANSION if bottleneck else inner
        for block in range(blocks):
            strides = stage > 0 and block == 0
            after = _halved(side) if strides else side
            blurred = side if strides and model.blurpool else 0
            if bottleneck:
                yield _Convolution(channels, inner, 1, side)
                yield _Convolution(inner, inner, 3, after, blurred)
                yield _Convolution(inner, outer, 1, after)
            else:
                yield _Convolution(channels, inner, 3, after, blurred)
                yield _Convolution(inner, inner, 3, after)
            if strides or channels != outer:
                yield _Convolution(channels, outer, 1, after, blurred)
            channels, side = outer, after


def _halved(side: int) -> int:
    """By a stride of 2: kernels of odd side k are padded by (k - 1) / 2."""
    return (side + 1) // 2


def parameters(model: MemberConfig) -> int:
    """Of the network that is trained, with its classifier."""
    return backbone_parameters(model) + (model.num_features + 1) * model.num_classes


def backbone_parameters(model: MemberConfig) -> int:
    """Of what gives the features: without the classifier."""
    return sum(each.weights + 2 * each.outputs for each in _convolutions(model, 1))


def forward_flops(model: MemberConfig, resolution: int) -> int:
    """Of one image of `resolution` pixels a side through the network with its classifier."""
    return backbone_flops(model, resolution) + _classifier_flops(model)


def backbone_flops(model: MemberConfig, resolution: int) -> int:
    """Of one image to its features: without the classifier."""
    return sum(each.flops + each.blur_flops for each in _convolutions(model, resolution))


def backward_flops(model: MemberConfig, resolution: int) -> int:
    """Of one image: each layer's gradient to its weights, and that to its input, which the stem does without.

    A blur has no weights that are trained.
    """
    layers = list(_convolutions(model, resolution))
    both = sum(2 * each.flops + each.blur_flops for each in layers)
    return both - layers[0].flops + 2 * _classifier_flops(model)


def training_flops(model: MemberConfig, resolution: int) -> float:
    """Of one image in training: forward and backward, and the forward pass more that `batch_norm: third_step` takes of
    every third image.

    Not counted: validation, and the passes of `batch_norm: recalibrate`, whose number goes by validations and
    snapshots, not by images.
    """
    forward = forward_flops(model, resolution)
    more = forward / 3 if model.has_third_step else 0
    return forward + backward_flops(model, resolution) + more


def _classifier_flops(model: MemberConfig) -> int:
    return 2 * model.num_features * model.num_classes


def head_flops(features: int, classes: int) -> int:
    """Of one image's features through a linear head; its BatchNorm is not counted, as no BatchNorm is."""
    return 2 * features * classes


def head_bytes(features: int, classes: int) -> int:
    """Of a linear head as it is kept, float32: weight, bias, and BatchNorm's weight, bias, mean and variance."""
    return 4 * (features * classes + classes + 4 * features)
