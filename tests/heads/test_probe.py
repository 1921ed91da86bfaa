"""The probe of a study: features once, resumable, never those of something else; heads as on images; two protocols."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import timecat.extraction.compute
from tests.support.small_study import change, rewrite, write_probe, write_study
from timecat import files
from timecat.cli import main
from timecat.config.files import ProbeFile
from timecat.data.beton import RAW, read_beton
from timecat.data.order import POOL, in_blocks, permuted
from timecat.data.write.beton_writer import BetonWriter
from timecat.extraction.parts import images_of
from timecat.members.checkpoint import save_snapshot
from timecat.networks.backbone import Weights, load_backbone
from timecat.networks.folded import folded
from timecat.networks.resnet import ScaledResNet, resnet
from timecat.study.results import read_results
from timecat.study.study import Study

TRAIN, HELD_OUT, TEST = 1000, 199, 797
DECAYS = [1e-4, 1e-2]
SMALL_SHARDS = """
import sys
from timecat.cli import main
from timecat.config.files import ProbeFile
from timecat.extraction.file import FeatureFile

if __name__ == "__main__":
    FeatureFile.__init__.__defaults__ = (100,)
    sys.exit(main(["probe", "--config", sys.argv[1]]))
"""
HELD = """
import time
from timecat.extraction.file import FeatureFile

write, written = FeatureFile.write, []
def held(*given):
    write(*given)
    written.append(given)
    time.sleep(600 * (len(written) == 18))
FeatureFile.write = held
"""


def make_study(root: Path, digits: Path, **probe) -> Path:
    """Four members whose training is finished: random networks, of which digits can be told well."""
    cats = {name: {"members": n, "steps": 10} for name, n in (("cat1", 1), ("cat2", 2), ("cat4", 4))}
    settings = {"name": "s", "probes": [str(root / "digits.yaml")], "unequal_because": "they share members"}
    data = {"root": str(digits)}
    write_study(root / "study.yaml", {**data, "holdout": 0.0}, {"stem": "small"}, cats, **settings)
    write_probe(
        root / "digits.yaml",
        {**data, "resolution": 14, "batch_size": 125, "workers": 1},
        {"weight_decays": DECAYS, "storage": "float32", **probe},
        {
            "snapshots": [str(root / f"runs/s/member_{k}/snapshot_10.pt") for k in range(2)],
            "weight_decay": DECAYS[1],
        },
        {
            "max_epochs": 28,
            "default_root_dir": str(root / "lightning"),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        },
        seed=3,
    )
    for plan in Study.read([str(root / "study.yaml")]).members:
        torch.manual_seed(plan.seed)
        directory = root / "runs" / "s" / plan.name
        save_snapshot(directory / "snapshot_10.pt", resnet(10, 8, 10, "small").state_dict())
        digest = files.sha256(directory / "snapshot_10.pt")
        files.write_json(directory / "done.json", {"step": 10, "snapshots": {"10": digest}})
    return root / "study.yaml"


@pytest.fixture
def config(tmp_path, digits) -> Path:
    return make_study(tmp_path, digits)


@pytest.fixture(scope="module")
def probed(tmp_path_factory, digits) -> Path:
    """A study that was probed, by both protocols."""
    path = make_study(tmp_path_factory.mktemp("probed"), digits)
    assert main(["probe", "--config", str(path)]) == 0
    assert main(["probe", "--config", str(path), "--protocol", "paper"]) == 0
    return path


@pytest.fixture
def forwards(monkeypatch) -> list[int]:
    """Images of each forward pass of a backbone."""
    seen, original = [], ScaledResNet.features

    def features(self, images):
        seen.append(len(images))
        return original(self, images)

    monkeypatch.setattr(ScaledResNet, "features", features)
    return seen


def arrays(config: Path) -> dict[str, bytes]:
    directory = config.parent / "runs" / "s" / "features"
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.npy"))}


def results(config: Path, protocol: str = "") -> dict:
    return json.loads((config.parent / f"runs/s/probe/digits/results{protocol}.json").read_text())


def fails(config: Path, capsys, *words: str) -> None:
    assert main(["probe", "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    for word in words:
        assert word in told, (word, told)


@pytest.mark.parametrize("views", [0, 2])
def test_each_image_goes_once_through_each_snapshot_in_each_view(tmp_path, digits, forwards, views, monkeypatch):
    """However many heads there are; and the backbones are afterwards what they were."""
    config = make_study(tmp_path, digits, views=views, weight_decays=[1e-4, 1e-3, 1e-2], lrs=[0.01, 0.1])
    change(tmp_path / "digits.yaml", "data", augment=bool(views))
    networks, original = [], timecat.extraction.compute.load_backbone

    def load_backbone(weights, device):
        networks.append((weights, original(weights, device)))
        return networks[-1][1]

    monkeypatch.setattr(timecat.extraction.compute, "load_backbone", load_backbone)
    assert main(["probe", "--config", str(config)]) == 0
    assert sum(forwards) == 4 * ((TRAIN * views + HELD_OUT if views else TRAIN) + TEST)
    assert len(networks) == 4 * (views + 2 if views else 2)
    for weights, network in networks:
        saved = torch.load(weights.path, weights_only=True)
        assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    heads = results(config)["cats"]["cat4"]["repetitions"]["0"]["heads"]
    assert len({(head["lr"], head["weight_decay"]) for head in heads}) == 6
    forwards.clear()
    assert main(["probe", "--config", str(config)]) == 0
    assert not forwards


def test_augmented_views_are_those_of_the_training_epochs(tmp_path, digits):
    """View k holds what the loader of a probe on images draws in epoch k, in the order of the samples."""
    config = make_study(tmp_path, digits, views=2)
    change(tmp_path / "digits.yaml", "data", augment=True)
    assert main(["probe", "--config", str(config)]) == 0
    data = images_of(ProbeFile.read(str(tmp_path / "digits.yaml")))
    network = resnet(10, 8, 10, "small")
    network.load_state_dict(torch.load(tmp_path / "runs/s/member_0/snapshot_10.pt", weights_only=True))
    network.eval()
    loader = data.train_loader(data.seed)
    for view in (1, 2):
        loader.set_epoch(view)
        images, _, indices = next(iter(loader))
        with torch.no_grad():
            expected = network.features(data.normalise(images))
        stored = np.load(tmp_path / f"runs/s/features/digits/train_view{view}/member_0_10.npy")[indices]
        torch.testing.assert_close(torch.from_numpy(stored), expected, rtol=1e-4, atol=1e-4)
        loader.close()


@pytest.mark.parametrize("storage", ["float16", "bfloat16"])
def test_features_are_stored_as_asked(probed, tmp_path, digits, storage):
    config = make_study(tmp_path, digits, storage=storage)
    assert main(["probe", "--config", str(config)]) == 0
    for name, content in arrays(config).items():
        full = np.load(probed.parent / "runs/s/features" / name)
        half = torch.from_numpy(np.load(tmp_path / "runs/s/features" / name))
        half = half.view(torch.bfloat16) if storage == "bfloat16" else half
        assert torch.equal(half, torch.from_numpy(full).to(half.dtype))
        assert len(content) < 0.51 * (full.nbytes + 256)


def test_the_fast_path_is_the_probe_on_images(probed, capsys, monkeypatch):
    """LightningCLI on images, by the paper's protocol: the same order, and the same test accuracy at the end."""
    path, orders = str(probed.parent / "digits.yaml"), {}

    def ordered(rows, seed, epoch):
        orders[epoch] = seed
        return in_blocks(rows, seed, epoch)

    monkeypatch.setattr("timecat.heads.cli.in_blocks", ordered)
    assert main(["fit", "--config", path, "--data.holdout=0"]) == 0
    assert orders == dict.fromkeys(range(28), 3)
    (checkpoint,) = (probed.parent / "lightning").rglob("*.ckpt")
    capsys.readouterr()
    assert main(["test", "--config", path, "--ckpt_path", str(checkpoint)]) == 0
    shown = capsys.readouterr().out
    on_images = 100 * float(next(line for line in shown.splitlines() if "test/acc1" in line).split()[-2])
    heads = results(probed, "_paper")["cats"]["cat2"]["repetitions"]["0"]["heads"]
    fast = {head["weight_decay"]: head["curve"][-1] for head in heads}
    assert on_images > 80
    assert fast[DECAYS[1]] == pytest.approx(on_images, abs=0.2)


def test_images_of_a_probe_come_in_the_order_of_its_heads(probed, monkeypatch):
    """In blocks, where there are more than a pool of them."""
    monkeypatch.setattr("timecat.data.order.POOL", 200)
    data = images_of(ProbeFile.read(str(probed.parent / "digits.yaml")))
    loader, fit = data.train_loader(data.seed), data.split()[0]
    loader.set_epoch(2)
    assert np.array_equal(loader.order(), in_blocks(fit, 3, 2)[: len(loader.order())])
    assert not np.array_equal(loader.order(), permuted(fit, 3, 2)[: len(loader.order())])


def test_held_out_choice_reads_the_test_set_once(probed):
    """The winner is the best of the held-out curves; its test accuracy is that of one prediction an image."""
    found = results(probed)
    assert found["protocol"] == "heldout"
    for cat in found["cats"].values():
        entry = cat["repetitions"]["0"]
        values = {head["weight_decay"]: head["curve"] for head in entry["heads"]}
        assert list(values) == DECAYS
        assert entry["chosen_by_acc1"] == max(max(curve) for curve in values.values())
        assert values[entry["weight_decay"]][entry["epochs"] - 1] == entry["chosen_by_acc1"]
        counts = [value * HELD_OUT / 100 for curve in values.values() for value in curve]
        assert np.allclose(counts, np.round(counts))
        assert sum(value is not None for value in entry["per_class"]) == 10
        assert entry["acc1"] < entry["acc5"] <= 100
    with np.load(probed.parent / "runs/s/probe/digits/predictions.npz") as stored:
        assert len(stored["labels"]) == TEST
        for name in ("cat1", "cat4"):
            entry = found["cats"][name]["repetitions"]["0"]
            assert entry["acc1"] == pytest.approx(100 * float((stored[f"{name}_0"] == stored["labels"]).mean()))


def test_the_papers_protocol_is_labelled(probed, capsys):
    """28 epochs, the best of them on the test set; beside the honest results, never in their place."""
    entry = results(probed, "_paper")["cats"]["cat2"]["repetitions"]["0"]
    curves = [head["curve"] for head in entry["heads"]]
    assert [len(curve) for curve in curves] == [28, 28]
    assert entry["acc1"] == entry["chosen_by_acc1"] == max(max(curve) for curve in curves)
    capsys.readouterr()
    assert main(["report", "--config", str(probed), "--protocol", "paper"]) == 0
    assert "ON THE TEST SET" in capsys.readouterr().out
    assert main(["report", "--config", str(probed)]) == 0
    told = capsys.readouterr().out
    assert "read once" in told and "ON THE TEST SET" not in told
    directory = probed.parent / "runs" / "s"
    assert "ON THE TEST SET" in (directory / "report_paper.md").read_text()
    assert "ON THE TEST SET" not in (directory / "report.md").read_text()
    assert (directory / "report_paper.png").exists()


def test_the_table_has_intervals_and_settings(probed, capsys):
    assert main(["probe", "--config", str(probed)]) == 0
    table = capsys.readouterr().out
    assert main(["report", "--config", str(probed)]) == 0
    report = json.loads((probed.parent / "runs/s/report.json").read_text())
    value = report["cats"]["cat4"]["acc1"]["digits"]
    low, high = value["interval"]
    assert low < value["mean"] < high
    assert f"{value['mean']:.1f} [{low:.1f}, {high:.1f}]" in table
    low, high = value["difference_interval"]
    assert low < value["difference"] < high
    assert f"{value['difference']:+.1f} [{low:+.1f}, {high:+.1f}]" in table
    right = {}
    with np.load(probed.parent / "runs/s/probe/digits/predictions.npz") as stored:
        for cat in ("cat1", "cat4"):
            right[cat] = stored[f"{cat}_0"] == stored["labels"]
    assert value["difference"] == pytest.approx(100 * (right["cat4"].mean() - right["cat1"].mean()))


def test_several_processes_write_the_same_features(probed, tmp_path, digits, capsys):
    """Two processes, each its share of the shards, and exact counts."""
    config = make_study(tmp_path, digits)
    change(tmp_path / "digits.yaml", "trainer", devices=2)
    (tmp_path / "small_shards.py").write_text(SMALL_SHARDS)
    done = subprocess.run(
        [sys.executable, tmp_path / "small_shards.py", config], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f"{4 * (TRAIN + TEST):,} forward passes of 4 snapshots" in done.stdout
    assert arrays(config) == arrays(probed)


def test_a_killed_extraction_goes_on_with_the_missing_shards(probed, tmp_path, config, forwards, monkeypatch):
    from timecat.extraction.file import FeatureFile

    process = subprocess.Popen([sys.executable, "-c", HELD + SMALL_SHARDS, str(config)], stdout=subprocess.DEVNULL)
    journals = [tmp_path / f"runs/s/features/digits/train/.member_{k}_10.shards" for k in range(4)]

    def done() -> list[int]:
        return [path.read_text().count("\n") - 1 if path.exists() else 0 for path in journals]

    while sum(done()) < 18:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done() == [5, 5, 4, 4]
    monkeypatch.setattr(FeatureFile.__init__, "__defaults__", (100,))
    assert main(["probe", "--config", str(config)]) == 0
    assert sum(forwards) == 4 * (TRAIN + TEST) - 100 * 18
    assert arrays(config) == arrays(probed)
    assert not list((tmp_path / "runs/s/features").rglob(".*"))
    assert results(config) == results(probed)


def test_features_of_something_else_are_never_used(probed, tmp_path, config, forwards, capsys):
    """Another study's file with its key, another view, other weights: computed anew; a swapped array: refused."""
    shutil.copytree(probed.parent / "runs/s/features", tmp_path / "runs/s/features")
    assert main(["probe", "--config", str(config)]) == 0
    assert not forwards  # the same weights and data: another study's features are these
    change(tmp_path / "digits.yaml", "data", resolution=12)
    assert main(["probe", "--config", str(config)]) == 0
    assert sum(forwards) == 4 * (TRAIN + TEST)
    forwards.clear()
    directory = tmp_path / "runs/s/features/digits/test"
    for suffix in (".npy", ".json"):  # of another member
        shutil.copy(directory / f"member_1_10{suffix}", directory / f"member_0_10{suffix}")
    shutil.rmtree(tmp_path / "runs/s/probe")
    assert main(["probe", "--config", str(config)]) == 0
    assert sum(forwards) == TEST
    shutil.copy(directory / "member_1_10.npy", directory / "member_0_10.npy")
    shutil.rmtree(tmp_path / "runs/s/probe")
    capsys.readouterr()
    fails(config, capsys, "member_0_10.npy", "is not what was written there", "remove it")
    (directory / "member_0_10.npy").write_bytes(b"")
    fails(config, capsys, "member_0_10.npy", "is not what was written there")
    (directory / "member_0_10.npy").unlink()
    assert main(["probe", "--config", str(config)]) == 0


def test_images_that_were_changed_are_seen_again(tmp_path, digits, forwards):
    """Other pixels at the same places, with the same labels."""
    for split in ("train", "test"):
        shutil.copy(digits / f"{split}.beton", tmp_path)
    config = make_study(tmp_path, tmp_path)
    assert main(["probe", "--config", str(config)]) == 0
    before = arrays(config)
    beton = read_beton(tmp_path / "test.beton")
    content = bytearray(beton.path.read_bytes())
    for start, size in zip(beton.offsets.tolist(), beton.sizes.tolist(), strict=True):
        content[start : start + size] = bytes(255 - value for value in content[start : start + size])
    beton.path.write_bytes(content)
    forwards.clear()
    assert main(["probe", "--config", str(config)]) == 0
    assert sum(forwards) == 4 * TEST
    changed = {name for name, stored in arrays(config).items() if stored != before[name]}
    assert changed == {f"digits/test/member_{k}_10.npy" for k in range(4)}


def test_a_snapshot_that_was_changed_is_refused(config, tmp_path, capsys):
    save_snapshot(tmp_path / "runs/s/member_2/snapshot_10.pt", resnet(10, 8, 10, "small").state_dict())
    fails(config, capsys, "member_2/snapshot_10.pt", "done.json")


@pytest.mark.parametrize(("value", "words"), [(torch.nan, "diverged"), (1e6, "too large for float16")])
def test_features_that_are_no_numbers_are_refused(tmp_path, digits, capsys, value, words):
    config = make_study(tmp_path, digits, storage="float16")
    path = tmp_path / "runs/s/member_1/snapshot_10.pt"
    state = torch.load(path, weights_only=True)
    state["layer4.0.bn2.bias"][:] = value
    save_snapshot(path, state)
    files.write_json(path.with_name("done.json"), {"step": 10, "snapshots": {"10": files.sha256(path)}})
    fails(config, capsys, "member_1/snapshot_10.pt", "not finite", words)


@pytest.mark.parametrize(("directory", "size"), [("features", 256), ("probe", 4)])
def test_a_full_disk_is_told_and_mended(config, tmp_path, probed, directory, size):
    """A file system of so many kB: one line; with more room the same command goes on."""
    mount = tmp_path / "runs/s" / directory
    mount.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", mount], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    command = [sys.executable, "-m", "timecat", "probe", "--config", str(config)]
    try:
        failed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["umount", mount], check=True)
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.count("\n") == 1 and "make room" in failed.stderr and "/runs/s/" in failed.stderr
    assert main(["probe", "--config", str(config)]) == 0
    assert arrays(config) == arrays(probed)
    assert results(config) == results(probed)


def test_a_class_without_test_images_counts_nowhere(config, tmp_path, digits, capsys):
    beton = read_beton(digits / "test.beton")
    kept = np.flatnonzero(beton.labels != 7)
    content = beton.path.read_bytes()
    with BetonWriter(tmp_path / "test.beton", len(kept)) as writer:
        for index, old in enumerate(kept):
            start, size = int(beton.offsets[old]), int(beton.sizes[old])
            writer.add(index, int(beton.labels[old]), RAW, 28, 28, content[start : start + size])
    change(tmp_path / "digits.yaml", "data", test=str(tmp_path / "test.beton"))
    assert main(["probe", "--config", str(config)]) == 0
    entry = results(config)["cats"]["cat1"]["repetitions"]["0"]
    rates = entry["per_class"]
    assert rates[7] is None and entry["mean_per_class"] == pytest.approx(np.mean([r for r in rates if r is not None]))
    assert "1 classes have no test image" in " ".join(capsys.readouterr().out.split())


def test_a_pass_that_is_interrupted_goes_on_to_the_same_results(config, tmp_path, probed, monkeypatch):
    """Saved after each epoch here; stopped in the middle of the refit."""
    from timecat.heads.sgd import Heads

    content = yaml.safe_load(config.read_text())
    content["study"]["checkpoint_minutes"] = 1e-9
    config.write_text(yaml.safe_dump(content))
    steps, original = [], Heads.step

    def step(self, *arguments):
        steps.append(1)
        if len(steps) == 28 * 6 + 20:
            raise KeyboardInterrupt
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Heads, "step", step)
        assert main(["probe", "--config", str(config)]) == 130
    assert main(["probe", "--config", str(config)]) == 0
    expected = results(probed)
    assert results(config) == expected
    assert not list((tmp_path / "runs/s/probe/digits").glob(".pass*"))


def test_heads_in_several_passes_are_the_same(tmp_path, digits, probed):
    """Room for one setting of the largest cat at a time, and features from the files."""
    config = make_study(tmp_path, digits, memory_gb=16 * 4 * 64 * 10 * 1.5 / 1e9)
    assert main(["probe", "--config", str(config)]) == 0
    for protocol in ("", "_paper"):
        if protocol:
            assert main(["probe", "--config", str(config), "--protocol", "paper"]) == 0
        for cat, entry in results(config, protocol)["cats"].items():
            expected = results(probed, protocol)["cats"][cat]["repetitions"]["0"]
            found = entry["repetitions"]["0"]
            assert found["weight_decay"] == expected["weight_decay"]
            assert found["acc1"] == pytest.approx(expected["acc1"], abs=0.3)
            assert [head["weight_decay"] for head in found["heads"]] == DECAYS


def test_the_convex_problem_by_its_own_solver(tmp_path, digits, capsys):
    config = make_study(tmp_path, digits, solver="lbfgs", weight_decays=[1e-3, 1e-1])
    assert main(["probe", "--config", str(config)]) == 0
    entry = results(config)["cats"]["cat4"]["repetitions"]["0"]
    assert entry["acc1"] > 85 and entry["lr"] is None
    for head in entry["heads"]:
        assert head["slope"] < 1e-3
        assert head["objective"][-1] == pytest.approx(min(head["objective"]), rel=1e-4)
    capsys.readouterr()
    assert main(["probe", "--config", str(config), "--protocol", "paper"]) == 2
    assert "lbfgs" in capsys.readouterr().err


def test_two_probes_of_one_data_set_do_not_meet(config, tmp_path, capsys):
    from timecat.study import progress

    held = progress.lock(tmp_path / "runs/s/probe/digits/lock")
    try:
        fails(config, capsys, "another process probes this data set")
    finally:
        os.close(held)


def test_equal_members_give_equal_hashes(probed):
    """The key beside each array names the weights that it was made of."""
    directory = probed.parent / "runs/s"
    for path in sorted((directory / "features/digits/test").glob("*.json")):
        run, step = path.stem.rsplit("_", 1)
        content = (directory / run / f"snapshot_{step}.pt").read_bytes()
        assert json.loads(path.read_text())["key"]["weights"] == hashlib.sha256(content).hexdigest()


def test_keys_tell_the_precision_that_was_used(probed, forwards):
    """`auto` is float32 on a CPU, which the config may say too: nothing is computed again."""
    for path in (probed.parent / "runs/s/features/digits/test").glob("*.json"):
        key = json.loads(path.read_text())["key"]
        assert (key["precision"], key["batch_norm"]) == ("float32", "folded")
    assert results(probed)["images"]["precision"] == "float32"
    assert main(["probe", "--config", str(probed), "--probe.precision", "float32"]) == 0
    assert main(["probe", "--config", str(probed)]) == 0
    assert not forwards and results(probed)["settings"]["order"] == "blocks"


def test_results_of_long_epochs_in_another_order_are_not_these(probed):
    """Earlier versions permuted all images at once, which of few is the same."""
    study = Study.read([str(probed)])
    (probe,) = study.probes
    path = study.directory.probe("digits").results("heldout")
    before = path.read_bytes()
    try:
        stored = json.loads(before)
        del stored["settings"]["order"]
        for images, same in ((TRAIN, True), (POOL + 1, False)):
            rewrite(path, settings=stored["settings"], train_images=images)
            assert (read_results(study, probe, "heldout") is not None) == same
        path.write_bytes(before)
        rewrite(path, images={**stored["images"], "precision": "bfloat16"})
        assert read_results(study, probe, "heldout") is not None  # by auto, on another device
        exact = replace(probe, probe=replace(probe.probe, precision="float32"))
        assert read_results(study, exact, "heldout") is None
    finally:
        path.write_bytes(before)


def test_backbones_in_bfloat16(probed, tmp_path, digits):
    """The stored features are the network's under torch's own autocast, and not those in float32."""
    config = make_study(tmp_path, digits, precision="bfloat16")
    assert main(["probe", "--config", str(config)]) == 0
    data = images_of(ProbeFile.read(str(tmp_path / "digits.yaml")))
    images, _, indices = next(iter(data.test_dataloader()))
    network = folded(load_backbone(Weights(tmp_path / "runs/s/member_0/snapshot_10.pt", 64), torch.device("cpu")))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = network.features(data.normalise(images)).float()
    features = [np.load(root / "runs/s/features/digits/test/member_0_10.npy") for root in (tmp_path, probed.parent)]
    stored, in_float32 = (torch.from_numpy(array[indices.numpy()]) for array in features)
    assert torch.equal(stored, expected)
    assert not torch.equal(stored, in_float32)
    torch.testing.assert_close(stored, in_float32, rtol=0.05, atol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("keys", [{}, {"memory_gb": 3e-4}, {"precision": "bfloat16", "compile": True}])
def test_a_gpu_finds_what_a_cpu_finds(probed, tmp_path, digits, keys):
    config = make_study(tmp_path, digits, **keys)
    assert main(["probe", "--config", str(config), "--trainer.accelerator", "gpu"]) == 0
    for cat, entry in results(config)["cats"].items():
        expected = results(probed)["cats"][cat]["repetitions"]["0"]["acc1"]
        assert abs(entry["repetitions"]["0"]["acc1"] - expected) < 1.5
