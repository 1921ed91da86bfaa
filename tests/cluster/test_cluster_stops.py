"""Signals on a real SLURM: a probe that is stopped twice, and what stands between srun and timecat."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.on_cluster import OnCluster
from tests.support.processes import wait_until
from tests.support.small_study import ONE_CYCLE, finish_members, write_probe, write_study

CATS = {"cat1": {"members": 1, "steps": 4}, "cat2": {"members": 2, "steps": 4}}
# the first member's task becomes timecat, the second one's waits for it
WRAPPER = """#!/bin/sh
[ "$SLURM_ARRAY_TASK_ID" = 0 ] && exec {python} -m timecat "$@"
{python} -m timecat "$@"
exit $?
"""


def study(directory: Path, digits: Path, devices: int) -> str:
    """Two members whose training is finished; their heads train for some seconds."""
    directory.mkdir()
    data = {"root": str(digits), "workers": 1}
    heads = {"weight_decays": [1e-4, 1e-2]}
    probe = write_probe(directory / "digits.yaml", data, heads, trainer={"max_epochs": 300, "devices": devices})
    settings = {"unequal_because": "a test", "probes": [probe]}
    config = write_study(directory / "s.yaml", {"root": str(digits)}, ONE_CYCLE, CATS, **settings)
    finish_members(config)
    return config


def left(on: OnCluster) -> dict[str, bytes]:
    paths = [path for name in ("features", "probe") for path in (on.directory / name).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(on.directory)): path.read_bytes() for path in paths if not path.name.startswith("events.")
    }


@pytest.mark.slow  # 9 starts of Python with torch; tests/heads/test_stop.py has the same without SLURM
def test_a_probe_that_is_stopped_twice_gives_the_bytes_of_an_undisturbed_one(cluster, tmp_path, digits):
    """While its processes start to compute features, and in the midst of a pass; SLURM signals all of its processes."""
    whole, on = (OnCluster(cluster, study(tmp_path / f"on_{count}", digits, count)) for count in (1, 2))
    undisturbed, jobs = whole.launch(), on.launch()
    assert sorted(jobs) == ["probe", "report"]
    features, probe = on.directory / "features" / "digits", on.directory / "probe" / "digits"
    wait_until(lambda: list(features.glob("*/.*.part")), 60, "no features are begun")
    cluster.output("scancel", "--signal=USR1", jobs["probe"])
    wait_until(lambda: on.log("probe_0").count("timecat: stopped") == 1, 30, on.log("probe_0"))
    assert not list(features.glob("*/*.npy"))

    wait_until(lambda: len(list(features.glob("*/*.npy"))) == 4, 120, "no features")
    cluster.output("scancel", "--signal=USR1", jobs["probe"])
    wait_until(lambda: on.log("probe_0").count("timecat: stopped") == 2, 30, on.log("probe_0"))
    assert len(list(probe.glob(".pass_*.pt"))) == 1 and not (probe / "results.json").exists()

    for each, launched in ((on, jobs), (whole, undisturbed)):
        assert each.ended(launched["report"]) == "COMPLETED", each.log("probe_0") + each.log("report")
    assert cluster.job(jobs["probe"])["Restarts"] == "2"
    assert left(on) == left(whole)


def processes_of(job: dict[str, str]) -> list[tuple[int, int]]:
    """(process, parent) of the step's."""
    found, mark = [], f"SLURM_JOB_ID={job['JobId']}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if mark in environment and b"SLURM_STEP_ID=0" in environment:
            found.append((int(process.name), parent))
    return found


@pytest.mark.slow
def test_a_wrapper_must_become_timecat(cluster, tmp_path, digits):
    """The signal goes to the process that slurmstepd started and to none below it, as proctrack/cgroup sends it."""
    config = write_study(
        tmp_path / "s.yaml", {"root": str(digits), "workers": 1}, ONE_CYCLE, {"cat2": {"members": 2, "steps": 100_000}}
    )
    on, wrapper = OnCluster(cluster, config), tmp_path / "wrapper"
    wrapper.write_text(WRAPPER.format(python=on.command("launch")[0]))
    wrapper.chmod(0o755)
    cluster.environment["TIMECAT"] = str(wrapper)
    try:
        jobs = on.launch()
    finally:
        del cluster.environment["TIMECAT"]
    becomes, waits = jobs["member 0"], jobs["member 1"]
    members = [on.directory / f"member_{number}_100000" for number in range(2)]
    begun: list[int] = []
    try:
        for member in members:
            wait_until((member / "progress.json").exists, 120, f"{member} does not start")
        for job in (becomes, waits):
            started = processes_of(cluster.job(job))
            begun += [process for process, _ in started]
            (child,) = [process for process, parent in started if parent not in dict(started)]
            os.kill(child, signal.SIGUSR1)
        assert on.ended(waits) == "FAILED"
        wait_until((members[0] / "last.ckpt").exists, 30, on.log("fit_0"))
        wait_until(lambda: cluster.job(becomes).get("Restarts") == "1", 30, "not requeued")
        assert "stopped at step" in on.log("fit_0")
        assert "stopped at step" not in on.log("fit_1") and not (members[1] / "last.ckpt").exists()
        assert cluster.job(waits)["Restarts"] == "0"
    finally:
        cluster.output("scancel", becomes, waits)
        for process in begun:  # below the wrapper that waits one goes on, which proctrack/cgroup would end
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    wait_until(lambda: not cluster.output("squeue", "-h", "-o", "%A"), 60)


def test_each_process_of_a_member_sees_all_of_its_nodes_gpus(cluster, tmp_path):
    """What a task is told, by three ways to ask for the same; the probe's one task sees them too."""
    script = tmp_path / "told"
    script.write_text('#!/bin/sh\necho "told $SLURM_NODEID $SLURM_LOCALID $CUDA_VISIBLE_DEVICES $*"\n')
    script.chmod(0o755)
    environment = {**cluster.environment, "TIMECAT": str(script)}
    command = OnCluster(cluster, "configs/cat5.yaml").command("launch", "--dry-run", "--cpus-per-task=1", "--nodes=2")
    for way in ("--gres=gpu:2", "--gpus=4", "--gpus-per-node=2"):
        printed = subprocess.run([*command, way], env=environment, capture_output=True, text=True, check=True).stdout
        scripts = dict(re.findall(r"^# ---- (\S+)\n(.*?)(?=^# ---- |\Z)", printed, re.MULTILINE | re.DOTALL))
        for stage, expected in (("member", ["0 0", "0 1", "1 0", "1 1"]), ("probe", ["0 0"])):
            path, log = tmp_path / f"{stage}.sbatch", tmp_path / f"{stage}{way}"
            path.write_text(scripts[f"{stage}.sbatch"])
            submit = ["sbatch", "--parsable", "--array=0", f"--output={log}", str(path)]
            job = cluster.output(*submit)
            wait_until(lambda job=job: cluster.job(f"{job}_0").get("JobState") == "COMPLETED", 30, f"{way}: {job}")
            told = sorted(line for line in log.read_text().splitlines() if line.startswith("told"))
            assert [line.split(" ", 4)[1:4] for line in told] == [[*place.split(), "0,1"] for place in expected]
            devices = "--trainer.num_nodes=2 --trainer.devices=2"
            assert all(line.endswith(devices) == (stage == "member") for line in told)
