"""`timecat plan`: what a study trains and costs, before anything is trained."""

from pathlib import Path
from typing import Any

from timecat.config import data_name, read_probe_config
from timecat.data import global_batch
from timecat.data.beton import count_images
from timecat.data.root import data_root
from timecat.errors import UserError
from timecat.heads.sweep import BYTES, ProbeConfig, blocks, groups, head_bytes
from timecat.study.study import Study
from timecat.terminal import duration, print_table, say


def plan(study: Study, images_per_sec: float | None = None, nodes: int = 1, devices: int | None = None) -> None:
    """Print the study's cats with their budgets, and its members with their snapshots, on so many devices each."""
    images = train_images(study)
    baseline = study.cats[study.baseline].images
    cats = [
        [
            cat.name,
            str(cat.members),
            f"{cat.steps:,}",
            f"{cat.members * cat.steps:,}",
            f"{cat.images:,}",
            _epochs(cat.steps * study.batch_size, images),
            f"{cat.images / baseline:.3f}",
        ]
        for cat in study.cats.values()
    ]
    header = ["cat", "members", "steps each", "steps", "images", "epochs", f"of {study.baseline}'s"]
    print_table(f"{study.name}: cats, global batch {study.batch_size:,}", header, cats, left=["cat"])
    for cat in study.cats.values():
        if cat.model:
            say(cat.label.replace(",", ": members with", 1))
    if study.repetitions > 1:
        say(f"{study.repetitions} repetitions of each cat, with different seeds")
    members = []
    for run in study.runs:
        seen = run.steps * study.batch_size
        cost = [f"{seen / images_per_sec / 3600:.1f}"] if images_per_sec else []
        snapshots = ", ".join(f"{step:,}" for step in run.snapshots)
        members.append([str(run.index), run.name, str(run.seed), f"{seen:,}", _epochs(seen, images), *cost, snapshots])
    hours = ["GPU-hours"] if images_per_sec else []
    header = ["member", "directory", "seed", "images", "epochs", *hours, "snapshots at step"]
    print_table("members to train", header, members, left=["directory", "snapshots at step"])
    total = study.steps * study.batch_size
    say(f"{study.steps:,} steps in all, {total:,} images, {_epochs(total, images)} epochs")
    trainer, data = study.config.get("trainer") or {}, study.config.get("data") or {}
    devices = devices or (trainer["devices"] if isinstance(trainer.get("devices"), int) else 1)
    say(global_batch.told(study.batch_size, data.get("device_batch_size"), nodes, devices, study.ghost_batch_size))
    if study.horizon:
        say("the schedule has a horizon, so no snapshot is shared between cats of different lengths")
    elif study.steps != study.steps_unshared:
        say(f"runs share snapshots: without sharing it would be {study.steps_unshared:,} steps")
    if images_per_sec:
        say(
            f"{total / images_per_sec / 3600:,.1f} GPU-hours at {images_per_sec:,.0f} images/s; "
            f"one GPU per member: {duration(_longest(study) / images_per_sec)}"
        )
    for path in study.probes:
        say(_probe_plan(study, path))


def _probe_plan(study: Study, path: str) -> str:
    """What a data set's probes compute: features, heads, and in which passes the heads are trained."""
    config = read_probe_config(path)
    probe, model, data = ProbeConfig.read(path), config.get("model") or {}, config.get("data") or {}
    classes = model.get("num_classes")
    if not isinstance(classes, int):
        raise UserError(f"{path}: model.num_classes is {classes!r}; give the number of classes")
    grid = probe.grid(model.get("lr", 0.01))
    needed = blocks(study)
    passes = groups(needed, grid, classes, probe.memory_gb)
    widths = {(run.name, step): block.width for block in needed for run, step in block.members}
    told = f"probe {data_name(path)}: features of {len(widths)} snapshots"
    images = {split: _images_of(data, split) for split in ("train", "test")}
    if all(images.values()):
        train = images["train"] if data.get("subset") is None else min(data["subset"], images["train"])
        seen = train * max(1, probe.views) + images["test"]
        seen += round(train * data.get("holdout", 0.0)) if probe.views else 0
        size = sum(widths.values()) * seen * BYTES[probe.storage] / 1e9
        told += f" x {seen:,} images = {len(widths) * seen:,} forward passes, {size:.2g} GB on the disk"
    total = len(needed) * len(grid)
    size = sum(head_bytes(block.features, classes) for block in needed) * len(grid) / 1e9
    told += f"; {total:,} heads ({len(needed)} cats x {len(grid)} settings, {classes:,} classes, {size:.2g} GB)"
    if len(passes) == 1:
        return f"{told} in one pass"
    shares = [
        " ".join(block.name if study.repetitions > 1 else block.cat for block in group.blocks)
        + (f" ({len(group.grid)} settings)" if len(group.grid) < len(grid) else "")
        for group in passes
    ]
    return f"{told} in {len(passes)} passes of {probe.memory_gb:g} GB: {' | '.join(shares)}"


def _images_of(data: dict[str, Any], split: str) -> int | None:
    path = data_root(data.get("root")) / data[split] if data.get(split) else None
    return count_images(path) if path and path.exists() else None


def _longest(study: Study) -> int:
    return max(run.steps for run in study.runs) * study.batch_size


def train_images(study: Study) -> int | None:
    """Images of the training set that members train on: the config's data.train_images, else the file's own count."""
    data = study.config.get("data") or {}
    count = study.train_images
    if count is None and data.get("train"):
        path = data_root(data.get("root")) / data["train"]
        count = count_images(path) if Path(path).exists() else None
    if count is None:
        return None
    return round(min(data.get("subset") or count, count) * (1 - (data.get("holdout") or 0.0)))


def _epochs(seen: int, images: int | None) -> str:
    return f"{seen / images:,.2f}" if images else "?"
