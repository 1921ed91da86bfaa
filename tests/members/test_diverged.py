"""A member that diverges is stopped and told; nothing of it is written, and the others go on."""

import json
import math

import pytest
import torch

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main
from timecat.members import diverged
from timecat.networks.weights import read_weights
from timecat.study.study import Study


def test_a_member_that_diverges_is_named_and_the_others_are_trained(tmp_path, digits, capsys):
    """Twice, with the same line: the second time from the last good checkpoint."""
    cats = {"wild": {"members": 1, "steps": 12, "model": {"lr": 1e3}}, "good": {"members": 1, "steps": 12}}
    data = {"root": str(digits), "workers": 1}
    config = write_study(tmp_path / "s.yaml", data, ONE_CYCLE, cats, slots=1, checkpoint_minutes=0)
    study = Study.read([config])
    wild, good = (study.directory.member(plan.name) for plan in study.members)
    assert main(["fit", "--config", config]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    assert len(lines) == 2 and wild.path.name in lines[0] and "at step" in lines[0] and "learning rate" in lines[0]
    assert "last good checkpoint: last.ckpt, of step" in lines[0] and str(study.directory.member_log(0)) in lines[0]
    assert "1 of 2 members are usable: 1; diverged: 0" in lines[1] and "lower model.lr" in lines[1]
    assert good.is_finished([12]) and not wild.done.exists() and not list(wild.path.glob("snapshot*"))
    for path in wild.path.glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values()), path

    assert main(["fit", "--config", config]) == 1
    again = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    told = lines[0].partition(": ")[2].partition(": ")[2].partition(" (log:")[0]
    assert again == [f"timecat: {told}", lines[1]]
    assert main(["status", "--config", config]) == 0
    out = capsys.readouterr().out
    assert (
        "next: lower model.lr" in out and lines[1] in out and json.loads(wild.progress.read_text())["diverged"] in out
    )


def test_weights_are_looked_at_before_they_are_written(tmp_path, digits, capsys, monkeypatch):
    """Where no loss is logged: no checkpoint and no snapshot of what is not finite takes a good one's place."""
    monkeypatch.setattr("timecat.members.progress_callback.check_loss", lambda *_: None)
    config = write_study(
        tmp_path / "s.yaml",
        {"root": str(digits)},
        {**ONE_CYCLE, "lr": 1e3},
        {"cat1": {"members": 1, "steps": 12}},
        {"log_every_n_steps": 1000},
        checkpoint_minutes=0,
    )
    assert main(["fit", "--config", config]) == 1
    said = capsys.readouterr().err
    assert "is not finite at step" in said and "Traceback" not in said
    (directory,) = (tmp_path / "runs" / "s").glob("member*")
    assert not list(directory.glob("snapshot*")) and not list(directory.glob(".*"))
    assert all(
        tensor.isfinite().all()
        for path in directory.glob("*.ckpt")
        for tensor in torch.load(path, weights_only=True)["state_dict"].values()
    )


@pytest.mark.parametrize("what", ["state_dict", "optimizer_states"])
def test_statistics_and_the_optimisers_state_count_too(what):
    good, wrong = torch.ones(3), torch.tensor([1.0, math.inf, 1.0])
    checkpoint = {"state_dict": {"bn1.running_var": good}, "optimizer_states": [{"state": {0: {"momentum": good}}}]}
    assert diverged.not_finite(checkpoint) is None
    place = checkpoint[what] if what == "state_dict" else checkpoint[what][0]["state"][0]
    place[next(iter(place))] = wrong
    assert diverged.not_finite(checkpoint) == (
        "bn1.running_var" if what == "state_dict" else "the optimiser's momentum"
    )


def test_a_checkpoint_of_what_is_not_finite_is_passed_over(tmp_path, digits, capsys):
    """As an earlier version wrote them."""
    model = {**ONE_CYCLE, "schedule": "constant"}
    config = write_study(
        tmp_path / "s.yaml", {"root": str(digits)}, model, {"cat1": {"members": 1, "steps": 4}}, checkpoint_minutes=0
    )
    assert main(["fit", "--config", config]) == 0
    directory = Study.read([config]).directory.member("member_0")
    checkpoint = torch.load(directory.checkpoint, weights_only=True)
    checkpoint["state_dict"]["network.fc.bias"][0] = math.nan
    torch.save(checkpoint, directory.checkpoint)
    capsys.readouterr()
    assert main(["fit", "--config", config, "--study.cats.cat1.steps", "6"]) == 0
    assert "fc.bias is not finite" in (said := capsys.readouterr().err) and "going on from previous.ckpt" in said
    assert all(tensor.isfinite().all() for tensor in read_weights(directory.snapshot(6)).values())
