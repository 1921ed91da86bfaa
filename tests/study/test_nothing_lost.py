"""Finished work is neither forgotten, nor replaced, nor taken for other work."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.in_process import in_a_pipe
from tests.support.small_study import SCHEDULE_FREE, change, rewrite, write_probe, write_study
from timecat import files
from timecat.cli import main
from timecat.study.directory import read_record


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits) -> Path:
    """A directory with a study whose cats share a member, which was trained, probed and reported."""
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(digits, root / "digits")
    probe = write_probe(root / "p.yaml", {"root": "digits"}, {"weight_decays": [1e-3], "logits": True})
    cats = {"cat1": {"members": 1, "steps": 8}, "cat2": {"members": 2, "steps": 4}}
    change(probe, "trainer", max_epochs=2)
    write_study(root / "s.yaml", {"root": "digits"}, SCHEDULE_FREE, cats, probes=["p.yaml"], root="runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["run", "s.yaml"]) == 0
    return root


@pytest.fixture
def runs(finished, tmp_path, monkeypatch) -> Path:
    """A copy's runs; its configs lie in the working directory."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("runs/s")


def refused(*words: str) -> str:
    status, _, line = in_a_pipe(list(words))
    assert status == 2 and line.count("\n") == 1, line
    return line


def told(*words: str) -> str:
    status, out, error = in_a_pipe(list(words))
    assert status == 0, error
    return out


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_longer_plan_and_back(runs):
    before = files.sha256(runs / "member_0/snapshot_8.pt")
    longer = ["s.yaml", "--study.cats.cat1.steps", "12", "--study.unequal_because", "longer"]
    told("fit", *longer)
    assert read_record(runs / "member_0/done.json")["step"] == 12
    assert "nothing to train" in told("fit", "s.yaml")
    told("probe", "s.yaml")
    assert files.sha256(runs / "member_0/snapshot_8.pt") == before


@pytest.mark.parametrize(("step", "how"), [(8, "cut"), (4, "flipped"), (8, "gone")])
def test_a_snapshot_that_is_not_what_was_written(runs, step, how):
    path = runs / f"member_0/snapshot_{step}.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-100] if how == "cut" else content)
    if how == "gone":
        path.unlink()
    assert str(path) in refused("fit", "s.yaml")
    if how != "flipped":  # which only reading all of it tells
        assert str(path) in refused("plan", "s.yaml")
        shown = told("status", "s.yaml")
        assert "damaged" in shown and str(path) in shown and "next: timecat verify --config=s.yaml" in shown
        return
    shutil.move(path.parent, runs / "away")  # as the line says
    told("fit", "s.yaml")
    assert files.sha256(path) == read_record(runs / "away/done.json")["snapshots"][str(step)]


def test_a_damaged_snapshot_is_not_believed_for_want_of_its_marker(runs):
    """A training that goes on has the hash of what it wrote, and asks no file for it."""
    other = ["s.yaml", "--study.name", "other", "--study.unequal_because", "stopped"]
    told("fit", *other, "--study.cats.cat1.steps", "6", "--member", "0")
    directory = runs.parent / "other/member_0"
    (directory / "done.json").unlink()  # as if it had been stopped at step 6 of 8
    path = directory / "snapshot_4.pt"
    path.write_bytes(path.read_bytes()[:-1])
    told("fit", *other, "--member", "0")
    assert read_record(directory / "done.json")["step"] == 8
    assert str(path) in refused("fit", *other)


def test_without_its_recipe_a_member_is_nobodys(runs):
    (runs / "member_0/recipe.json").unlink()
    for command in ("plan", "fit"):
        assert f"{runs}/member_0/recipe.json: is gone" in refused(command, "s.yaml", "--model.lr", "0.5")


@pytest.mark.parametrize(
    "keys",
    [
        {"limit_train_batches": 2},
        {"overfit_batches": 2},
        {"gradient_clip_val": 0.5},
        {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
        {"precision": "64-true"},
        {"callbacks": "[{class_path: lightning.pytorch.callbacks.LambdaCallback}]"},
    ],
    ids=lambda keys: list(keys)[-1],
)
def test_what_the_trainer_does_to_weights_is_in_their_recipe(runs, keys):
    given = [word for key, value in keys.items() for word in (f"--trainer.{key}", str(value))]
    assert f"was trained with trainer.{next(iter(keys))}" in refused("fit", "s.yaml", *given)


@pytest.mark.parametrize("key", ["fast_dev_run", "barebones"])
def test_what_trains_no_member_to_its_end_is_refused(runs, key):
    assert f"trainer.{key}: a study trains" in refused(
        "plan", "s.yaml", "--study.name", "new", f"--trainer.{key}", "true"
    )


def test_another_test_file_sets_results_aside_and_brings_them_back(runs):
    """With their predictions, logits and heads, and without training them again."""
    probe = runs / "probe/p"
    before = contents(probe)
    shutil.copy("digits/test.beton", "digits/other.beton")
    change("p.yaml", "data", test="other.beton")
    assert "probe p: missing" in told("status", "s.yaml")
    told("probe", "s.yaml")
    (earlier,) = (probe / "earlier").iterdir()
    assert contents(earlier) == {name: before[name] for name in contents(earlier)}
    assert {"results.json", "predictions.npz", "heads/cat1_0.npz", "logits/cat2_0.npy"} <= set(contents(earlier))
    change("p.yaml", "data", test="test.beton")
    assert "are there again" in told("probe", "s.yaml")
    assert {name: content for name, content in contents(probe).items() if name in before} == before


def test_results_of_other_seeds_are_not_these_and_stay(runs):
    probe = runs / "probe/p"
    before = contents(probe)
    other = ["s.yaml", "--study.seeds", "[7,8]"]
    assert "probe p: missing" in told("status", *other)
    assert "no probe has a result" in refused("report", *other)
    told("fit", *other)
    told("probe", *other)
    (earlier,) = (probe / "earlier").iterdir()
    assert contents(earlier) == {name: before[name] for name in contents(earlier)}
    assert read_record(earlier / "results.json")["cats"]["cat2"]["repetitions"]["0"]["seeds"] == [0, 1]


def test_a_cat_of_another_name_is_not_probed(runs):
    config = Path("s.yaml")
    config.write_text(config.read_text().replace("cat2:", "pair:"))
    assert "probe p: 1 of 2 cats" in told("status", "s.yaml")
    assert "would submit  probe p" in told("launch", "s.yaml", "--dry-run")


def test_a_record_that_was_changed_is_not_believed(runs):
    for name in ("member_0/done.json", "probe/p/results.json"):
        path = runs / name
        content = path.read_text()
        digit = next(
            place
            for place in range(content.index("steps" if "results" in name else "images"), len(content))
            if content[place].isdigit()
        )
        path.write_text(content[:digit] + str((int(content[digit]) + 1) % 10) + content[digit + 1 :])
        assert f"{path}: is damaged or was edited" in refused("status", "s.yaml")
        path.write_text(content)
    rewrite(runs / "member_0/done.json", images=0)  # by us
    told("status", "s.yaml")


def test_logits_tell_of_their_file(runs):
    result = read_record(runs / "probe/p/results.json")["cats"]["cat2"]["repetitions"]["0"]
    path = runs / "probe/p/logits/cat2_0.npy"
    assert result["logits_sha256"] == files.sha256(path) and np.load(path).shape == (797, 10)


def flip(path: Path, at: float) -> None:
    """Change one bit of a file, at this share of its length."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "digits/train.beton",
        "digits/test.beton",
        "runs/s/member_0/snapshot_8.pt",
        "runs/s/member_0/last.ckpt",
        "runs/s/member_0/recipe.json",
        "runs/s/features/p/test/member_0_8.npy",
        "runs/s/features/p/test/member_0_8.json",
        "runs/s/probe/p/results.json",
        "runs/s/probe/p/predictions.npz",
        "runs/s/probe/p/heads/cat2_0.npz",
        "runs/s/probe/p/logits/cat2_0.npy",
        "runs/s/report.json",
    ],
)
def test_verify_names_the_file_of_one_flipped_bit(runs, name):
    flip(Path(name), at=0.6)
    status, out, _ = in_a_pipe(["verify", "s.yaml"])
    named = [line for line in out.splitlines() if line.startswith(f"{name}: ")]
    assert status == 1 and named, out
    flip(Path(name), at=0.6)
    status, out, _ = in_a_pipe(["verify", "s.yaml"])
    assert status == 0 and "are whole" in out, out
