"""`timecat run` from a source to the report, interrupted on the way, and again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A study that pretrains on digits and probes them, two repetitions, 2 x 3 members of 40 and 20 steps."""
    root = tmp_path_factory.mktemp("run")
    data = {"root": str(root / "data"), "source": "digits", "train": "digits/train.beton"}
    probe = write_probe(
        root / "digits.yaml",
        {**data, "test": "digits/test.beton"},
        {"weight_decays": [1e-4, 1e-2]},
        trainer={"max_epochs": 15},
    )
    cats = {"cat1": {"members": 1, "steps": 40}, "cat2": {"members": 2, "steps": 20}}
    study = {"name": "s", "repetitions": 2, "probes": [probe]}
    write_study(root / "study.yaml", data, ONE_CYCLE, cats, {"log_every_n_steps": 10}, **study)
    assert main(["run", "--config", str(root / "study.yaml")]) == 0
    return root / "study.yaml"


def contents(directory: Path) -> dict[str, bytes]:
    kept = [path for path in sorted(directory.rglob("*")) if path.suffix in (".pt", ".npy", ".json", ".md", ".png")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in kept}


def test_the_report_tells_budgets_differences_and_spread(config):
    runs = config.parent / "runs" / "s"
    report = json.loads((runs / "report.json").read_text())
    assert {name: cat["images"] for name, cat in report["cats"].items()} == {"cat1": 1280, "cat2": 1280}
    values = report["cats"]["cat2"]["acc1"]["digits"]
    assert len(values["values"]) == 2
    assert values["mean"] == pytest.approx(np.mean(values["values"]))
    assert values["sd"] == pytest.approx(np.std(values["values"], ddof=1))
    baseline = report["cats"]["cat1"]["acc1"]["digits"]["mean"]
    assert values["difference"] == pytest.approx(values["mean"] - baseline)
    assert values["mean"] > 50, "the features tell nothing"
    table = (runs / "report.md").read_text()
    assert "1,280" in table
    low, high = values["intervals"]["images"]
    shown = f"{values['mean']:.1f} ± {values['sd']:.1f} [{low:.1f}, {high:.1f}] ({values['difference']:+.1f})"
    assert shown in table
    assert (runs / "report.png").read_bytes().startswith(b"\x89PNG")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(runs / "compare" / "study")).Reload()
    (image,) = events.Images("study/report, top-1")
    assert image.encoded_image_string == (runs / "report.png").read_bytes()
    assert image.step == 4 and abs(image.wall_time - (runs / "report.png").stat().st_mtime) < 600


def test_the_results_follow_from_the_stored_features(config):
    """Each member's features stand once, and are its network's on the images."""
    from timecat.data.datamodule import ImageData
    from timecat.networks.cat import FrozenCat

    runs = config.parent / "runs" / "s"
    stored = sorted(path.name for path in (runs / "features" / "digits" / "test").glob("*.npy"))
    assert len(stored) == 6
    data = yaml.safe_load((config.parent / "digits.yaml").read_text())["data"]
    data = ImageData(**data, num_classes=10)
    cat = FrozenCat([str(runs / "member_[01]_20" / "snapshot_20.pt")])
    images, _, indices = next(iter(data.test_dataloader()))
    expected = cat(data.normalise(images))
    found = np.concatenate(
        [np.load(runs / "features/digits/test" / f"member_{seed}_20_20.npy")[indices] for seed in (0, 1)], axis=1
    )
    torch.testing.assert_close(torch.from_numpy(found), expected.half(), rtol=2e-3, atol=2e-3)  # BatchNorm is folded
    result = json.loads((runs / "probe" / "digits" / "results.json").read_text())
    entry = result["cats"]["cat2"]["repetitions"]["0"]
    assert (entry["features"], entry["seeds"], result["test_images"]) == (128, [0, 1], 797)
    assert [(head["lr"], head["weight_decay"]) for head in entry["heads"]] == [(0.1, 1e-4), (0.1, 1e-2)]
    assert all(len(head["curve"]) == 15 for head in entry["heads"])
    assert entry["chosen_by_acc1"] == max(max(head["curve"]) for head in entry["heads"])
    with np.load(runs / "probe" / "digits" / "predictions.npz") as arrays:
        assert entry["acc1"] == pytest.approx(100 * (arrays["cat2_0"] == arrays["labels"]).mean())


def test_a_finished_study_is_left_as_it_is(config, capsys):
    before = contents(config.parent / "runs")
    assert main(["run", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "nothing to train" in told
    assert told.splitlines()[-1] == f"next: timecat features {config.parent}/runs/s:cat2 IMAGES OUT"
    assert contents(config.parent / "runs") == before


def test_the_last_line_names_the_next_command(config, tmp_path, capsys):
    def last(*arguments: str) -> str:
        assert main([*arguments, f"--config={copy}"]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    copy = tmp_path / "study.yaml"
    copy.write_text(config.read_text().replace("root: " + str(config.parent / "runs"), f"root: {tmp_path / 'runs'}"))
    shutil.copytree(config.parent / "runs", tmp_path / "runs")
    (tmp_path / "runs/s/report.json").unlink()
    assert last("status") == f"next: timecat report --config={copy}"
    (tmp_path / "runs/s/probe/digits/results.json").unlink()
    assert last("status") == last("fit") == f"next: timecat probe --config={copy}"
    (tmp_path / "runs/s/member_0_20/done.json").unlink()
    assert last("plan") == f"next: timecat run --config={copy}"


def test_status_is_watched_until_the_study_is_finished(config, monkeypatch, capsys):
    from timecat.report import watch

    report, waited = config.parent / "runs/s/report.md", []
    text = report.read_text()
    report.unlink()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        report.write_text(text)

    monkeypatch.setattr(watch.time, "sleep", sleep)
    assert main(["status", str(config), "--watch"]) == 0
    told = capsys.readouterr().out
    assert waited == [watch.EVERY] and told.count("6 of 6 members finished") == 2
    assert told.index("report: missing") < told.index(f"report: {report}")


@pytest.mark.parametrize("where", ["features", "heads"])
def test_an_interrupted_probe_goes_on_to_the_same_results(config, tmp_path, monkeypatch, where):
    """Ctrl-C while the features or the heads are computed; what lies there is used, the rest is made."""
    from timecat.extraction.file import FeatureFile
    from timecat.heads.sgd import Heads

    runs = config.parent / "runs"
    before = contents(runs)
    shutil.rmtree(runs / "s" / "probe")
    if where == "features":
        shutil.rmtree(runs / "s" / "features" / "digits" / "train")
    owner, name = (FeatureFile, "write") if where == "features" else (Heads, "step")
    original, calls = getattr(owner, name), []

    def interrupted(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == (4 if where == "features" else 40):
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        assert main(["probe", "--config", str(config)]) == 130
    assert main(["probe", "--config", str(config)]) == 0
    assert main(["report", "--config", str(config)]) == 0
    assert contents(runs) == before


def test_a_source_that_holds_its_file_is_seen_before_any_is_written(tmp_path, capsys):
    """`digits` could be written; the probe's images could not, as they lie in the directory that they come from."""
    (tmp_path / "data" / "pictures" / "cat").mkdir(parents=True)
    data = {"root": str(tmp_path / "data"), "source": "digits", "train": "digits/train.beton"}
    images = {**data, "source": "pictures", "train": "pictures/train.beton", "test": "pictures/test.beton"}
    probe = write_probe(tmp_path / "p.yaml", images, {"weight_decays": [1e-3]})
    study = write_study(tmp_path / "s.yaml", data, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}}, probes=[probe])
    assert main(["run", study]) == 2
    assert "pictures/train.beton: lies inside its source" in capsys.readouterr().err
    assert not (tmp_path / "data" / "digits").exists()
