"""Features that somebody else computed: scikit-learn's optimum, results of these arrays alone, early errors."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression

import timecat.heads.protocols
from tests.support.digit_arrays import write_arrays
from tests.support.hostile import limited
from timecat.cli import main
from timecat.config.features import FeaturesFile
from timecat.data.split import stratified_split
from timecat.heads.scores import interval

ROOT = Path(__file__).parents[2]
TRAIN, TEST = 600, 500
DECAYS = [1e-2, 1e-1]
SPLITS = ("train", "test")


def digits() -> dict[str, np.ndarray]:
    """Labels, pixels and random Fourier features of scikit-learn's digits, by the names of their files."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = images / 13  # numbers that float16 has not
    fourier = RBFSampler(gamma=0.1, n_components=120, random_state=0).fit(images[order[:TRAIN]])
    found = {}
    for split, rows in (("train", order[:TRAIN]), ("test", order[TRAIN : TRAIN + TEST])):
        found[f"y_{split}"] = labels[rows]
        found[f"raw_{split}"] = images[rows]
        found[f"fourier_{split}"] = fourier.transform(images[rows]).astype(np.float16)
    found["g_test"] = (images[order[TRAIN : TRAIN + TEST]].mean(1) > 0.3).astype(np.int64)  # thick strokes
    return found


ARRAYS = digits()


def make(folder: Path, arrays: dict[str, np.ndarray] | None = None, **sections: dict[str, Any]) -> Path:
    """Arrays and their config, with keys of its sections set otherwise."""
    ours: dict[str, dict[str, Any]] = {
        "features": {"groups": {"test": "g_test.npy"}},
        "probe": {"weight_decays": DECAYS},
    }
    both = {section: {**ours.get(section, {}), **sections.get(section, {})} for section in {**ours, **sections}}
    return Path(write_arrays(folder, {**ARRAYS, **(arrays or {})}, "config", **both))


SGD = {
    "probe": {"weight_decays": [1e-4, 1e-2], "solver": "sgd"},
    "model": {"lr": 0.1},
    "data": {"batch_size": 64},
    "trainer": {"max_epochs": 6},
}


def results(config: Path, protocol: str = "") -> dict[str, Any]:
    return json.loads((config.parent / f"runs/digits/probe/config/results{protocol}.json").read_text())


def result(config: Path, extractor: str, protocol: str = "") -> dict[str, Any]:
    return results(config, protocol)["cats"][extractor]["repetitions"]["0"]


def predictions(config: Path, protocol: str = "") -> dict[str, np.ndarray]:
    with np.load(config.parent / f"runs/digits/probe/config/predictions{protocol}.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> Path:
    config = make(tmp_path_factory.mktemp("probed"))
    assert main(["probe", str(config)]) == 0
    return config


@pytest.fixture
def optima(monkeypatch) -> list[int]:
    """The number of features of each optimum that is searched."""
    searched, original = [], timecat.heads.protocols.minimise

    def minimise(data, *given):
        searched.append(len(data.mean))
        return original(data, *given)

    monkeypatch.setattr(timecat.heads.protocols, "minimise", minimise)
    return searched


def optimum(train: np.ndarray, labels: np.ndarray, test: np.ndarray, decay: float) -> np.ndarray:
    """What scikit-learn predicts: mean cross-entropy + decay / 2 |W|^2 on features of mean 0 and variance 1."""
    mean, scale = train.mean(0), 1 / np.sqrt(train.var(0) + 1e-5)
    head = LogisticRegression(C=1 / (decay * len(train)), tol=1e-6, max_iter=2000)
    return head.fit((train - mean) * scale, labels).predict((test - mean) * scale)


@pytest.mark.parametrize("extractor", ["raw", "fourier", "both"])
def test_the_heads_are_scikit_learn_s_chosen_on_held_out_rows_and_trained_again(probed, extractor):
    train, test = (
        np.hstack([ARRAYS[f"{block}_{split}"].astype(np.float64) for block in blocks])
        for blocks in [["fourier", "raw"] if extractor == "both" else [extractor]]
        for split in SPLITS
    )
    labels = ARRAYS["y_train"]
    fit, held = stratified_split(labels, 0.2, 0, "")
    held_out = [100 * np.mean(optimum(train[fit], labels[fit], train[held], decay) == labels[held]) for decay in DECAYS]
    found = result(probed, extractor)
    assert [head["curve"][0] for head in found["heads"]] == pytest.approx(held_out, abs=100.1 / len(held))
    expected = optimum(train, labels, test, found["weight_decay"])
    predicted = predictions(probed)[f"{extractor}_0"]
    assert (predicted == expected).mean() > 0.995
    assert found["acc1"] == pytest.approx(100 * np.mean(predicted == ARRAYS["y_test"]))
    assert found["acc1"] == pytest.approx(100 * np.mean(expected == ARRAYS["y_test"]), abs=0.41)
    assert found["chosen_by_acc1"] == max(head["curve"][0] for head in found["heads"])


def test_the_table_has_intervals_and_paired_differences(probed, capsys):
    assert main(["report", str(probed)]) == 0
    table = capsys.readouterr().out
    folder = probed.parent / "runs/digits"
    assert all((folder / f"report{suffix}").exists() for suffix in (".json", ".md", ".png", ".svg"))
    assert list((folder / "report").glob("events.*")) and list((folder / "probe/config/both_0").glob("events.*"))
    stored = predictions(probed)
    calibration, _, table = table.partition(" test rows, ")  # of the title of the table that comes last
    assert calibration.startswith("calibration: config\n")
    for each in (calibration, table):
        assert re.findall(r"^ (raw|fourier|both) ", each, re.MULTILINE) == ["raw", "fourier", "both"]
    right = {name: (stored[f"{name}_0"] == stored["labels"]).astype(float) for name in ("raw", "fourier", "both")}
    for text in (table, (folder / "report.md").read_text()):
        for name, values in right.items():
            (row,) = [line for line in text.splitlines() if re.match(rf"\W*{name} ", line) and "[" in line]
            low, high = interval(values)
            assert f"{100 * values.mean():.1f} [{low:.1f}, {high:.1f}]" in row
            if name != "raw":
                low, high = interval(values - right["raw"])
                assert f"{100 * (values - right['raw']).mean():+.1f} [{low:+.1f}, {high:+.1f}]" in row
            assert {"raw": " 64 ", "fourier": " 120 ", "both": " 184 "}[name] in row
    assert right["fourier"].mean() > right["raw"].mean()  # a machine of scikit-learn's own is better than pixels
    np.testing.assert_array_equal(stored["labels"], ARRAYS["y_test"])
    np.testing.assert_array_equal(stored["groups"], ARRAYS["g_test"])


def test_the_report_breaks_down_by_the_given_groups(probed, capsys):
    config, stored = str(probed), predictions(probed)
    assert main(["report", config, "--by", "group"]) == 0
    (found,) = json.loads(next(probed.parent.rglob("report_by_group.json")).read_text())["data"]
    groups = ARRAYS["g_test"]
    assert found["names"] == [str(number) for number in np.unique(groups)]
    right = stored["fourier_0"] == stored["labels"]
    rates = [100 * right[groups == number].mean() for number in np.unique(groups)]
    assert found["cats"]["fourier"]["by"] == pytest.approx(rates)
    assert main(["report", config, "--by", "component"]) == 2
    assert "no member trains on a mixture" in capsys.readouterr().err


@pytest.mark.parametrize("memory_gb", [8.0, 1e-4], ids=["in memory", "from the files"])
def test_a_concatenation_is_the_arrays_side_by_side(tmp_path, memory_gb):
    """Of float16 and float64 in this order: nothing is rounded to the first one's type."""
    blocks = {split: [ARRAYS[f"{name}_{split}"].astype(np.float32) for name in ("fourier", "raw")] for split in SPLITS}
    one = {f"one_{split}": np.asfortranarray(np.hstack(both)) for split, both in blocks.items()}
    extractors = {
        "fourier": {"train": "fourier_train.npy", "test": "fourier_test.npy"},
        "raw": {"train": "raw_train.npy", "test": "raw_test.npy"},
        "both": {"of": ["fourier", "raw"]},
        "one": {"train": "one_train.npy", "test": "one_test.npy"},
    }
    config = make(
        tmp_path, one, features={"extractors": extractors}, probe={"memory_gb": memory_gb, "weight_decays": [0.1]}
    )
    assert main(["probe", str(config), "--cats", "both,one"]) == 0
    both, one_array = result(config, "both"), result(config, "one")
    assert both["heads"] == one_array["heads"]
    assert set(results(config)["cats"]) == {"both", "one"}
    np.testing.assert_array_equal(predictions(config)["both_0"], predictions(config)["one_0"])


def test_only_what_changed_is_done_again_and_what_was_is_kept(tmp_path, optima, capsys):
    config = make(tmp_path, probe={"weight_decays": [0.1]})
    folder = tmp_path / "runs/digits/probe/config"
    assert main(["probe", str(config)]) == 0
    assert optima == [184, 184, 120, 120, 64, 64]  # choosing, and again on all
    first = {path: (folder / path).read_bytes() for path in ("results.json", "predictions.npz")}
    optima.clear()
    capsys.readouterr()
    assert main(["run", str(config)]) == 0 and not optima
    assert {path: (folder / path).read_bytes() for path in first} == first

    np.save(tmp_path / "raw_test.npy", ARRAYS["raw_test"][:, ::-1])  # other features in as many bytes
    assert main(["status", str(config)]) == 0
    told = capsys.readouterr().out
    assert re.search("raw: missing", told) and re.search("both: missing", told) and "fourier: probed, top-1" in told
    assert main(["report", str(config)]) == 0
    assert "not probed as they are now: raw, both" in capsys.readouterr().out
    before = result(config, "raw")["acc1"]
    assert main(["probe", str(config)]) == 0
    assert optima == [184, 184, 64, 64]
    assert result(config, "raw")["acc1"] < before - 20
    (kept,) = (folder / "earlier").iterdir()
    assert {path: (kept / path).read_bytes() for path in first} == first

    optima.clear()
    np.save(tmp_path / "y_train.npy", (ARRAYS["y_train"] + 1) % 10)  # the heads are others
    assert main(["probe", str(config)]) == 0
    assert optima == [184, 184, 120, 120, 64, 64]
    assert result(config, "fourier")["acc1"] < 5
    optima.clear()
    assert main(["probe", str(config), "--probe.weight_decays", "[0.2]", "--cats", "raw"]) == 0
    assert optima == [64, 64]
    np.save(tmp_path / "g_test.npy", 1 - ARRAYS["g_test"])  # of which the heads are no function
    optima.clear()
    assert main(["probe", str(config), "--probe.weight_decays", "[0.2]", "--cats", "raw"]) == 0
    assert not optima
    np.testing.assert_array_equal(predictions(config)["groups"], 1 - ARRAYS["g_test"])


def test_a_report_needs_no_arrays(tmp_path, capsys):
    config = make(tmp_path, probe={"weight_decays": [0.1]})
    assert main(["probe", str(config), "--cats", "raw"]) == 0
    probed = capsys.readouterr().out
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    assert main(["report", str(config), "--cats", "raw"]) == 0
    (row,) = re.findall("raw .*", probed)
    assert row in capsys.readouterr().out


def test_sgd_by_both_protocols(tmp_path, capsys):
    config = make(tmp_path, **SGD)
    assert main(["probe", str(config)]) == 0
    assert main(["probe", str(config), "--protocol", "paper"]) == 0
    assert "best on the test set" in capsys.readouterr().out
    for name in ("raw", "fourier", "both"):
        assert 88 < result(config, name)["acc1"] <= result(config, name, "_paper")["acc1"] + 3
        assert [len(head["curve"]) for head in result(config, name)["heads"]] == [6, 6]
        assert [len(head["curve"]) for head in result(config, name, "_paper")["heads"]] == [28, 28]
        best = max(max(head["curve"]) for head in result(config, name, "_paper")["heads"])
        assert result(config, name, "_paper")["acc1"] == pytest.approx(best)
    assert main(["report", str(config), "--protocol", "paper"]) == 0
    assert "ON THE TEST SET" in (tmp_path / "runs/digits/report_paper.md").read_text()


def test_plan_counts_heads_and_passes(tmp_path, capsys):
    """There is room for the heads of `both`, and in another pass for those of the two others."""
    config = make(tmp_path, **SGD)
    both = 2 * 16 * 184 * 10
    assert main(["plan", str(config), "--probe.memory_gb", str(1.2 * both / 1e9)]) == 0
    told = capsys.readouterr().out
    assert "480 rows to train on, 120 held out, 500 test rows, 10 classes" in told
    assert re.search(r"both +fourier \+ raw +float16, float64 +184 +0.0589", told)
    assert "6 heads" in told and "in 2 passes" in told and "both | fourier raw" in told
    assert not (tmp_path / "runs").exists()


def test_files_are_found_beside_the_config_and_from_here(tmp_path, monkeypatch, capsys):
    config = make(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert main(["plan", "../config.yaml"]) == 0
    np.save(here / "raw_test.npy", ARRAYS["raw_test"][:, :3])
    assert main(["plan", str(config)]) == 0  # what lies beside the config comes first
    (tmp_path / "raw_test.npy").unlink()
    assert main(["plan", str(config)]) == 2
    assert "raw_test.npy: has 3 features" in capsys.readouterr().err


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def broken(name: str, index: Any, value: Any) -> dict[str, np.ndarray]:
    array = ARRAYS[name].copy()
    array[index] = value
    return {name: array}


ONE = broken("y_train", ARRAYS["y_train"] == 7, 6)
ONE["y_train"][11] = 7
EXTRACTORS = {"raw": {"train": "raw_train.npy", "test": "raw_test.npy"}}


@pytest.mark.parametrize(
    ("arrays", "sections", "words"),
    [
        (
            {},
            {"features": {"labels": {"train": "y.npy", "test": "y_test.npy"}}},
            ("y.npy: no such file", "labels.train"),
        ),
        ({}, {"features": {"labels": {"train": "y_train.npy"}}}, ("features.labels names train", "train and test")),
        (
            {},
            {"features": {"labels": {"train": "config.yaml", "test": "y_test.npy"}}},
            ("config.yaml: is not a whole",),
        ),
        ({"raw_test": np.array([Bomb()] * TEST)}, {}, ("raw_test.npy: is not a whole", "numpy.save")),
        ({"raw_test": ARRAYS["raw_test"][:, 0]}, {}, ("raw_test.npy: has the shape (500,)", "extractors.raw.test")),
        ({"y_test": ARRAYS["y_test"][:, None]}, {}, ("y_test.npy: has the shape (500, 1)", "labels.test")),
        ({"raw_test": ARRAYS["raw_test"][1:]}, {}, ("raw_test.npy: has 499 rows", "y_test.npy has 500", "same rows")),
        ({"raw_test": ARRAYS["raw_test"][:, 1:]}, {}, ("raw_test.npy: has 63 features", "raw_train.npy has 64")),
        ({"raw_test": ARRAYS["raw_test"].astype(int)}, {}, ("raw_test.npy: holds int64", ".astype")),
        (broken("raw_train", (17, 5), np.nan), {}, ("raw_train.npy: row 17, column 5 is nan",)),
        (broken("fourier_test", (3, 2), np.inf), {}, ("fourier_test.npy: row 3, column 2 is inf",)),
        (broken("raw_train", (599, 63), 1e300), {}, ("raw_train.npy: row 599, column 63 is 1e+300", "float32")),
        ({"y_train": ARRAYS["y_train"] + 0.5}, {}, ("y_train.npy: holds float64", "whole numbers")),
        (broken("y_train", 4, -1), {}, ("y_train.npy: row 4 is -1", "0 to 9")),
        (broken("y_test", 5, 10), {}, ("y_test.npy: row 5 is 10", "model.num_classes")),
        (ONE, {}, ("y_train.npy: class 7 has one row", "remove the class")),
        ({"g_test": ARRAYS["g_test"][:9]}, {}, ("g_test.npy: has 9 rows", "y_test.npy has 500", "groups.test")),
        ({"g_test": ARRAYS["g_test"] / 2}, {}, ("g_test.npy: holds float64", "whole numbers")),
        ({}, {"features": {"groups": {"train": "g_test.npy"}}}, ("features.groups names train", "as test")),
        ({}, {"features": {"extractors": {**EXTRACTORS, "b": {"of": ["rew"]}}}}, ("'rew'", "did you mean raw?")),
        (
            {},
            {"features": {"extractors": {**EXTRACTORS, "b": {"of": ["raw", "raw"]}}}},
            ("extractors.b.of", "different"),
        ),
        ({}, {"features": {"extractors": {"raw": {"train": "raw_train.npy"}}}}, ("extractors.raw", "train and test")),
        ({}, {"features": {"extractors": {"../x": EXTRACTORS["raw"]}}}, ("an extractor is called '../x'",)),
        ({}, {"features": {"extractors": {}}}, ("features.extractors names none",)),
        ({}, {"features": {"baseline": "rav"}}, ("features.baseline 'rav'", "did you mean raw?")),
        ({}, {"features": {"nome": "x"}}, ("features.nome", "did you mean name?")),
        ({}, {"probe": {"views": 2}}, ("probe.views", "remove it")),
        ({}, {"probe": {"storage": "float32"}}, ("probe.storage", "remove it")),
        ({}, {"model": {"snapshots": []}}, ("model.snapshots", "num_classes, lr")),
        ({}, {"data": {"resolution": 8}}, ("data.resolution", "holdout, batch_size")),
        ({}, {"trainer": {"devices": 2}}, ("trainer.devices", "remove it")),
        ({}, {"data": {"holdout": 0}}, ("data.holdout is 0", "set 0.2")),
        ({}, {**SGD, "data": {"batch_size": 481}}, ("480 rows", "smaller data.batch_size")),
    ],
)
def test_each_error_is_one_line_before_any_training(tmp_path, monkeypatch, capsys, arrays, sections, words):
    monkeypatch.chdir(tmp_path)
    config = make(tmp_path, arrays, **sections)
    assert main(["probe", str(config)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    for word in words:
        assert word in told, (word, told)
    assert not (tmp_path / "exploded").exists()
    assert not list(tmp_path.glob("runs/**/*.json")) and not list(tmp_path.glob("runs/**/.pass*"))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fit"], "timecat fit: makes no sense on features"),
        (["launch"], "timecat launch: makes no sense on features"),
        (["predict"], "timecat predict: makes no sense on features"),
        (["probe", "--data", "x"], "--data: makes no sense"),
        (["plan", "--devices", "2"], "--devices: makes no sense"),
        (["probe", "--cats", "rew"], "did you mean raw?"),
        (["report"], "run `timecat probe` first"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, capsys, command, words):
    config = make(tmp_path)
    assert main([command[0], str(config), *command[1:]]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and words in told, told


def test_a_pipe_of_features_hangs_nobody(tmp_path, capsys):
    config = make(tmp_path)
    (tmp_path / "raw_test.npy").unlink()
    os.mkfifo(tmp_path / "raw_test.npy")
    with limited(20):
        assert main(["probe", str(config)]) == 2
    assert "raw_test.npy: is not a whole .npy of numbers" in capsys.readouterr().err


def test_a_study_s_directory_is_left_alone(tmp_path, capsys):
    config = make(tmp_path)
    (tmp_path / "runs/digits").mkdir(parents=True)
    (tmp_path / "runs/digits/study.json").write_text("{}")
    assert main(["probe", str(config)]) == 2
    assert "choose another features.name" in capsys.readouterr().err


def test_the_example_of_the_docs_gives_its_table(tmp_path, monkeypatch, capsys):
    """The script writes what the shipped config names, and the baseline's row is the one that stands there."""
    text = (ROOT / "docs/features.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(script, {})
    config = str(ROOT / "configs/features/digits.yaml")
    assert main(["plan", config]) == 0
    assert main(["probe", config, "--cats", "pixels"]) == 0
    row = re.findall(r"pixels  .*", capsys.readouterr().out)[-1]
    (tmp_path / "of_the_docs.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert FeaturesFile.read(["of_the_docs.yaml"]).features.blocks("both") == ["small", "large"]
    (documented,) = re.findall(r"\| pixels (\|.*)\|", text)
    assert re.findall(r"[\d.]+", documented) == re.findall(r"[\d.]+", row)
