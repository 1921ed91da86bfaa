"""Two recipes are the same where they mean the same, and not where they are spelt the same."""

import json
from pathlib import Path

import pytest

from tests.support.small_study import ONE_CYCLE, change, write_study
from timecat.errors import UserError
from timecat.study.recipe import check_recipe, recipe
from timecat.study.study import Study


@pytest.fixture
def config(tmp_path) -> str:
    return write_study(tmp_path / "s.yaml", {}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})


def trained(config: str, **changes) -> Study:
    """The study, of which the one member was trained with its recipe but for these keys; None takes one out."""
    study = Study.read([config])
    directory = Path(str(study.directory)) / "member_0_4"
    directory.mkdir(parents=True)
    (directory / "snapshot_4.pt").write_bytes(b"")
    stored = {"version": 2, **recipe(study, study.member(0)), **changes}
    (directory / "recipe.json").write_text(json.dumps({k: v for k, v in stored.items() if v is not None}))
    return study


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("model", {"pct_start": 0.3, "nesterov": False, "lr": 1.0e-1}),
        ("data", {"flip": True, "padding": 4, "interpolation": "area", "normalisation": "cifar", "workers": 3}),
        ("trainer", {"precision": None, "gradient_clip_val": None, "limit_val_batches": 3}),
    ],
)
def test_a_default_may_be_written_out(config, section, keys):
    study = trained(config)
    change(config, section, **keys)
    check_recipe(Study.read([config]), study.member(0))


@pytest.mark.parametrize(
    ("section", "keys", "name"),
    [
        ("model", {"pct_start": 0.25}, "model.pct_start"),
        ("data", {"padding": 2}, "data.padding"),
        ("data", {"normalisation": "imagenet"}, "data.normalisation"),
        ("trainer", {"precision": "bf16-mixed"}, "trainer.precision"),
        ("trainer", {"limit_train_batches": 2}, "trainer.limit_train_batches"),
    ],
)
def test_what_changes_a_member_is_told(config, section, keys, name):
    trained(config)
    change(config, section, **keys)
    study = Study.read([config])
    with pytest.raises(UserError, match=name):
        check_recipe(study, study.member(0))


def test_a_default_that_changed_since_is_told(config):
    """The member was trained when the default, which the config leaves to the code, was another one."""
    study = trained(config, **{"model.pct_start": 0.25})
    with pytest.raises(UserError, match=r"model\.pct_start 0\.25, the config says 0\.3"):
        check_recipe(study, study.member(0))


def test_a_recipe_of_version_1_held_what_was_spelt_out(config):
    """As written by version 0.1.0 for this config."""
    spelt = {"seed": 0, "steps": 4, "model.depth": 10, "model.width": 8, "model.num_classes": 10}
    spelt |= {f"model.{key}": value for key, value in ONE_CYCLE.items()}
    spelt |= {"data.batch_size": 32, "data.holdout": 0.2, "data.resolution": 28, "data.train": "train.beton"}
    spelt |= {"data.view": "small", "data.train's content": "a hash"}
    study = trained(config)
    path = Path(str(study.directory)) / "member_0_4" / "recipe.json"
    path.write_text(json.dumps(spelt))
    check_recipe(study, study.member(0))
    path.write_text(json.dumps({**spelt, "model.lr": 0.2}))
    with pytest.raises(UserError, match=r"model\.lr 0\.2, the config says 0\.1"):
        check_recipe(study, study.member(0))


def test_a_newer_version_is_refused_by_its_number(config):
    study = trained(config, version=3)
    with pytest.raises(UserError, match=r"recipe\.json: is of version 3, this timecat reads 1 to 2"):
        check_recipe(study, study.member(0))
