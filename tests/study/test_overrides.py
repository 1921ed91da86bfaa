"""What is given on a study's command line reaches all that it names, or is refused by name."""

import pytest

from timecat.cli import main
from timecat.errors import UserError
from timecat.study.study import Study

TABLE = ["configs/table1.yaml"]


def test_keys_of_the_machine_and_of_the_heads_reach_every_probe():
    overrides = {
        "data.root": "elsewhere",
        "data.batch_size": 512,
        "data.train": "other.beton",
        "study.images": None,
        "probe.memory_gb": 40,
        "probe.weight_decays": [0.5],
        "trainer.accelerator": "cpu",
    }
    study = Study.read(TABLE, overrides)
    assert (str(study.data.directory), study.batch_size, study.data.train) == ("elsewhere", 512, "other.beton")
    assert study.trainer.accelerator == "cpu"
    for probe in study.probes:
        assert (str(probe.data.directory), probe.trainer.accelerator) == ("elsewhere", "cpu")
        assert (probe.probe.memory_gb, probe.probe.weight_decays) == (40.0, [0.5])
        assert (probe.data.batch_size, probe.data.train) == (256, f"{probe.name}/train.beton")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("probe.memory", 40, ["probe.memory", "memory_gb"]),
        ("probe.memory_gb", "much", ["probe.memory_gb", "much", "a number above 0"]),
        ("model.weight_decays", [0.1], ["model.weight_decays", "weight_decay"]),
        ("trainer.max_epochs", 3, ["trainer.max_epochs", "the study's to set"]),
        ("trainer.device", 3, ["trainer.device", "devices"]),
        ("data.roots", "x", ["data.roots", "root"]),
    ],
)
def test_a_key_that_reaches_nothing_is_refused(key, value, words):
    with pytest.raises(UserError) as error:
        Study.read(TABLE, {key: value})
    assert all(word in str(error.value) for word in words), str(error.value)


def test_more_memory_makes_fewer_passes(capsys):
    passes = {}
    for memory in ("8", "40"):
        assert main(["plan", "--config", *TABLE, "--probe.memory_gb", memory]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("probe inat18")]
        passes[memory] = line
    assert "in 2 passes of 8 GB" in passes["8"]
    assert "in one pass" in passes["40"]


@pytest.mark.parametrize(
    ("gpu", "words"), [(False, "of 2 GB, half of what is free here"), (True, "of the device's free")]
)
def test_plan_tells_the_memory_where_it_can(capsys, monkeypatch, gpu, words):
    """Without asking torch: of a CPU; a GPU's is known to the process that uses it alone."""
    monkeypatch.setattr("timecat.report.memory.has_gpus", lambda accelerator: gpu)
    monkeypatch.setattr("timecat.report.memory.share_of_memory", lambda: 2e9)
    assert main(["plan", "--config", *TABLE]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("probe inat18")]
    assert words in line and ("passes of 2 GB" in line) != gpu


def test_a_cat_by_name_needs_its_members_alone_with_their_numbers_and_names():
    whole, part = Study.read(TABLE), Study.read(TABLE, only=["cat4"])
    assert [(member.index, member.name, member.snapshots) for member in part.members] == [
        (k, f"member_{k}", (100_000,)) for k in range(4)
    ]
    assert (part.baseline, list(part.cats)) == ("cat4", ["cat4"])
    assert [member.seed for member in part.members] == [member.seed for member in whole.members[:4]]
    wide = Study.read(["configs/demo.yaml"], only=["wide"])
    assert [(member.index, member.name) for member in wide.members] == [
        (12, "wide_0_640"),
        (25, "wide_5_640"),
        (38, "wide_10_640"),
    ]
    assert wide.member(25).seed == 5
    with pytest.raises(UserError, match=r"no member 0 in study demo: its members are 12, 25, 38"):
        wide.member(0)
    with pytest.raises(UserError, match=r"--cats cat6: no such cat in study table1; did you mean cat5\?"):
        Study.read(TABLE, only=["cat6"])
