"""Snapshots, the frozen concatenation and the heads on top of it."""

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from timecat.cat import FrozenCat
from timecat.checkpoint import save_snapshot
from timecat.errors import UserError
from timecat.heads import accuracy, train_heads
from timecat.linear_probe import learning_rate
from timecat.resnet import resnet, resnet_from_state


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


def test_heads_are_what_modules_and_torchs_weight_decay_give():
    """Each of three heads trained side by side equals BatchNorm1d + Linear trained alone by SGD with weight decay."""
    torch.manual_seed(0)
    features, labels = torch.randn(200, 12) * 3 + 1, torch.randint(0, 4, (200,))
    indices, decays = np.arange(10, 190), [0.0, 1e-2, 0.3]
    settings = {"lr": 0.05, "epochs": 6, "horizon": 6, "batch_size": 50, "seed": 5}
    heads, curve = train_heads(
        features, labels, indices, classes=4, weight_decays=decays, held_out=np.arange(10), **settings
    )
    for head, decay in enumerate(decays):
        norm, linear = nn.BatchNorm1d(12), nn.Linear(12, 4)
        generator = torch.Generator().manual_seed(5)
        linear.weight.data = 0.01 * torch.randn(12, 4, generator=generator).T.contiguous()
        linear.bias.data.zero_()
        groups = [{"params": norm.parameters()}, {"params": linear.parameters(), "weight_decay": decay}]
        optimizer = torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True)
        for epoch in range(6):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(0.05, epoch, 6)
            order = np.random.default_rng([5, epoch]).permutation(indices)[:150]
            for rows in torch.from_numpy(order).split(50):
                loss = nn.functional.cross_entropy(linear(norm(features[rows])), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        norm.eval()
        with torch.no_grad():
            expected = linear(norm(features))
        heads.norm.eval()
        torch.testing.assert_close(heads(features)[head], expected, rtol=1e-3, atol=1e-4)
        held = 100 * (expected[:10].argmax(1) == labels[:10]).double().mean()
        assert curve[-1][head] == pytest.approx(float(held))
    assert len(curve) == 6
    assert not torch.allclose(heads.weight[0], heads.weight[2])


def test_accuracy_counts_every_row_once():
    heads, _ = train_heads(
        torch.randn(64, 3),
        torch.zeros(64, dtype=torch.long),
        np.arange(64),
        classes=3,
        weight_decays=[0.0],
        lr=0.5,
        epochs=20,
        horizon=20,
        batch_size=16,
        seed=0,
    )
    rows, labels = torch.randn(30, 3), torch.tensor([0] * 21 + [1] * 9)
    assert float(accuracy(heads, rows, labels, batch=7)) == pytest.approx(70.0)
    assert float(accuracy(heads, rows, labels, top=3, batch=7)) == pytest.approx(100.0)


def test_the_probes_schedule_is_the_papers_at_28_epochs():
    rates = [learning_rate(1.0, epoch, 28) for epoch in range(28)]
    assert rates == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.01] * 8 + [0.001] * 4)
