"""The paper's protocol as its public code has it: CIFAR's other deviation, an epoch's last batch, the same accuracy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import timecat.heads.passes
from tests.support.small_study import SCHEDULE_FREE, change, rewrite, write_probe, write_study
from timecat.cli import main
from timecat.heads.sgd import Heads

CLASSES, WIDTH, TRAIN, TEST, BATCH = 5, 20, 330, 4000, 128  # two batches and one of 74


def gaussians() -> dict[str, np.ndarray]:
    """Classes that overlap, so that every step counts."""
    rng = np.random.default_rng(0)
    means, arrays = rng.normal(size=(CLASSES, WIDTH)) * 0.45, {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        labels = rng.integers(0, CLASSES, count)
        arrays[f"y_{split}"] = labels
        arrays[f"x_{split}"] = (means[labels] + rng.normal(size=(count, WIDTH))).astype(np.float32)
    return arrays


ARRAYS = gaussians()


def make(folder: Path, seed: int = 0) -> Path:
    for name, array in ARRAYS.items():
        np.save(folder / f"{name}.npy", array)
    config = {
        "seed_everything": seed,
        "features": {
            "name": "f",
            "root": str(folder / "runs"),
            "labels": {"train": "y_train.npy", "test": "y_test.npy"},
            "extractors": {"x": {"train": "x_train.npy", "test": "x_test.npy"}},
        },
        "probe": {"weight_decays": [5e-4]},
        "model": {"num_classes": CLASSES, "lr": 0.01},
        "data": {"holdout": 0.2, "batch_size": BATCH},
        "trainer": {"accelerator": "cpu", "max_epochs": 28},
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    return folder / "c.yaml"


def heads(config: Path, protocol: str) -> list[dict[str, Any]]:
    path = config.parent / f"runs/f/probe/c/results{protocol}.json"
    return json.loads(path.read_text())["cats"]["x"]["repetitions"]["0"]["heads"]


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """Images of each step."""
    seen, original = [], Heads.step

    def step(self, features, labels, factor):
        seen.append(len(labels))
        original(self, features, labels, factor)

    monkeypatch.setattr(Heads, "step", step)
    return seen


def test_the_last_batch_is_trained_on_by_the_papers_protocol_alone(tmp_path, steps):
    config = make(tmp_path)
    assert main(["probe", str(config), "--protocol", "paper"]) == 0
    assert steps == 28 * [128, 128, 74]
    steps.clear()
    assert main(["probe", str(config)]) == 0
    assert set(steps) == {128} and len(steps) > 28 * 2  # 264 images to choose with, then 330
    steps.clear()
    assert main(["probe", str(config), "--protocol", "paper", "--data.batch_size", "47"]) == 0
    assert steps == 28 * 7 * [47]  # of 330: BatchNorm has no variance of the one that is left


def test_results_of_an_earlier_version_are_not_the_papers(tmp_path, steps):
    """They did not tell of the last batch, as it was always left out."""
    config = make(tmp_path)
    for protocol, again in (("paper", 28 * 3), ("heldout", 0)):
        assert main(["probe", str(config), "--protocol", protocol]) == 0
        path = tmp_path / f"runs/f/probe/c/results{'_paper' if protocol == 'paper' else ''}.json"
        settings = json.loads(path.read_text())["settings"]
        del settings["last_batch"]
        rewrite(path, settings=settings)
        steps.clear()
        assert main(["probe", str(config), "--protocol", protocol]) == 0
        assert len(steps) == again


def test_a_pass_of_the_papers_protocol_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Stopped between an epoch's whole batches and its last one; saved after each epoch here."""
    whole, stopped = (make(folder) for folder in (tmp_path / "a", tmp_path / "b") if not folder.mkdir())
    assert main(["probe", str(whole), "--protocol", "paper"]) == 0
    count, original = [], Heads.step

    def step(self, *given):
        count.append(1)
        if len(count) == 3 * 11 + 3:
            raise KeyboardInterrupt
        original(self, *given)

    monkeypatch.setattr("timecat.config.study.StudyConfig.checkpoint_minutes", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Heads, "step", step)
        assert main(["probe", str(stopped), "--protocol", "paper"]) == 130
    resumed, resume = [], timecat.heads.passes.Passes._resume

    def told(*given):
        resumed.append(resume(*given))
        return resumed[-1]

    monkeypatch.setattr(timecat.heads.passes.Passes, "_resume", told)
    assert main(["probe", str(stopped), "--protocol", "paper"]) == 0
    assert resumed == [(11, 0)]
    assert heads(stopped, "_paper") == heads(whole, "_paper")
    one, other = (np.load(config.parent / "runs/f/probe/c/predictions_paper.npz") for config in (whole, stopped))
    assert all(np.array_equal(one[name], other[name]) for name in one.files)


def public_loop(decay: float, seed: int) -> float:
    """Top-1 in percent after 28 epochs of plain torch, with an order and a first weight of its own."""
    torch.manual_seed(1000 + seed)
    x, y = torch.from_numpy(ARRAYS["x_train"]), torch.from_numpy(ARRAYS["y_train"])
    norm, linear = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    groups = [{"params": norm.parameters(), "weight_decay": 0.0}, {"params": linear.parameters()}]
    optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, nesterov=True, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [8, 16, 24])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), BATCH, shuffle=True)
    for _ in range(28):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(linear(norm(images)), labels).backward()
            optimizer.step()
        schedule.step()
    norm.eval()
    with torch.no_grad():
        predicted = linear(norm(torch.from_numpy(ARRAYS["x_test"]))).argmax(1)
    return 100 * float((predicted.numpy() == ARRAYS["y_test"]).mean())


def test_it_agrees_with_a_plain_loop_on_the_same_tensors(tmp_path):
    """Means over seeds, as orders and first weights differ; without the last batch they are 0.25 points apart."""
    ours, theirs = [], [public_loop(5e-4, seed) for seed in range(16)]
    for seed in range(16):
        (tmp_path / str(seed)).mkdir()
        config = make(tmp_path / str(seed), seed)
        assert main(["probe", str(config), "--protocol", "paper"]) == 0
        ours.append(heads(config, "_paper")[0]["curve"][-1])
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.1)
    assert len(set(ours)) > 4 and len(set(theirs)) > 4


def test_cifar_is_normalised_as_the_public_code_has_it(tmp_path, digits):
    """Under paths of their own, so that the honest features stay as they are."""
    probe = write_probe(
        tmp_path / "p.yaml", {"root": str(digits)}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 2}
    )
    config = write_study(
        tmp_path / "s.yaml",
        {"root": str(digits)},
        SCHEDULE_FREE,
        {"cat1": {"members": 1, "steps": 4}},
        probes=[probe],
    )
    assert main(["run", config]) == 0
    features = tmp_path / "runs/s/features/p"

    def stored() -> dict[str, bytes]:
        return {str(path.relative_to(features)): path.read_bytes() for path in features.rglob("*.npy")}

    assert main(["probe", config, "--protocol", "paper"]) == 0
    first = stored()
    assert set(first) == {"train/member_0_4.npy", "test/member_0_4.npy"}  # a preset's own normalisation stays
    change(probe, "data", normalisation="cifar")
    for protocol in ("heldout", "paper", "heldout", "paper"):
        assert main(["probe", config, "--protocol", protocol]) == 0
    parts = {"train", "test", "train_paper", "test_paper"}
    assert set(stored()) == {f"{part}/member_0_4.npy" for part in parts}
    assert all(stored()[name] == content for name, content in first.items())
    key = json.loads((features / "test_paper/member_0_4.json").read_text())["key"]
    assert np.array(key["std"]) / 255 == pytest.approx([0.2023, 0.1994, 0.2010])
    assert np.array(key["mean"]) / 255 == pytest.approx([0.4914, 0.4822, 0.4465])
    settings = [json.loads((tmp_path / f"runs/s/probe/p/results{p}.json").read_text()) for p in ("", "_paper")]
    assert [each["images"]["normalisation"] for each in settings] == ["cifar", "cifar_public"]
    assert main(["report", config, "--protocol", "paper"]) == 0
    made = {path: path.stat().st_mtime_ns for path in features.rglob("*.npy")}
    change(probe, "data", normalisation="cifar_public")  # chosen by the user, it is that of both protocols
    assert main(["probe", config]) == 0
    now = {path: path.stat().st_mtime_ns for path in features.rglob("*.npy")}
    assert {path.parent.name for path in now if now[path] != made[path]} == {"train", "test"}
    assert stored()["test/member_0_4.npy"] == stored()["test_paper/member_0_4.npy"]
