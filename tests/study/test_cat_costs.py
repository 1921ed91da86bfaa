"""What a cat costs follows from its runs; what is not known is not made up."""

import dataclasses

import pytest

from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main
from timecat.study import costs
from timecat.study.cat_costs import costs_of_cat, costs_of_cats
from timecat.study.plan import SeededCat, Snapshot
from timecat.study.study import Study
from timecat.terminal import short


def test_a_run_that_several_snapshots_come_from_counts_once():
    study = Study.read(["configs/table1.yaml"])
    cat1, *_, cat5 = (cat for cat in study.seeded_cats())
    run = cat1.snapshots[0].plan
    two = SeededCat(dataclasses.replace(cat1.cat, name="two"), 0, (Snapshot(run, 100_000), Snapshot(run, 80_000)))
    found, all_five = costs_of_cat(study, two), costs_of_cat(study, cat5)
    an_image = costs.training_flops(run.model, 224)
    assert found["training_flops"] == 100_000 * 1024 * an_image
    assert found["parameters"] == 2 * 23_508_032  # torchvision's resnet50 without fc, twice
    assert all_five["training_flops"] == pytest.approx(5 * 80_000 * 1024 * an_image)
    assert all_five["inference_flops"]["inat18"] == 5 * costs.backbone_flops(run.model, 224) + 2 * 10_240 * 8142


def test_sides_that_grow_are_counted_epoch_by_epoch(tmp_path, capsys):
    """4 epochs of 10 steps at 32, 64, 96 and 128 pixels, the last one cut short."""
    data = {"train_resolution": [32, 128], "ramp": [0, 0.75], "train_images": 400, "holdout": 0.2, "resolution": 128}
    probe = write_probe(tmp_path / "p.yaml", {}, {"weight_decays": [1e-3]})
    cats = {"cat1": {"members": 1, "steps": 37}, "own": {"members": 1, "steps": 37, "head": "own"}}
    study = {"cats": cats, "model": ONE_CYCLE, "probes": [probe]}
    config = write_study(tmp_path / "s.yaml", data, **study)
    plan = Study.read([config])
    model, found = plan.members[0].model, costs_of_cats(plan)
    steps = {32: 10, 64: 10, 96: 10, 128: 7}
    assert found["cat1"]["training_flops"] == sum(
        count * 32 * costs.training_flops(model, side) for side, count in steps.items()
    )
    assert found["own"]["parameters"] == costs.parameters(model) and found["own"]["head_bytes"] == {"p": 0}
    assert found["own"]["inference_flops"]["p"] == costs.forward_flops(model, 28)
    unknown = write_study(tmp_path / "u.yaml", {**data, "train_images": None}, **study)
    assert costs_of_cats(Study.read([unknown]))["cat1"]["training_flops"] is None
    assert main(["plan", unknown]) == 0
    (row,) = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(" cat1 ") and "FLOP" in line
    ]
    assert row[4:6] == ["?", "?"]


def test_numbers_are_short():
    values = [
        short(64.71e6, "FLOP"),
        short(3.3e15, "FLOP"),
        short(1_236_800),
        short(999_600),
        short(512, "B"),
        short(None),
    ]
    assert values == ["64.7 MFLOP", "3.3 PFLOP", "1.24 M", "1 M", "512 B", "?"]
