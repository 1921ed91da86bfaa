"""`timecat tune`: what is stopped ends with the same bytes, nothing tuned is the plain probe, the report shows it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.support.processes import StopAfter
from tests.support.small_study import ONE_CYCLE, rewrite, write_probe, write_study
from timecat import files
from timecat.cli import main
from timecat.cluster.stop import Stop
from timecat.config.tune import TuneFile
from timecat.data.datamodule import ImageData
from timecat.members.checkpoint import Checkpoint
from timecat.members.train import trainer_of_members
from timecat.networks.cat_classifier import CatClassifier
from timecat.networks.weights import read_weights
from timecat.study.study import Study
from timecat.tune.fine_tuned import FineTuned
from timecat.tune.student import distance
from timecat.tune.tune import tune
from timecat.tune.tuning import Tuning

IMAGES = {"batch_size": 100}


@pytest.fixture(scope="module")
def study(tmp_path_factory, digits) -> Path:
    """A study of two cats in two repetitions, trained and probed; its config."""
    folder = tmp_path_factory.mktemp("tune")
    probe = {"weight_decays": [1e-3], "storage": "float32"}
    write_probe(folder / "digits.yaml", {"root": str(digits), "resolution": 14}, probe, trainer={"max_epochs": 4})
    cats = {"cat1": {"members": 1, "steps": 16}, "cat2": {"members": 2, "steps": 8}}
    data = {"root": str(digits), "resolution": 14}
    config = write_study(
        folder / "s.yaml", data, {**ONE_CYCLE, "stem": "small"}, cats, probes=["digits.yaml"], repetitions=2
    )
    read = Study.read([config])
    train = trainer_of_members(read, Stop(), 1)  # in this process: others would import torch anew
    assert [train(plan) for plan in read.members] == [0] * 6
    assert main(["probe", config]) == 0
    return Path(config)


def write(beside: Path, name: str, **tune) -> Path:
    """A tune config beside the study's; `model` and `data` are its sections."""
    sections = {key: tune.pop(key) for key in ("model", "data") if key in tune}
    content = {
        "seed_everything": 100,
        "tune": {"study": "s.yaml", "cat": "cat2", "images": 800, **tune},
        **{"data": IMAGES, **sections},
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 2},
    }
    path = beside.parent / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def tuned(study: Path, name: str, repetition: int = 0) -> dict:
    return json.loads((study.parent / f"runs/s/tuned/{name}/{repetition}/results.json").read_text())


def predicted(study: Path, name: str, repetition: int = 0) -> np.ndarray:
    with np.load(study.parent / f"runs/s/tuned/{name}/{repetition}/predictions_digits.npz") as arrays:
        return arrays["predicted"]


def of_cat(study: Path, cat: str) -> np.ndarray:
    with np.load(study.parent / "runs/s/probe/digits/predictions.npz") as arrays:
        return arrays[cat]


class Killed(BaseException):
    """What ends a process in the midst of a checkpoint; nothing catches it."""


def test_a_student_that_was_killed_is_the_same_student(study, monkeypatch, capsys):
    """Killed when a checkpoint is written but not yet the newest, then the same command: the same bytes and answers."""
    whole = write(study, "whole", method="distill", images=2400)
    killed = write(study, "killed", method="distill", images=2400, checkpoint_minutes=0)
    assert main(["tune", str(whole), "--repetition", "0"]) == 0
    said = capsys.readouterr().out
    assert "2,400 images in all, and 4,800 forward passes" in said
    student, publish = study.parent / "runs/s/tuned/killed/0/student", Checkpoint.publish

    def kill(self, trainer):
        if trainer.global_step == 13:
            raise Killed
        publish(self, trainer)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoint, "publish", kill)
        main(["tune", str(killed), "--repetition", "0"])
    assert torch.load(student / "last.ckpt", weights_only=True)["global_step"] == 12
    assert not (student / "done.json").exists()
    assert main(["tune", str(killed), "--repetition", "0"]) == 0
    path = "student/snapshot_24.pt"
    first, second = (tuned(study, name) for name in ("whole", "killed"))
    assert first["files"] == second["files"] == {path: files.sha256(study.parent / "runs/s/tuned/whole/0" / path)}
    assert (predicted(study, "whole") == predicted(study, "killed")).all()
    state = read_weights(study.parent / "runs/s/tuned/whole/0" / path)
    assert state["fc.weight"].shape == (2 * 10, 64)  # a head for each member
    assert (first["members"], first["images"], first["teacher_images"]) == (1, 2400, 4800)


def test_a_students_loss_is_zero_where_it_answers_as_its_teachers_do():
    wanted = torch.randn(5, 3, 4, dtype=torch.float64)
    assert distance(wanted + 7, wanted, 2.0, "kl").item() == pytest.approx(0, abs=1e-6)
    assert distance(wanted + 7, wanted, 2.0, "mse").item() == pytest.approx(49)
    p, q = (torch.softmax(values / 2, 2) for values in (wanted, torch.zeros_like(wanted)))
    expected = 4 * (p * (p / q).log()).sum(2).mean()
    assert distance(torch.zeros_like(wanted), wanted, 2.0, "kl").item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("how", ["no images", "no rate"])
def test_two_stages_without_fine_tuning_are_the_plain_probe(study, how):
    """No images at all; and a learning rate of 0 with the statistics of pretraining, through fine-tuning."""
    given = {"images": 0} if how == "no images" else {"images": 200, "lrs": [0.0], "freeze_statistics": True}
    name = how.replace(" ", "-")
    config = write(study, name, method="two_stage", probe="digits", weight_decays=[0.0], **given)
    assert main(["tune", str(config), "--repetition", "1"]) == 0
    assert (predicted(study, name, 1) == of_cat(study, "cat2_1")).all()
    found = tuned(study, name, 1)
    assert found["images"] == (0 if how == "no images" else 400) and len(found["files"]) == (how == "no rate") * 2


def test_fine_tuning_that_was_stopped_goes_on_without_doing_a_cell_again(study, monkeypatch):
    """With dropout, whose draws a checkpoint does not hold: stopped in the second cell, and then the same bytes."""
    results = []
    for name, steps in (("dropout", 10**6), ("stopped", 12)):
        config = write(
            study, name, method="finetune", probe="digits", dropout=0.9, lrs=[0.05, 0.1], data={**IMAGES, "padding": 2}
        )
        tuning = Tuning(TuneFile.read([str(config)]))
        assert tune(tuning, StopAfter(steps), 0) == (130 if name == "stopped" else 0)
        if name == "stopped":
            cells = sorted((study.parent / "runs/s/tuned/stopped/0").glob("lr*"))
            assert [(cell / "done.json").exists() for cell in cells] == [True, False]
            before = (cells[0] / "done.json").stat().st_mtime_ns
            assert main(["tune", str(config), "--repetition", "0"]) == 0
            assert (cells[0] / "done.json").stat().st_mtime_ns == before
        results.append(tuned(study, name))
    first, second = results
    assert first["files"] == second["files"] and first["data"] == second["data"]
    assert [run["images"] for run in first["runs"]] == [1600] * 3 and first["images_in_all"] == 4800
    assert first["runs"][2]["name"].startswith("refit") and first["runs"][2]["held_out_acc1"] is None
    heads = first["data"]["digits"]["heads"]
    assert first["data"]["digits"]["chosen_by_acc1"] == max(head["curve"][0] for head in heads)
    assert not list((study.parent / "runs/s/tuned/dropout").rglob("*.ckpt"))


@pytest.mark.parametrize("head", ["normal", "probe"])
def test_dropout_is_of_training_alone_and_files_give_the_same_answers(study, digits, head):
    paths = [study.parent / f"runs/s/member_{seed}_8/snapshot_8.pt" for seed in (0, 1)]
    cat = CatClassifier(paths, 10, head=head, dropout=0.9)
    with torch.no_grad():
        cat.linear.bias.normal_()
    data = ImageData(train="train.beton", test="test.beton", root=str(digits), view="small", resolution=14)
    images = data.normalise(next(iter(data.test_dataloader()))[0])
    with torch.no_grad():
        cat.train()
        assert not torch.equal(cat(images), cat(images))
        cat.eval()
        answers = cat(images)
        assert torch.equal(answers, cat(images))
        other = CatClassifier(paths, 10, head=head, seed=7).eval()
        other.load_plain_state(FineTuned(cat, num_classes=10, optimizer="sgd").network.plain_state())
        torch.testing.assert_close(other(images), answers, rtol=1e-4, atol=1e-5)


def test_the_report_shows_what_was_tuned_beside_the_cats(study, capsys):
    config = write(study, "tuned", method="finetune", probe="digits", lrs=[0.1], refit=False)
    assert main(["tune", str(config)]) == 0
    assert "2 repetitions" in capsys.readouterr().out
    assert main(["status", str(study)]) == 0
    assert "tuned tuned: 2 of 2 repetitions" in capsys.readouterr().out
    assert main(["report", str(study)]) == 0
    said = capsys.readouterr().out
    report = json.loads((study.parent / "runs/s/report.json").read_text())["tuned"]["tuned"]
    labels = of_cat(study, "labels")
    right = {cat: [of_cat(study, f"{cat}_{r}") == labels for r in (0, 1)] for cat in ("cat1", "cat2")}
    ours = [predicted(study, "tuned", r) == labels for r in (0, 1)]
    value = report["acc1"]["digits"]
    assert report["repetitions"] == [0, 1] and value["values"] == pytest.approx([100 * each.mean() for each in ours])
    for key, cat in (("to_baseline", "cat1"), ("to_cat", "cat2")):
        assert value[key]["mean"] == pytest.approx(100 * (np.mean(ours) - np.mean(right[cat])))
        low, high = value[key]["interval"]
        assert low < value[key]["mean"] < high
    assert f"{value['to_cat']['mean']:+.1f}" in said and "tuned: cats that were trained further" in said
    assert "| tuned | finetune | cat2 | digits |" in (study.parent / "runs/s/report.md").read_text()
    snapshot = study.parent / "runs/s/member_1_8/done.json"
    before = snapshot.read_text()
    rewrite(snapshot, snapshots={"8": "0" * 64})  # other members than those that were tuned
    assert main(["report", str(study)]) == 0
    snapshot.write_text(before)
    found = json.loads((study.parent / "runs/s/report.json").read_text()).get("tuned", {})
    assert found.get("tuned", {}).get("repetitions", []) == [1]


def test_a_slurm_array_s_task_takes_its_own_repetition(study, monkeypatch, capsys):
    config = write(study, "array", method="two_stage", probe="digits", images=0)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert main(["tune", str(config)]) == 0
    assert [path.parent.name for path in (study.parent / "runs/s/tuned/array").glob("*/results.json")] == ["1"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert main(["tune", str(config)]) == 2
    assert "--repetition 2: study s has 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "distill", "dropout": 0.9}, "tune.dropout makes no sense with tune.method distill"),
        ({"method": "two_stage", "probe": "digits", "refit": True}, "tune.refit makes no sense"),
        ({"method": "finetune"}, "tune.probe is missing"),
        ({"method": "finetune", "probe": "letters"}, "tune.probe letters: is no probe of study s; it has digits.yaml"),
        ({"method": "finetune", "probe": "digits", "cat": "cat3"}, "no such cat in study s; did you mean cat"),
        ({"method": "finetune", "probe": "digits", "images": 850}, "no multiple of data.batch_size 100; take 800"),
        ({"method": "finetune", "probe": "digits", "model": {"lr": 0.1}}, "give tune.lrs"),
        ({"method": "finetune", "probe": "digits", "model": {"width": 8}}, "model.width makes no sense"),
        ({"method": "finetune", "probe": "digits", "data": {"test": "x.beton"}}, "data.test: the images are those of"),
        ({"method": "fine"}, "tune.method is 'fine'; it must be one of finetune, two_stage, distill"),
        ({"method": "distill", "study": "none.yaml"}, "none.yaml: no such file"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(study, capsys, given, words):
    assert main(["tune", str(write(study, "wrong", **given))]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1, said
    assert not (study.parent / "runs/s/tuned/wrong").exists()


def test_a_study_that_is_not_trained_and_another_recipe_are_refused(study, capsys):
    config = write(study, "again", method="two_stage", probe="digits", lrs=[0.1], images=100)
    assert main(["tune", str(config), "--study.name", "untrained"]) == 2
    assert "not trained yet; run `timecat fit` first" in capsys.readouterr().err
    assert main(["fit", "--config", str(config)]) == 2
    assert "is a config of timecat tune" in capsys.readouterr().err
    assert main(["tune", str(config), "--repetition", "0"]) == 0
    capsys.readouterr()
    assert main(["tune", str(config), "--repetition", "0"]) == 0
    assert "nothing to train" in capsys.readouterr().out
    assert main(["tune", str(config), "--repetition", "0", "--tune.dropout", "0.5"]) == 2
    said = capsys.readouterr().err
    assert "tune.dropout 0.0, the config says 0.5" in said and said.count("\n") == 1


def test_a_setting_that_diverges_is_not_chosen(study, capsys):
    given = {
        "method": "finetune",
        "probe": "digits",
        "images": 800,
        "weight_decays": [1e3],
    }  # which, times lr 1,000, is no shrinking
    config = write(study, "wild", **given, lrs=[1e3, 1e-5], refit=False)
    assert main(["tune", "--config", str(config), "--repetition", "0"]) == 0
    said = capsys.readouterr().err
    assert "diverged: the loss is" in said and "the other settings go on" in said
    runs = tuned(study, "wild")["runs"]
    assert [(run["lr"], run["chosen"], run.get("diverged", False)) for run in runs] == [
        (1e3, False, True),
        (1e-5, True, False),
    ]
    config = write(study, "wilder", **given, lrs=[1e3], refit=False)
    assert main(["tune", "--config", str(config), "--repetition", "0"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "every setting of the grid diverged; lower tune.lrs" in last and "wilder" in last
