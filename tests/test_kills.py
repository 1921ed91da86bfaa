"""SIGKILL at any moment of writing, training, probing and reporting: the same commands then end with the same bytes."""

from pathlib import Path

import pytest

from tests.support.killed import Killer
from tests.support.small_study import ONE_CYCLE, write_probe, write_study

NOT_COMPARED = ("progress.json", "last.ckpt", "previous.ckpt", "lock")  # when and how it came about


def stages(root: Path) -> dict[str, list[str]]:
    """The commands of a study below the directory, in their order."""
    data = {"root": str(root / "data"), "workers": 1}
    probe = write_probe(root / "digits.yaml", data, {"weight_decays": [1e-4, 1e-2]}, trainer={"max_epochs": 2})
    cats = {"cat1": {"members": 1, "steps": 40}}
    study = {"probes": [probe], "checkpoint_minutes": 0.002}
    config = write_study(root / "s.yaml", data, ONE_CYCLE, cats, **study)
    write = ["write", "digits", str(root / "data")]
    return {"write": write, **{stage: [stage, "--config", config] for stage in ("fit", "probe", "report")}}


def left(root: Path) -> dict[str, bytes]:
    """All that a study leaves, but what tells when; temporary files too."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.name not in NOT_COMPARED
        and not path.name.startswith("events.")
        and not {"compare", "layout"} & set(path.relative_to(root).parts)
    }


def end_as_undisturbed(tmp_path: Path, kills: dict[str, int], seed: int) -> None:
    killer, root = Killer(tmp_path / "log", seed), tmp_path / "study"
    root.mkdir()
    whole = {stage: killer.seconds(arguments) for stage, arguments in stages(root).items()}
    undisturbed = left(root)
    root.rename(tmp_path / "undisturbed")
    root.mkdir()
    killed = 0
    for stage, arguments in stages(root).items():
        killed += sum(killer.kill(arguments, whole[stage] / 2) for _ in range(kills[stage]))
        killer.seconds(arguments)
    assert killed > sum(kills.values()) / 2, f"only {killed} were still there to be killed: no test"
    found = left(root)
    assert found.keys() == undisturbed.keys()
    assert [name for name in found if found[name] != undisturbed[name]] == []


def test_five_kills(tmp_path):
    end_as_undisturbed(tmp_path, {"write": 1, "fit": 2, "probe": 1, "report": 1}, seed=1)


@pytest.mark.slow
def test_twenty_five_kills(tmp_path):
    end_as_undisturbed(tmp_path, {"write": 4, "fit": 11, "probe": 7, "report": 3}, seed=2)
