"""Few-shot heads: nested draws, scikit-learn's optimum on them, gains paired by draw, nothing computed twice."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

import timecat.heads.few_shot
from tests.support.digit_arrays import digit_arrays, write_arrays
from timecat.cli import main
from timecat.data.split import stratified_split
from timecat.heads.few_shot import WEIGHT_DECAYS
from timecat.heads.shots import Shots

ARRAYS = digit_arrays()
LABELS = ARRAYS["y_train"]
FIT, HELD = stratified_split(LABELS, 0.2, 0, "")
FOLDER = "runs/digits/probe/c"


def record(folder: Path) -> dict:
    return json.loads((folder / FOLDER / "few_shot.json").read_text())


def cells(folder: Path, name: str) -> dict:
    return record(folder)["cats"][name]["0"]["cells"]


@pytest.fixture
def optima(monkeypatch) -> list[int]:
    """The number of features of each optimum that is searched."""
    searched, original = [], timecat.heads.few_shot.minimise

    def minimise(data, *given):
        searched.append(len(data.mean))
        return original(data, *given)

    monkeypatch.setattr(timecat.heads.few_shot, "minimise", minimise)
    return searched


def test_draws_are_nested_balanced_and_differ():
    of = Shots(LABELS[FIT], FIT, 0, 3, 0)
    before: set[int] = set()
    for count in (1, 2, 5, 40, None):
        rows = of.first(count)
        assert before <= set(rows.tolist()) <= set(FIT.tolist()) and len(set(rows)) == len(rows)
        for number in range(10):
            available = int((LABELS[FIT] == number).sum())
            assert (LABELS[rows] == number).sum() == min(count or available, available)
        before = set(rows.tolist())
    assert before == set(FIT.tolist())
    np.testing.assert_array_equal(of.first(5), Shots(LABELS[FIT], FIT, 0, 3, 0).first(5))
    others = [Shots(LABELS[FIT], FIT, *seeds).first(5).tolist() for seeds in ((0, 4, 0), (1, 3, 0), (0, 3, 1))]
    assert len({tuple(rows) for rows in [*others, of.first(5).tolist()]}) == 4


def theirs(name: str, count: int | None, draw: int) -> tuple[float, float, float]:
    """Weight decay, top-1 on the held-out images and on the test images, by scikit-learn, of a draw."""
    blocks = ["fourier", "raw"] if name == "both" else [name]
    train, test = (np.hstack([ARRAYS[f"{b}_{s}"].astype(np.float64) for b in blocks]) for s in ("train", "test"))
    rows, choosing = (
        Shots(LABELS[FIT], FIT, 0, draw, 0).first(count),
        Shots(LABELS[HELD], HELD, 0, draw, 1).first(count),
    )
    mean, scale = train[rows].mean(0), 1 / np.sqrt(train[rows].var(0) + 1e-5)
    best = (0.0, -1.0, 0.0)
    for decay in sorted(WEIGHT_DECAYS, reverse=True):
        head = LogisticRegression(C=1 / (decay * len(rows)), tol=1e-7, max_iter=5000)
        head.fit((train[rows] - mean) * scale, LABELS[rows])
        of = [100 * head.score((x - mean) * scale, y) for x, y in ((train[choosing], LABELS[choosing]),)]
        if of[0] > best[1]:
            best = decay, of[0], 100 * head.score((test - mean) * scale, ARRAYS["y_test"])
    return best


@pytest.mark.parametrize("memory_gb", [8.0, 1e-5], ids=["in memory", "from the files"])
def test_heads_are_scikit_learns_chosen_on_as_many_held_out_images(tmp_path, memory_gb):
    config = write_arrays(tmp_path, ARRAYS, probe={"memory_gb": memory_gb})
    assert main(["few-shot", config, "--shots", "2,10,all", "--draws", "2"]) == 0
    compared = 0
    for name in ("raw", "fourier", "both"):
        assert list(cells(tmp_path, name)["all"]) == ["0"]  # all images are drawn once
        for count, draw in (("2", 0), ("10", 1), ("all", 0)):
            cell = cells(tmp_path, name)[count][str(draw)]
            decay, held, right = theirs(name, None if count == "all" else int(count), draw)
            assert cell["chosen_by_acc1"] == pytest.approx(held, abs=0.9)
            if cell["weight_decay"] == decay:
                compared += 1
                assert cell["acc1"] == pytest.approx(right, abs=0.41)
    assert compared >= 8  # two decays can be equally good on few images
    sizes = record(tmp_path)["sizes"]
    assert sizes["10"] == {"train_images": 100, "held_images": 100, "short_classes": 0}
    assert sizes["all"] == {"train_images": 480, "held_images": 120, "short_classes": 0}


def test_what_is_finished_is_not_computed_again(tmp_path, optima, monkeypatch):
    """After Ctrl-C, with more draws and numbers, and where one extractor is another."""
    monkeypatch.setattr(timecat.heads.few_shot, "SAVE_EVERY", 0.0)
    (tmp_path / "whole").mkdir()
    arguments = ["--shots", "1,5", "--draws", "2"]
    assert main(["few-shot", write_arrays(tmp_path / "whole", ARRAYS), *arguments]) == 0
    per = len(WEIGHT_DECAYS)
    assert optima == [64] * 4 * per + [60] * 4 * per + [124] * 4 * per
    optima.clear()
    config, original = write_arrays(tmp_path, ARRAYS), timecat.heads.few_shot.minimise

    def stopped(*given):
        if len(optima) == 7 * per:  # in the middle of a draw of the second extractor
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(timecat.heads.few_shot, "minimise", stopped)
        assert main(["few-shot", config, *arguments]) == 130
    optima.clear()
    assert main(["few-shot", config, *arguments]) == 0
    assert optima == [60] * 2 * per + [124] * 4 * per
    assert record(tmp_path)["cats"] == record(tmp_path / "whole")["cats"]
    optima.clear()
    assert main(["few-shot", config, "--shots", "1,2", "--draws", "3", "--cats", "raw"]) == 0
    assert len(optima) == per * (1 + 3)
    assert cells(tmp_path, "raw")["5"] == cells(tmp_path / "whole", "raw")["5"]
    assert main(["few-shot", config, *arguments]) == 0
    optima.clear()
    np.save(tmp_path / "raw_test.npy", ARRAYS["raw_test"][:, ::-1])
    assert main(["few-shot", config, *arguments]) == 0
    assert optima == [64] * 4 * per + [124] * 4 * per
    kept = (tmp_path / FOLDER / "few_shot.json").read_bytes()
    assert main(["few-shot", config, *arguments, "--seed_everything", "1"]) == 0
    assert [path.read_bytes() for path in (tmp_path / FOLDER).glob("few_shot_*.json")] == [kept]


def test_gains_are_paired_by_draw_and_shown(tmp_path, capsys):
    config = write_arrays(tmp_path, ARRAYS)
    assert main(["few-shot", config, "--shots", "1,20", "--draws", "4"]) == 0
    table = capsys.readouterr().out
    for count in ("1", "20"):
        values = {
            name: np.array([cell["acc1"] for cell in cells(tmp_path, name)[count].values()]) for name in ("raw", "both")
        }
        for shown, sign in ((values["both"], ""), (values["both"] - values["raw"], "+")):
            low, high = stats.t.interval(0.95, 3, shown.mean(), stats.sem(shown))
            assert f"{shown.mean():{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]" in table
    assert "labels, to train + to choose: 1: 10 + 10; 20: 200 + 120" in " ".join(table.split())
    folder = tmp_path / FOLDER
    assert all((folder / f"few_shot.{kind}").stat().st_size > 5000 for kind in ("png", "svg"))
    svg = (folder / "few_shot.svg").read_text()
    assert "training images a class" in svg and "gain over raw, points" in svg
    assert list((folder / "few_shot").glob("events*"))
    assert main(["probe", config]) == 0 and main(["report", config]) == 0
    text = (tmp_path / "runs/digits/report.md").read_text()
    assert "## c: heads on n images a class, 10 classes" in text and "probe/c/few_shot.png" in text
    low, high = stats.t.interval(0.95, 3, shown.mean(), stats.sem(shown))
    point = json.loads((tmp_path / "runs/digits/report.json").read_text())["few_shot"]["c"]["cats"]["both"]["20"]
    assert point["gain"]["mean"] == pytest.approx(shown.mean()) and point["gain"]["interval"] == pytest.approx(
        [low, high]
    )
    with (tmp_path / "labels").open("w"):
        np.save(tmp_path / "y_test.npy", (ARRAYS["y_test"] + 1) % 10)
    assert main(["probe", config]) == 0 and main(["report", config]) == 0
    assert "few_shot" not in json.loads((tmp_path / "runs/digits/report.json").read_text())  # of other labels


def test_classes_with_fewer_images_are_told(tmp_path, capsys):
    """Class 3 keeps 5 rows, 4 of which can be trained on."""
    few = np.flatnonzero(LABELS == 3)[5:]
    arrays = {name: np.delete(array, few, 0) if name.endswith("train") else array for name, array in ARRAYS.items()}
    config = write_arrays(tmp_path, arrays)
    assert main(["few-shot", config, "--shots", "2,10,1000", "--draws", "1", "--cats", "raw"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "c: no class has more than" in told and "to train on; 1000 is all" in told
    assert "classes with fewer images, all of which are used: 1 of fewer than 10" in told
    sizes = record(tmp_path)["sizes"]
    assert list(sizes) == ["2", "10", "all"]
    assert sizes["10"] == {"train_images": 94, "held_images": 91, "short_classes": 1}
    assert sizes["2"] == {"train_images": 20, "held_images": 19, "short_classes": 0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--shots", "1,some"], "'some' is not a whole number of 1 or more"),
        (["--draws", "0"], "'0' is not a whole number from 1 to 1,000"),
        (["--cats", "rew"], "did you mean raw?"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, capsys, given, words):
    assert main(["few-shot", write_arrays(tmp_path, ARRAYS), *given]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and words in told, told
