"""What members log: validation at the end of each, no epoch, and to the loggers that the user adds."""

import csv
import json

import pytest

from tests.support.processes import StopAfter
from tests.support.small_study import ONE_CYCLE, change, write_study
from timecat.cli import main
from timecat.cluster.stop import Stopped
from timecat.members.train import train_member
from timecat.study.study import Study

EVERY_20_STEPS = {"val_check_interval": 20, "check_val_every_n_epoch": None}


@pytest.mark.parametrize("interval", [EVERY_20_STEPS, {"check_val_every_n_epoch": 3}], ids=["steps", "epochs"])
def test_each_member_is_validated_after_its_last_step_and_has_no_epoch(tmp_path, digits, interval):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cats = {"cat1": {"members": 1, "steps": 46}, "cat2": {"members": 2, "steps": 23}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, interval)
    assert main(["fit", config, "--member", "0"]) == main(["fit", config, "--member", "1"]) == 0
    for name, steps in (("member_0_46", [20, 40, 46]), ("member_0_23", [20, 23])):
        directory = tmp_path / "runs" / "s" / name
        events = EventAccumulator(str(directory)).Reload()
        assert not {"epoch", "step"} & set(events.Tags()["scalars"])
        found = [event.step for event in events.Scalars("val/acc1")]
        assert found == (steps if interval is EVERY_20_STEPS else steps[-1:])
        last = events.Scalars("val/acc1")[-1].value
        assert json.loads((directory / "done.json").read_text())["metrics"]["val/acc1"] == pytest.approx(last)


def test_a_logger_of_the_config_is_one_run_a_member_through_requeues(tmp_path, digits):
    """A CSV by its name alone, and a logger that takes an id or tells one: stopped twice, they go on as they were."""
    cats = {"cat2": {"members": 2, "steps": 40}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, EVERY_20_STEPS)
    fake = "tests.support.recorded_logger.RecordedLogger"
    record = tmp_path / "record.jsonl"
    loggers = ["CSVLogger", {"class_path": fake, "init_args": {"record": str(record), "project": "mine"}}]
    change(config, "trainer", logger=loggers)
    from timecat.members.trainer import StudyCLI

    study = Study.read([config])
    cli = StudyCLI(study)
    for plan, stops in zip(study.members, ([11, 26], []), strict=True):
        for steps in stops:
            with pytest.raises(Stopped):
                train_member(study, plan, cli, StopAfter(steps))
        train_member(study, plan, cli, StopAfter(10**9))
    assert "trainer.logger" not in json.loads(study.directory.member("member_0_40").recipe.read_text())
    for plan in study.members:
        with (study.directory.loggers / "s" / plan.name / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(2, 41, 2))
        assert [int(row["step"]) for row in rows if row["val/acc1"]] == [20, 40]
    started = [json.loads(line) for line in record.read_text().splitlines()]
    assert [each["name"] for each in started] == ["member_0_40"] * 3 + ["member_1_40"]
    assert {(each["project"], each["experiment_name"]) for each in started} == {("mine", "s")}
    first, second, third, other = started
    assert first["id"] == second["id"] == third["id"] != other["id"]
    assert first["id"].startswith("s-member_0_40-")
    assert (first["run_id"], other["run_id"]) == (None, None) and second["run_id"] == third["run_id"] == "told 0"


@pytest.mark.parametrize(
    ("logger", "said"),
    [
        ("false", "trainer.logger is False: give a class_path"),
        ("CVSLogger", "CVSLogger is no logger"),
        ("nowhere.Logger", "nowhere.Logger cannot be imported"),
        ("[{class_path: CSVLogger, init_args: {colour: red}}]", "colour"),
    ],
)
def test_what_is_no_logger_is_said_in_a_line(tmp_path, digits, logger, said, capsys):
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    assert main(["fit", config, "--trainer.logger", logger]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1
    assert not list(tmp_path.glob("runs/s/*/*.ckpt"))
