"""What the report says of components and groups is what the predictions say, and the members' own heads are theirs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main
from timecat.data.datamodule import ImageData
from timecat.data.write.write import write
from timecat.heads.scores import interval
from timecat.networks.backbone import Weights, load_backbone
from timecat.report.breakdown import worst_interval

PROBE = {"weight_decays": [1e-3]}
SHORT = {"max_epochs": 4}


@pytest.fixture(scope="module")
def dominoes(tmp_path_factory):
    out = tmp_path_factory.mktemp("dominoes")
    write("dominoes", out, progress=False)
    return out


@pytest.fixture(scope="module")
def direct(tmp_path_factory, digits, rooms):
    """A study of two components, each trained on directly too; its config."""
    folder = tmp_path_factory.mktemp("direct")
    write(str(rooms / "photos"), folder / "rooms", test_fraction=0.3, progress=False)
    probes = [
        write_probe(folder / "digits.yaml", {"root": str(digits)}, PROBE, trainer=SHORT),
        write_probe(folder / "rooms.yaml", {"root": str(folder / "rooms"), "batch_size": 8}, PROBE, trainer=SHORT),
    ]
    mixture = {"digits": {"weight": 3}, "rooms": {"weight": 1, "train": str(folder / "rooms" / "train.beton")}}
    cats = {"cat1": {"members": 1, "steps": 40}, "cat2": {"members": 2, "steps": 20}}
    data = {"root": str(digits), "mixture": mixture}
    return write_study(folder / "s.yaml", data, ONE_CYCLE, cats, direct=True, probes=probes, repetitions=2)


def test_gaps_are_direct_training_less_transfer_on_the_same_images(direct, capsys):
    assert main(["run", direct]) == 0
    said = capsys.readouterr().out
    assert "digits, 75 % of the mixture" in said and "rooms, 25 % of the mixture" in said
    directory = Path(direct).parent / "runs" / "s"
    report = json.loads((directory / "report.json").read_text())
    assert report["cats"]["direct-rooms"]["steps"] == 40 and report["cats"]["share-rooms"]["steps"] == 10
    assert list(report["cats"]["direct-rooms"]["acc1"]) == ["rooms"]
    for name in ("digits", "rooms"):
        with np.load(directory / "probe" / name / "predictions.npz") as arrays:
            right = {key: arrays[key] == arrays["labels"] for key in arrays.files}
        for cat in ("cat1", "cat2"):
            gap = report["gaps"][name]["to_direct"][cat]
            by_repetition = [right[f"direct-{name}_{r}"] * 1.0 - right[f"{cat}_{r}"] for r in (0, 1)]
            assert gap["values"] == pytest.approx([100 * each.mean() for each in by_repetition])
            assert gap["mean"] == pytest.approx(np.mean(gap["values"]))
            assert gap["interval"] == pytest.approx(interval(np.mean(by_repetition, axis=0)))
    assert report["gaps"]["digits"]["to_direct"].keys() == {"cat1", "cat2"}
    recipe = json.loads((directory / "direct-rooms_0_40" / "recipe.json").read_text())
    assert [name for name, _ in recipe["data.mixture"]] == ["rooms"]
    text = (directory / "report.md").read_text()
    assert "## Transfer against direct training, by component" in text
    assert main(["report", direct, "--by", "component"]) == 0
    assert main(["report", direct, "--by", "group"]) == 2
    assert "no test images with groups" in capsys.readouterr().err


def test_own_heads_and_groups(dominoes, tmp_path, capsys):
    """The members' own classifier, by their network on the images; top-1 by group, counted from the predictions."""
    groups = {"agrees": ["Pullover above 0", "Coat above 1"], "disagrees": ["Pullover above 1", "Coat above 0"]}
    mixture = {"agrees": {"weight": 19, "groups": groups["agrees"]}, "disagrees": {"weight": 1, "groups": [1, 2]}}
    data = {"root": str(dominoes), "mixture": mixture, "holdout": 0.05}
    cats = {
        "cat1": {"members": 1, "steps": 20},
        "own1": {"members": 1, "steps": 20, "head": "own"},
        "own2": {"members": 2, "steps": 20, "head": "own"},
    }
    images = {"root": str(dominoes), "train": "val.beton", "batch_size": 256}
    probe = write_probe(tmp_path / "d.yaml", images, PROBE, {"num_classes": 2}, SHORT)
    config = write_study(
        tmp_path / "s.yaml",
        data,
        {**ONE_CYCLE, "num_classes": 2},
        cats,
        probes=[probe],
        unequal_because="a test",
    )
    assert main(["run", config]) == 0
    directory = tmp_path / "runs" / "s"
    networks = [
        load_backbone(Weights(directory / f"member_{seed}_20" / "snapshot_20.pt", 64), torch.device("cpu"))
        for seed in (0, 1)
    ]
    seen = ImageData(root=str(dominoes), train="val.beton", test="test.beton", view="small", resolution=28)
    probabilities, agree = [], []
    with torch.inference_mode():
        for batch, *_ in seen.test_dataloader():
            outputs = [network(seen.normalise(batch)).softmax(1) for network in networks]
            probabilities.append(torch.stack(outputs))
    both = torch.cat(probabilities, 1)
    with np.load(directory / "probe" / "d" / "predictions.npz") as arrays:
        stored = dict(arrays)
    for name, wanted in (("own1_0", both[0]), ("own2_0", both.mean(0))):
        agree = (wanted.argmax(1).numpy() == stored[name]).mean()
        assert agree > 0.999  # features are stored in float16
    assert (stored["own1_0"] != stored["own2_0"]).any() and (stored["own1_0"] != stored["cat1_0"]).any()
    beton = seen.beton("test")
    assert (stored["groups"] == beton.groups).all() and tuple(stored["group_names"]) == beton.group_names

    capsys.readouterr()
    assert main(["report", config, "--by", "group"]) == 0
    said = capsys.readouterr().out
    (found,) = json.loads((directory / "report_by_group.json").read_text())["data"]
    assert found["names"] == list(beton.group_names) and found["images"] == [1000] * 4
    right = stored["cat1_0"] == stored["labels"]
    rates = [100 * right[beton.groups == k].mean() for k in range(4)]
    value = found["cats"]["cat1"]
    assert value["by"] == pytest.approx(rates) and value["mean"] == pytest.approx(np.mean(rates))
    assert value["worst"]["acc1"] == pytest.approx(min(rates)) and f"{min(rates):.1f}" in said
    assert value["worst"]["interval"][0] <= min(rates)
    assert (directory / "report_by_group.png").is_file() and "Coat above 1" in (
        directory / "report_by_group.md"
    ).read_text()
    assert main(["report", config, "--by", "component"]) == 0
    (found,) = json.loads((directory / "report_by_component.json").read_text())["data"]
    agreeing = np.isin(beton.groups, [0, 3])
    assert found["cats"]["cat1"]["by"] == pytest.approx([100 * right[m].mean() for m in (agreeing, ~agreeing)])
    assert main(["report", config, "--by", "class"]) == 0
    (found,) = json.loads((directory / "report_by_class.json").read_text())["data"]
    assert found["names"] == ["Pullover", "Coat"]


def test_the_worst_groups_interval_covers_which_one_it_is():
    even = [np.tile([0.0, 1.0], 200)] * 5
    low, high = worst_interval(even)
    one_low, one_high = interval(even[0])
    assert low < one_low + 0.5 and high < one_high - 2  # the least of five is below 50 % nearly always
    low, high = worst_interval([np.ones(100), np.tile([0.0, 1.0], 200)])
    assert (low, high) == pytest.approx((one_low, one_high), abs=0.6)


@pytest.mark.parametrize(
    ("study", "data", "words"),
    [
        ({"direct": True}, {}, "study.direct trains on each component of data.mixture"),
        ({"direct": True}, {"mixture": {"a": {"weight": 1}}}, "component a has no probe of its name"),
        ({"cats": {"x": {"members": 1, "steps": 8, "probes": ["y"]}}}, {}, "no probe 'y' in study.probes"),
        ({"cats": {"x": {"members": 1, "steps": 8, "data": {"batch_size": 8}}}}, {}, "data.batch_size for all"),
        ({"cats": {"x": {"members": 1, "of": [{"members": 1, "steps": 8}]}}}, {}, "in `of` or without it"),
        ({"cats": {"x": {"of": [{"members": 1}]}}}, {}, "study.cats.x.of.0: give its members' budget once"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path, digits, capsys, study, data, words):
    study = {"cats": {"cat1": {"members": 1, "steps": 8}}, **study}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits), **data}, ONE_CYCLE, **study)
    assert main(["plan", config]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_own_heads_of_other_classes_are_refused(tmp_path, digits, rooms, capsys):
    cats = {"own": {"members": 1, "steps": 8, "head": "own"}}
    write(str(rooms / "photos"), tmp_path / "rooms", test_fraction=0.3, progress=False)
    probe = write_probe(
        tmp_path / "rooms.yaml", {"root": str(tmp_path / "rooms"), "batch_size": 8}, PROBE, {"num_classes": 2}, SHORT
    )
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, probes=[probe])
    for command in ("plan", "fit", "probe"):
        assert main([command, config]) == 2
        assert "its members tell 10 classes, the probe rooms has 2" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
