"""Configs of studies that train in seconds: ResNet10 of width 8 on scikit-learn's digits."""

from pathlib import Path
from typing import Any

import torch
import yaml

from timecat import files
from timecat.members.checkpoint import save_snapshot
from timecat.networks.resnet import Stem, resnet
from timecat.study.directory import MemberDirectory, read_record, write_record
from timecat.study.recipe import recipe
from timecat.study.study import Study

ONE_CYCLE = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "schedule": "one_cycle"}
SCHEDULE_FREE = {"optimizer": "schedule_free_adamw", "lr": 0.003, "warmup_steps": 5, "batch_norm_batches": 4}

NETWORK = {"depth": 10, "width": 8, "num_classes": 10}
IMAGES = {"train": "train.beton", "holdout": 0.2, "view": "small", "resolution": 28}
TRAINER = {"accelerator": "cpu", "devices": 1}


def write_study(
    path: Path,
    data: dict[str, Any],
    model: dict[str, Any],
    cats: dict[str, Any],
    trainer: dict[str, Any] | None = None,
    **study: Any,
) -> str:
    """Write a study's config; it is called as the file, and its runs lie beside it.

    Args:
        data: where the digits lie, at least: 800 images to train on, so an epoch of batch 32 has 25 steps.
        model, trainer: beside NETWORK and TRAINER.
    """
    return _write(
        path,
        {
            "seed_everything": 0,
            "study": {"name": path.stem, "root": str(path.parent / "runs"), "cats": cats, **study},
            "model": {**NETWORK, **model},
            "data": {**IMAGES, "batch_size": 32, **data},
            "trainer": {**TRAINER, "log_every_n_steps": 2, **(trainer or {})},
        },
    )


def write_probe(
    path: Path,
    data: dict[str, Any],
    probe: dict[str, Any],
    model: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    seed: int = 0,
) -> str:
    """Write a probe's config: 800 images to choose heads with, 797 to test them."""
    return _write(
        path,
        {
            "seed_everything": seed,
            "probe": probe,
            "model": {"num_classes": 10, "lr": 0.1, **(model or {})},
            "data": {**IMAGES, "test": "test.beton", "augment": False, "batch_size": 100, **data},
            "trainer": {**TRAINER, **(trainer or {})},
        },
    )


def finish_members(config: str, stem: Stem = "small") -> None:
    """Give every member that a study still lacks random weights, as if it had been trained."""
    study = Study.read([config])
    for plan in study.members:
        torch.manual_seed(plan.seed)
        directory, hashes = study.directory.member(plan.name), {}
        if directory.done.exists():
            continue
        for step in plan.snapshots:
            network = resnet(plan.model.depth, plan.model.width, plan.model.num_classes, stem)
            save_snapshot(directory.snapshot(step), network.state_dict())
            hashes[str(step)] = files.sha256(directory.snapshot(step))
        write_record(directory.recipe, recipe(study, plan))
        write_record(directory.done, {"step": plan.steps, "snapshots": hashes})


def begun(config: str, member: int) -> MemberDirectory:
    """A member's directory, with its recipe, as if its training had begun."""
    study = Study.read([config])
    directory = study.directory.member(study.member(member).name)
    write_record(directory.recipe, recipe(study, study.member(member)))
    return directory


def rewrite(path: Path, **keys: Any) -> None:
    """Set keys of a JSON file of a study, as if it had been written so."""
    write_record(path, {**(read_record(path) or {}), **keys})


def change(path: Path | str, section: str, **keys: Any) -> None:
    """Set keys of a section of a config."""
    config = yaml.safe_load(Path(path).read_text())
    config[section] = {**config[section], **keys}
    _write(Path(path), config)


def _write(path: Path, config: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return str(path)
