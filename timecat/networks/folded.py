"""BatchNorm in the convolution before it: in evaluation it is a scale and a shift of each channel (Jacob et al. 2018,
arXiv 1712.05877, section 3.2)."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from timecat.networks.resnet import ScaledResNet

AFTER = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "0": "1"}  # 0 and 1 of a downsampling
Network = TypeVar("Network")


def folded(network: Network) -> Network:
    """A copy of a ResNet in eval mode whose convolutions do what its BatchNorms did, to float32's rounding.

    Other networks are returned as they are.
    """
    if not isinstance(network, ScaledResNet):
        return network
    assert not network.training
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        layers = dict(parent.named_children())
        for name, conv in layers.items():
            norm = layers.get(AFTER.get(name, ""))
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, AFTER[name], nn.Identity())
    return network
