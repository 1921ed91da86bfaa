"""`timecat init` on uncleaned folders: what it finds and writes, and that plan and run take it as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support.terminal import Terminal
from timecat.cli import main
from timecat.data.beton import class_names, count_images
from timecat.init.choose import choose
from timecat.init.look import look
from timecat.study.study import Study


def draw(folder: Path, name: str, count: int, side: int = 24, ending: str = "png") -> None:
    rng = np.random.default_rng(len(name))
    (folder / name).mkdir(parents=True)
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side + i % 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / f"Bild {i}.{ending}")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """Three classes without splits: names with blanks and umlauts, a stray file, alpha, two broken images."""
    folder = tmp_path / "Meine Vögel"
    draw(folder, "Käuzchen", 20)
    draw(folder, "Star (m)", 16)
    draw(folder, "owl", 9, ending="JPG")
    (folder / "notes.txt").write_text("not an image")
    (folder / "owl" / "Thumbs.db").write_bytes(b"neither")
    Image.new("RGBA", (24, 24), (9, 9, 9, 90)).save(folder / "owl" / "alpha.png")
    (folder / "Star (m)" / "torn.jpg").write_bytes((folder / "owl" / "Bild 0.JPG").read_bytes()[:300])
    (folder / "Star (m)" / "text.png").write_text("text")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIMECAT_DATA", raising=False)
    return folder


@pytest.mark.slow
def test_three_commands_from_a_folder_to_the_report(photos, tmp_path, capsys):
    draw(tmp_path / "far" / "train", "a", 12)
    draw(tmp_path / "far" / "train", "b", 12)
    draw(tmp_path / "far" / "valid", "b", 5)
    draw(tmp_path / "far" / "valid", "a", 5)
    assert main(["init", str(photos), "--probe", "far", "--images", "170"]) == 0
    told = capsys.readouterr().out
    for word in ("3 classes", "48 train", "10 (owl) to 20", "torn.jpg", "text.png", "no test split: val", "ResNet10"):
        assert word in told, (word, told)
    config = "configs/Meine-Vogel.yaml"
    assert f"next: timecat plan --config {config}" in told
    study = Study.read([config])
    assert study.model.num_classes == 3 and study.data.resolution == 24
    assert {cat.images for cat in study.cats.values()} == {160}  # 20 steps of 8
    header = Path(config).read_text().partition("seed_everything")[0]
    assert "160 images a cat" in header and f"timecat run --config {config}" in header
    assert [probe.name for probe in study.probes] == ["Meine-Vogel", "far"]

    assert main(["plan", config]) == 0
    assert "4.71" in capsys.readouterr().out, "epochs of 34 images to train on, counted in the source"
    assert not Path("data").exists() and not Path("runs").exists()

    assert main(["run", config, "--probe.weight_decays", "[1e-3]", "--trainer.precision", "32-true"]) == 0
    assert sum(count_images(f"data/Meine-Vogel/{split}.beton") for split in ("train", "test")) == 46
    assert class_names(Path("data/Meine-Vogel/test.beton")) == ["Käuzchen", "Star (m)", "owl"]
    report = json.loads(Path("runs/Meine-Vogel/report.json").read_text())
    assert set(report["cats"]["cat5"]["acc1"]) == {"Meine-Vogel", "far"}
    capsys.readouterr()
    assert main(["plan", config, "--trainer.precision", "32-true"]) == 0, "files and source agree"


def test_nothing_is_overwritten(photos, capsys):
    assert main(["init", str(photos), "--images", "170"]) == 0
    Path("configs/Meine-Vogel.yaml").unlink()
    assert main(["init", str(photos), "--images", "400"]) == 2
    assert "configs/probe/Meine-Vogel.yaml: is there already" in capsys.readouterr().err
    assert not Path("configs/Meine-Vogel.yaml").exists()


@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (lambda photos: draw(photos, "Eule", 1), [], ("class 0 (Eule) has one image", "3")),
        (lambda photos: (draw(photos, "Eule", 2), draw(photos, "x", 1)), [], ("Eule (2), x (1)",)),
        (lambda photos: (photos / "owl" / "alpha.png").rename(photos / "alpha.png"), [], ("alpha.png", "in no class")),
        (lambda photos: (photos / "leer").mkdir(), [], ("leer", "without an image")),
        (lambda photos: None, ["--images", "5"], ("--images", "160 are the least")),
        (lambda photos: None, ["--test-fraction", "1.5"], ("--test-fraction 1.5",)),
        (lambda photos: None, ["--name", "a/b"], ("--name", "'a/b'")),
        (lambda photos: None, ["--probe", "nowhere"], ("nowhere", "no such directory")),
        (lambda photos: os.chdir(photos), [], ("lies among the images",)),
    ],
)
def test_a_bad_folder_ends_in_one_line(photos, tmp_path, capsys, spoil, arguments, words):
    spoil(photos)
    assert main(["init", str(photos), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error
    assert not (tmp_path / "configs").exists() and not (photos / "configs").exists()


@pytest.mark.parametrize(
    ("side", "view", "resolution", "max_side"),
    [
        (28, "small", 28, None),
        (64, "small", 64, None),
        (100, "imagenet", 64, None),
        (160, "imagenet", 128, None),
        (700, "imagenet", 224, 500),
    ],
)
def test_view_and_resolution_go_by_the_images(tmp_path, side, view, resolution, max_side):
    for name in "ab":
        draw(tmp_path / "p", name, 4, side)
    choice = choose(look(tmp_path / "p", 0.2))
    assert (choice.view, choice.resolution, choice.max_side) == (view, resolution, max_side)


@pytest.mark.slow
def test_hours_are_measured_on_this_machine(photos, capsys):
    """A budget for 0.01 hours takes about that: the speed is of real steps."""
    assert main(["init", str(photos), "--hours", "0.01"]) == 0
    config = yaml.safe_load(Path("configs/Meine-Vogel.yaml").read_text())
    steps = config["study"]["cats"]["cat1"]["steps"]
    told = capsys.readouterr().out
    speed = float(told.split(" images/s")[0].rsplit("\n", 1)[1].replace(",", ""))
    assert steps * config["data"]["batch_size"] == pytest.approx(36 * speed / 2.2, rel=0.05)


def test_it_fits_a_terminal_from_another_directory(photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "timecat", "init", "../Meine Vögel", "--images", "170"]
    shown = Terminal(command, elsewhere, **paths)
    assert shown.wait() == 0
    assert all(len(line) <= 80 for line in shown.lines), shown.text
    plan = subprocess.run(
        [*command[:3], "plan", "elsewhere/configs/Meine-Vogel.yaml"], cwd=tmp_path, env={**os.environ, **paths}
    )
    assert plan.returncode == 0
