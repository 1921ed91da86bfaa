"""What run would refuse later is refused at once, by plan too, with file and line; and nothing is left behind."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.small_study import ONE_CYCLE, change, write_probe, write_study
from timecat.cli import main
from timecat.data.beton import RAW
from timecat.data.write.beton_writer import BetonWriter
from timecat.study.recipe import recipe
from timecat.study.study import Study


@pytest.fixture
def here(tmp_path, digits, monkeypatch) -> Path:
    """s.yaml and p.yaml on written digits; and a folder pictures/ with classes of 9, 9 and 2 images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIMECAT_DATA", raising=False)
    data = {"root": str(digits)}
    write_probe(tmp_path / "p.yaml", data, {"weight_decays": [1e-3]}, trainer={"max_epochs": 2})
    cats = {"cat1": {"members": 1, "steps": 4}}
    write_study(tmp_path / "s.yaml", data, ONE_CYCLE, cats, root="runs", probes=["p.yaml"])
    for name, count in (("ant", 9), ("bee", 9), ("wasp", 2)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(count):
            (tmp_path / "pictures" / name / f"{i}.png").write_bytes(b"")  # whose pixels nobody reads
    return tmp_path


def line_of(path: str, key: str) -> str:
    lines = Path(path).read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:")]
    return f"{path}:{found}: "


def refused(capfd, *words: str, commands: tuple[str, ...] = ("plan", "run", "fit")) -> None:
    for command in commands:
        capfd.readouterr()
        assert main([command, "s.yaml"]) == 2, command
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and all(word in error for word in words), (command, error)
        assert not Path("runs").exists() and not Path("data").exists(), command


def small_file(name: str, labels: list[int]) -> str:
    with BetonWriter(name, len(labels)) as writer:
        for i, label in enumerate(labels):
            writer.add(i, label, RAW, 28, 28, np.zeros((28, 28, 3), np.uint8).tobytes())
    Path(name).with_suffix(".json").write_text('{"classes": ["ant", "bee", "wasp"]}')
    return str(Path(name).absolute())


@pytest.mark.parametrize(
    ("path", "section", "keys", "key", "words"),
    [
        ("s.yaml", "data", {"resoluton": 28}, "resoluton", "unknown key data.resoluton; did you mean resolution?"),
        ("s.yaml", "model", {"width": 0}, "width", "model.width is 0; it must be a whole number from 1 to 4,096"),
        ("s.yaml", "model", {"width": 12}, "width", "model.width 12 must be a multiple of 8"),
        ("s.yaml", "trainer", {"log_every_n_steps": "x"}, "log_every_n_steps", "it must be a whole number"),
        ("s.yaml", "trainer", {"precision": "bf15"}, "precision", "bf16-mixed"),
        ("s.yaml", "trainer", {"max_steps": 3}, "max_steps", "trainer.max_steps is the study's to set"),
        ("s.yaml", "model", {"num_classes": 9}, "num_classes", "label 9 is out of range"),
        ("s.yaml", "data", {"train_images": 999}, "train_images", "holds 1,000 images, data.train_images says 999"),
        ("s.yaml", "data", {"batch_size": 900}, "batch_size", "its 801 images do not fill one batch of 900"),
        ("p.yaml", "data", {"batch_siz": 9}, "batch_siz", "did you mean batch_size?"),
        ("p.yaml", "probe", {"storage": "float8"}, "storage", "one of float16"),
        ("p.yaml", "model", {"num_classes": 9}, "num_classes", "label 9 is out of range"),
        ("p.yaml", "data", {"batch_size": 802}, "batch_size", "its 801 images do not fill one batch of 802"),
        ("p.yaml", "data", {"holdout": 0.0}, "holdout", "data.holdout is 0"),
        ("p.yaml", "probe", {"memory_gb": 1e-9}, "memory_gb", "probe.memory_gb is 1e-09"),
    ],
)
def test_a_key_is_told_with_file_and_line(here, capfd, path, section, keys, key, words):
    change(path, section, **keys)
    refused(capfd, line_of(path, key), words)


def test_a_key_of_the_command_line_has_no_line(here, capfd):
    assert main(["plan", "s.yaml", "--model.width", "12"]) == 2
    assert capfd.readouterr().err.startswith("timecat: model.width 12 must be")


def test_broken_yaml_and_keys_given_twice_have_a_line(here, capfd):
    text = Path("s.yaml").read_text()
    lines = len(text.splitlines())
    for more, words in (("model: [\n", "not YAML"), ("data: {}\n", "the key 'data' stands twice")):
        Path("s.yaml").write_text(text + more)
        refused(capfd, "s.yaml:", words)
    assert lines > 5


def test_a_missing_key_has_its_section_s_line(here, capfd):
    config = yaml.safe_load(Path("s.yaml").read_text())
    del config["data"]["train"]
    Path("s.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    refused(capfd, line_of("s.yaml", "data"), "data.train is missing")


def test_classes_too_small_are_told_by_name(here, capfd):
    """Of files, and of folders that are still to be written."""
    path = small_file("few.beton", [0] * 40 + [1] * 40 + [2])
    change("p.yaml", "data", train=path, test=path, batch_size=8)
    refused(capfd, "few.beton", "class 2 (wasp) has one image")
    written = {"root": None, "source": str(here / "pictures"), "train": "w/train.beton", "test_fraction": 0.4}
    change("p.yaml", "data", **written, test="w/test.beton")
    refused(capfd, "pictures", "class 2 (wasp) has one image", commands=("plan", "run"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"test": "w/val.beton"}, "has no such split, it makes train.beton, test.beton"),
        ({"batch_size": 16}, "its 13 images do not fill one batch of 16"),
        ({"source": "pictues"}, "data.source pictues: no such directory"),
        ({"source": "torchvision:CIFAR10"}, "timecat write torchvision:CIFAR10"),
        ({"source": None}, "no such file"),
    ],
)
def test_a_source_is_looked_at_before_anything_is_written(here, capfd, keys, words):
    (here / "pictures" / "wasp" / "2.png").write_bytes(b"")
    given = {"root": None, "source": str(here / "pictures"), "train": "w/train.beton", "test": "w/test.beton"}
    change("p.yaml", "data", **{**given, "test_fraction": 0.2, "holdout": 0.1, "batch_size": 4, **keys})
    change("p.yaml", "model", num_classes=3)
    if keys == {"source": None}:  # plan needs no file, as long as the config has the numbers
        assert main(["plan", "s.yaml"]) == 0
        assert "w/train.beton: no such file; write it with" in capfd.readouterr().out
    refused(capfd, words, commands=("run",) if keys == {"source": None} else ("plan", "run"))


def test_plan_tells_costs_though_the_images_are_elsewhere(here, capfd):
    change("s.yaml", "data", root=None, source="far/away", train="x/train.beton", train_images=1000)
    for status in (0, 2):  # without train_images there is nothing to count epochs by
        capfd.readouterr()
        assert main(["plan", "s.yaml"]) == status
        told = capfd.readouterr()
        assert "members to train" in told.out and line_of("s.yaml", "source") + "data.source far/away" in told.err
        change("s.yaml", "data", train_images=None)
    refused(capfd, "data.source far/away", commands=("run",))


def test_another_recipe_or_file_is_told_before_data_are_written(here, capfd):
    assert main(["fit", "s.yaml"]) == 0
    change("s.yaml", "model", lr=0.2)
    for command in ("plan", "run"):
        capfd.readouterr()
        assert main([command, "s.yaml"]) == 2
        assert "model.lr 0.1, the config says 0.2" in capfd.readouterr().err


def test_what_only_lightning_refuses_leaves_nothing(here, capfd):
    change("s.yaml", "trainer", strategy="no such strategy")
    refused(capfd, "no such strategy", commands=("fit", "run"))


def test_two_probes_of_one_name_are_refused(here, capfd):
    Path("other").mkdir()
    Path("other/p.yaml").write_text(Path("p.yaml").read_text())
    change("s.yaml", "study", probes=["p.yaml", "other/p.yaml"])
    refused(capfd, "two data sets p")


def test_classes_are_inferred_from_files_and_from_a_source_alike(here, capfd):
    whole = Study.read(["s.yaml"])
    for path in ("s.yaml", "p.yaml"):
        config = yaml.safe_load(Path(path).read_text())
        del config["model"]["num_classes"]
        Path(path).write_text(yaml.safe_dump(config, sort_keys=False))
    left_out = Study.read(["s.yaml"])
    assert recipe(left_out, left_out.members[0]) == recipe(whole, whole.members[0])
    assert left_out.probes[0].model.num_classes == 10
    images = {"root": None, "source": "pictures", "train": "w/train.beton"}
    change("s.yaml", "data", **images, batch_size=4)
    assert Study.read(["s.yaml"]).model.num_classes == 3
    change("s.yaml", "data", source=None)
    refused(capfd, "s.yaml:", "model.num_classes is not given", "add it")


@pytest.mark.parametrize("key", ["RANK", "LOCAL_RANK"])
def test_one_process_too_many_is_refused(here, capfd, monkeypatch, key):
    """It would train without a word, and write nothing."""
    monkeypatch.setenv(key, "1")
    refused(capfd, f"{key} is 1, but trainer.devices and trainer.num_nodes make 1 process", commands=("fit", "run"))


def test_plan_is_quick_and_needs_no_torch(here):
    code = "import sys; from timecat.cli import main; main(['plan', 's.yaml']); assert 'torch' not in sys.modules"
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
    assert time.monotonic() - started < 10  # 0.7 s on a quiet machine
