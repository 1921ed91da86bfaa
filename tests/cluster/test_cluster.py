"""A study on a real SLURM of two nodes: to the end, through failures, stops and kills, with nothing lost or changed.

See private_slurm. The members are ResNet10 of width 8 on scikit-learn's digits.
"""

import json
import os
import random
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.on_cluster import OnCluster, study
from tests.support.processes import snapshots
from tests.support.small_study import ONE_CYCLE, SCHEDULE_FREE, begun
from timecat.study.study import Study

FOUR = {"cat4": {"members": 4, "steps": 600}}


@pytest.fixture(scope="session")
def whole(cluster, tmp_path_factory, digits) -> OnCluster:
    """A study of four members that was launched twice at once and ran to the end undisturbed."""
    on = OnCluster(cluster, study(tmp_path_factory.mktemp("whole"), digits, "whole", ONE_CYCLE, FOUR))
    launches = [
        subprocess.Popen(on.command("launch", "--cpus-per-task=1"), env=cluster.environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = sorted((launch.communicate(timeout=60)[0].decode() for launch in launches), key=len)
    assert [launch.returncode for launch in launches] == [0, 0]
    assert "nothing to submit; 6 tasks wait or run" in said[0]
    assert f"tensorboard --logdir {on.directory}" in said[1]
    assert len(cluster.output("squeue", "-h", "-r", "-o", "%i").split()) == 6
    (report,) = re.findall(r"^(\d+)  report", said[1], re.MULTILINE)
    assert on.ended(report, 240) == "COMPLETED", on.log("report") + on.log("probe_0") + on.log("fit_0")
    return on


def test_an_array_its_probe_and_the_report_run_to_the_end(whole):
    table = json.loads((whole.directory / "report.json").read_text())
    assert table["cats"]["cat4"]["acc1"]["digits"]["mean"] > 50
    assert "cat4" in whole.log("report")
    before = {path: path.stat().st_mtime_ns for path in whole.directory.rglob("*") if path.is_file()}
    assert "nothing to submit; the study is finished" in whole.run("launch")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_members_share_no_directory_no_seed_and_no_order(whole):
    from timecat.members.trainer import StudyCLI

    directories = sorted(path.parent for path in whole.directory.glob("*/done.json"))
    assert [path.name for path in directories] == [f"member_{seed}_600" for seed in range(4)]
    assert [json.loads((path / "done.json").read_text())["seed"] for path in directories] == list(range(4))
    for path in directories:  # each has its own checkpoint and events, whatever SLURM's rank is
        assert (path / "last.ckpt").exists() and len(list(path.glob("events.*"))) == 1
    assert len({snapshots(path)["snapshot_600.pt"] for path in directories}) == 4
    study = Study.read([whole.config])
    cli = StudyCLI(study)
    loaders = [cli.instantiate(plan)[1].train_dataloader() for plan in study.members]
    assert len({loader.order().tobytes() for loader in loaders}) == 4


def test_what_the_dry_run_prints_is_accepted(cluster, tmp_path):
    two_nodes = ["--nodes=2", "-G8", "--partition", "high", "-t", "0:30:00"]
    for arguments in (["--throttle=2"], ["--gres=gpu:2", "--images-per-sec=2470", "--throttle=2"], two_nodes):
        on = OnCluster(cluster, "configs/cat5.yaml")
        printed = on.run("launch", "--dry-run", "--cpus-per-task=1", *arguments)
        scripts = dict(re.findall(r"^# ---- (\S+)\n(.*?)(?=^# ---- |\Z)", printed, re.MULTILINE | re.DOTALL))
        assert sorted(scripts) == ["member.sbatch", "probe.sbatch", "report.sbatch", "slurm.sh"]
        for name, text in scripts.items():
            script = tmp_path / name
            script.write_text(text)
            assert subprocess.run(["bash", "-n", str(script)], stderr=subprocess.PIPE).stderr == b""
            if name.endswith(".sbatch"):
                test = ["sbatch", "--test-only", str(script)]
                tested = subprocess.run(test, env=cluster.environment, capture_output=True, text=True)
                assert tested.returncode == 0, tested.stderr
        assert not (Path("runs") / "cat5").exists()
    assert "#SBATCH --ntasks-per-node=4" in scripts["member.sbatch"]
    assert "#SBATCH --partition=high" in scripts["report.sbatch"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--partition=gpuu"], ("gpuu", "no such partition", "main")),
        (["--devices", "8"], ("8 GPUs a node", "4 at most")),
        (["--nodes", "4"], ("--nodes 4", "2 nodes")),
        (["--devices", "3"], ("batch_size 1,024", "3 devices")),
        (["--time", "99:00:00"], ("SLURM refuses", "member.sbatch")),
        (["--arrray=3"], ("SLURM refuses", "arrray")),
        (["--array=3"], ("--array", "plan")),
        (["--study.repetitions=201"], ("member 1,004", "MaxArraySize is 1,001", "study.repetitions")),
    ],
)
def test_a_launch_that_does_not_fit_is_refused_in_a_line(cluster, tmp_path, arguments, words):
    on = OnCluster(cluster, "configs/cat5.yaml")
    said = on.run("launch", "--cpus-per-task=1", f"--study.root={tmp_path}", *arguments, status=2)
    assert [line for line in said.splitlines() if not line.endswith("the nodes must see it")] == [said.splitlines()[-1]]
    assert said.splitlines()[-1].startswith("timecat: ") and "Traceback" not in said
    for word in words:
        assert word in said
    assert cluster.output("squeue", "-h", "-o", "%A") == ""


def test_a_failed_member_costs_only_itself(cluster, tmp_path, digits):
    """Its checkpoint is garbage: the others finish, the probe is cancelled and says why; launched again, it is done."""
    cats = {"cat3": {"members": 3, "steps": 20}}
    on = OnCluster(cluster, study(tmp_path, digits, "s", ONE_CYCLE, cats))
    broken = begun(on.config, 1).checkpoint
    broken.write_bytes(b"garbage")
    jobs = on.launch()
    states = {what: on.ended(job) for what, job in jobs.items()}
    assert states == {
        "member 0": "COMPLETED",
        "member 1": "FAILED",
        "member 2": "COMPLETED",
        "probe": "CANCELLED",
        "report": "CANCELLED",
    }
    assert on.slurm.job(jobs["probe"])["Reason"].startswith("Dependency")
    status = on.run("status")
    assert "failed" in status and "last.ckpt" in status and "logs/fit_1.log" in status
    assert "cancelled (Dependency" in status
    before = snapshots(on.directory)
    assert len(before) == 2

    broken.unlink()
    again = on.launch()
    assert sorted(again) == ["member 1", "probe", "report"]
    assert on.ended(again["report"]) == "COMPLETED", on.log("probe_0")
    assert (on.directory / "report.md").exists()
    assert before.items() <= snapshots(on.directory).items()


class Trouble:
    """What befalls the members of a launched study, each event at a seeded moment after its member goes on."""

    def __init__(self, on: OnCluster, events: dict[int, list[str]], seed: int) -> None:
        self.on, self.events, self.moments = on, events, random.Random(seed)
        self.jobs: dict[str, str] = {}
        self.starts = dict.fromkeys(events, 0)  # how often the member had started at its last event
        self.at: dict[int, float] = {}  # when its next one is

    def __call__(self) -> None:
        """Launch, let everything happen, and see the study to its end."""
        self.jobs = self.on.launch()
        end = time.monotonic() + 600
        while any(self.events.values()):
            assert time.monotonic() < end, self.events
            time.sleep(0.1)
            for member, left in self.events.items():
                if left and self.goes_on(member) and time.monotonic() > self.at[member]:
                    self.starts[member] = self.count_starts(member)
                    self.do(left.pop(0), member)
                    del self.at[member]
        for member in self.events:
            assert self.on.ended(self.jobs[f"member {member}"]) == "COMPLETED", self.on.log(f"fit_{member}")

    def goes_on(self, member: int) -> bool:
        """Whether it has started again since its last event; the next one is then due at a random moment."""
        assert not list(self.on.directory.glob(f"member_{member}_*/done.json")), f"{member} ended before {self.events}"
        if self.count_starts(member) == self.starts[member]:
            return False
        self.at.setdefault(member, time.monotonic() + self.moments.uniform(0.0, 1.0))
        return True

    def count_starts(self, member: int) -> int:
        return len(list(self.on.directory.glob(f"member_{member}_*/events.*")))

    def do(self, event: str, member: int) -> None:
        job, slurm = self.jobs[f"member {member}"], self.on.slurm
        if event == "usr1":
            slurm.output("scancel", "--signal=USR1", job)
        elif event == "requeue":
            slurm.output("scontrol", "requeue", job)
        elif event == "preempt":
            node = slurm.job(job)["NodeList"]
            slurm.output("sbatch", "-p", "high", "-w", node, "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
        elif event == "kill":
            os.kill(self.process(job), 9)
            assert self.on.ended(job, 30) == "FAILED"
            self.jobs |= self.on.launch()

    def process(self, job: str) -> int:
        """The task's Python."""
        mark = f"SLURM_JOB_ID={self.on.slurm.job(job)['JobId']}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                environment = (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:4] == [b"-m", b"timecat", b"fit"] and mark in environment:
                return int(process.name)
        raise AssertionError(f"{job} has no process")


@pytest.mark.slow
def test_signals_requeues_preemption_and_kills_change_no_bit(whole, cluster, tmp_path, digits):
    config = study(tmp_path, digits, "s", ONE_CYCLE, FOUR, probe=False, checkpoint_minutes=0.01)
    on = OnCluster(cluster, config)
    events = {0: ["usr1", "usr1"], 1: ["requeue", "kill"], 2: ["kill", "preempt"], 3: ["kill"]}
    Trouble(on, events, seed=5)()
    assert cluster.job(Path(on.directory / "launch" / "jobs").read_text().split()[2])["Restarts"] >= "2"
    for member, least in ((0, 2), (1, 1)):
        assert on.log(f"fit_{member}").count("stopped at step") >= least, on.log(f"fit_{member}")
    assert snapshots(on.directory) == snapshots(whole.directory)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(whole, cluster, tmp_path, digits):
    on = OnCluster(cluster, study(tmp_path, digits, "s", ONE_CYCLE, FOUR, probe=False, checkpoint_minutes=0.005))
    Trouble(on, {member: ["kill"] * 5 for member in range(4)}, seed=6)()
    assert snapshots(on.directory) == snapshots(whole.directory)


@pytest.mark.slow
def test_two_nodes_give_the_curve_of_one_process(cluster, tmp_path, digits):
    """DDP over gloo: a step is a batch of 16 on each of two nodes, or two of 16 in one process.

    Both members and all of their processes run at once on this machine, so that a port would collide if they shared it.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = {**SCHEDULE_FREE, "batch_norm_batches": 60}  # more than an epoch has: both take the statistics of all
    cats, held_out = {"cat2": {"members": 2, "steps": 40}}, 365  # odd: a sampler that pads would count one twice
    studies = {}
    for name, arguments in (("one", []), ("two", ["--nodes", "2"])):
        on = OnCluster(cluster, study(tmp_path, digits, name, model, cats, probe=False))
        studies[name] = on, on.launch("--data.device_batch_size=16", "--data.holdout=0.203", *arguments)
    for member in range(2):
        losses, accuracies = {}, {}
        for name, (on, jobs) in studies.items():
            assert on.ended(jobs[f"member {member}"]) == "COMPLETED", on.log(f"fit_{member}")
            events = EventAccumulator(str(on.directory / f"member_{member}")).Reload()
            losses[name] = [event.value for event in events.Scalars("train/loss")]
            accuracies[name] = [event.value for event in events.Scalars("val/acc1")]
            assert events.Scalars("train/images")[-1].value == 40 * 32
        assert len(losses["one"]) == 20
        assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)
        assert [round(value * held_out, 3) % 1 for value in accuracies["two"]] == [0, 0]
        assert accuracies["two"] == pytest.approx(accuracies["one"], abs=1.1 / held_out)
