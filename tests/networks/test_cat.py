"""Snapshots and their frozen concatenation."""

import pytest
import torch
import torchvision
from torch import nn

from timecat.errors import UserError
from timecat.heads.linear_probe import learning_rate
from timecat.members.checkpoint import save_snapshot
from timecat.networks.cat import FrozenCat
from timecat.networks.resnet import resnet, resnet_from_state


def snapshot(path, **shape):
    network = resnet(**shape)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that eval mode must use
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    save_snapshot(path, network.state_dict())
    return network.eval()


def test_the_concatenation_is_the_members_features_side_by_side_bit_for_bit(tmp_path):
    shapes = [{"depth": 10, "width": 8, "stem": "small"}, {"depth": 18, "width": 16}, {"depth": 50, "width": 8}]
    members = [snapshot(tmp_path / f"{i}.pt", num_classes=5, **shape) for i, shape in enumerate(shapes)]
    members = [member.to(memory_format=torch.channels_last) for member in members]
    cat = FrozenCat([tmp_path / "2.pt", str(tmp_path / "[01].pt")])
    cat.train()
    before = {key: value.clone() for key, value in cat.state_dict().items()}
    images = torch.randn(4, 3, 32, 32, requires_grad=True)
    features = cat(images)
    with torch.no_grad():
        expected = [members[i].features(images) for i in (2, 0, 1)]
    assert torch.equal(features, torch.cat(expected, 1))
    assert cat.num_features == features.shape[1] == 8 * 8 * 4 + 8 * 8 + 8 * 16
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in cat.parameters())
    assert all(torch.equal(value, before[key]) for key, value in cat.state_dict().items())


def test_a_resnet50_snapshot_is_torchvisions(tmp_path):
    ours = snapshot(tmp_path / "50.pt", depth=50)
    theirs = torchvision.models.resnet50()
    theirs.load_state_dict(torch.load(tmp_path / "50.pt", weights_only=True))
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs.eval()(images))
    back = resnet_from_state(torchvision.models.resnet50().state_dict(), "theirs")
    assert sum(p.numel() for p in back.parameters()) == 25_557_032  # torchvision's documented count


def test_equal_weights_give_equal_files(tmp_path):
    state = resnet(10, 8).state_dict()
    save_snapshot(tmp_path / "snapshot_1.pt", state)
    save_snapshot(tmp_path / "another_name.pt", state)
    assert (tmp_path / "snapshot_1.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()


def test_a_state_of_another_network_is_named():
    state = torchvision.models.resnet18().state_dict()
    state["layer3.0.conv1.weight"] = state["layer3.0.conv1.weight"][:, :-1]
    with pytest.raises(UserError, match=r"layer3\.0\.conv1\.weight"):
        resnet_from_state(state, "x.pt")
    with pytest.raises(UserError, match="fits no ResNet"):
        resnet_from_state({"weight": torch.ones(3)}, "x.pt")


def test_the_probes_schedule_is_the_papers_at_28_epochs():
    rates = [learning_rate(1.0, epoch, 28) for epoch in range(28)]
    assert rates == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.01] * 8 + [0.001] * 4)
