"""Costs in closed form are those that torch counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from timecat.config.member import MemberConfig
from timecat.networks.resnet import resnet
from timecat.study import costs

WIDTHS, RESOLUTIONS = (8, 16, 64, 128), (33, 28, 224, 47)


def counted(model: MemberConfig, resolution: int) -> tuple[int, int, int]:
    """Parameters, and FLOPs forward and backward of one image, by torch, without computing anything."""
    counter, images = FlopCounterMode(display=False), 2  # of one image BatchNorm has no deviation
    with torch.device("meta"):
        network = resnet(model.depth, model.width, model.num_classes, model.stem, blurpool=model.blurpool)
        with counter:
            loss = network(torch.empty(images, 3, resolution, resolution)).sum()
        forward = counter.get_total_flops()
        with counter:
            loss.backward()
    assert not forward % images and not counter.get_total_flops() % images
    return sum(each.numel() for each in network.parameters()), forward // images, counter.get_total_flops() // images


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101])
@pytest.mark.parametrize(
    ("kind", "stem", "blurpool"),
    [(0, "imagenet", False), (1, "imagenet", True), (2, "small", False), (3, "small", True)],
)
def test_closed_forms_are_what_torch_counts(depth, kind, stem, blurpool):
    """Each depth with each stem, with and without blur; each width and side with several of them."""
    width, resolution = WIDTHS[(kind + depth) % 4], RESOLUTIONS[(kind + depth // 4) % 4]
    model = MemberConfig(depth, width, stem, num_classes=width + 3, blurpool=blurpool)
    parameters, forward, backward = counted(model, resolution)
    assert costs.parameters(model) == parameters
    assert costs.forward_flops(model, resolution) == forward
    assert costs.backward_flops(model, resolution) == backward
    classifier = (model.num_features + 1) * model.num_classes
    assert costs.backbone_parameters(model) == parameters - classifier
    assert costs.backbone_flops(model, resolution) == forward - 2 * model.num_features * model.num_classes
    assert costs.training_flops(model, resolution) == forward + backward


def test_the_third_step_costs_a_ninth_more():
    """timecat/config/member.py says so: one forward pass of three, where a step is about three."""
    plain, more = (MemberConfig(50, batch_norm=name) for name in ("recalibrate", "third_step"))
    extra = costs.training_flops(more, 224) - costs.training_flops(plain, 224)
    assert extra == pytest.approx(costs.forward_flops(plain, 224) / 3)
    assert extra == pytest.approx(costs.training_flops(plain, 224) / 9, rel=0.02)
    sgd = MemberConfig(50, batch_norm="third_step", optimizer="sgd")  # has no averages whose statistics lack
    assert costs.training_flops(sgd, 224) == costs.training_flops(plain, 224)
