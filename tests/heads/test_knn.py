"""Nearest neighbours are scikit-learn's, chosen on held-out images, and compared on the same test images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

import timecat.heads.knn
import timecat.heads.neighbours
from tests.support.digit_arrays import digit_arrays, write_arrays
from tests.support.small_study import ONE_CYCLE, finish_members, rewrite, write_probe, write_study
from timecat.cli import main
from timecat.data.split import stratified_split
from timecat.extraction.matrix import FeatureMatrix
from timecat.heads.neighbours import classify
from timecat.heads.scores import interval

ARRAYS = digit_arrays()
FIT, HELD = stratified_split(ARRAYS["y_train"], 0.2, 0, "")
FOLDER = "runs/digits/probe/c"


def features(name: str, split: str) -> np.ndarray:
    blocks = ["fourier", "raw"] if name == "both" else [name]
    return np.hstack([ARRAYS[f"{block}_{split}"].astype(np.float64) for block in blocks])


def theirs(name: str, rows: np.ndarray, queries: np.ndarray, k: int, temperature: float | None) -> np.ndarray:
    weights = "uniform" if temperature is None else lambda distances: np.exp((1 - distances) / temperature)
    machine = KNeighborsClassifier(k, metric="cosine", weights=weights)
    return machine.fit(features(name, "train")[rows], ARRAYS["y_train"][rows]).predict(queries)


def record(folder: Path) -> dict:
    return json.loads((folder / FOLDER / "knn.json").read_text())


def predictions(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / FOLDER / "knn.npz") as stored:
        return dict(stored)


@pytest.fixture
def blocks(monkeypatch) -> None:
    """Several blocks of either kind, the last ones smaller."""
    monkeypatch.setattr(timecat.heads.neighbours, "BANK_ROWS", 128)
    monkeypatch.setattr(timecat.heads.neighbours, "QUERY_ROWS", 150)


@pytest.mark.parametrize("memory_gb", [8.0, 1e-5], ids=["in memory", "from the files"])
def test_predictions_are_scikit_learns(tmp_path, blocks, memory_gb):
    config = write_arrays(tmp_path, ARRAYS, probe={"memory_gb": memory_gb})
    for k, temperature in ((1, 0.07), (20, 0.07), (200, 0.02), (7, None), (200, None)):
        told = "none" if temperature is None else str(temperature)
        assert main(["knn", config, "--k", str(k), "--temperature", told]) == 0
        for name in ("raw", "fourier", "both"):
            expected = theirs(name, np.arange(600), features(name, "test"), k, temperature)
            np.testing.assert_array_equal(predictions(tmp_path)[f"{name}_0"], expected)
            right = 100 * np.mean(expected == ARRAYS["y_test"])
            assert record(tmp_path)["cats"][name]["0"]["acc1"] == pytest.approx(right)


def test_votes_and_ties():
    """Of equal votes the lowest class; a near neighbour outvotes two far ones where the temperature is low."""
    angles = torch.tensor([0.0, 0.3, 0.31, -0.32, 1.2])
    bank = FeatureMatrix([torch.stack([angles.cos(), angles.sin()], 1) * 3], torch.device("cpu"), 1e9)
    labels = torch.tensor([3, 1, 1, 2, 2])
    query = FeatureMatrix([torch.tensor([[5.0, 0.0]])], torch.device("cpu"), 1e9)
    settings = [(1, 0.07), (2, float("inf")), (3, float("inf")), (3, 0.01), (5, float("inf")), (3, 10.0), (3, 1e-5)]
    given = query, torch.tensor([0]), 4, settings
    found = classify(bank, torch.arange(5), labels, *given)
    assert found[:, 0].tolist() == [3, 1, 1, 3, 1, 1, 3]
    rows = torch.tensor([0, 1, 3])  # one vote each
    assert classify(bank, rows, labels[rows], *given[:3], [(3, float("inf"))])[0, 0] == 1


def test_settings_are_chosen_on_held_out_images(tmp_path, capsys):
    config = write_arrays(tmp_path, ARRAYS)
    assert main(["knn", config, "--k", "5,400", "--temperature", "0.05,none"]) == 0
    table = capsys.readouterr().out
    for name in ("raw", "fourier", "both"):
        entry = record(tmp_path)["cats"][name]["0"]
        values = {}
        for k in (5, 400):
            for temperature in (0.05, None):
                predicted = theirs(name, FIT, features(name, "train")[HELD], k, temperature)
                values[k, temperature] = 100 * np.mean(predicted == ARRAYS["y_train"][HELD])
        assert {(one["k"], one["temperature"]): one["acc1"] for one in entry["settings"]} == pytest.approx(values)
        chosen = entry["k"], entry["temperature"]
        assert values[chosen] == max(values.values()) == pytest.approx(entry["chosen_by_acc1"])
        expected = theirs(name, np.arange(600), features(name, "test"), *chosen)
        np.testing.assert_array_equal(predictions(tmp_path)[f"{name}_0"], expected)
        difference = 1.0 * (expected == ARRAYS["y_test"]) - (predictions(tmp_path)["raw_0"] == ARRAYS["y_test"])
        if name != "raw":
            low, high = interval(difference)
            assert f"{100 * difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]" in table
    assert main(["probe", config]) == 0 and main(["report", config]) == 0
    report = json.loads((tmp_path / "runs/digits/report.json").read_text())["knn"]["c"]
    assert report["cats"]["both"]["difference"] == pytest.approx(100 * difference.mean())
    assert (
        "## c: nearest neighbours, top-1 % of 500 test images by 600 training"
        in (tmp_path / "runs/digits/report.md").read_text()
    )
    assert main(["report", config, "--protocol", "paper"]) == 2  # nothing there


def test_finished_cats_are_not_classified_again(tmp_path, monkeypatch):
    seen, original = [], timecat.heads.knn._of_cat

    def of_cat(features, cat, *given):
        seen.append(cat.of.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(features, cat, *given)

    monkeypatch.setattr(timecat.heads.knn, "_of_cat", of_cat)
    config = write_arrays(tmp_path, ARRAYS)
    assert main(["knn", config]) == 130
    assert main(["knn", config]) == 0
    assert seen == ["raw_0", "fourier_0", "fourier_0", "both_0"]
    assert [one["k"] for one in record(tmp_path)["cats"]["raw"]["0"]["settings"]] == [10, 20, 100, 200]
    first = (tmp_path / FOLDER / "knn.json").read_bytes()
    seen.clear()
    np.save(tmp_path / "raw_test.npy", ARRAYS["raw_test"][:, ::-1])
    seen.append("")  # so that no second one is stopped
    seen.append("")
    assert main(["knn", config]) == 0
    assert seen[2:] == ["raw_0", "both_0"]
    assert record(tmp_path)["cats"]["raw"]["0"]["acc1"] < 40
    before = (tmp_path / FOLDER / "knn.json").read_bytes()
    assert before != first
    assert main(["knn", config, "--k", "3"]) == 0
    assert seen[4:] == ["raw_0", "fourier_0", "both_0"]
    assert before in [path.read_bytes() for path in (tmp_path / FOLDER).glob("knn_*.json")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--k", "481"], "--k 481: c has 480 training images that are not held out"),
        (["--k", "0"], "'0' is not a whole number of 1 or more"),
        (["--temperature", "-1"], "'-1' is not a number above 0"),
        (["--temperature", "warm"], "'warm' is not a number above 0"),
        (["--data", "c"], "--data: makes no sense"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, capsys, given, words):
    config = write_arrays(tmp_path, ARRAYS)
    assert main(["knn", config, *given]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and words in told, told
    assert not list(tmp_path.rglob("knn.*"))


def test_both_commands_on_a_study(tmp_path, digits, capsys):
    """Cats of two repetitions; features are computed once, for either command, and the report shows both."""
    data = {"root": str(digits)}
    probe = write_probe(tmp_path / "digits.yaml", data, {"weight_decays": [1e-3]}, trainer={"max_epochs": 2})
    cats = {"cat1": {"members": 1, "steps": 8}, "cat2": {"members": 2, "steps": 4}}
    config = write_study(tmp_path / "s.yaml", data, ONE_CYCLE, cats, probes=[probe], repetitions=2)
    assert main(["knn", config]) == 2
    assert "not trained yet; run `timecat fit` first" in capsys.readouterr().err
    finish_members(config)
    folder = tmp_path / "runs/s"
    assert main(["knn", config, "--cats", "cat2"]) == 0
    assert "features of digits" in capsys.readouterr().out
    assert main(["knn", config, "--data", "digits"]) == 0
    assert "features of digits: 3,594 forward passes of 2 snapshots" in capsys.readouterr().out
    assert main(["few-shot", config, "--shots", "1,5", "--draws", "2"]) == 0
    told = capsys.readouterr().out
    assert "features of" not in told
    assert "means over 2 draws of the images x 2 repetitions" in told
    found = json.loads((folder / "probe/digits/knn.json").read_text())["cats"]
    assert {name: list(of) for name, of in found.items()} == {"cat2": ["0", "1"], "cat1": ["0", "1"]}
    few = json.loads((folder / "probe/digits/few_shot.json").read_text())["cats"]
    assert {count: list(draws) for count, draws in few["cat2"]["1"]["cells"].items()} == {
        "1": ["0", "1"],
        "5": ["0", "1"],
    }
    assert main(["probe", config]) == 0 and main(["report", config]) == 0
    text = (folder / "report.md").read_text()
    assert "## digits: nearest neighbours" in text and "## digits: heads on n images a class" in text
    report = json.loads((folder / "report.json").read_text())
    assert report["knn"]["digits"]["cats"]["cat1"]["values"] == [entry["acc1"] for entry in found["cat1"].values()]
    done = folder / "member_0_8/done.json"
    rewrite(done, snapshots={"8": "0" * 64})  # another training: what was found is not of it
    assert main(["report", config]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert len(report["knn"]["digits"]["cats"]["cat1"]["values"]) == 1
    assert report["few_shot"]["digits"]["sizes"][0]["repetitions"] == 1
