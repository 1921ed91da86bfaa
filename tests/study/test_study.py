"""A study's arithmetic, and that the commands that need no torch do without it."""

import subprocess
import sys
from pathlib import Path

import pytest

from timecat.cli import main
from timecat.config.files import StudyFile
from timecat.config.read import as_arguments, read_config, split_arguments
from timecat.errors import UserError
from timecat.study.study import Study

CONFIGS = sorted(p for p in Path("configs").rglob("*.yaml") if p.parent.name not in ("probe", "features", "tune"))


def study(cats, schedule="constant", batch_size=100, **more):
    sections = {
        "seed_everything": 3,
        "study": {"name": "s", "cats": cats, **more},
        "model": {"num_classes": 1000, "optimizer": "sgd", "schedule": schedule},
        "data": {"train": "train.beton", "batch_size": batch_size},
    }
    return Study(StudyFile.parse(sections))


def test_runs_without_horizon_share_snapshots():
    table = Study.read(["configs/table1.yaml"])
    assert (table.steps, table.steps_unshared) == (930_000, 1_650_000)
    assert [member.snapshots for member in table.members] == [
        (80_000, 100_000, 200_000, 450_000),
        (80_000, 100_000, 200_000),
        (80_000, 100_000),
        (80_000, 100_000),
        (80_000,),
    ]
    (cat2,) = (
        [(each.plan.seed, each.step) for each in cat.snapshots] for cat in table.seeded_cats() if cat.name == "cat2_0"
    )
    assert cat2 == [(0, 200_000), (1, 200_000)]


def test_a_horizon_shares_nothing_and_names_the_length():
    cats = {"cat1": {"members": 1, "steps": 80}, "cat4": {"members": 4, "steps": 20}}
    plan = study(cats, schedule="one_cycle")
    assert plan.steps == plan.steps_unshared == 160
    assert [member.name for member in plan.members] == [
        "member_3_80",
        "member_3_20",
        "member_4_20",
        "member_5_20",
        "member_6_20",
    ]
    assert all(member.snapshots == (member.steps,) for member in plan.members)


def test_repetitions_use_other_seeds_and_the_wide_control_its_own_runs():
    cats = {
        "cat1": {"members": 1, "images": 4000},
        "cat2": {"members": 2, "steps": 20},
        "wide": {"members": 1, "steps": 40, "model": {"width": 128}},
    }
    plan = study(cats, repetitions=2)
    seeded = {cat.name: cat.snapshots for cat in plan.seeded_cats()}
    assert [{each.plan.seed for each in seeded[f"cat2_{r}"]} for r in (0, 1)] == [{3, 4}, {5, 6}]
    assert [(each.plan.name, each.plan.model.width) for each in seeded["wide_1"]] == [("wide_5", 128)]
    assert plan.cats["cat1"].images == plan.cats["cat2"].images == 4000
    assert len({member.name for member in plan.members}) == len(plan.members) == 6


def test_a_mixed_cats_members_are_those_of_the_other_cats():
    """Of each kind the repetition's first seeds, in the order of the kinds."""
    cats = {
        "cat2": {"members": 2, "steps": 20},
        "wide": {"members": 1, "steps": 20, "model": {"width": 128}},
        "mixed": {
            "of": [
                {"members": 1, "steps": 20, "model": {"width": 128}},
                {"members": 2, "steps": 20},
                {"members": 1, "steps": 20, "data": {"train": "other.beton"}},
            ]
        },
    }
    plan = study(cats, unequal_because="a test", repetitions=2)
    seeded = {cat.name: [each.plan.name for each in cat.snapshots] for cat in plan.seeded_cats()}
    assert seeded["mixed_0"] == ["wide_3", "member_3", "member_4", "mixed-2_3"]
    assert seeded["mixed_1"] == ["wide_7", "member_7", "member_8", "mixed-2_7"]
    assert plan.cats["mixed"].images == 4 * 20 * 100
    assert plan.cats["mixed"].budget == "1 x 20 + 2 x 20 + 1 x 20"
    assert [member.data.train for member in plan.members if member.name == "mixed-2_3"] == ["other.beton"]


@pytest.mark.parametrize(
    ("cats", "more", "words"),
    [
        ({"a": {"members": 1, "steps": 100}, "b": {"members": 2, "steps": 60}}, {}, ["1.200", "12,000", "10,000"]),
        ({"a": {"members": 1, "images": 150}}, {}, ["150", "100 or 200"]),
        ({"a": {"members": 0, "steps": 1}}, {}, ["a.members is 0"]),
        ({"a": {"members": 1, "steps": 1, "images": 100}}, {}, ["steps or as images"]),
        ({"a": {"members": 2, "steps": 1}}, {"seeds": [1]}, ["needs 2"]),
        ({"a": {"members": 2, "steps": 1}}, {"seeds": [1, 1]}, ["needs 2"]),
        ({"a": {"member": 2, "steps": 1}}, {}, ["a.member;"]),
        ({"a": {"members": 2, "steps": 1}}, {"baseline": "b"}, ["'b'"]),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(cats, more, words):
    with pytest.raises(UserError) as error:
        study(cats, **more)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_papers_own_inequality_passes_and_a_reason_lifts_the_rest():
    study({"a": {"members": 1, "steps": 450}, "b": {"members": 5, "steps": 80}})
    study({"a": {"members": 1, "steps": 900}, "b": {"members": 5, "steps": 80}}, unequal_because="full length")


def test_overrides_reach_into_sections():
    configs, overrides, others = split_arguments(["--config", "configs/demo.yaml", "--model.lr=1e-3", "--member", "2"])
    config = read_config(configs, overrides)
    assert config["model"]["lr"] == 1e-3
    assert config["model"]["depth"] == 10
    assert others == ["--member", "2"]
    overrides = {"data.val": None, "model.optimizer": "sgd", "model.lr": 1e-3, "study.seeds": [3, 4]}
    assert split_arguments(as_arguments(["a.yaml"], overrides)) == (["a.yaml"], overrides, [])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_plans(path, capsys):
    """With its probes, from the files alone."""
    plan = Study.read([str(path)])
    assert main(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"{plan.steps:,} steps in all, {plan.steps * plan.batch_size:,} images" in shown
    assert shown.count("\nprobe ") == len(plan.probes) > 0


def test_a_study_is_told_of_from_another_directory(tmp_path, monkeypatch, capsys):
    config = str(Path("configs/demo.yaml").resolve())
    monkeypatch.chdir(tmp_path)
    for command in ("plan", "status"):
        assert main([command, config]) == 0
        assert capsys.readouterr().out.count("\nprobe ") == 2


def test_all_imagenet_configs_train_the_same_recipe():
    sections = [
        {key: config[key] for key in ("model", "data", "trainer")}
        for config in (read_config([f"configs/{name}.yaml"]) for name in ("cat5", "table1"))
    ]
    assert all(section == sections[0] for section in sections)


def test_light_commands_import_neither_torch_nor_lightning():
    for arguments in (
        ["--help"],
        ["plan", "--config", "configs/cat5.yaml"],
        ["status", "--config", "configs/cat5.yaml"],
        ["launch", "--config", "configs/cat5.yaml", "--dry-run"],
    ):
        code = (
            "import sys; from timecat.cli import main; status = main(sys.argv[1:]); "
            "assert not {'torch', 'lightning', 'ffcv', 'numba'} & set(sys.modules); sys.exit(status)"
        )
        shown = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
        if arguments[0] == "plan":
            assert all(figure in shown.stdout for figure in ("80,000", "400,000", "409,600,000", "63.94")), shown.stdout
