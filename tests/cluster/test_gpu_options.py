"""What sbatch's options say of GPUs, and what the scripts and `timecat fit` make of it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from timecat.cluster.sbatch_options import Options
from timecat.cluster.scripts import filled_in
from timecat.errors import UserError
from timecat.options import parse_options
from timecat.study.study import Study

# options; a member's nodes, tasks on each, how it asks for GPUs; how a probe does, which is one task; its cores
ACCEPTED = [
    ("", 1, 1, "--gpus-per-node=1", "--gpus-per-node=1", 14),
    ("--devices 4", 1, 4, "--gpus-per-node=4", "--gpus-per-node=1", 14),
    ("--gres=gpu", 1, 1, "--gres=gpu", "--gres=gpu", 14),
    ("--gres=gpu:4", 1, 4, "--gres=gpu:4", "--gres=gpu:4", 56),
    ("--gres gpu:a100:4,nvme:1 -N 2", 2, 4, "--gres=gpu:a100:4,nvme:1", "--gres=gpu:a100:4,nvme:1", 56),
    ("--gres=nvme:1", 1, 1, "--gpus-per-node=1 --gres=nvme:1", "--gpus-per-node=1 --gres=nvme:1", 14),
    ("--gpus-per-node=a100:2 --devices 2", 1, 2, "--gpus-per-node=a100:2", "--gpus-per-node=a100:2", 28),
    ("--gpus-per-node a100:1,h100:1", 1, 2, "--gpus-per-node=a100:1,h100:1", "--gpus-per-node=a100:1,h100:1", 28),
    *(
        (f"{gpus} --nodes 2", 2, 4, "--gpus-per-node=4", "--gpus-per-node=4", 56)
        for gpus in ("--gpus=8", "--gpus 8", "-G 8", "-G=8", "-G8")
    ),
    ("--gpus=a100:2", 1, 2, "--gpus-per-node=a100:2", "--gpus-per-node=a100:2", 28),
    ("--gpus-per-task=1", 1, 1, "--gpus-per-node=1", "--gpus-per-node=1", 14),
    ("--gpus-per-task a100:1 --devices 4", 1, 4, "--gpus-per-node=a100:4", "--gpus-per-node=a100:4", 56),
]
REFUSED = [
    ("--gpus-per-task=4", "--gpus-per-task 4: a process of a member drives one GPU; give --gpus-per-node 4"),
    ("-G 7 -N 2", "--gpus 7: 2 nodes cannot share them equally; give --gpus-per-node"),
    ("--gpus=a100", "--gpus a100: is no number of GPUs; give it as 4 or a100:4"),
    ("--gres=gpu:4 --devices 2", "--gres gpu:4: 4 GPUs on a node, --devices says 2; leave one of them out"),
    ("--gres=gpu:4 --gpus=4", "--gres and --gpus both ask for GPUs; give one of them"),
    ("--gres=gpu:0", "--gres gpu:0: asks for no GPU"),
    ("--cpus-per-gpu=8", "--cpus-per-gpu: give --cpus-per-task"),
    ("--gpus-per-socket=2", "--gpus-per-socket: give --gpus-per-node"),
    ("--gpu-bind=single:1", "--gpu-bind: leave it out"),
    ("--ntasks-per-gpu=2", "--ntasks-per-gpu: leave it out"),
    ("-n 4", "--ntasks follows from the plan"),
]
# prints the command that it is called with
SRUN = '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\necho "$@"\n'


@pytest.fixture(scope="module")
def study() -> Study:
    return Study.read(["configs/cat5.yaml"])


def scripts(study: Study, arguments: str) -> dict[str, str]:
    """What `timecat launch --config configs/cat5.yaml` with these arguments fills in."""
    options = Options.read(study, *parse_options("launch", arguments.split()))
    return filled_in(study, ["--config=configs/cat5.yaml"], options, [], [])


def machine(nodes: int, tasks: int, cores: int, gpus: str = "") -> set[str]:
    return {f"--nodes={nodes}", f"--ntasks-per-node={tasks}", f"--cpus-per-task={cores}", *gpus.split()}


def asked(script: str) -> set[str]:
    """The options about nodes, tasks, GPUs and cores."""
    return set(re.findall(r"^#SBATCH (--(?:nodes|ntasks|gpus|gres|cpus)\S*)$", script, re.MULTILINE))


@pytest.mark.parametrize(
    ("options", "nodes", "tasks", "member", "probe", "cores"), ACCEPTED, ids=[each[0] for each in ACCEPTED]
)
def test_an_option_gives_tasks_and_devices(study, tmp_path, options, nodes, tasks, member, probe, cores):
    found = scripts(study, options)
    assert asked(found["member.sbatch"]) == machine(nodes, tasks, 14, member)
    assert asked(found["probe.sbatch"]) == machine(1, 1, cores, probe)
    assert asked(found["report.sbatch"]) == machine(1, 1, 1)
    ran = run(found["member.sbatch"], tmp_path, nodes, tasks)
    assert ran.stderr == "" and ran.stdout.strip().endswith(
        f"-m timecat fit --config=configs/cat5.yaml --trainer.num_nodes={nodes} --trainer.devices={tasks}"
    )


def run(script: str, place: Path, nodes: int, tasks: int, **more: str) -> subprocess.CompletedProcess[str]:
    (place / "srun").write_text(SRUN)
    (place / "srun").chmod(0o755)
    of_slurm = {"SLURM_NNODES": str(nodes), "SLURM_NTASKS_PER_NODE": str(tasks), **more}
    environment = {"PATH": f"{place}:{os.environ['PATH']}", **of_slurm}
    return subprocess.run(["bash"], input=script, env=environment, capture_output=True, text=True)


def test_the_cores_that_are_given_are_those_of_a_gpu(study):
    found = scripts(study, "--gres=gpu:4 --cpus-per-task 6")
    assert "--cpus-per-task=6" in asked(found["member.sbatch"])
    assert "--cpus-per-task=24" in asked(found["probe.sbatch"])


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=[each[0] for each in REFUSED])
def test_an_option_that_no_member_can_be_trained_by_is_refused(study, options, words):
    with pytest.raises(UserError) as refused:
        scripts(study, options)
    assert str(refused.value).startswith(words)


def test_by_hand_the_script_says_that_gpus_idle(tmp_path):
    script = Path("launch/member.sbatch").read_text()
    for gpus, said in (("2", ""), ("4", "member.sbatch: 4 GPUs a node for 2 of --ntasks-per-node: some idle\n")):
        assert run(script, tmp_path, 1, 2, SLURM_GPUS_ON_NODE=gpus).stderr == said
