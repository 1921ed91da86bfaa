"""Controls probed for real: soups, projections, snapshots of one run, and networks from elsewhere in the fast path."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision

from tests.support.small_study import SCHEDULE_FREE, change, write_probe, write_study
from timecat.cli import main
from timecat.networks.backbone import Weights, load_backbone
from timecat.networks.weights import read_weights

CATS = {
    "cat1": {"members": 1, "steps": 40},
    "cat2": {"members": 2, "steps": 20},
    "one": {"snapshots": [20, 40]},
    "soup": {"soup": "cat2"},
    "soup-of-one": {"soup": "cat1"},
    "soup-of-run": {"soup": "one"},
    "all": {"members": 2, "steps": 20, "project": 128},
    "half": {"members": 2, "steps": 20, "project": 64},
    "short": {"short": "cat2"},
    "second": {"of": [{"first": 1, "steps": 20}]},
    "ensemble": {"ensemble": "cat2"},
    "random": {"members": 2, "steps": 20, "project": 64, "projection": "random"},
}


def write_configs(root: Path, digits: Path, cats) -> str:
    study = {"name": "s", "probes": [str(root / "digits.yaml")], "unequal_because": "controls"}
    data = {"root": str(digits), "tests": {"again": "test.beton"}}
    write_probe(root / "digits.yaml", data, {"weight_decays": [1e-4, 1e-3]}, trainer={"max_epochs": 8})
    return write_study(root / "study.yaml", {"root": str(digits)}, SCHEDULE_FREE, cats, **study)


@pytest.fixture(scope="module")
def controls(tmp_path_factory, digits) -> Path:
    """A study that is trained and probed, with a control of each kind."""
    root = tmp_path_factory.mktemp("controls")
    assert main(["run", "--config", write_configs(root, digits, CATS)]) == 0
    return root


def result(root: Path, cat: str):
    stored = json.loads((root / "runs/s/probe/digits/results.json").read_text())
    return stored["cats"][cat]["repetitions"]["0"]


def test_a_soup_of_one_snapshot_is_it(controls):
    one, cat1 = result(controls, "soup-of-one"), result(controls, "cat1")
    assert one["weights"] == cat1["weights"]
    assert one["acc1"] == cat1["acc1"]


def test_a_soup_is_the_mean_with_statistics_of_its_own(controls):
    (path,) = (controls / "runs/s/soups").glob("soup_0_*.pt")
    soup = read_weights(path)
    parts = [read_weights(controls / f"runs/s/member_{seed}/snapshot_20.pt") for seed in (0, 1)]
    for key, value in soup.items():
        mean = (parts[0][key].double() + parts[1][key].double()) / 2
        if key.endswith(("running_mean", "running_var")):
            assert not torch.allclose(value.double(), mean)
        elif value.is_floating_point():
            torch.testing.assert_close(value.double(), mean, rtol=1e-6, atol=1e-7)
    # of two seeds nothing is left; of one run's snapshots a network that is worth one
    own = result(controls, "cat1")["acc1"]
    assert result(controls, "soup")["features"] == result(controls, "soup-of-run")["features"] == 64
    assert result(controls, "soup-of-run")["acc1"] > own - 15 > result(controls, "soup")["acc1"] - 30


def test_a_projection_to_all_features_is_none(controls):
    whole, cat2 = result(controls, "all"), result(controls, "cat2")
    assert abs(whole["acc1"] - cat2["acc1"]) <= 0.1
    assert (whole["features"], whole["projection"]) == (128, [])


@pytest.mark.parametrize("cat", ["half", "random"])
def test_a_projection_keeps_so_many_features(controls, cat):
    half, cat2 = result(controls, cat), result(controls, "cat2")
    assert (half["features"], half["snapshots"]) == (64, cat2["snapshots"])
    assert half["acc1"] != cat2["acc1"]
    assert half["acc1"] > 60


def test_principal_components_are_those_of_the_training_features(controls, tmp_path, monkeypatch):
    """The map that probe used, against numpy's eigenvectors of the covariance."""
    from timecat.extraction.extract import FeatureStore
    from timecat.extraction.projection import Projected
    from timecat.study.study import Study

    study = Study.read([str(controls / "study.yaml")])
    store = FeatureStore(study, study.probes[0], ["cpu"])
    (cat,) = [cat for cat in study.seeded_cats() if cat.cat.name == "half"]
    part = store.parts["train"]
    features = torch.cat([store.load(part, snapshot).float() for snapshot in cat.snapshots], 1).double().numpy()
    projected = store.load(part, Projected(cat)).double().numpy()
    fit, _ = store.split()
    values, vectors = np.linalg.eigh(np.cov(features[fit].T))
    expected = features @ vectors[:, ::-1][:, :64]
    kept = values[::-1][:64] > 1e-6 * values[-1]
    difference = np.abs(np.abs(projected) - np.abs(expected)).max(0) / np.abs(expected).max(0)
    assert kept.sum() > 10
    assert (difference[kept] < 0.02).all()


def test_networks_from_elsewhere_in_the_fast_path(controls, digits, tmp_path):
    """A member's own weights as safetensors give its own result; torchvision's and timm's networks are probed."""
    shutil.copytree(controls, tmp_path / "there")
    root = tmp_path / "there"
    state = read_weights(root / "runs/s/member_0/snapshot_40.pt")
    safetensors.torch.save_file(state, root / "member.safetensors")
    torch.manual_seed(0)
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=7).state_dict(), root / "mobile.pth")
    network = timm.create_model("resnet10t", num_classes=3)
    safetensors.torch.save_file(network.state_dict(), root / "timm.safetensors")
    cats = {
        **CATS,
        "same": {"weights": [str(root / "member.safetensors")]},
        "mobile": {"weights": ["mobile.pth"], "backbone": "torchvision:mobilenet_v3_small", "features": 1024},
        "timm": {"weights": ["*.safetensors"], "backbone": "timm:resnet10t", "features": 512},
    }
    config = write_configs(root, digits, {**cats, "timm": {**cats["timm"], "weights": ["timm.safetensors"]}})
    change(config, "study", root=str(root / "runs"))
    assert main(["probe", "--config", config]) == 0
    assert result(root, "same")["acc1"] == result(root, "cat1")["acc1"]
    assert [result(root, name)["features"] for name in ("same", "mobile", "timm")] == [64, 1024, 512]
    with torch.inference_mode():
        images = torch.randn(2, 3, 64, 64)
        loaded = load_backbone(Weights(root / "timm.safetensors", 512, "timm:resnet10t"), torch.device("cpu"))
        torch.testing.assert_close(
            loaded.features(images), network.eval().forward_head(network.forward_features(images), pre_logits=True)
        )


@pytest.mark.parametrize(
    ("cat", "words"),
    [
        ({"weights": ["m.pt"], "model": {"width": 16}}, ("m.pt", "64 features", "model.width")),
        ({"weights": ["m.pt"], "backbone": "torchvision:resnet18", "features": 64}, ("m.pt", "torchvision:resnet18")),
        ({"weights": ["m.pt"], "backbone": "torchvision:resnet81", "features": 64}, ("no such model",)),
        ({"weights": ["m.pt"], "backbone": "timm:resnet81", "features": 64}, ("timm:resnet81",)),
        ({"weights": ["m.pt"], "backbone": "resnet18", "features": 64}, ("torchvision:NAME",)),
    ],
)
def test_weights_that_do_not_fit_are_told_in_a_line(controls, digits, tmp_path, capsys, cat, words):
    shutil.copy(controls / "runs/s/member_0/snapshot_40.pt", tmp_path / "m.pt")
    config = write_configs(tmp_path, digits, {"other": cat})
    assert main(["probe", "--config", config]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    for word in words:
        assert word in told


def test_an_ensemble_averages_the_probabilities_of_its_members_own_heads(controls):
    """Of two members that are cats too: their kept logits give the ensemble's."""
    directory = controls / "runs/s/probe/digits/logits"
    parts = [torch.from_numpy(np.load(directory / f"{name}_0.npy")).float().softmax(1) for name in ("short", "second")]
    ensemble = torch.from_numpy(np.load(directory / "ensemble_0.npy")).float()
    torch.testing.assert_close(ensemble.exp(), (parts[0] + parts[1]) / 2, rtol=0.02, atol=0.002)
    short, second, both = (result(controls, name)["acc1"] for name in ("short", "second", "ensemble"))
    assert both > min(short, second)
    assert result(controls, "ensemble")["features"] == 128


@pytest.mark.parametrize("cat", ["cat2", "ensemble", "half", "soup"])
def test_a_kept_head_of_any_kind_reads_a_further_test_set(controls, cat):
    """The same images once more, under another name."""
    found = result(controls, cat)
    assert found["tests"]["again"]["scores"]["per_class"] == found["per_class"]
