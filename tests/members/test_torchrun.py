"""A member that torchrun's processes train: they share its batches, and stop and go on together."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from tests.support.processes import wait_for
from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main
from timecat.cluster.stop import Stop
from timecat.errors import UserError
from timecat.study.progress import is_locked
from timecat.study.study import Study

OF_TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_two_processes_train_a_member_stop_and_go_on(tmp_path, digits):
    model = {**ONE_CYCLE, "schedule": "constant"}  # without a horizon, so that it may end where it stopped
    cats = {"cat2": {"members": 2, "steps": 100_000}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits), "workers": 1}, model, cats)
    directory = tmp_path / "runs" / "s" / "member_1"
    fit = [*TORCHRUN, "-m", "timecat", "fit", "--config", config, "--member", "1", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    first = subprocess.Popen(fit, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(first, (directory / "progress.json").exists)
        assert is_locked(directory / "lock")
    finally:
        first.send_signal(signal.SIGTERM)
    stdout, stderr = first.communicate(timeout=120)
    assert first.returncode == 1, stderr  # torchrun's, whatever its processes end with
    assert stdout.count("training 1 of 2 members") == 1  # the first process speaks for both
    assert stderr.count("stopped at step") == 1 and stderr.count("timecat: ") == 1, stderr
    state = torch.load(directory / "last.ckpt", weights_only=True)
    (loader,) = state["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert (loader["world"], loader["batch_size"]) == (2, 16)
    step = state["global_step"]
    assert not is_locked(directory / "lock") and len(list(directory.glob("events.*"))) == 1

    second = subprocess.run([*fit, f"--study.cats.cat2.steps={step + 8}"], capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    assert json.loads((directory / "done.json").read_text())["step"] == step + 8
    assert (directory / f"snapshot_{step + 8}.pt").exists()


def test_the_second_process_writes_nothing_that_the_first_could_sweep(tmp_path, digits, monkeypatch):
    """The first one removes what is half written when it starts; the second one was once writing just then."""
    from timecat.members import train
    from timecat.members.trainer import StudyCLI

    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    monkeypatch.setattr(train, "train_to_the_end", lambda *_, **__: None)
    study = Study.read([config])
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        with suppress(UserError):  # of the first, as nothing was trained
            train.train_member(study, study.member(0), StudyCLI(study), Stop())
        assert study.directory.member("member_0_4").recipe.exists() == (rank == "0")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "torchrun started several processes for a whole study; name one of its members by --member K"),
        (["--member", "0", "--trainer.devices", "3"], "trainer.devices is 3, but torchrun's options make it 2"),
        (["--member", "0", "--trainer.num_nodes=1"], "trainer.num_nodes is 1, but torchrun's options make it 2"),
    ],
)
def test_what_torchrun_cannot_train_is_refused_in_a_line(tmp_path, digits, monkeypatch, capsys, arguments, words):
    for key, value in OF_TORCHRUN.items():
        monkeypatch.setitem(os.environ, key, value)
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    assert main(["fit", "--config", config, *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said
