"""`distill`: a cat into one network, trained on the pretraining images, and probed as a cat is."""

from dataclasses import asdict
from pathlib import Path

from timecat import files
from timecat.errors import UserError
from timecat.networks.weights import read_weights
from timecat.study.tuned import Tuned
from timecat.tune.frozen import TunedCat, probe_frozen, snapshot_of
from timecat.tune.student import Student
from timecat.tune.train import Runs
from timecat.tune.tuning import Tuning
from timecat.tune.two_stage import parameters


def distill(tuning: Tuning, repetition: int, paths: list[Path], weights: list[str], runs: Runs) -> Tuned:
    """Train the student, and probe its frozen features on each data set that the cat is probed on.

    Args:
        paths, weights: the members' files and their SHA-256, in the cat's order.

    Raises:
        Stopped: it was asked to.
        UserError: a member tells other classes, what is there was trained otherwise, or as `probe_frozen`.
    """
    directory, tune, run = tuning.directory(repetition), tuning.tune, tuning.distillation(repetition)
    for path in paths:
        told = len(read_weights(path).get("fc.bias", ()))
        if told != tuning.classes:
            raise UserError(
                f"{path}: tells {told:,} classes, the study's images have {tuning.classes:,}; not for distill"
            )
    keys = {**asdict(run.plan.model), "num_classes": tuning.classes}
    trained = runs.train(run, weights, lambda: Student(paths, tune.temperature, tune.loss, **keys))
    path = run.directory.snapshot(run.plan.steps)
    digest = files.sha256(path)
    cat = TunedCat(f"{tuning.name}_{repetition}", (snapshot_of(tuning, repetition, run, run.plan.model),))
    return {
        "name": tuning.name,
        "method": "distill",
        "cat": tuning.cat.name,
        "repetition": repetition,
        "settings": tuning.settings(repetition),
        "weights": weights,
        "images": run.images,
        "images_in_all": run.images,
        "teacher_images": run.images * len(paths),
        "members": 1,
        "parameters": parameters(path),
        "features": cat.features,
        "runs": [{**trained, "chosen": True}],
        "files": {str(path.relative_to(directory.path)): digest},
        "data": {probe.name: probe_frozen(tuning, directory, cat, probe, runs.stop) for probe in tuning.probes},
    }
