"""A cat can be made of any ResNets: weights of other projects' files give the same features."""

import pytest
import torch
import torchvision
from torch import nn

from timecat.errors import UserError
from timecat.networks.cat import FrozenCat
from timecat.networks.resnet import resnet
from timecat.networks.weights import read_weights


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that eval mode must use
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


def algoperf(state):
    names = {".downsample.0.": ".downsample.conv.", ".downsample.1.": ".downsample.bn."}
    renamed = {}
    for key, value in state.items():
        for ours, name in names.items():
            key = key.replace(ours, name)
        renamed[f"_orig_mod.module.{key}"] = value
    return renamed


LAYOUTS = {
    "torchvision": lambda state: state,
    "timm, whose old files count no batches": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "AlgoPerf": lambda state: {"model_params": algoperf(state), "global_step": 80_000, "train_state": {"best": 1.0}},
    "public Time-Cat": algoperf,
    "DataParallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 90},
    "a cat of one": lambda state: {"state_dict": {f"module.model0.{k}": v for k, v in state.items()}},
    "Lightning": lambda state: {
        "state_dict": {**{f"network.{k}": v for k, v in state.items()}, "metrics.loss.mean_value": torch.zeros(())},
        "optimizer_states": [{"param_groups": [{"lr": 0.1}]}],
        "epoch": 1,
    },
    "torch.compile in Lightning": lambda state: {"state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}},
    "no classifier": lambda state: {f"backbone.{k}": v for k, v in state.items() if not k.startswith("fc.")},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_features(tmp_path, theirs, layout):
    path = tmp_path / "weights.pt"
    torch.save(LAYOUTS[layout](theirs.state_dict()), path)
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        kept, theirs.fc = theirs.fc, nn.Identity()
        expected = theirs(images)
        theirs.fc = kept
    torch.testing.assert_close(FrozenCat([path])(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "layer2.1.bn2.bias"}, ["missing: layer2.1.bn2.bias"]),
        (lambda s: {**s, "layer1.0.se.weight": torch.zeros(1)}, ["unexpected: layer1.0.se.weight"]),
        (lambda s: {**s, "fc.weight": torch.zeros(1000, 7)}, ["another shape: fc.weight"]),
        (
            lambda s: {f"module.model{i}.{k}": v for i in (0, 1) for k, v in s.items()},
            ["several", "model0.", "model1."],
        ),
        (lambda s: {"weight": torch.zeros(3)}, ["conv1.weight"]),
        (lambda s: [1, 2], ["no state dict"]),
        (lambda s: {"state_dict": nn.Linear(2, 2)}, ["Linear", "state_dict()"]),
        (
            lambda s: {"state_dict": s, "optimizer_states": [{"param_groups": [{"train_mode": True}]}]},
            ["schedule-free", "snapshot_<step>.pt"],
        ),
    ],
    ids=["missing", "unexpected", "shape", "two networks", "no ResNet", "a list", "an object", "weights in training"],
)
def test_what_fits_no_resnet_is_named(tmp_path, theirs, content, words):
    path = tmp_path / "weights.pt"
    torch.save(content(theirs.state_dict()), path)
    with pytest.raises(UserError) as error:
        FrozenCat([path])
    assert all(word in str(error.value) for word in [str(path), *words]), str(error.value)
    assert "\n" not in str(error.value)


def test_a_blurred_networks_weights_fit_no_other(tmp_path):
    blurred = resnet(50, 8, 5, blurpool=True).eval()
    strided = [name for name, module in blurred.named_modules() if hasattr(module, "blur")]
    assert strided == [f"layer{stage}.0.{name}" for stage in (2, 3, 4) for name in ("conv2", "downsample.0")]
    torch.save(blurred.state_dict(), tmp_path / "blurred.pt")
    images = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = blurred.features(images)
    torch.testing.assert_close(FrozenCat([tmp_path / "blurred.pt"])(images), expected, rtol=1e-4, atol=1e-5)
    plain = resnet(50, 8, 5)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        plain.load_state_dict(read_weights(tmp_path / "blurred.pt"))


def test_blurpool_is_a_binomial_filter_before_the_stride():
    network = resnet(10, 8, 5, blurpool=True)
    conv = network.layer2[0].conv1
    images = torch.randn(2, 8, 9, 9)
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    across = sum(row[i] * padded[:, :, :, i : i + 9] for i in range(3))
    both = sum(row[i] * across[:, :, i : i + 9] for i in range(3))
    expected = nn.functional.conv2d(both, conv.weight, stride=2, padding=1)
    torch.testing.assert_close(conv(images), expected, rtol=1e-4, atol=1e-5)


def test_the_papers_initialisation():
    torch.manual_seed(0)
    network = resnet(50, 64, 1000, init="lecun", zero_init_residual=True)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            std = module.weight[0].numel() ** -0.5
            assert module.weight.std().item() == pytest.approx(std, rel=0.05), name
            assert module.weight.abs().max() <= 2 * std / 0.8796 + 1e-6, name
        if name.endswith("bn3"):
            assert not module.weight.any(), name
    assert network.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not network.fc.bias.any()
