"""`timecat probe`: linear heads on every cat of a study, on features that are computed once.

The protocol: weight decay and epoch are chosen on a stratified part of the training set that is held out; the head is
then trained again on all of it with those, and the test set is read once.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from rich.console import Console

from timecat import files
from timecat.config import data_name
from timecat.errors import UserError
from timecat.study import Cat, Study


@dataclass
class ProbeConfig:
    """The `probe` section of a data set's config.

    Args:
        weight_decays: the grid from which one is chosen on held-out data.
        refit: train again on all of the training set with the chosen weight decay and number of epochs.
    """

    weight_decays: list[float] = field(default_factory=lambda: [1e-4])
    refit: bool = True


def probe(study: Study) -> None:
    """Extract missing features, then train the heads of every cat and repetition that has no result yet.

    Raises:
        UserError: a snapshot is not trained yet, or a probe's config or data make no sense.
    """
    from timecat.features import FeatureStore
    from timecat.lightning_cli import ProbeSettings

    if not study.probes:
        raise UserError("study.probes names no config; add one of configs/probe/")
    probes = [(data_name(path), ProbeSettings.read(path)) for path in study.probes]
    for _, settings in probes:  # look before the long work
        settings.data.split()
        settings.data.beton("test")
    trainer = study.config.get("trainer") or {}
    cuda = torch.cuda.is_available() and trainer.get("accelerator", "auto") != "cpu"
    device = torch.device("cuda" if cuda else "cpu")
    for name, settings in probes:
        store = FeatureStore(study, name, settings.data, device)
        store.extract([(run, step) for run in study.runs for step in run.snapshots])
        _probe_data_set(study, name, settings, store, device)


def _probe_data_set(study: Study, name: str, settings: Any, store: Any, device: torch.device) -> None:
    path = study.directory / "probe" / name / "results.json"
    results = files.read_json(path)
    head = {
        "data": name,
        "test_images": len(store.indices["test"]),
        "train_images": len(store.indices["train"]),
        "protocol": "heldout",
        "settings": settings.heads(),
    }
    if results is None or {key: results[key] for key in head} != head:
        if results is not None:  # other settings: keep what was found with them
            path.rename(path.with_name(f"results_{_hash(results['settings'])}.json"))
        results = {**head, "cats": {}}
    for cat in study.cats.values():
        entry = results["cats"].setdefault(cat.name, {**asdict(cat), "repetitions": {}})
        for repetition in range(study.repetitions):
            pairs = study.snapshots_of(cat, repetition)
            key = _hash([store.key(split, run, step) for split in store.indices for run, step in pairs])
            if entry["repetitions"].get(str(repetition), {}).get("key") == key:
                continue
            found = _probe_cat(pairs, settings, store, device)
            entry["repetitions"][str(repetition)] = {
                "key": key,
                "seeds": [run.seed for run, _ in pairs],
                "steps": cat.steps,
                **found,
            }
            files.write_json(path, results)
            _log_to_tensorboard(study, name, cat, repetition, found)
            Console(stderr=True).print(
                f"{name} {cat.name} repetition {repetition}: top-1 {found['acc1']:.2f} % "
                f"(weight decay {found['weight_decay']:g}, {found['epochs']} epochs)",
                highlight=False,
            )


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _probe_cat(pairs: list, settings: Any, store: Any, device: torch.device) -> dict[str, Any]:
    from timecat.heads import accuracy, train_heads

    features, labels = {}, {}
    for split in store.indices:
        parts = [torch.from_numpy(np.array(store.load(split, run, step))) for run, step in pairs]
        features[split] = torch.cat(parts, dim=1).to(device)
        labels[split] = torch.from_numpy(store.labels(split)).to(device)
    fit, held = (np.searchsorted(store.indices["train"], part) for part in settings.data.split())
    common = {
        "classes": settings.classes,
        "lr": settings.lr,
        "batch_size": settings.data.batch_size,
        "seed": settings.seed,
        "horizon": settings.epochs,
    }
    heads, curve = train_heads(
        features["train"],
        labels["train"],
        fit,
        weight_decays=settings.weight_decays,
        epochs=settings.epochs,
        held_out=held,
        **common,
    )
    best = np.array(curve)  # (epochs, heads)
    backwards = np.unravel_index(int(best[::-1, ::-1].argmax()), best.shape)
    epoch, choice = (int(n - 1 - i) for n, i in zip(best.shape, backwards, strict=True))  # of equals the last
    heads, _ = train_heads(
        features["train"],
        labels["train"],
        np.arange(len(features["train"])) if settings.refit else fit,
        weight_decays=[settings.weight_decays[choice]],
        epochs=epoch + 1,
        **common,
    )
    top5 = min(5, settings.classes)
    return {
        "acc1": float(accuracy(heads, features["test"], labels["test"])[0]),
        "acc5": float(accuracy(heads, features["test"], labels["test"], top=top5)[0]),
        "heldout_acc1": float(best[epoch, choice]),
        "weight_decay": settings.weight_decays[choice],
        "epochs": epoch + 1,
        "features": features["train"].shape[1],
        "curves": {f"{decay:g}": best[:, i].tolist() for i, decay in enumerate(settings.weight_decays)},
    }


def _log_to_tensorboard(study: Study, name: str, cat: Cat, repetition: int, found: dict[str, Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(study.directory / "probe" / name / f"{cat.name}_{repetition}") as writer:
        for decay, curve in found["curves"].items():
            for epoch, value in enumerate(curve, 1):
                writer.add_scalar(f"probe/{name}/heldout_acc1/weight_decay_{decay}", value, epoch)
        writer.add_scalar(f"probe/{name}/acc1", found["acc1"], cat.members)
