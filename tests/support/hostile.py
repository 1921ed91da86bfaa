"""What stands for a person's machine when damaged inputs are tried: small studies, and a look at how a command ends."""

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.in_process import in_a_pipe
from tests.support.small_study import ONE_CYCLE, SCHEDULE_FREE, write_probe, write_study
from timecat.errors import UserError

LONGEST = 1000  # characters of a line
SECONDS = 20


class Hung(BaseException):
    """It took longer than a person waits for a line."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise Hung in the body after so many seconds."""

    def ring(number: int, frame: Any) -> None:
        raise Hung(f"hangs for more than {seconds} s: {''.join(traceback.format_stack(frame)[-3:])}")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ended(words: list[str], statuses: tuple[int, ...] = (0, 2)) -> tuple[int, str, str]:
    """The command's status; what is wrong with how it ended, nothing where it is well; and what it said on stderr."""
    try:
        with limited(SECONDS):
            status, _, err = in_a_pipe(words)
    except (Exception, Hung) as error:
        return -1, _told(error), ""
    if status not in statuses:
        return status, f"status {status}: {err[:300]}", err
    if status == 0:
        return 0, "Traceback" if "Traceback" in err else "", err
    lines = err.splitlines()
    if len(lines) != 1 or not err.endswith("\n"):
        return status, f"{len(lines)} lines: {err[:300]!r}", err
    if len(err) > LONGEST or (not err.isprintable() and not err[:-1].isprintable()):
        return status, f"a line of {len(err)} characters: {err[:200]!r}", err
    return status, "" if err.startswith("timecat: ") else f"no line of timecat: {err!r}", err


def built(path: str, folder: Path) -> str:
    """What is wrong with what training makes of a study that plan has accepted; nothing where it is well."""
    import torch

    from timecat.members.trainer import StudyCLI
    from timecat.study.study import Study

    try:
        with limited(3 * SECONDS):
            study = Study.read([path])
            cli = StudyCLI(study)
            kinds = {(str(plan.model), str(plan.data)): plan for plan in study.members}
            for plan in list(kinds.values())[:2]:
                member, data = cli.instantiate(plan)
                ours = {"max_steps": plan.steps, "max_epochs": -1, "logger": False, "default_root_dir": str(folder)}
                trainer = cli.trainer_of_member(
                    **ours, callbacks=[], enable_checkpointing=False, enable_progress_bar=False
                )
                assert data.config.batch_size == study.batch_size and trainer.accumulate_grad_batches == 1
                if data.config.resolution <= 64:
                    side = data.config.resolution
                    member.loss(torch.zeros(4, 3, side, side), torch.zeros(4, dtype=torch.int64)).backward()
    except UserError:
        return ""  # what only Lightning can tell, in a line
    except (Exception, Hung) as error:
        return f"plan accepts, training does not: {_told(error)}"
    return ""


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "timecat" in frame.filename][-3:]
    return f"{type(error).__name__} at {' '.join(ours)}: {' '.join(str(error).split())[:300]}"


def bases(folder: Path, digits: Path) -> list[tuple[Path, dict[str, Any], list[str], str | None]]:
    """Whole configs to damage: where each lies, what it holds, the command that looks at it, and the study that
    training is then made from."""
    data = {"train": "train.beton", "root": str(digits), "workers": 1}
    probe = Path(write_probe(folder / "probe.yaml", {**data, "test": "test.beton"}, {"weight_decays": [1e-4, 1e-3]}))
    cats = {
        "cat1": {"members": 1, "steps": 8},
        "cat2": {"members": 2, "steps": 4},
        "mixed": {"of": [{"members": 1, "steps": 4}, {"members": 1, "images": 128, "model": {"width": 16}}]},
        "wide": {"wide": "cat2"},
        "soup": {"soup": "cat2"},
        "few": {"members": 1, "steps": 8, "project": 8, "probes": ["probe"]},
    }
    study = Path(write_study(folder / "study.yaml", data, ONE_CYCLE, cats, probes=["probe.yaml"], repetitions=2))
    mixture = {"digits": {"weight": 0.5, "train": "train.beton"}, "probe": {"weight": 0.5, "train": "test.beton"}}
    mixed = {**data, "mixture": mixture, "label_space": "side_by_side", "holdout": 0.1}
    of_runs = {"cat1": {"members": 1, "steps": 8}, "runs": {"snapshots": [2, 4, 8]}}
    averaged = Path(
        write_study(
            folder / "averaged.yaml", mixed, {**SCHEDULE_FREE, "num_classes": 20}, of_runs, {"precision": "32-true"}
        )
    )
    rng = np.random.default_rng(0)
    for split, rows in (("train", 200), ("test", 50)):
        np.save(folder / f"y_{split}.npy", np.arange(rows) % 10)
        np.save(folder / f"x_{split}.npy", rng.standard_normal((rows, 4)).astype(np.float32))
    features: dict[str, Any] = {
        "seed_everything": 0,
        "features": {
            "name": "elsewhere",
            "root": str(folder / "runs"),
            "labels": {"train": "y_train.npy", "test": "y_test.npy"},
            "extractors": {"a": {"train": "x_train.npy", "test": "x_test.npy"}, "b": {"of": ["a"]}},
        },
        "probe": {"solver": "sgd", "weight_decays": [1e-3]},
        "model": {"num_classes": 10},
        "data": {"holdout": 0.2, "batch_size": 64},
    }
    tune: dict[str, Any] = {
        "seed_everything": 100,
        "tune": {"study": "study.yaml", "cat": "cat2", "method": "finetune", "probe": "probe", "images": 640},
        "model": {"optimizer": "sgd", "momentum": 0.9},
        "data": {"batch_size": 64, "flip": False},
        "trainer": {"accelerator": "cpu", "devices": 1},
    }
    distil = {**tune, "tune": {"study": "study.yaml", "cat": "cat2", "method": "distill", "images": 640}}
    own = Path(__file__).parents[2] / "configs"
    return [
        (study, yaml.safe_load(study.read_text()), ["plan", "--config", str(study)], str(study)),
        (averaged, yaml.safe_load(averaged.read_text()), ["plan", "--config", str(averaged)], str(averaged)),
        (probe, yaml.safe_load(probe.read_text()), ["plan", "--config", str(study)], None),
        (folder / "f.yaml", features, ["plan", "--config", str(folder / "f.yaml")], None),
        (folder / "t.yaml", tune, ["tune", str(folder / "t.yaml")], None),
        (folder / "d.yaml", distil, ["tune", str(folder / "d.yaml")], None),
        (folder / "m.yaml", _own(own / "demo.yaml"), ["plan", "--config", str(folder / "m.yaml")], None),
        (study, yaml.safe_load(study.read_text()), ["plan", "--config", str(study)], str(study)),
    ]


def _own(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())
