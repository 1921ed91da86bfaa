"""The cores of a machine are shared by the processes that train on it; each decodes with all of its own but one."""

import json
import os
import sys

import pytest

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cluster.slots import train_in_slots
from timecat.cluster.stop import Stop
from timecat.process import compute_threads, cores, decoding_threads, started_here
from timecat.study.study import Study

BY_SRUN = {"SLURM_STEP_ID": "0", "SLURM_CPUS_PER_TASK": "6"}
BY_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4"}
# how the process was started; its own cores; threads that compute and decode in each of a member's two processes
STARTED = [
    ({}, 16, (8, 7)),
    ({"SLURM_CPUS_PER_TASK": "6"}, 16, (8, 7)),  # by a batch script, without srun
    (BY_SRUN, 6, (6, 5)),
    (BY_TORCHRUN, 4, (4, 3)),
    ({**BY_SRUN, **BY_TORCHRUN}, 1, (1, 1)),
]
# stands for a process of a slot: writes what it was given, and ends
PROGRAM = """if True:
    import json, os, sys
    options = dict(word.lstrip("-").split("=") for word in sys.argv[1:] if "=" in word)
    given = {"decode": int(options["data.workers"]), "compute": int(os.environ["OMP_NUM_THREADS"])}
    json.dump(given, open(options["out"] + "." + str(os.getpid()), "w"))
"""


@pytest.fixture
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.setattr("timecat.process.quota", lambda: None)
    for key in (*BY_SRUN, *BY_TORCHRUN, "OMP_NUM_THREADS"):
        monkeypatch.delenv(key, raising=False)


@pytest.mark.parametrize(("environment", "own", "threads"), STARTED)
def test_a_process_counts_its_own_cores(sixteen_cores, monkeypatch, environment, own, threads):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    processes = started_here(2)
    assert (cores(), compute_threads(processes), decoding_threads(processes)) == (own, *threads)


@pytest.mark.parametrize(("granted", "own"), [(1.5, 2), (0.2, 1), (4.0, 4), (40.0, 16)])
def test_a_quota_of_time_counts_as_cores(sixteen_cores, monkeypatch, granted, own):
    monkeypatch.setattr("timecat.process.quota", lambda: granted)
    assert cores() == own
    for key, value in BY_SRUN.items():
        monkeypatch.setenv(key, value)
    assert cores() == 6  # the same on every node


@pytest.mark.parametrize(
    ("slots", "devices", "decode", "compute"), [(1, 1, 15, 16), (4, 1, 3, 4), (2, 2, 3, 4), (1, 4, 3, 4), (8, 4, 1, 1)]
)
def test_each_process_of_a_slot_takes_its_share(sixteen_cores, tmp_path, digits, slots, devices, decode, compute):
    cats = {"cat2": {"members": 2, "steps": 4}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, {"devices": devices})
    study = Study.read([config])
    program = (sys.executable, "-c", PROGRAM)
    train_in_slots(study, study.members, [f"--out={tmp_path / 'given'}"], slots, Stop(), program)
    given = [json.loads(path.read_text()) for path in tmp_path.glob("given.*")]
    assert given and all(each == {"decode": decode, "compute": compute} for each in given)


def test_a_slot_decodes_with_as_many_threads_as_the_config_says(sixteen_cores, tmp_path, digits):
    """Which its command line then has already."""
    data, cats = {"root": str(digits), "workers": 5}, {"cat2": {"members": 2, "steps": 4}}
    study = Study.read([write_study(tmp_path / "s.yaml", data, ONE_CYCLE, cats)])
    arguments = [f"--out={tmp_path / 'given'}", "--data.workers=5"]
    train_in_slots(study, study.members, arguments, 2, Stop(), (sys.executable, "-c", PROGRAM))
    given = [json.loads(path.read_text()) for path in tmp_path.glob("given.*")]
    assert [each["decode"] for each in given] == [5] * len(given)


def test_lightnings_processes_share_the_machine_and_sruns_do_not(sixteen_cores, monkeypatch):
    from timecat.data.datamodule import ImageData

    data = ImageData(train="train.beton")

    class Trainer:
        num_devices, global_rank, world_size = 2, 0, 2

        class strategy:
            class root_device:
                type = "cpu"

    data.trainer = Trainer()  # pyright: ignore[reportAttributeAccessIssue]
    assert data._devices()["workers"] == 7
    for key, value in BY_SRUN.items():
        monkeypatch.setenv(key, value)
    assert data._devices()["workers"] == 5
