"""A data file that is cut under its reader: a line that names it, and no death without a word."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.support.processes import command, wait_until
from tests.support.small_study import ONE_CYCLE, write_study
from timecat.data.beton import read_beton
from timecat.data.loader import BetonLoader
from timecat.data.views import View
from timecat.errors import UserError

READ = """
import os, sys
import numpy as np
from timecat.data import views
from timecat.data.beton import read_beton
from timecat.data.loader import BetonLoader
path = sys.argv[1]
loader = BetonLoader(read_beton(path), np.arange(1000), view=views.View("whole"), resolution=28, batch_size=50)
BetonLoader._check_length = lambda self: None
os.truncate(path, 40_000)
list(loader)
"""


def test_a_bus_error_is_told(tmp_path, digits):
    """Of a page that is read after the last look at the file's length."""
    path = shutil.copy(digits / "train.beton", tmp_path)
    done = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
    assert done.stderr.startswith(f"timecat: {path}: was cut while it was read") and "SIGBUS" in done.stderr


def test_the_length_is_looked_at_for_each_batch(tmp_path, digits):
    path = shutil.copy(digits / "train.beton", tmp_path)
    loader = BetonLoader(read_beton(path), np.arange(1000), view=View("whole"), resolution=28, batch_size=50)
    assert len(list(loader)) == 20
    os.truncate(path, 40_000)
    with pytest.raises(UserError, match=r"train\.beton: was cut while it was read, 40,000 bytes of .* are left"):
        list(loader)


def test_a_training_whose_file_is_cut(tmp_path, digits):
    shutil.copy(digits / "train.beton", tmp_path)
    data, cats = {"root": str(tmp_path), "train": "train.beton"}, {"cat1": {"members": 1, "steps": 100_000}}
    config = write_study(tmp_path / "study.yaml", data, ONE_CYCLE, cats)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command("fit", "--config", config, "--member", "0"), stdout=log, stderr=log)
        try:
            wait_until(lambda: list(tmp_path.glob("runs/study/*/progress.json")), 180)
            with (tmp_path / "train.beton").open("r+b") as file:
                file.truncate(40_000)
            status = process.wait(timeout=60)
        finally:
            process.kill()
    text = (tmp_path / "log").read_text()
    assert status == 2 and "Traceback" not in text, text
    last = text.splitlines()[-1]
    assert last.startswith(f"timecat: {tmp_path}/train.beton: was cut while it was read"), text
    assert "the same command goes on" in last
