"""Members in arrays: by length, with time limits and a throttle; and how slurm.sh submits them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from timecat.cli import main
from timecat.cluster import slurm
from timecat.cluster.arrays import arrays, as_time, minutes_of
from timecat.cluster.few_cores import say_of_few_cores
from timecat.errors import UserError
from timecat.study.study import Study

DAY = 24 * 60
# stands for sbatch: writes what it was called with, and says a job's number
SBATCH = '#!/bin/sh\necho "$@" >>"$CALLS"\nwc -l <"$CALLS"\n'


@pytest.fixture(scope="module")
def table1() -> Study:
    """Members of 450,000, 200,000, 100,000, 100,000 and 80,000 steps of 1,024 images."""
    return Study.read(["configs/table1.yaml"])


@pytest.mark.parametrize(
    ("images_per_sec", "longest", "throttle", "expected"),
    [
        (None, DAY, None, ["0,1,2,3,4"]),
        (None, DAY, 2, ["0,1,2,3,4%2"]),
        (None, DAY, 5, ["0,1,2,3,4"]),
        # 51.8 h at 2,470 images/s times 1.25 and half an hour is 65.3 h; 23.03 is 29.3; 11.5 is 14.9; 9.2 is 12.01
        (2470, None, None, ["0@2-17:30:00", "1@1-05:30:00", "2,3@15:00:00", "4@12:30:00"]),
        (2470, DAY, None, ["0,1@1-00:00:00", "2,3@15:00:00", "4@12:30:00"]),
        (2470, DAY, 2, ["0,1%1@1-00:00:00", "2,3,4%1@15:00:00"]),
        (2470, DAY, 3, ["0,1%1@1-00:00:00", "2,3%1@15:00:00", "4@12:30:00"]),
        (2470, DAY, 4, ["0,1@1-00:00:00", "2,3%1@15:00:00", "4@12:30:00"]),
        (2470, DAY, 1, ["0,1,2,3,4%1@1-00:00:00"]),
    ],
)
def test_members_fall_into_arrays(table1, images_per_sec, longest, throttle, expected):
    found = arrays(table1.members, table1.batch_size, images_per_sec, longest, throttle)
    assert [str(array) for array in found] == expected
    if throttle:
        assert sum(array.at_once or len(array.members) for array in found) <= throttle


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("30", 30), ("30:01", 31), ("12:00:00", 720), ("1-6", 1800), ("1-6:30", 1830), ("2-00:00:30", 2881)],
)
def test_slurms_times(time, minutes):
    assert minutes_of(time) == minutes
    assert minutes_of(as_time(minutes)) == minutes


def test_a_time_that_is_none():
    assert minutes_of("UNLIMITED") is None
    with pytest.raises(UserError, match="--time soon: is no time"):
        minutes_of("soon")


def test_a_dry_run_tells_the_arrays_and_plan_the_limits(capsys):
    study = ["--config", "configs/table1.yaml", "--images-per-sec", "2470"]
    assert main(["launch", *study, "--gres=gpu:4", "--throttle", "2", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert re.findall("^# sbatch .*", printed, re.MULTILINE) == [
        "# sbatch --array=0-1%1 --time=17:00:00 member.sbatch",
        "# sbatch --array=2-4%1 --time=04:30:00 member.sbatch",
    ]
    assert main(["launch", *study[:2], "--time=6:00:00", "--throttle=2", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "# sbatch --array=0-4%2 member.sbatch\n" in printed and "#SBATCH --array=0-4%2\n" in printed
    assert main(["plan", *study, "--devices", "4"]) == 0
    limits = "17:00:00 for 0; 08:00:00 for 1; 04:30:00 for 2-3; 03:30:00 for 4"
    assert limits in capsys.readouterr().out


def test_a_dry_run_reads_well_in_80_columns(capsys):
    assert main(["launch", "--config", "configs/table1.yaml", "--gres=gpu:4", "--throttle", "2", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if len(line) > 80 and not line.startswith("TIMECAT=(")]


def test_each_array_is_submitted_and_each_of_its_tasks_waited_for(tmp_path):
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "SCRIPTS": "S",
        "JOBS": str(tmp_path / "jobs"),
        "MEMBERS": "0@1-00:00:00 2,3%1@12:00:00 4",
        "EARLIER": "7_1",
        "PROBES": "0,1",
        "REPORT": "yes",
    }
    subprocess.run(["bash", "launch/slurm.sh"], env=given, check=True)
    assert Path(given["CALLS"]).read_text().splitlines() == [
        "--parsable --array=0 --time=1-00:00:00 S/member.sbatch",
        "--parsable --array=2,3%1 --time=12:00:00 S/member.sbatch",
        "--parsable --array=4 S/member.sbatch",
        "--parsable --array=0,1 --kill-on-invalid-dep=yes --dependency=afterok:7_1:1_0:2_2:2_3:3_4 S/probe.sbatch",
        "--parsable --kill-on-invalid-dep=yes --dependency=afterok:4_0:4_1 S/report.sbatch",
    ]
    of_members, others = "member 0 1_0|member 2 2_2|member 3 2_3|member 4 3_4", "probe 0 4_0|probe 1 4_1|report 0 5"
    assert Path(given["JOBS"]).read_text().splitlines() == f"{of_members}|{others}".split("|")


def test_the_largest_number_of_a_task(monkeypatch):
    said = "Configuration data\nMaxArraySize            = 1001\nMaxDBDMsgs = 2\n"
    monkeypatch.setattr(slurm, "ask", lambda *command: said)
    assert slurm.max_array_size() == 1001


@pytest.mark.parametrize(
    ("accelerator", "gpus", "devices", "said"),
    [
        ("auto", 0, 4, ""),
        ("cpu", 2, 1, ""),
        ("auto", 2, 1, "23 cores here for 2 GPUs"),
        ("auto", 1, 4, ""),
        ("gpu", 0, 2, "23 cores here for 2 GPUs"),
        ("gpu", 0, 1, ""),
    ],
)
def test_few_cores_for_a_gpu_are_told_of(monkeypatch, capsys, accelerator, gpus, devices, said):
    monkeypatch.setattr("timecat.cluster.few_cores.cores", lambda: 23)
    monkeypatch.setattr("timecat.cluster.few_cores.gpus_here", lambda: gpus)
    study = Study.read(["configs/cat5.yaml"], {"trainer.accelerator": accelerator})
    say_of_few_cores(study, devices)
    told = capsys.readouterr().err
    assert said in told and bool(said) == bool(told)
