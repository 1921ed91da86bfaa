"""500 damaged files of a finished study: whatever reads them ends in what it is for, or in a line that names one."""

import shutil
from pathlib import Path

import pytest

from tests.support.damaged_files import damage
from tests.support.finished_study import CONFIG, finished_study, kept_files
from tests.support.hostile import ended

pytestmark = pytest.mark.fuzz
SEEDS, CASES = 25, 20
COMMANDS = ("report", "probe", "plan", "report")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Path:
    return finished_study(tmp_path_factory.mktemp("finished"), digits)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_damaged_file_ends_in_a_line(seed, finished, monkeypatch):
    monkeypatch.chdir(finished)
    files, wrong = kept_files(finished), []
    shutil.copytree("runs", "whole", dirs_exist_ok=True)
    for case in range(CASES):
        number = seed * CASES + case
        path = files[number % len(files)]
        what = damage(path, number)
        for command in ("status", COMMANDS[number // len(files) % len(COMMANDS)]):
            _, why, _ = ended([command, CONFIG])
            if why:
                wrong.append(f"case {number}, {path.relative_to(finished)}, {what}: {command}: {why}")
        shutil.rmtree("runs")
        shutil.copytree("whole", "runs")
    print(f"seed {seed}: {CASES} cases, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
