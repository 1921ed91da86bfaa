"""What enters the scripts of a launch is quoted: nothing in a path is run, parted or replaced."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main

HOSTILE = "a b'$(touch x)`touch y`%j"
SHOW = """#!/bin/bash
printf '<%s>' "$@"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SLURM = {"SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_CPUS_PER_TASK": "1"}


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def hostile(tmp_path, digits, monkeypatch) -> tuple[Path, str]:
    """A folder of a name that a shell would read much into, with a study and a python there; and the study's config."""
    folder = tmp_path / HOSTILE
    python = executable(folder / "venv" / "python", SHOW)
    executable(tmp_path / "bin" / "srun", SRUN)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("TIMECAT", raising=False)
    monkeypatch.setattr(sys, "executable", str(python))
    return folder, write_study(
        folder / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}}
    )


def test_a_task_in_a_folder_of_any_name_runs_what_it_should(hostile, capsys):
    folder, config = hostile
    assert main(["launch", "--config", config, "--dry-run", "--comment", "it's $(touch z)"]) == 0
    printed = capsys.readouterr().out
    scripts = dict(re.findall(r"^# ---- (\S+\.\w+)\n(.*?)(?=^# ---- )", printed, re.MULTILINE | re.DOTALL))
    assert set(scripts) == {"member.sbatch", "probe.sbatch", "report.sbatch", "slurm.sh"}
    for name, text in scripts.items():
        script = folder / name
        script.write_text(text)
        checked = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
        assert checked.returncode == 0 and not checked.stderr
        if name == "slurm.sh":
            continue
        ran = subprocess.run(["bash", name], cwd=folder, env={**os.environ, **SLURM}, capture_output=True, text=True)
        stage = {"member.sbatch": "fit"}.get(name, name.partition(".")[0])
        assert ran.stdout.startswith(f"<-m><timecat><{stage}><--config={config}>"), (ran.stdout, ran.stderr)
        (output,) = [line.partition("=")[2] for line in text.splitlines() if line.startswith("#SBATCH --output")]
        (path,) = shlex.split(output)  # as sbatch reads it
        assert path.startswith(f"{folder}/runs/s/logs/".replace("%", "%%"))
    assert sorted(path.name for path in folder.rglob("*") if path.name in "xyz") == []


def test_the_words_of_timecat_in_the_environment_are_parted_as_before(hostile, capsys, monkeypatch):
    _, config = hostile
    monkeypatch.setenv("TIMECAT", "apptainer exec --nv timecat.sif timecat")
    assert main(["launch", "--config", config, "--dry-run"]) == 0
    assert "\nTIMECAT=(apptainer exec --nv timecat.sif timecat)\n" in capsys.readouterr().out
    report = Path("launch/report.sbatch").absolute()
    environment = {**os.environ, "TIMECAT": "echo said:"}
    ran = subprocess.run(["bash", report, "--config", "a b"], env=environment, capture_output=True, text=True)
    assert ran.stdout == "said: report --config a b\n"


@pytest.mark.parametrize("option", ["--comment=a\n#SBATCH --uid=0", "--comment\n", "--mem=4\x1b[1m", "-p\r"])
def test_an_option_with_a_line_of_its_own_is_refused(hostile, capsys, option):
    _, config = hostile
    assert main(["launch", "--config", config, "--dry-run", option]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "control characters" in said
