"""What the heads of a probe cost together, against one head, and against one run per head on images.

    python -m benchmarks.probe                    # the demo's Fashion-MNIST probe: 4 cats x 6 weight decays
    python -m benchmarks.probe --threads 1

Members are untrained networks of the demo's shape, which cost what trained ones do. In one run it measures

- the sweep: `timecat probe` on cat1, cat2, cat4 and cat5 with six weight decays, features and heads;
- one head of cat5 by the same way;
- one head of cat5 by PyTorch: nn.BatchNorm1d, nn.Linear and torch.optim.SGD in a plain loop on features in memory;
- the public way: a run of Lightning on images per cat, one epoch each, which is multiplied by epochs and weight decays;

each of the heads' passes as the median of --rounds that take turns. The data must be there, as `make demo` leaves it.
Seconds are the wall's; of one thread the process's own, so that what else the machine does counts less.
"""

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from timecat import files
from timecat.config.files import ProbeFile, StudyFile
from timecat.config.probe import EPOCHS
from timecat.config.read import read_config
from timecat.extraction.extract import FeatureStore
from timecat.extraction.parts import images_of
from timecat.heads.linear_probe import LinearProbe, initial_weight, learning_rate
from timecat.heads.passes import Passes
from timecat.heads.protocols import choose
from timecat.heads.sweep import largest_first
from timecat.members.checkpoint import save_snapshot
from timecat.members.trainer import quiet_lightning
from timecat.networks.resnet import ScaledResNet, resnet
from timecat.study.directory import write_record
from timecat.study.study import Study

CATS = {"cat1": (1, 640), "cat2": (2, 320), "cat4": (4, 160), "cat5": (5, 128)}
WEIGHT_DECAYS = [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]
PROBE = "configs/probe/fashion-mnist.yaml"


def untrained(root: Path, cats: dict[str, tuple[int, int]]) -> Study:
    """The demo's study with these cats, its members' snapshots written as if they were trained."""
    config = read_config(["configs/demo.yaml"])
    config["study"] = {
        "name": "bench",
        "root": str(root),
        "cats": {name: {"members": members, "steps": steps} for name, (members, steps) in cats.items()},
    }
    study = Study(StudyFile.parse(config))
    for plan in study.members:
        torch.manual_seed(plan.seed)
        directory = study.directory.member(plan.name)
        network = resnet(plan.model.depth, plan.model.width, plan.model.num_classes)
        for step in plan.snapshots:
            save_snapshot(directory.snapshot(step), network.state_dict())
        digests = {str(step): files.sha256(directory.snapshot(step)) for step in plan.snapshots}
        write_record(directory.done, {"step": plan.steps, "snapshots": digests})
    return study


def now() -> float:
    """Seconds, from somewhen."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def probe_seconds(study: Study, path: str, refit: bool) -> tuple[float, float]:
    """Seconds of the features (0 where they are there) and of the heads: choosing, and training again."""
    probe = ProbeFile.read(path)
    probe = replace(probe, probe=replace(probe.probe, refit=refit))
    cats = largest_first(study, probe.name)
    store = FeatureStore(study, probe, ["cpu"])
    snapshots = {snapshot.name: snapshot for cat in cats for snapshot in cat.snapshots}
    start = now()
    store.extract(list(snapshots.values()))
    middle = now()
    keys = {cat.name: cat.name for cat in cats}
    passes = Passes(store, keys, torch.device("cpu"), study.directory.probe(probe.name), 1e9)
    assert len(list(choose(passes, "heldout", cats))) == len(cats)
    return middle - start, now() - middle


def plain_seconds(study: Study, path: str) -> float:
    """One head, chosen by its held-out epoch and trained again, in PyTorch's own words."""
    probe = ProbeFile.read(path)
    cat, classes, lr = largest_first(study, probe.name)[0], probe.model.num_classes, probe.model.lr
    total = probe.trainer.max_epochs or EPOCHS
    store = FeatureStore(study, probe, ["cpu"])
    start = now()
    features = {
        part.name: torch.cat([store.load(part, snapshot).float() for snapshot in cat.snapshots], 1)
        for part in store.parts.values()
    }
    labels = {part.name: torch.from_numpy(store.labels(part)) for part in store.parts.values()}
    fit, held = (torch.from_numpy(np.searchsorted(store.parts["train"].indices, s)) for s in store.data.split())

    def correct(head: nn.Module, part: str, rows: torch.Tensor) -> float:
        head.eval()
        with torch.no_grad():
            hits = [(head(features[part][r]).argmax(1) == labels[part][r]).sum() for r in rows.split(8192)]
        return float(sum(hits)) / len(rows)

    def train(rows: torch.Tensor, epochs: int, measured: torch.Tensor | None) -> tuple[nn.Module, list[float]]:
        linear = nn.Linear(cat.features, classes)
        linear.weight.data.copy_(initial_weight(classes, cat.features, probe.seed))
        linear.bias.data.zero_()
        norm = nn.BatchNorm1d(cat.features)
        head = nn.Sequential(norm, linear)
        groups = [{"params": norm.parameters()}, {"params": linear.parameters(), "weight_decay": 5e-4}]
        optimizer = torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True)
        curve = []
        for epoch in range(epochs):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(lr, epoch, total)
            order = rows[torch.from_numpy(np.random.default_rng([probe.seed, epoch]).permutation(len(rows)))]
            head.train()
            for batch in order[: len(rows) - len(rows) % probe.data.batch_size].split(probe.data.batch_size):
                loss = nn.functional.cross_entropy(head(features["train"][batch]), labels["train"][batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if measured is not None:
                curve.append(correct(head, "train", measured))
        return head, curve

    _, curve = train(fit, total, held)
    head, _ = train(torch.arange(len(features["train"])), int(np.argmax(curve)) + 1, None)
    correct(head, "test", torch.arange(len(features["test"])))
    return now() - start


def epoch_on_images(study: Study, path: str) -> dict[str, float]:
    """Seconds of one epoch of Lightning's probe on images, training and held-out images, for each cat."""
    quiet_lightning()
    seconds = {}
    for cat in study.seeded_cats():
        probe = ProbeFile.read(path)
        snapshots = [str(study.snapshot_path(snapshot)) for snapshot in cat.snapshots]
        L.seed_everything(0, verbose=False)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[clock := Clock()],
        )
        head = LinearProbe(snapshots=snapshots, num_classes=probe.model.num_classes, lr=probe.model.lr)
        trainer.fit(head, datamodule=images_of(probe))
        seconds[cat.cat.name] = clock.ends[-1] - clock.ends[-2]  # the second: the first compiles kernels
    return seconds


class Clock(L.Callback):
    """When each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_epoch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())


def count_forwards() -> list[int]:
    """Images of each forward pass of a backbone from now on."""
    seen: list[int] = []
    original = ScaledResNet.features

    def features(self: ScaledResNet, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return original(self, images)

    ScaledResNet.features = features
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    forwards = count_forwards()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        content = Path(PROBE).read_text().split("weight_decays:")
        paths = {}
        for key, decays in (("sweep", WEIGHT_DECAYS), ("one", [5e-4])):
            paths[key] = str(directory / f"{key}.yaml")
            Path(paths[key]).write_text(f"{content[0]}weight_decays: {decays}\n{content[1].partition(chr(10))[2]}")
        sweep, one = untrained(directory / "sweep", CATS), untrained(directory / "one", {"cat5": CATS["cat5"]})
        probe_seconds(untrained(directory / "first", {"cat5": (1, 128)}), paths["one"], True)  # compiles the kernels
        forwards.clear()
        features = {"sweep": probe_seconds(sweep, paths["sweep"], True)[0]}
        passes = sum(forwards)
        features["one"] = probe_seconds(one, paths["one"], True)[0]
        heads: dict[str, list[float]] = {"sweep": [], "one": [], "plain": []}
        for _ in range(options.rounds):
            heads["sweep"].append(probe_seconds(sweep, paths["sweep"], True)[1])
            heads["one"].append(probe_seconds(one, paths["one"], True)[1])
            heads["plain"].append(plain_seconds(one, paths["one"]))
        epochs = epoch_on_images(sweep, paths["one"])
        total = ProbeFile.read(paths["sweep"]).trainer.max_epochs or EPOCHS
    count = len(CATS) * len(WEIGHT_DECAYS)
    public = len(WEIGHT_DECAYS) * total * sum(epochs.values())
    median = {key: statistics.median(values) for key, values in heads.items()}
    print(f"{PROBE}: {count} heads (4 cats x 6 weight decays), {total} epochs, {options.threads} threads")
    print(f"forward passes of the sweep: {passes:,} (12 snapshots x {passes // 12:,} images)")
    print(f"sweep: features {features['sweep']:.1f} s, heads {median['sweep']:.2f} s")
    print(f"one head of cat5: features {features['one']:.1f} s, head {median['one']:.2f} s")
    print(f"one head of cat5 in plain PyTorch on the same features: {median['plain']:.2f} s")
    whole = features["sweep"] + median["sweep"]
    for key, what in (("plain", "one head in plain PyTorch"), ("one", "one head by the same way")):
        ratios = [a / b for a, b in zip(heads["sweep"], heads[key], strict=True)]
        spread = f"rounds from {min(ratios):.2f} to {max(ratios):.2f}"
        print(f"heads of the sweep / {what}: {statistics.median(ratios):.2f} ({spread})")
    print(f"features and heads of the sweep / of one head: {whole / (features['one'] + median['one']):.2f}")
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in epochs.items())
    print(f"on images, an epoch of each cat: {told}; {count} runs of {total} epochs: {public:,.0f} s")
    print(f"one run per head on images / the sweep: {public / whole:.0f}")


if __name__ == "__main__":
    main()
