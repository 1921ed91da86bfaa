"""Files that a study has left, damaged or edited: named with what to do, or made again; never believed or lost."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.damaged_files import damage
from tests.support.finished_study import CONFIG, finished_study, kept_files
from tests.support.hostile import SECONDS, ended, limited
from tests.support.in_process import in_a_pipe
from timecat.study.directory import Done
from timecat.study.results import Results
from timecat.study.schema import mismatch


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Path:
    folder = finished_study(tmp_path_factory.mktemp("finished"), digits, small=True)
    shutil.copytree(folder / "runs", folder / "whole")
    return folder


@pytest.fixture
def runs(finished, monkeypatch) -> Path:
    monkeypatch.chdir(finished)
    shutil.rmtree("runs")
    shutil.copytree("whole", "runs")
    return Path("runs/study")


FINISHED_WORK = {  # what must be told, never made anew: a file, an edit, and who reads it
    "probe/probe/results.json": ("status", "report", "probe"),
    "member_0_2/done.json": ("status", "probe", "fit"),
    "member_0_2/recipe.json": ("plan", "fit"),
}
EDITS = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "another type": lambda text: "[1, 2]",
    "no keys": lambda text: '{"version": 2, "model.width": "x", "cats": []}',
    "brackets": lambda text: "[" * 5000,
}


@pytest.mark.parametrize("name", FINISHED_WORK)
@pytest.mark.parametrize("edit", EDITS)
def test_a_damaged_file_is_named_or_made_again(runs, name, edit):
    path = runs / name
    damaged = EDITS[edit](path.read_text())
    path.write_text(damaged)
    for command in FINISHED_WORK[name]:
        status, why, line = ended([command, CONFIG], (2,))
        assert not why and status == 2, (command, why)
        assert str(path) in line and "put it back" in line, (command, line)
    assert path.read_text() == damaged


@pytest.mark.parametrize("name", ["report.json", "compare/made_of.json", "member_0_2/progress.json", "study.json"])
def test_what_costs_nothing_is_made_again(runs, name):
    path = runs / name
    before = json.loads(path.read_text())
    path.write_text("{")
    for command in ("status", "fit", "report"):
        status, why, _ = ended([command, CONFIG])
        assert not why and status == 0, (command, why)
    if name != "member_0_2/progress.json":
        assert json.loads(path.read_text()).keys() == before.keys()


def test_an_edited_accuracy_is_not_believed(runs):
    path = runs / "probe/probe/results.json"
    content = json.loads(path.read_text())
    content["cats"]["cat1"]["repetitions"]["0"]["acc1"] += 1
    del content["checksum"]
    path.write_text(json.dumps(content))
    status, why, line = ended(["report", CONFIG], (2,))
    assert not why and status == 2 and "predictions" in line


@pytest.mark.parametrize(
    ("pattern", "commands"),
    [
        ("member_0_2/last.ckpt", ["fit"]),
        ("features/probe/test/*.npy", ["knn"]),
        ("probe/probe/predictions.npz", ["report", "probe"]),
        ("probe/probe/logits/*.npy", ["report"]),
    ],
)
def test_pipes_in_place_of_files_hang_nobody(runs, pattern, commands):
    path = next(runs.glob(pattern))
    path.unlink()
    os.mkfifo(path)
    with limited(SECONDS):
        status, told, _ = in_a_pipe(["verify", CONFIG])
    assert status == 1 and str(path) in told
    for command in commands:
        status, why, line = ended([command, CONFIG])
        assert not why and (status == 0 or str(path) in line), (command, why, line)


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_ends_in_a_line(seed, runs):
    path = kept_files(Path.cwd())[seed % len(kept_files(Path.cwd()))]
    what = damage(path, seed)
    for command in ("status", ("report", "probe")[seed % 2]):
        _, why, _ = ended([command, CONFIG])
        assert not why, (path, what, command, why)


def test_a_mismatch_is_told_by_its_key():
    done = {"step": 4, "snapshots": {"4": "00"}, "metrics": {"val/acc1": float("nan")}, "more": 1}
    assert mismatch(done, Done) is None
    assert mismatch({**done, "step": "4"}, Done) == "step is '4', not a whole number"
    assert mismatch({**done, "step": True}, Done) == "step is True, not a whole number"
    assert mismatch({**done, "step": 2**63}, Done) == f"step is {2**63}, not a whole number"
    assert mismatch({**done, "snapshots": {"4": 1}}, Done) == "snapshots.4 is 1, not a word"
    assert mismatch({"step": 1}, Done) == "snapshots is missing"
    assert mismatch([], Results) == "it is [], not a section"
    assert mismatch({"a": [1, None, "x"]}, dict[str, list[int | None]]) == "a.2 is 'x', not a whole number"
    assert mismatch([1.0], tuple[float, float]) == "it is [1.0], not a list of 2"
