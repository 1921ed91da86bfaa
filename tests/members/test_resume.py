"""Checkpoints that do not load, and members that fail beside others: nothing is lost, and all of it is told."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.processes import StopAfter, children, command, snapshots, wait_for
from tests.support.small_study import ONE_CYCLE, begun, write_study
from timecat.cli import main
from timecat.cluster.stop import Stop
from timecat.members.checkpoint import Checkpoint
from timecat.members.train import train_member
from timecat.study.directory import MemberDirectory
from timecat.study.study import Study

LONG_AND_SHORT = {"long": {"members": 1, "steps": 100_000}, "short": {"members": 2, "steps": 8}}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_checkpoint_is_passed_over_and_two_are_an_error(tmp_path, digits, capsys, damage):
    from timecat.members.checkpoint import Stopped
    from timecat.members.trainer import StudyCLI

    cats = {"cat1": {"members": 1, "steps": 40}}
    whole = write_study(tmp_path / "whole.yaml", {"root": str(digits)}, ONE_CYCLE, cats)
    assert main(["fit", "--config", whole]) == 0
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, checkpoint_minutes=0)
    study = Study.read([config])
    with pytest.raises(Stopped):
        train_member(study, study.member(0), StudyCLI(study), StopAfter(17))
    directory = study.directory.path / "member_0_40"
    assert sorted(path.name for path in directory.glob("*.ckpt*")) == ["last.ckpt", "previous.ckpt"]
    capsys.readouterr()

    damage(directory / "last.ckpt")
    good = (directory / "previous.ckpt").read_bytes()
    damage(directory / "previous.ckpt")
    before = {path: path.read_bytes() for path in directory.glob("*.ckpt")}
    assert main(["fit", "--config", config]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "last.ckpt" in said and "previous.ckpt" in said and str(directory) in said
    assert {path: path.read_bytes() for path in directory.glob("*.ckpt")} == before

    (directory / "previous.ckpt").write_bytes(good)
    assert main(["fit", "--config", config]) == 0
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("timecat:")]
    assert "last.ckpt" in warning and "going on from previous.ckpt" in warning
    assert snapshots(study.directory.path) == snapshots(tmp_path / "runs" / "whole")


def test_a_member_that_fails_stops_no_other_and_is_named(tmp_path, digits):
    """Member 1's checkpoints are garbage; in the one slot, whose process falls on it first, the others are trained."""
    cats = {"cat3": {"members": 3, "steps": 4}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, slots=1)
    runs = tmp_path / "runs" / "s"
    begun(config, 0).checkpoint.write_bytes(b"garbage")
    ended = subprocess.run(command("fit", "--config", config), capture_output=True, text=True, timeout=240)
    assert ended.returncode == 1
    (failure,) = [line for line in ended.stderr.splitlines() if line.startswith("timecat:")]
    assert "member 0 (member_0_4) failed" in failure and "last.ckpt" in failure and "logs/fit_0.log" in failure
    assert "last.ckpt" in (runs / "logs" / "fit_0.log").read_text()
    assert [(runs / f"member_{k}_4" / "done.json").exists() for k in range(3)] == [False, True, True]


def test_a_member_whose_process_dies_stops_no_other(tmp_path, digits):
    """SIGKILL to a slot's process in the midst of a member, as the kernel does when memory runs out."""
    config = write_study(
        tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, LONG_AND_SHORT, slots=1, unequal_because="a test"
    )
    runs = tmp_path / "runs" / "s"
    fit = subprocess.Popen(command("fit", "--config", config), stderr=subprocess.PIPE, text=True)
    wait_for(fit, (runs / "member_0_100000" / "progress.json").exists)
    (child,) = children(fit.pid)
    os.kill(child, signal.SIGKILL)
    _, stderr = fit.communicate(timeout=240)
    assert fit.returncode == 1
    assert "member 0 (member_0_100000) failed: its process was ended by SIGKILL: memory ran out" in stderr
    assert "logs/fit_0.log" in stderr
    assert sorted(path.parent.name for path in runs.glob("*/done.json")) == ["member_0_8", "member_1_8"]


@pytest.mark.slow
def test_members_of_two_devices_are_packed_and_stop_together(tmp_path, digits):
    """DDP by --devices-per-member: each member's two processes train the same one; TERM stops both at one batch."""
    cats = {"long": {"members": 1, "steps": 100_000}, "short": {"members": 2, "steps": 8}}
    model = {**ONE_CYCLE, "schedule": "constant"}  # without a horizon, so that the same member may end where it stopped
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, model, cats, unequal_because="a test")
    runs = tmp_path / "runs" / "s"
    fit = [*command("fit", "--config", config), "--devices-per-member", "2", "--trainer.strategy", "ddp"]
    first = subprocess.Popen(fit, stderr=subprocess.PIPE, text=True)
    wait_for(first, (runs / "member_0" / "snapshot_8.pt").exists)
    first.send_signal(signal.SIGTERM)
    _, stderr = first.communicate(timeout=120)
    assert first.returncode == 130, stderr
    assert "stopped at step" in (runs / "logs" / "fit_0.log").read_text()
    assert (runs / "member_0" / "last.ckpt").exists()
    end = json.loads((runs / "member_0" / "progress.json").read_text())["step"] + 8
    second = subprocess.run([*fit, f"--study.cats.long.steps={end}"], capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    assert sorted(path.parent.name for path in runs.glob("*/done.json")) == ["member_0", "member_1"]
    assert (runs / "member_0" / f"snapshot_{end}.pt").exists()


def test_a_signal_that_comes_while_processes_agree_is_heard_at_the_next_batch(monkeypatch, tmp_path):
    stop = Stop()
    checkpoint = Checkpoint(MemberDirectory(tmp_path), None, 5, 32, stop)
    checkpoint.group = "of two processes"
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_, group: stop.handle(signal.SIGTERM, None))
    assert checkpoint.agreed() == (0, False)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_, group: None)
    assert checkpoint.agreed() == (2, False)


AT_TORCH = """if True:
    import os, signal, sys
    class Finder:
        def find_spec(self, name, *_):
            if name == "torch":
                sys.meta_path.remove(self)
                os.kill(os.getpid(), signal.SIGUSR1)
    sys.meta_path.insert(0, Finder())
    from timecat.cli import main
    sys.exit(main(sys.argv[1:]))
"""


def test_usr1_in_the_midst_of_the_imports_exits_with_a_code_of_its_own(tmp_path, digits):
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 3000}})
    fit = [sys.executable, "-c", AT_TORCH, "fit", "--config", config]
    ended = subprocess.run(fit, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 75, ended.stderr
    assert "stopped before its first step" in ended.stderr
