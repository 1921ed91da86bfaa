"""Configs become dataclasses, which know the keys that Lightning has, or one line that names what is wrong."""

import inspect
from dataclasses import fields

import pytest

from timecat.cli import main
from timecat.config.data import DataConfig
from timecat.config.keys import sections
from timecat.config.member import MemberConfig
from timecat.config.section import parse_section
from timecat.config.trainer import PASSED_ON, TrainerConfig
from timecat.errors import UserError


def test_values_are_of_plain_types():
    member = parse_section(MemberConfig, {"width": 32, "lr": 1, "steps": 5}, "model")
    assert [type(value) for value in (member.width, member.lr, member.steps)] == [int, float, int]
    data = parse_section(DataConfig, {"train": "a", "scale": [0.5, 1], "batch_size": 8}, "data")
    assert (data.scale, type(data.scale[0]), type(data.batch_size)) == ((0.5, 1.0), float, int)


@pytest.mark.parametrize(
    ("kind", "given", "line"),
    [
        (MemberConfig, {"width": 0}, "model.width is 0; it must be a whole number from 1 to 4,096"),
        (MemberConfig, {"width": True}, "model.width is True; it must be a whole number from 1 to 4,096"),
        (MemberConfig, {"depth": 20}, "model.depth is 20; it must be one of 10, 18, 34, 50, 101, 152"),
        (MemberConfig, {"steps": "x"}, "model.steps is 'x'; it must be a whole number of 1 or more or null"),
        (MemberConfig, {"label_smoothing": 1}, "model.label_smoothing is 1; it must be a number from 0 to below 1"),
        (MemberConfig, {"widht": 8}, "unknown key model.widht; did you mean width?"),
        (MemberConfig, [8], "model must be a section of keys, not [8]"),
        (
            MemberConfig,
            {"width": None},
            "model.width is null; it must be a whole number from 1 to 4,096, or leave it out",
        ),
        (DataConfig, {}, "data.train is missing; add it"),
        (DataConfig, {"train": None}, "data.train is missing; add it"),
        (
            DataConfig,
            {"train": "a", "scale": [1]},
            "model.scale is [1]; it must be 2 values, each a number from 0 to 1 or null",
        ),
    ],
)
def test_what_is_wrong_is_one_line(kind, given, line):
    with pytest.raises(UserError) as error:
        parse_section(kind, given, "model")
    assert str(error.value) == line


def test_the_trainer_section_has_lightning_s_keys():
    from lightning.pytorch import Trainer

    ours = {field.name for field in fields(TrainerConfig)} - {"other"}
    assert ours | set(PASSED_ON) == set(inspect.signature(Trainer).parameters)
    assert not ours & set(PASSED_ON)


COMMANDS = {
    "run": ["--cats", "--study.", "repetitions", "memory_gb"],
    "plan": ["--images-per-sec", "--nodes", "--devices", "--cats", "--model."],
    "status": ["--cats", "--study."],
    "launch": ["--dry-run", "--nodes", "--devices", "--cats", "sbatch"],
    "fit": [
        "--member",
        "--slots",
        "--devices-per-member",
        "--cats",
        "--trainer.",
        "configs/probe/digits.yaml",
    ],
    "probe": ["--data", "--protocol", "--cats", "--probe."],
    "report": ["--protocol", "--cats", "--by"],
    "bottleneck counterexample": ["--weights", "--seeds"],
    "bottleneck saturation": ["--data", "--cats"],
    "bottleneck select": ["--data", "--members"],
    "init": ["--probe", "--hours"],
    "features": ["--skip-broken", "--storage"],
    "predict": ["--top", "--out"],
    "export": ["--format"],
    "write": ["--max-side", "--storage", "--groups"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_of_its_own(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    try:
        assert main([*command.split(), "--help"]) == 0
    except SystemExit as ended:
        assert ended.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in COMMANDS[command]), text
    assert "example" in text and f"timecat {command}" in text
    assert max(map(len, text.splitlines())) <= 80 and len(text.splitlines()) < 100


def test_help_tells_of_each_key_by_section(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["fit", "--help", "model"]) == 0
    text = capsys.readouterr().out
    assert "--model.lr …          learning rate. (0.0025)" in text and "--data." not in text
    assert main(["fit", "--config", "configs/demo.yaml", "-h", "all"]) == 0
    text = capsys.readouterr().out
    of_a_study = ("study", "model", "data", "trainer", "probe")
    assert all(
        f"--{key.name} …" in text for section in sections() for key in section.keys if section.name in of_a_study
    )
    assert main(["fit", "--help", "modl"]) == 2
    assert "did you mean model?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["configs/cat5.yaml"],
        ["--config", "configs/cat5.yaml"],
        ["--config=configs/cat5.yaml"],
        ["--cats", "cat5", "configs/cat5.yaml"],
    ],
)
def test_a_config_needs_no_option(arguments, capsys):
    assert main(["plan", *arguments]) == 0
    assert "409,600,000" in capsys.readouterr().out
