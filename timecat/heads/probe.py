"""`timecat probe`: linear heads on every cat of a study, all of a data set together, on features computed once."""

import hashlib
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from timecat import files
from timecat.config import data_name
from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.features.extract import FeatureStore
from timecat.heads.passes import Passes
from timecat.heads.protocols import Found, Protocol, choose
from timecat.heads.scores import scores
from timecat.heads.sweep import Block, blocks
from timecat.members.trainer import ProbeSettings
from timecat.report.report import collect, predictions_path, print_data, results_path
from timecat.study import progress
from timecat.study.study import Study


def probe(study: Study, protocol: Protocol = "heldout") -> None:
    """Extract missing features, then train the heads of every cat and repetition that has no result yet.

    Raises:
        UserError: a snapshot is not trained yet, or a probe's config or data make no sense.
    """
    if not study.probes:
        raise UserError("study.probes names no config; add one of configs/probe/")
    probes = [(path, ProbeSettings.read(path)) for path in study.probes]
    for _, settings in probes:  # look before the long work
        settings.data.split()
        settings.data.beton("test")
    for path, settings in probes:
        directory = study.directory / "probe" / data_name(path)
        held = progress.lock(directory, patient="SLURM_JOB_ID" in os.environ)
        if held is None:
            raise UserError(f"{directory}: another process probes this data set; wait for it")
        try:
            _probe_data_set(study, path, settings, protocol)
        except torch.OutOfMemoryError:
            raise UserError(
                f"{path}: the device's memory is full; lower probe.memory_gb (now {settings.probe.memory_gb:g}) "
                "or data.eval_batch_size; what is finished stays"
            ) from None
        finally:
            os.close(held)


def _data(path: str) -> ImageData:
    return ProbeSettings.read(path).data


def devices(study: Study, settings: ProbeSettings) -> list[str]:
    """Where backbones run: all visible GPUs, else as many processes on the CPU as the probe's trainer.devices says."""
    trainer = study.config.get("trainer") or {}
    if torch.cuda.is_available() and trainer.get("accelerator", "auto") != "cpu":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * settings.devices


def _probe_data_set(study: Study, path: str, settings: ProbeSettings, protocol: Protocol) -> None:
    name = data_name(path)
    found_devices = devices(study, settings)
    store = FeatureStore(study, name, settings.data, settings.probe, found_devices, partial(_data, path))
    todo = blocks(study)
    members = {(run.name, step): ((run, step), block.width) for block in todo for run, step in block.members}
    store.extract(list(members.values()))
    directory = study.directory / "probe" / name
    head = {
        "data": name,
        "protocol": protocol,
        "classes": settings.classes,
        "test_images": len(store.parts["test"].indices),
        "train_images": sum(len(part) for part in settings.data.split()),
        "settings": settings.heads(),
    }
    results = _begin(results_path(directory, protocol), head)
    keys = {
        block.name: _hash([store.key(part, member) for part in store.parts.values() for member in block.members])
        for block in todo
    }
    for cat in study.cats.values():
        results["cats"].setdefault(cat.name, {"members": cat.members, "steps": cat.steps, "repetitions": {}})
    have = _predictions(predictions_path(directory, protocol))
    left = [block for block in todo if _entry(results, block).get("key") != keys[block.name] or block.name not in have]
    labels = store.labels(store.parts["test"])
    passes = Passes(store, settings, keys, torch.device(found_devices[0]), directory, study.checkpoint_minutes)
    for block, found in choose(passes, protocol, left) if left else ():
        have |= {"labels": labels, block.name: found.predicted, f"{block.name}_top5": found.in_top5}
        entry = {
            "key": keys[block.name],
            "seeds": [run.seed for run, _ in block.members],
            "steps": block.members[0][1],
            "features": block.features,
            **scores(found.predicted, found.in_top5, labels, settings.classes),
            "lr": found.lr,
            "weight_decay": found.weight_decay,
            "epochs": found.epochs,
            "chosen_by_acc1": found.chosen_by,
            "heads": found.heads,
        }
        results["cats"][block.cat]["repetitions"][str(block.repetition)] = entry
        _write_predictions(predictions_path(directory, protocol), have)
        files.write_json(results_path(directory, protocol), results)
        _log_to_tensorboard(directory, name, protocol, block, found, entry)
    print_data(study, collect(study, protocol), name)


def _begin(path: Path, head: dict[str, Any]) -> dict[str, Any]:
    """The results there are, or new ones; those of other settings keep a name of their own."""
    results = files.read_json(path)
    if results is not None and all(results.get(key) == value for key, value in head.items()):
        return results
    if results is not None:
        path.rename(path.with_name(f"{path.stem}_{_hash(results.get('settings'))}.json"))
    return {**head, "cats": {}}


def _entry(results: dict[str, Any], block: Block) -> dict[str, Any]:
    return results["cats"][block.cat]["repetitions"].get(str(block.repetition), {})


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _predictions(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError):
        return {}


def _write_predictions(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(path, buffer.getvalue())


def _log_to_tensorboard(
    directory: Path, name: str, protocol: Protocol, block: Block, found: Found, entry: dict[str, Any]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    kind = "heldout" if protocol == "heldout" else "test"
    with SummaryWriter(directory / (block.name if protocol == "heldout" else f"{block.name}_{protocol}")) as writer:
        for head in found.heads:
            setting = f"weight_decay_{head['weight_decay']:g}" + (f"_lr_{head['lr']:g}" if head["lr"] else "")
            for epoch, value in enumerate(head["curve"], 1):
                if value is not None:
                    writer.add_scalar(f"probe/{name}/{kind}_acc1/{setting}", value, epoch)
        for key in ("acc1", "acc5", "mean_per_class"):
            writer.add_scalar(f"probe/{name}/{key}", entry[key], len(block.members))
