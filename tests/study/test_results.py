"""One meaning of finished: what `status` counts, `launch` submits, `probe` trains and `report` shows."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.small_study import ONE_CYCLE, change, rewrite, write_probe, write_study
from timecat.cli import main
from timecat.study.study import Study


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Path:
    """A directory with a study of two cats that is trained, probed and reported."""
    root = tmp_path_factory.mktemp("finished")
    data = {"root": str(digits)}
    probe = write_probe(root / "digits.yaml", data, {"weight_decays": [1e-3]}, trainer={"max_epochs": 2})
    cats = {"cat1": {"members": 1, "steps": 8}, "cat2": {"members": 2, "steps": 4}}
    write_study(root / "s.yaml", data, ONE_CYCLE, cats, probes=[probe])
    assert main(["run", str(root / "s.yaml")]) == 0
    return root


@pytest.fixture
def study(finished, tmp_path) -> Path:
    """A copy's config; its probe's is beside it."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "s.yaml", "study", root=str(tmp_path / "runs"), probes=[str(tmp_path / "digits.yaml")])
    return tmp_path / "s.yaml"


def told(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_finished_study_is_finished_for_all(study, capsys):
    config = str(study)
    shown = told(capsys, "status", config)
    assert "3 of 3 members finished" in shown and "probe digits: finished" in shown
    assert f"report: {study.parent}/runs/s/report.md" in shown
    assert "nothing to submit; the study is finished" in told(capsys, "launch", config, "--dry-run")
    before = (study.parent / "runs/s/report.json").read_bytes()
    told(capsys, "probe", config)
    told(capsys, "report", config)
    assert (study.parent / "runs/s/report.json").read_bytes() == before


def test_a_cat_with_other_steps_is_missing_for_all(study, capsys):
    config = [str(study), "--study.cats.cat2.steps", "3", "--study.unequal_because", "a test"]
    shown = told(capsys, "status", *config)
    assert "1 of 3 members finished" in shown and "probe digits: 1 of 2 cats" in shown
    assert "report.md is of other results" in shown
    submitted = told(capsys, "launch", *config, "--dry-run")
    for line in ("member 1 (member_0_3)", "member 2 (member_1_3)", "probe digits, after 2 members", "report, after"):
        assert f"would submit  {line}" in submitted
    assert "would submit  member 0" not in submitted and "#SBATCH --array=1-2" in submitted
    assert main(["probe", *config]) == 2  # its members are not trained
    shown = told(capsys, "report", *config)
    _, row = [line for line in shown.splitlines() if line.startswith(" cat2 ")]  # the first one tells its costs
    assert row.split() == ["cat2", "2", "x", "3", "192"]  # no accuracy: that of the former cat2 is another cat's


@pytest.mark.parametrize(
    ("section", "keys"),
    [("probe", {"weight_decays": [1e-2]}), ("data", {"holdout": 0.3}), ("data", {"resolution": 14})],
)
def test_another_grid_or_other_images_are_missing_for_all(study, capsys, section, keys):
    change(study.parent / "digits.yaml", section, **keys)
    assert "probe digits: missing" in told(capsys, "status", str(study))
    assert "would submit  probe digits, after 0 members" in told(capsys, "launch", str(study), "--dry-run")
    assert main(["report", str(study)]) == 2
    assert "no probe has a result of these cats yet" in capsys.readouterr().err
    told(capsys, "probe", str(study))
    assert "probe digits: finished" in told(capsys, "status", str(study))


def test_other_weights_or_seeds_are_missing(study, capsys):
    done = study.parent / "runs/s/member_1_4/done.json"
    content = done.read_bytes()
    rewrite(done, snapshots={"4": "0" * 64})
    assert "probe digits: 1 of 2 cats" in told(capsys, "status", str(study))
    done.write_bytes(content)
    assert "probe digits: missing" in told(capsys, "status", str(study), "--study.seeds", "[5, 6]")


def test_results_of_version_1_are_read(study, capsys):
    """As version 0.1.0 wrote them: without version, weights and images."""
    for path in (study.parent / "runs/s").rglob("*.json"):
        content = json.loads(path.read_text())
        del content["version"], content["checksum"]
        if path.name == "results.json":
            content.pop("images")
            for cat in content["cats"].values():
                for result in cat["repetitions"].values():
                    del result["weights"]
        path.write_text(json.dumps(content, indent=2) + "\n")
    before = {path: path.stat().st_mtime_ns for path in (study.parent / "runs/s").rglob("*.np?")}
    assert "probe digits: finished" in told(capsys, "status", str(study))
    assert "nothing to train" in told(capsys, "fit", str(study))
    told(capsys, "probe", str(study))
    told(capsys, "report", str(study))
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("name", ["probe/digits/results.json", "member_0_8/done.json", "report.json"])
def test_a_newer_version_is_refused_by_its_number(study, capsys, name):
    path = study.parent / "runs/s" / name
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    assert main(["status", str(study)]) == 2
    assert f"{path}: is of version 3, this timecat reads 1 to 2" in capsys.readouterr().err


def test_cats_by_name_are_trained_alone_and_completed_by_the_whole(study, capsys):
    config = [str(study), "--study.name", "part"]
    assert main(["run", *config, "--cats", "cat2"]) == 0
    runs = study.parent / "runs" / "part"
    assert sorted(path.parent.name for path in runs.glob("*/done.json")) == ["member_0_4", "member_1_4"]
    assert list(json.loads((runs / "report.json").read_text())["cats"]) == ["cat2"]
    assert "probe digits: 1 of 2 cats" in told(capsys, "status", *config)
    assert "probe digits: finished" in told(capsys, "status", *config, "--cats", "cat2")
    assert "nothing to submit" in (scripts := told(capsys, "launch", *config, "--cats", "cat2", "--dry-run"))
    assert scripts.count("--cats=cat2") == 3  # what each of the three kinds of task is given
    told(capsys, "report", *config, "--cats=cat2")
    assert main(["run", *config]) == 0
    whole = {path.name: path.read_bytes() for path in (study.parent / "runs/s").rglob("snapshot_*.pt")}
    assert whole == {path.name: path.read_bytes() for path in runs.rglob("snapshot_*.pt")}
    assert Study.read([str(study)]).baseline == json.loads((runs / "report.json").read_text())["baseline"] == "cat1"


def test_a_snapshot_of_a_longer_plan_is_not_forgotten(study, capsys):
    """Made longer and shorter again: the marker still tells of what is there."""
    config = [str(study), "--study.name", "c", "--model.schedule", "constant", "--study.unequal_because", "a test"]
    for steps in ("8", "12"):
        assert main(["fit", *config, "--study.cats.cat1.steps", steps, "--cats", "cat1"]) == 0
    assert "nothing to train" in told(capsys, "fit", *config, "--cats", "cat1")
    done = json.loads((study.parent / "runs/c/member_0/done.json").read_text())
    assert list(done["snapshots"]) == ["8", "12"]
