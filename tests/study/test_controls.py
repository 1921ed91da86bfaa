"""Controls of a cat, snapshots of one run, networks from elsewhere: what they are, cost and are refused for."""

import pytest

from timecat.config.files import StudyFile
from timecat.errors import UserError
from timecat.study import costs
from timecat.study.study import Study

CATS = {"cat1": {"members": 1, "steps": 80}, "cat4": {"members": 4, "steps": 20}}


def study(cats, model=None, **more):
    sections = {
        "seed_everything": 3,
        "study": {"name": "s", "cats": {**CATS, **cats}, "unequal_because": "controls", **more},
        "model": {"depth": 50, "num_classes": 1000, "optimizer": "sgd", **(model or {})},
        "data": {"train": "train.beton", "batch_size": 100, "resolution": 224},
    }
    return Study(StudyFile.parse(sections))


def network(plan, name):
    (snapshot,) = {each.plan.model for cat in plan.seeded_cats() if cat.cat.name == name for each in cat.snapshots}
    return snapshot


def test_a_short_control_is_the_first_member_of_the_cat():
    plan = study({"short": {"short": "cat4"}}, repetitions=2)
    for short, cat4 in zip(plan.seeded_cats()[2::3], plan.seeded_cats()[1::3], strict=True):
        assert (short.cat.name, cat4.cat.name) == ("short", "cat4")
        assert short.snapshots == cat4.snapshots[:1]
    assert plan.cats["short"].images == 2_000


def test_narrow_costs_at_inference_and_wide_in_parameters_what_they_say():
    """Of all widths the nearest; torch's counter is what the costs are held against elsewhere."""
    plan = study({"narrow": {"narrow": "cat4"}, "wide": {"wide": "cat4"}})
    base, narrow, wide = (network(plan, name) for name in ("cat1", "narrow", "wide"))
    assert (narrow.width, wide.width) == (32, 128)
    assert abs(4 * costs.backbone_flops(narrow, 224) / costs.backbone_flops(base, 224) - 1) < 0.06
    assert abs(costs.backbone_parameters(wide) / (4 * costs.backbone_parameters(base)) - 1) < 0.01
    assert plan.cats["narrow"].images == plan.cats["wide"].images == 8_000


def test_wide_at_equal_training_flops_is_a_snapshot_of_the_wide_run():
    plan = study({"wide": {"wide": "cat4"}, "flops": {"wide": "cat4", "equal": "training_flops"}})
    (run,) = [member for member in plan.members if member.model.width == 128]
    steps = plan.cats["flops"].steps
    assert run.snapshots == (steps, 80)
    ratio = (
        steps
        * costs.training_flops(network(plan, "wide"), 224)
        / (80 * costs.training_flops(network(plan, "cat1"), 224))
    )
    assert abs(ratio - 1) < 0.5 / steps


def test_snapshots_of_one_run_cost_one_run_and_need_no_other():
    plan = study(
        {"one": {"snapshots": [20, 40, 80]}, "mixed": {"of": [{"members": 2, "steps": 20}, {"first": 0, "steps": 80}]}}
    )
    one, mixed = (cat for cat in plan.seeded_cats() if cat.cat.name in ("one", "mixed"))
    assert [(each.plan.seed, each.step) for each in one.snapshots] == [(3, 20), (3, 40), (3, 80)]
    assert [(each.plan.seed, each.step) for each in mixed.snapshots] == [(3, 20), (4, 20), (3, 80)]
    assert (one.cat.images, mixed.cat.images) == (8_000, 10_000)
    assert [member.snapshots for member in plan.members] == [(20, 40, 80), (20,), (20,), (20,)]


def test_controls_train_nothing_where_they_are_made_of_what_is_there():
    more = {
        "soup": {"soup": "cat4"},
        "ensemble": {"ensemble": "cat4"},
        "pca": {"members": 4, "steps": 20, "project": 64},
        "short": {"short": "cat4"},
    }
    plan = study(more)
    assert plan.members == study({}).members
    cats = {cat.cat.name: cat for cat in plan.seeded_cats()}
    assert (cats["soup"].features, cats["ensemble"].features, cats["pca"].features) == (2048, 8192, 64)
    assert [each.step for each in cats["soup"].trained] == [20, 20, 20, 20]


@pytest.mark.parametrize(
    ("cats", "words"),
    [
        ({"a": {"short": "cat5"}}, ("study.cats.a.short", "cat4")),
        ({"a": {"short": "b"}, "b": {"short": "a"}}, ("study.cats.a.short", "'b'")),
        ({"a": {"soup": "cat4", "members": 2}}, ("study.cats.a", "members", "soup")),
        ({"a": {"soup": "cat4", "wide": "cat4"}}, ("study.cats.a",)),
        ({"a": {"soup": "cat4"}, "b": {"soup": "a"}}, ("study.cats.b.soup", "control")),
        ({"a": {"snapshots": [20, 20]}}, ("study.cats.a.snapshots",)),
        ({"a": {"of": [{"steps": 20}, {"first": 0, "steps": 20}]}}, ("study.cats.a", "twice")),
        ({"a": {"snapshots": [20], "steps": 20}}, ("study.cats.a", "steps")),
        ({"a": {"members": 1, "steps": 80, "equal": "training_flops"}}, ("study.cats.a.equal",)),
        ({"a": {"weights": ["none.pt"]}}, ("study.cats.a.weights", "none.pt")),
        ({"a": {"weights": ["none.pt"], "backbone": "timm:x"}}, ("study.cats.a", "features")),
        ({"a": {"ensemble": "cat4", "project": 8}}, ("study.cats.a.project",)),
        ({"a": {"members": 1, "steps": 80, "projection": "random"}}, ("study.cats.a.projection",)),
        ({"a": {"ensemble": "cat4", "head": "own"}}, ("study.cats.a.head",)),
        (
            {"a": {"weights": ["*.toml"], "backbone": "timm:x", "features": 1, "head": "own"}},
            ("study.cats.a.head", "timm:x"),
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(cats, words):
    with pytest.raises(UserError) as error:
        study(cats)
    for word in words:
        assert word in str(error.value), error.value


def test_a_schedule_with_a_horizon_has_no_snapshots():
    with pytest.raises(UserError, match=r"study.cats.one.*horizon"):
        study({"one": {"snapshots": [20, 80]}}, {"schedule": "cosine"})
