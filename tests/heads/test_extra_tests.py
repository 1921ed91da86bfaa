"""One head, several test sets: labels by name, other classes, and sets that are added to a finished probe."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import from_numpy
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import binary_auroc

from tests.support.small_study import ONE_CYCLE, change, write_probe, write_study
from timecat.cli import main
from timecat.data.beton import RAW, read_beton
from timecat.data.write.beton_writer import BetonWriter
from timecat.heads.ood import sureness
from timecat.heads.sgd import Heads

NAMES = ["7", "3", "0", "5"]  # of the subset, in its own order


def write_subset(folder: Path, digits: Path, name: str, names: list[str]) -> np.ndarray:
    """Test images of these digits, a label being the place in `names`; their rows in the digits' test file."""
    beton = read_beton(digits / "test.beton")
    rows, content = np.flatnonzero(np.isin(beton.labels, [int(each) for each in names])), beton.path.read_bytes()
    with BetonWriter(folder / f"{name}.beton", len(rows)) as writer:
        for index, old in enumerate(rows):
            start, size = int(beton.offsets[old]), int(beton.sizes[old])
            label = names.index(str(beton.labels[old]))
            writer.add(index, label, RAW, 28, 28, content[start : start + size])
    (folder / f"{name}.json").write_text(json.dumps({"classes": names}))
    return rows


@pytest.fixture(scope="module")
def probed(tmp_path_factory, digits) -> Path:
    """The directory of a study on digits that is probed and reported, without further test sets yet."""
    root = tmp_path_factory.mktemp("several")
    for split in ("train", "test"):
        for suffix in ("beton", "json"):
            shutil.copy(digits / f"{split}.{suffix}", root)
    data = {"root": str(root), "workers": 1}
    probe = write_probe(
        root / "digits.yaml", {**data, "resolution": 14}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 3}
    )
    cats = {"cat1": {"members": 1, "steps": 8}, "own": {"members": 1, "steps": 8, "head": "own"}}
    cats["cat2"] = {"members": 2, "steps": 4}
    write_study(root / "s.yaml", data, ONE_CYCLE, cats, probes=[probe])
    assert main(["run", str(root / "s.yaml")]) == 0
    return root


@pytest.fixture
def root(probed, tmp_path) -> Path:
    shutil.copytree(probed, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "s.yaml", "study", root=str(tmp_path / "runs"), probes=[str(tmp_path / "digits.yaml")])
    change(tmp_path / "s.yaml", "data", root=str(tmp_path))
    change(tmp_path / "digits.yaml", "data", root=str(tmp_path))
    return tmp_path


def told(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return " ".join(capsys.readouterr().out.split())


def test_sets_added_to_a_finished_probe_are_read_by_its_heads(root, digits, capsys, monkeypatch):
    config, place = str(root / "s.yaml"), root / "runs/s/probe/digits"
    before = json.loads((place / "results.json").read_text())["cats"]
    with np.load(place / "predictions.npz") as stored:
        predictions = dict(stored)
    for cat in ("cat1", "own", "cat2"):
        logits = np.load(place / f"logits/{cat}_0.npy")
        result = before[cat]["repetitions"]["0"]
        assert (logits.argmax(1) == predictions[f"{cat}_0"]).all()
        targets = from_numpy(predictions["labels"])
        nll = float(cross_entropy(from_numpy(logits).float(), targets))
        assert result["calibration"]["nll"] == pytest.approx(nll, rel=1e-4)

    rows = write_subset(root, digits, "few", NAMES)
    write_subset(root, digits, "other", ["1", "8"])
    tests = {"few": "few.beton", "far": {"test": "other.beton", "ood": True}}
    change(root / "digits.yaml", "data", tests=tests)
    assert "probe digits: missing" in told(capsys, "status", config)
    assert "probe digits, after 0 members" in told(capsys, "launch", config, "--dry-run")
    assert "GB of chosen heads and logits kept" in told(capsys, "plan", config)

    def step(*_):
        raise AssertionError("a head is trained again")

    monkeypatch.setattr(Heads, "step", step)
    shown = told(capsys, "probe", config)
    assert "digits on further test sets: few" in shown
    assert "probe digits: finished" in told(capsys, "status", config)
    assert "report.md is of other results" in told(capsys, "status", config)
    after = json.loads((place / "results.json").read_text())["cats"]
    told(capsys, "report", config)
    report = json.loads((root / "runs/s/report.json").read_text())
    columns = sorted(int(name) for name in NAMES)
    for cat in ("cat1", "own", "cat2"):
        result = after[cat]["repetitions"]["0"]
        assert {key: value for key, value in result.items() if key != "tests"} == before[cat]["repetitions"]["0"]
        logits = np.load(place / f"tests/few/logits/{cat}_0.npy")
        # the same images: what data.test's logits say of them, among four classes
        of_test = np.load(place / f"logits/{cat}_0.npy")[rows]
        assert np.allclose(logits.astype(float), of_test.astype(float), atol=0.02)
        labels = predictions["labels"][rows]
        right = np.array(columns)[logits[:, columns].argmax(1)] == labels
        few = result["tests"]["few"]
        assert few["classes"] == 4 and few["images"] == len(rows)
        assert few["scores"]["acc1"] == pytest.approx(100 * right.mean())
        assert right.mean() > (predictions[f"{cat}_0"][rows] == labels).mean()
        restricted = from_numpy(logits[:, columns]).float()
        nll = float(cross_entropy(restricted, from_numpy(np.searchsorted(columns, labels))))
        assert few["calibration"]["nll"] == pytest.approx(nll, rel=1e-4)
        assert report["tests"]["digits"]["few"]["cats"][cat]["acc1"]["mean"] == pytest.approx(100 * right.mean())

        own, other = (np.load(place / f"{path}logits/{cat}_0.npy") for path in ("", "tests/far/"))
        is_own = from_numpy(np.repeat([1, 0], [len(own), len(other)]))
        largest = np.concatenate([own, other]).max(1).astype(float)
        scaled = from_numpy((largest - largest.min()) / (largest.max() - largest.min()))
        far = result["tests"]["far"]
        assert far["auroc"]["logit"] == pytest.approx(100 * float(binary_auroc(scaled, is_own)), abs=1e-3)
        softmax = from_numpy(np.concatenate([own, other])).double().softmax(1).max(1).values
        assert far["auroc"]["softmax"] == pytest.approx(100 * float(binary_auroc(softmax, is_own)), abs=1e-3)
        assert "scores" not in far
        value = report["tests"]["digits"]["far"]["cats"][cat]["auroc_softmax"]
        assert value["interval"][0] < value["mean"] < value["interval"][1]
    text = (root / "runs/s/report.md").read_text()
    assert "digits/few" in text and "digits/far softmax" in text and "## Calibration" in text
    assert f"report: {root}/runs/s/report.md" in told(capsys, "status", config)

    kept = place / "logits/cat1_0.npy"
    np.save(kept, np.load(kept)[::-1])
    assert main(["report", config]) == 2
    assert "cat1_0.npy: does not hold the logits" in capsys.readouterr().err


def test_without_what_was_kept_heads_are_trained_again(root, digits, capsys):
    """A head that is gone, or another than the results tell of."""
    config, place = str(root / "s.yaml"), root / "runs/s/probe/digits"
    write_subset(root, digits, "few", NAMES)
    change(root / "digits.yaml", "data", tests={"few": "few.beton"})
    shutil.copy(place / "heads/cat1_0.npz", place / "heads/cat2_0.npz")
    assert main(["probe", config]) == 2
    assert "cat2_0.npz: is not the head that the results tell of" in capsys.readouterr().err
    (place / "heads/cat2_0.npz").unlink()
    change(root / "digits.yaml", "probe", logits=False)
    assert "probe digits: finished" in told(capsys, "probe", config) + told(capsys, "status", config)
    assert not (place / "heads/cat2_0.npz").exists() and not (place / "tests/few/logits").exists()
    assert (place / "heads/cat1_0.npz").exists()  # read, not trained


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ({"few": "nowhere.beton"}, "nowhere.beton: no such file"),
        ({"few": "named.beton"}, "has no class seven; mend the names"),
        ({"few": {"test": "nameless.beton", "classes": "by_name"}}, "data.tests.few.classes by_name: no classes in"),
        ({"few": {"test": "few.beton", "clases": "by_name"}}, "unknown key data.tests.few.clases"),
        ({"few": {"test": "few.beton", "classes": "by_nam"}}, "data.tests.few.classes is 'by_nam'"),
        ({"few": {"test": "few.beton", "classes": "by_name", "ood": True}}, "data.tests.few: ood and classes"),
        ({"few/a": "few.beton"}, "a test set of data.tests is called 'few/a'"),
        ({"few": {"source": "digits"}}, "data.tests.few.test is missing"),
    ],
)
def test_what_makes_no_sense_is_told(root, digits, capsys, tests, words):
    write_subset(root, digits, "few", NAMES)
    write_subset(root, digits, "nameless", NAMES)
    (root / "nameless.json").unlink()
    write_subset(root, digits, "named", NAMES)
    (root / "named.json").write_text(json.dumps({"classes": ["seven", "3", "0", "5"]}))
    change(root / "digits.yaml", "data", tests=tests)
    assert main(["probe", str(root / "s.yaml")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1, said


def test_sureness_does_not_saturate():
    """Two images whose largest probability is 1 in float64 keep their order."""
    scores = sureness(np.array([[60, 0, 0], [50, 0, 0], [1, 0, 0]], np.float16))["softmax"]
    assert scores[0] > scores[1] > scores[2]
