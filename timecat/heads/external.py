"""`timecat probe` on features that were computed elsewhere: the same heads, choice and results as on cats."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from timecat.cluster.stop import Stop
from timecat.config.study import StudyConfig
from timecat.extraction.blocks import Block, ExternalCat
from timecat.extraction.external import ExternalFeatures
from timecat.extraction.memory import memory_full
from timecat.extraction.parts import Part
from timecat.heads.earlier import set_aside
from timecat.heads.passes import Passes
from timecat.heads.predictions import read_predictions, write_predictions
from timecat.heads.probe import devices, is_kept, keep, result_of_head
from timecat.heads.protocols import ChosenHead, choose
from timecat.study import progress
from timecat.study.directory import ProbeDirectory, Protocol, write_record
from timecat.study.results import CatResult, Results, head_settings


class ArrayStore:
    """Arrays as `Passes` reads them."""

    def __init__(self, features: ExternalFeatures) -> None:
        self.features, self.probe, self.name = features, features.probe, features.name
        rows = {split: np.arange(len(labels), dtype=np.int64) for split, labels in features.labels.items()}
        self.parts = {split: Part(split, split, 0, indices) for split, indices in rows.items()}

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows to train on, rows held out) of the training set, int64."""
        return self.features.split()

    def labels(self, part: Part) -> np.ndarray:
        """int64 (n,)."""
        return self.features.labels[part.name]

    def load(self, part: Part, snapshot: Block) -> Tensor:
        """The memory-mapped features (n, width) of one extractor."""
        return torch.from_numpy(snapshot.arrays[part.name])


def probe_external(features: ExternalFeatures, protocol: Protocol = "heldout", stop: Stop | None = None) -> None:
    """Train the heads of every extractor that has no result of its arrays as they are.

    Args:
        stop: what signals ask for.

    Raises:
        UserError: the arrays make no sense, or another process probes them; before anything is trained.
    """
    features.split()
    store, wanted, groups = ArrayStore(features), features.cats, features.groups
    directory = features.directory.probe(features.probe.name)
    try:
        with progress.probing(directory):
            results = _begin(features, protocol)
            predictions = read_predictions(directory.predictions(protocol)) if results["cats"] else {}
            before = predictions.pop("groups", None)
            if groups is not None:
                predictions["groups"] = groups
            left = [
                cat
                for cat in sorted(wanted, key=lambda cat: -cat.features)
                if (result := features.result_of(results, cat.extractor)) is None
                or cat.name not in predictions
                or not is_kept(directory, cat.name, protocol, result, features.probe.probe.logits)
            ]
            for block in {block.name: block for cat in left for block in cat.snapshots}.values():
                block.check()
            if not left and not np.array_equal(before, groups):  # pyright: ignore[reportArgumentType] (None equals None)
                write_predictions(directory.predictions(protocol), predictions)
            device = torch.device(devices(features.probe)[0])
            keys = {cat.name: feature_key(features, cat) for cat in wanted}
            passes = Passes(store, keys, device, directory, StudyConfig.checkpoint_minutes, stop, protocol)
            labels = features.labels["test"]
            for cat, chosen in choose(passes, protocol, left) if left else ():
                predictions |= {"labels": labels, cat.name: chosen.predicted, f"{cat.name}_top5": chosen.in_top5}
                kept = keep(directory, cat.name, protocol, chosen, features.probe.probe.logits)
                probed: CatResult = {**_result(features, cat, chosen, keys[cat.name]), **kept}
                results["cats"][cat.extractor] = {
                    "members": len(cat.snapshots),
                    "steps": 0,
                    "repetitions": {"0": probed},
                }
                write_predictions(directory.predictions(protocol), predictions)
                write_record(directory.results(protocol), results)
                log_to_tensorboard(directory, features.probe.name, protocol, cat, chosen, probed)
            passes.forget_all()
    except torch.OutOfMemoryError:
        raise memory_full(features.file.path, features.probe.probe, torch.device(devices(features.probe)[0])) from None


def feature_key(features: ExternalFeatures, cat: ExternalCat) -> str:
    """A hash of an extractor's files, and of the labels'."""
    content = [*features.hashes(cat.extractor), *features.label_hashes().values()]
    return hashlib.sha256(" ".join(map(str, content)).encode()).hexdigest()[:16]


def _result(features: ExternalFeatures, cat: ExternalCat, chosen: ChosenHead, key: str) -> CatResult:
    return {
        "key": key,
        "weights": [str(digest) for digest in features.hashes(cat.extractor)],
        "seeds": [],
        "steps": 0,
        "features": cat.features,
        **result_of_head(chosen, features.labels["test"], features.probe.model.num_classes),
    }


def _begin(features: ExternalFeatures, protocol: Protocol) -> Results:
    """The results there are, or new ones; those of another array or setting that they replace are set aside."""
    directory, results = features.directory.probe(features.probe.name), features.read_results(protocol)
    stale = results is None or any(
        features.result_of(results, name) is None for name in results["cats"] if name in features.config.extractors
    )
    if stale:
        set_aside(directory, protocol, keep=results is not None)
    if results is not None:
        return results
    return {
        "data": features.probe.name,
        "protocol": protocol,
        "classes": features.probe.model.num_classes,
        "test_images": len(features.labels["test"]),
        "train_images": len(features.labels["train"]),
        "settings": head_settings(features.probe, protocol),
        "images": {"labels": features.label_hashes()},
        "cats": {},
    }


def log_to_tensorboard(
    directory: ProbeDirectory, name: str, protocol: Protocol, cat: ExternalCat, chosen: ChosenHead, result: CatResult
) -> None:
    """Every head's curve on what it is chosen on, and the chosen head's scores."""
    from torch.utils.tensorboard import SummaryWriter

    kind = "heldout" if protocol == "heldout" else "test"
    with SummaryWriter(directory.events(cat.name, protocol)) as writer:
        for head in chosen.heads:
            setting = f"weight_decay_{head['weight_decay']:g}" + (f"_lr_{head['lr']:g}" if head["lr"] else "")
            for epoch, value in enumerate(head["curve"], 1):
                if value is not None:
                    writer.add_scalar(f"probe/{name}/{kind}_acc1/{setting}", value, epoch)
        for key in ("acc1", "acc5", "mean_per_class"):
            writer.add_scalar(f"probe/{name}/{key}", result[key], len(cat.snapshots))
