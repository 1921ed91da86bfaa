"""A probe that signals stop, anywhere, gives the bytes of an undisturbed one, and computes nothing twice."""

import concurrent.futures
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from tests.support.small_study import ONE_CYCLE, finish_members, write_probe, write_study
from timecat.cli import main
from timecat.extraction.file import FeatureFile
from timecat.heads.passes import Passes
from timecat.heads.sgd import Heads

CATS = {"cat1": {"members": 1, "steps": 4}, "cat2": {"members": 2, "steps": 4}}
PASS = 2 * 6  # steps of the first pass: two epochs of 640 images; the second one takes the best epoch's length


def study(directory: Path, digits: Path) -> str:
    """Two members whose training is finished, to be probed on digits."""
    directory.mkdir(exist_ok=True)
    data = {"root": str(digits), "workers": 1}
    probe = write_probe(directory / "digits.yaml", data, {"weight_decays": [1e-4, 1e-2]}, trainer={"max_epochs": 2})
    settings = {"unequal_because": "a test", "probes": [probe]}
    config = write_study(directory / "s.yaml", {"root": str(digits)}, ONE_CYCLE, CATS, **settings)
    finish_members(config)
    return config


def left(config: str) -> dict[str, bytes]:
    """Features, results, predictions, heads and logits; not TensorBoard's files, which have times."""
    runs = Path(config).parent / "runs" / "s"
    paths = [path for path in runs.rglob("*") if path.is_file() and "compare" not in path.parts]  # which has dates
    return {str(path.relative_to(runs)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits) -> dict[str, bytes]:
    config = study(tmp_path_factory.mktemp("undisturbed"), digits)
    assert main(["probe", "--config", config]) == 0
    return left(config)


def signalled(monkeypatch, owner: type, name: str, number: int, at: set[int]) -> list[int]:
    """Send the signal to this process in the midst of these calls; the list of all calls."""
    original, calls = getattr(owner, name), []

    def call(self, *given):
        calls.append(1)
        if len(calls) in at:
            os.kill(os.getpid(), number)
        return original(self, *given)

    monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 75), (signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_stopped_probe_goes_on_at_the_batch(tmp_path, digits, monkeypatch, capsys, undisturbed, number, status):
    """In the first pass, at its last batch, and when heads are trained again."""
    config = study(tmp_path, digits)
    with monkeypatch.context() as patch:
        steps = signalled(patch, Heads, "step", number, {3, PASS, PASS + 2})
        for _ in range(3):
            assert main(["probe", "--config", config]) == status
            assert "stopped; the same command goes on from what is finished" in capsys.readouterr().err
            assert len(list(Path(config).parent.glob("runs/s/probe/digits/.pass*"))) >= 1
        assert main(["probe", "--config", config]) == 0
    assert left(config) == undisturbed
    with monkeypatch.context() as patch:
        whole = signalled(patch, Heads, "step", number, set())
        assert main(["probe", "--config", study(tmp_path / "again", digits)]) == 0
    assert len(steps) == len(whole)


@pytest.mark.parametrize(("owner", "name"), [(FeatureFile, "write"), (Passes, "read")])
def test_a_probe_stops_where_nothing_is_checked(tmp_path, digits, monkeypatch, undisturbed, owner, name):
    config = study(tmp_path, digits)
    with monkeypatch.context() as patch:
        signalled(patch, owner, name, signal.SIGUSR1, {2})
        assert main(["probe", "--config", config]) == 75
    assert main(["probe", "--config", config]) == 0
    assert left(config) == undisturbed


def test_processes_that_compute_features_leave_signals_to_their_parent(tmp_path, digits, monkeypatch, undisturbed):
    """SLURM may send them to all of a step's processes: here as soon as there are some."""
    config, told = study(tmp_path, digits), []

    def wait(jobs, timeout):
        for child in set(multiprocessing.active_children()) - set(told):
            told.append(child)
            for number in (signal.SIGUSR1, signal.SIGTERM):
                os.kill(child.pid or 0, number)
        return concurrent.futures.wait(jobs, timeout)

    monkeypatch.setattr("timecat.extraction.extract.wait", wait)
    assert main(["probe", "--config", config, "--trainer.devices=2"]) == 0
    assert len(told) == 2 and left(config) == undisturbed
