"""`finetune`: the whole cat with a linear head, end to end on the target; with dropout, that of arXiv 2403.00946."""

import dataclasses
from dataclasses import asdict
from pathlib import Path

import torch

from timecat import files
from timecat.data.datamodule import ImageData
from timecat.heads.probe import devices, write_predictions
from timecat.networks.cat_classifier import CatClassifier
from timecat.study.tuned import Tuned
from timecat.tune.classify import classify, result_of
from timecat.tune.fine_tuned import FineTuned
from timecat.tune.train import Runs, choose, remove
from timecat.tune.tuning import Run, Tuning


def classifier(tuning: Tuning, paths: list[Path], seed: int) -> CatClassifier:
    """What fine-tuning starts from."""
    tune = tuning.tune
    return CatClassifier(paths, tuning.classes, tune.head, tune.dropout, tune.freeze_statistics, seed)


def fine_tuned(tuning: Tuning, paths: list[Path], run: Run) -> FineTuned:
    """The module of a run."""
    return FineTuned(classifier(tuning, paths, run.plan.seed), **asdict(run.plan.model))


def finetune(tuning: Tuning, repetition: int, paths: list[Path], weights: list[str], runs: Runs) -> Tuned:
    """Fine-tune with each setting of the grid, choose on held-out images, train again on all, read the test set once.

    Args:
        paths, weights: the members' files and their SHA-256, in the cat's order.

    Raises:
        Stopped: it was asked to.
        UserError: what is there was trained otherwise, or the chosen one has diverged.
    """
    directory, probe = tuning.directory(repetition), tuning.probes[0]
    cells = tuning.runs(repetition)
    found = [runs.train_cell(cell, weights, lambda cell=cell: fine_tuned(tuning, paths, cell)) for cell in cells]
    chosen = choose(found)
    last, trained = cells[found.index(chosen)], [*found]
    if tuning.refits:
        last = tuning.fine_tuning(repetition, chosen["lr"], chosen["weight_decay"], refit=True)
        trained.append({**runs.train(last, weights, lambda: fine_tuned(tuning, paths, last)), "chosen": True})
    path = last.directory.snapshot(last.plan.steps)
    network = classifier(tuning, paths, 0)
    network.load_plain_state(torch.load(path, weights_only=True))
    data = ImageData(**{**asdict(dataclasses.replace(tuning.data, holdout=0.0))})
    answers = classify(network, data, torch.device(devices(probe)[0]))
    write_predictions(directory.predictions(probe.name), answers)
    for cell in cells:
        if cell.directory != last.directory:
            remove(cell.directory.snapshot(cell.plan.steps))
    return {
        "name": tuning.name,
        "method": "finetune",
        "cat": tuning.cat.name,
        "repetition": repetition,
        "settings": tuning.settings(repetition),
        "weights": weights,
        "images": last.images,
        "images_in_all": sum(run["images"] for run in trained),
        "teacher_images": 0,
        "members": len(paths),
        "parameters": network.parameters_of_members,
        "features": network.num_features,
        "runs": trained,
        "files": {str(path.relative_to(directory.path)): files.sha256(path)},
        "data": {probe.name: result_of(answers, tuning.classes, chosen, found)},
    }
