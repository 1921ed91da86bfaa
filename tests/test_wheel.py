"""The wheel holds all that commands need, in a directory that has nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from setuptools import find_packages
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
SOURCES = ("timecat", "configs", "launch", "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = "from setuptools import build_meta; print(build_meta.build_wheel('out'))"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory of packages with timecat's wheel alone; the others come from where the tests run."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "out").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "out").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "packages")
    return folder / "packages"


def test_the_wheel_holds_every_module_config_and_script(installed):
    for package in find_packages(str(ROOT), include=["timecat*"]):
        assert (installed / package.replace(".", "/") / "__init__.py").is_file(), package
    for folder in ("configs", "launch"):
        names = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert names == {path.relative_to(installed / "timecat") for path in files(installed / "timecat" / folder)}
    assert {path.name.split("-")[0] for path in installed.iterdir()} == {"timecat", "timecat_ensembles"}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_commands_work_from_an_empty_directory(installed, tmp_path):
    def timecat(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "timecat", *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    own = installed / "timecat"
    assert f"timecat's own: {own}/configs/demo.yaml" in (plan := timecat("plan", "--config", "configs/demo.yaml"))
    assert "probe digits" in plan and "probe fashion-mnist" in plan
    scripts = timecat("launch", "--config", "configs/cat5.yaml", "--dry-run")
    assert f"--config={own}/configs/cat5.yaml" in scripts and "# ---- member.sbatch" in scripts
    timecat("write", "digits", "data/digits")
    assert sorted(path.name for path in files(tmp_path) if path.suffix == ".beton") == ["test.beton", "train.beton"]

    images = load_digits().images
    for start, name in enumerate(("few", "many")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for place, pixels in enumerate(images[start::10][:16]):
            image = Image.fromarray(np.uint8(15 * pixels)).convert("RGB").resize((24, 24))
            image.save(tmp_path / "photos" / name / f"{place}.png")
    told = timecat("init", "photos", "--images", "80")
    assert "next: timecat plan --config configs/photos.yaml" in told
    jobs = timecat("launch", "--config", "configs/photos.yaml", "--dry-run")
    assert "would submit  probe photos, after 5 members" in jobs
    told = timecat("run", "configs/photos.yaml")
    assert "next: timecat features runs/photos:" in told
    assert "linear probes on frozen features" in timecat("report", "configs/photos.yaml")
