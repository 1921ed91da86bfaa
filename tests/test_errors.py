"""Bad input through the real command: exit status 2 and one line on stderr that names the thing."""

import logging
import subprocess
import sys
from pathlib import Path

import lightning  # noqa: F401 (its loggers are set up by the import)
import numpy as np
import pytest
import torch
import yaml

from tests.support.small_study import write_probe, write_study
from timecat.cli import main
from timecat.data.beton import RAW
from timecat.data.write.beton_writer import BetonWriter


@pytest.fixture
def here(tmp_path, digits, monkeypatch) -> Path:
    """The working directory: tiny.yaml, probe.yaml and the digits under data/."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits").symlink_to(digits)
    monkeypatch.chdir(tmp_path)
    images = {"train": "digits/train.beton", "workers": 1}
    model, cats = {"stem": "small", "optimizer": "sgd", "lr": 0.1}, {"cat1": {"members": 1, "steps": 4}}
    write_study(Path("tiny.yaml"), {**images, "holdout": 0.0}, model, cats, root="runs", probes=["probe.yaml"])
    trainer = {"max_epochs": 1, "default_root_dir": "probe", "logger": False}
    probe = {**images, "test": "digits/test.beton", "batch_size": 256}
    write_probe(Path("probe.yaml"), probe, {"weight_decays": [5e-4]}, {"snapshots": ["snapshot.pt"]}, trainer)
    monkeypatch.delenv("TIMECAT_DATA", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    return tmp_path


def change(path: str, **keys) -> None:
    """Set dotted keys (with __ for the dot) of a config; None removes one."""
    config = yaml.safe_load(Path(path).read_text())
    for dotted, value in keys.items():
        *parents, last = dotted.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[last] = value
        if value is None:
            del section[last]
    Path(path).write_text(yaml.safe_dump(config, sort_keys=False))


def check(status: int, stderr: str, words: tuple[str, ...]) -> None:
    assert status == 2, stderr
    assert stderr.count("\n") == 1 and stderr.startswith("timecat: ") and stderr.endswith("\n"), stderr
    assert len(stderr) < 500 and "Traceback" not in stderr
    for word in words:
        assert word in stderr, (word, stderr)


def command(*arguments: str, words: tuple[str, ...], cwd: Path) -> None:
    """A process of its own; for what answers without torch."""
    done = subprocess.run(
        [sys.executable, "-m", "timecat", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
    check(done.returncode, done.stderr, words)


@pytest.fixture
def run(here, capfd, monkeypatch):
    """The command in this process, with Lightning as talkative as in a new one; its import takes seconds."""
    monkeypatch.setattr(logging.getLogger("lightning"), "handlers", [logging.StreamHandler(sys.stderr)])
    for name in ("lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
        logger.setLevel(logging.INFO)

    def run(*arguments: str, words: tuple[str, ...]) -> None:
        capfd.readouterr()
        status = main(list(arguments))
        check(status, capfd.readouterr().err, words)

    return run


def test_unknown_command(here):
    command("pln", "--config", "tiny.yaml", words=("'pln'", "did you mean plan?"), cwd=here)


def test_missing_config(here):
    command("plan", "--config", "nowhere.yaml", words=("nowhere.yaml", "No such file"), cwd=here)


def test_broken_yaml(here):
    with (here / "tiny.yaml").open("a") as config:
        config.write("model: [\n")
    command("plan", "--config", "tiny.yaml", words=("tiny.yaml", "not YAML"), cwd=here)


def test_a_directory_without_images(here):
    (here / "empty" / "cat").mkdir(parents=True)
    (here / "empty" / "cat" / "notes.txt").write_text("no image")
    command("write", "empty", "out", words=("empty", "image"), cwd=here)
    assert not (here / "out").exists()


def test_unknown_model_key(here):
    """The one case that pays for Lightning in a process of its own: nothing else may speak on stderr."""
    change("tiny.yaml", model__widht=8)
    command("fit", "--config", "tiny.yaml", words=("widht",), cwd=here)
    assert not list(here.glob("runs/tiny/member_*/*.pt"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"modle": {"width": 8}}, ("tiny.yaml", "'modle'", "model")),
        ({"study__repetition": 4}, ("study.repetition", "did you mean repetitions?")),
        ({"study__cats__cat1__setps": 4}, ("study.cats.cat1.setps", "steps")),
        ({"trainer__max_steps": 4}, ("trainer.max_steps", "study.cats")),
        ({"trainer__accumulate_grad_batches": 4}, ("trainer.accumulate_grad_batches", "data.device_batch_size")),
        ({"study__name": None}, ("study.name",)),
        ({"data__train": None}, ("data.train is missing",)),
        (
            {"study__cats__cat4": {"members": 4, "steps": 2}},
            ("cat4's 4 x 2 steps x 32 = 256 images", "2.000 times", "cat1's 1 x 4 steps x 32 = 128 images", "1.125"),
        ),
        ({"study__baseline": "cat9"}, ("study.baseline", "cat9", "cat1")),
        ({"study__cats__cat1": {"members": 1, "images": 100}}, ("study.cats.cat1.images", "100", "32", "96", "128")),
    ],
)
@pytest.mark.parametrize("name", ["plan", "fit"])
def test_a_config_that_makes_no_sense(here, name, keys, words):
    change("tiny.yaml", **keys)
    command(name, "--config", "tiny.yaml", words=words, cwd=here)
    assert not Path("runs").exists()


def test_member_out_of_range(here):
    command("fit", "--config", "tiny.yaml", "--member", "1", words=("member 1", "tiny", "0 to 0"), cwd=here)


def test_a_launch_without_slurm(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    command("launch", "--config", "tiny.yaml", words=("no sbatch", "timecat run"), cwd=here)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "given", [["-c", "6", "tiny.yaml"], ["tiny.yaml", "-c=6"], ["--config", "tiny.yaml", "-c", "6"]]
)
def test_sbatchs_cores_that_would_be_a_config(here, given):
    command("launch", *given, "--partition", "gpu", words=("-c 6", "--cpus-per-task 6"), cwd=here)


def test_a_data_set_that_is_not_probed(here):
    command("probe", "--config", "tiny.yaml", "--data", "prob", words=("--data prob", "tiny", "probe"), cwd=here)


def test_data_file_that_is_not_there(run):
    change("tiny.yaml", data__train="digits/nowhere.beton")
    for name in ("fit", "run"):
        run(name, "--config", "tiny.yaml", words=("nowhere.beton", "no such file", "timecat write"))


def test_data_file_that_is_cut_short(run, digits):
    Path("data/cut.beton").write_bytes((digits / "train.beton").read_bytes()[:-1000])
    change("tiny.yaml", data__train="cut.beton")
    for name in ("plan", "fit"):
        run(name, "--config", "tiny.yaml", words=("data/cut.beton", "cut short", "timecat write"))


def test_a_class_of_one_image_cannot_be_held_out(run):
    pixels = np.zeros((28, 28, 3), np.uint8).tobytes()
    with BetonWriter("data/lonely.beton", 65) as writer:
        for i in range(65):
            writer.add(i, int(i == 64), RAW, 28, 28, pixels)
    change("tiny.yaml", data__train="lonely.beton", data__holdout=0.2)
    run("fit", "--config", "tiny.yaml", words=("lonely.beton", "class 1", "one image"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model__lr": "fast"}, ("model.lr", "fast", "a number")),
        ({"model__optimizer": "adamm"}, ("model.optimizer", "adamm", "sgd")),
        ({"model__width": 12}, ("model.width 12", "8")),
        ({"model__num_classes": 5}, ("train.beton", "label 9", "model.num_classes")),
        ({"data__batch_size": 1001}, ("train.beton", "1,000", "1,001", "data.batch_size")),
        ({"data__resolution": 0}, ("data.resolution", "0")),
        ({"data__padding": 40}, ("data.padding", "40")),
        ({"study__cats__cat1__model": {"widht": 16}}, ("widht",)),
        ({"trainer__presicion": 32}, ("presicion",)),
        ({"trainer__accelerator": "gpuu"}, ("gpuu", "cpu")),
        ({"trainer__sync_batchnorm": True}, ("trainer.sync_batchnorm", "false")),
        ({"model__schedule": "linear", "model__warmup_steps": 4}, ("model.warmup_steps", "4")),
        ({"model__init": "he"}, ("model.init", "lecun")),
        ({"model__nesterov": True, "model__momentum": 0.0}, ("sgd", "momentum")),
        ({"model__optimizer": "schedule_free_adamw", "model__momentum": 0.0}, ("schedule_free_adamw", "momentum")),
        ({"model__lr_batch_size": 0}, ("model.lr_batch_size", "0")),
        ({"model__batch_norm_batches": 0}, ("model.batch_norm_batches", "0")),
        ({"model__label_smoothing": 1.5}, ("model.label_smoothing", "1.5")),
        ({"data__train_resolution": [30, 32]}, ("data.train_resolution", "32")),
        ({"data__device_batch_size": 0}, ("data.device_batch_size", "0")),
    ],
)
def test_values_that_only_training_can_judge(run, keys, words):
    change("tiny.yaml", **keys)
    run("fit", "--config", "tiny.yaml", words=words)


def test_a_failed_attempt_does_not_bind_the_study(run, capfd):
    run("fit", "--config", "tiny.yaml", "--data.holdout", "1.5", words=("data.holdout", "1.5", "below 1"))
    assert main(["fit", "--config", "tiny.yaml"]) == 0, capfd.readouterr().err


def test_order_of_the_stages_and_another_recipe(run, here, capfd):
    run("probe", "--config", "tiny.yaml", words=("runs/tiny/member_0/snapshot_4.pt", "timecat fit"))
    assert main(["fit", "--config", "tiny.yaml"]) == 0, capfd.readouterr().err
    run("report", "--config", "tiny.yaml", words=("runs/tiny", "timecat probe"))

    snapshot = Path("runs/tiny/member_0/snapshot_4.pt")
    before = snapshot.read_bytes()
    words = ("runs/tiny/member_0", "model.lr", "0.1", "0.2", "study.name")
    run("fit", "--config", "tiny.yaml", "--model.lr", "0.2", words=words)
    change("tiny.yaml", model__lr=0.2)
    command("fit", "--config", "tiny.yaml", words=words, cwd=here)
    for finished in (True, False):  # neither counted as finished nor gone on with
        if not finished:
            Path("runs/tiny/member_0/done.json").unlink()
        run("fit", "--config", "tiny.yaml", words=words)
    assert snapshot.read_bytes() == before


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ("snapshot.pt", "no such snapshot")),
        (lambda path: torch.save({"a": torch.zeros(3)}, path), ("snapshot.pt", "fits no ResNet", "conv1.weight")),
        (lambda path: torch.save([1, 2], path), ("snapshot.pt", "state_dict")),
        (lambda path: path.write_bytes(b"garbage" * 100), ("snapshot.pt", "cannot be read as weights")),
    ],
)
def test_a_snapshot_that_is_none(run, make, words):
    make(Path("snapshot.pt"))
    run("fit", "--config", "probe.yaml", words=words)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"data__holdout": 0.0}, ("probe.yaml", "data.holdout")),
        ({"probe__weight_decay": [0.1]}, ("probe.yaml", "probe.weight_decay", "did you mean weight_decays?")),
        ({"probe__weight_decays": []}, ("probe.yaml", "probe.weight_decays", "different numbers")),
        ({"probe__weight_decays": [0.1, 0.1]}, ("probe.weight_decays", "different")),
        ({"probe__lrs": 0.1}, ("probe.lrs", "a list")),
        ({"probe__storage": "float8"}, ("probe.storage", "float16, bfloat16, float32")),
        ({"probe__views": -1}, ("probe.views",)),
        ({"probe__memory_gb": 0}, ("probe.memory_gb", "above 0")),
        ({"probe__solver": "lbfgs", "probe__weight_decays": [0]}, ("probe.weight_decays", "no optimum")),
        ({"probe__solver": "lbfgs", "probe__views": 2}, ("lbfgs", "views")),
        ({"data__test": "digits/nowhere.beton"}, ("nowhere.beton", "no such file")),
    ],
)
def test_a_probe_that_makes_no_sense(run, keys, words):
    change("probe.yaml", **keys)
    run("probe", "--config", "tiny.yaml", words=words)


def test_an_unknown_protocol(run):
    run("probe", "--config", "tiny.yaml", "--protocol", "best", words=("--protocol", "heldout", "paper"))
