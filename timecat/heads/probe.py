"""`timecat probe`: linear heads on every cat of a study, all of a data set together, on features computed once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from timecat import files
from timecat.cluster.stop import Stop
from timecat.config.files import ProbeFile
from timecat.extraction.extra_tests import extra_tests
from timecat.extraction.extract import FeatureStore
from timecat.extraction.memory import memory_full
from timecat.extraction.parts import images_of
from timecat.extraction.projection import projected
from timecat.heads.calibration import calibration
from timecat.heads.earlier import bring_back, set_aside
from timecat.heads.ensemble import OneMember, ensembles, members_of
from timecat.heads.extra_tests import ExtraTests
from timecat.heads.kept_logits import write_logits
from timecat.heads.linear_head import save_head
from timecat.heads.own_head import own_heads
from timecat.heads.passes import Passes
from timecat.heads.predictions import read_predictions, write_predictions
from timecat.heads.protocols import ChosenHead, choose
from timecat.heads.scores import scores
from timecat.heads.sweep import largest_first
from timecat.study import progress
from timecat.study.directory import ProbeDirectory, Protocol, write_record
from timecat.study.plan import SeededCat
from timecat.study.results import (
    CatResult,
    ChosenResult,
    Kept,
    Results,
    are_of,
    head_settings,
    image_settings,
    projection_of,
    read_stored,
    result_of,
)
from timecat.study.saved_plan import save_preprocessing
from timecat.study.seen_otherwise import seen_otherwise
from timecat.study.study import Study
from timecat.terminal import say


def probe(
    study: Study,
    protocol: Protocol = "heldout",
    data: str | None = None,
    show: Callable[[str], None] = lambda name: None,
    stop: Stop | None = None,
) -> None:
    """Extract missing features, then train the heads of every cat and repetition that has no result yet.

    Args:
        data: the one data set to probe.
        show: is told the name of each data set that is done.
        stop: what signals ask for.

    Raises:
        UserError: a snapshot is not trained yet, or a probe's config or data make no sense.
    """
    probes = study.probes_named(data)
    for each in probes:  # look before the long work
        images = images_of(each)
        images.split()
        images.beton("test")
        extra_tests(each, images)
    for each in probes:
        if differs := seen_otherwise(study, each):
            say(differs)
        try:
            with progress.probing(study.directory.probe(each.name)):
                _probe_data_set(study, each, protocol, stop)
        except torch.OutOfMemoryError:
            device = torch.device(devices(each)[0])
            raise memory_full(each.path, each.probe, device, "or data.eval_batch_size") from None
        show(each.name)


def devices(probe: ProbeFile) -> list[str]:
    """Where backbones run: all visible GPUs, else as many processes on the CPU as the probe's trainer.devices says."""
    if torch.cuda.is_available() and probe.trainer.accelerator != "cpu":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu"] * probe.trainer.devices_per_member


def _probe_data_set(study: Study, probe: ProbeFile, protocol: Protocol, stop: Stop | None) -> None:
    on = devices(probe)
    store = FeatureStore(study, probe, on, protocol, stop)
    wanted = largest_first(study, probe.name)
    snapshots = {snapshot.name: snapshot for cat in wanted for snapshot in cat.snapshots}
    directory = study.directory.probe(probe.name)
    tests = ExtraTests(study, store, extra_tests(probe, store.data), directory, protocol)
    store.extract(list(snapshots.values()), [test.part for test in tests.tests])
    keys = feature_keys(store, wanted)
    by_head = {head: [cat for cat in wanted if cat.cat.head == head] for head in ("own", "ensemble", "linear")}
    keys |= feature_keys(store, members_of(by_head["ensemble"]))
    results = _begin(study, store, protocol)
    save_preprocessing(directory.preprocessing(protocol), store.probe.data)
    predictions = read_predictions(directory.predictions(protocol))
    labels = store.labels(store.parts["test"])
    left = [
        cat
        for cat in wanted
        if (result := result_of(study, results, cat)) is None
        or result["key"] != keys[cat.name]
        or cat.name not in predictions
        or not tests.can_read(cat, result)
        or not is_kept(directory, cat.name, protocol, result, probe.probe.logits)
    ]
    if any(str(cat.repetition) in results["cats"].get(cat.cat.name, {}).get("repetitions", {}) for cat in left):
        set_aside(directory, protocol, keep=True)  # of other seeds or weights, say
    passes = Passes(store, keys, torch.device(on[0]), directory, study.checkpoint_minutes, stop, protocol)
    own, ensembled, fitted = ([cat for cat in of_head if cat in left] for of_head in by_head.values())
    by_name = {cat.name: cat for cat in left}
    for probed_cat, chosen in chain(
        own_heads(passes, study, own),
        ensembles(passes, protocol, ensembled) if ensembled else (),
        choose(passes, protocol, [projected(cat) for cat in fitted]) if fitted else (),
    ):
        cat = by_name[probed_cat.name]
        predictions |= {"labels": labels, cat.name: chosen.predicted, f"{cat.name}_top5": chosen.in_top5}
        predictions |= store.groups(store.parts["test"])
        probed: CatResult = {
            "key": keys[cat.name],
            "head": cat.cat.head,
            "weights": [store.weights(snapshot) for snapshot in cat.snapshots],
            "seeds": [snapshot.plan.seed for snapshot in cat.trained],
            "steps": cat.cat.steps,
            "snapshots": [snapshot.name for snapshot in cat.snapshots],
            "features": cat.features,
            "projection": projection_of(cat),
            **result_of_head(chosen, labels, probe.model.num_classes),
            **keep(directory, cat.name, protocol, chosen, probe.probe.logits),
        }
        tests.read(passes, cat, probed, chosen.predicted, chosen.head, chosen.logits)
        of_cat = results["cats"].setdefault(cat.cat.name, {"members": 0, "steps": 0, "repetitions": {}})
        of_cat["members"], of_cat["steps"] = cat.cat.members, cat.cat.steps
        of_cat["repetitions"][str(cat.repetition)] = probed
        write_predictions(directory.predictions(protocol), predictions)
        write_record(directory.results(protocol), results)
    for cat in wanted:  # test sets that were added since
        result = result_of(study, results, cat)
        if result is not None and tests.missing(cat, result):
            tests.read(passes, cat, result, predictions[cat.name])
            write_record(directory.results(protocol), results)
    passes.forget_all()


def feature_keys(store: FeatureStore, cats: Sequence[SeededCat | OneMember]) -> dict[str, str]:
    """Of each cat by name a hash of what its features of all parts are a function of."""
    return {
        cat.name: _hash(
            [store.key(part, snapshot) for part in store.parts.values() for snapshot in cat.snapshots]
            + (projection_of(cat) if isinstance(cat, SeededCat) else [])
        )
        for cat in cats
    }


def result_of_head(chosen: ChosenHead, labels: np.ndarray, classes: int) -> ChosenResult:
    """What a chosen head is worth on the test set, int64 labels (n,), and how it was chosen."""
    return {
        **scores(chosen.predicted, chosen.in_top5, labels, classes),
        "lr": chosen.lr,
        "weight_decay": chosen.weight_decay,
        "epochs": chosen.epochs,
        "chosen_by_acc1": chosen.chosen_by,
        "heads": chosen.heads,
        "calibration": calibration(chosen.logits, labels),
    }


def keep(directory: ProbeDirectory, name: str, protocol: Protocol, chosen: ChosenHead, logits: bool) -> Kept:
    """Write a cat's chosen head and its logits of the test images, or remove those that are there.

    Args:
        name: of the cat and repetition.
        logits: whether they are kept.

    Returns:
        SHA-256 of the files that there are now.
    """
    head_path, logits_path = directory.head(name, protocol), directory.logits(name, protocol)
    for path in (head_path, logits_path):
        path.unlink(missing_ok=True)
    if not logits:
        return {}
    write_logits(logits_path, chosen.logits)
    kept: Kept = {"logits_sha256": files.sha256(logits_path)}
    return kept if chosen.head is None else {**kept, "head_sha256": save_head(chosen.head, head_path)}


def is_kept(directory: ProbeDirectory, name: str, protocol: Protocol, result: CatResult, logits: bool) -> bool:
    """Whether what `keep` wrote for a result is there, or was not to be kept."""
    head_there = directory.head(name, protocol).is_file() or "head_sha256" not in result
    return not logits or ("logits_sha256" in result and directory.logits(name, protocol).is_file() and head_there)


def _begin(study: Study, store: FeatureStore, protocol: Protocol) -> Results:
    """The results there are, or new ones; those of other settings or images are set aside."""
    probe, directory = store.probe, study.directory.probe(store.name)
    test_images, train_images = len(store.parts["test"].indices), sum(len(part) for part in store.data.split())

    def are_wanted(stored: Results) -> bool:
        same_images = (stored["test_images"], stored["train_images"]) == (test_images, train_images)
        return same_images and are_of(probe, protocol, stored)

    stored = read_stored(directory.results(protocol))
    if stored is None or not are_wanted(stored):
        set_aside(directory, protocol)
        stored = None
    if stored is None and bring_back(directory, protocol, are_wanted):
        say(f"{directory}: results of this config were there before, and are there again")
        stored = read_stored(directory.results(protocol))
    if stored is not None:
        return {**stored, "images": image_settings(probe)}
    return {
        "data": probe.name,
        "protocol": protocol,
        "classes": probe.model.num_classes,
        "test_images": test_images,
        "train_images": train_images,
        "settings": head_settings(probe, protocol),
        "images": image_settings(probe),
        "cats": {},
    }


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
