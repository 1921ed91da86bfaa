"""Linear heads on the frozen features of networks that were trained further: as a probe's, on the same images."""

import dataclasses
import hashlib
from dataclasses import dataclass

import torch

from timecat.cluster.stop import Stop
from timecat.config.files import ProbeFile
from timecat.config.member import MemberConfig
from timecat.extraction.extract import FeatureStore
from timecat.heads.passes import Passes
from timecat.heads.probe import devices, result_of_head, write_predictions
from timecat.heads.protocols import choose
from timecat.study import progress
from timecat.study.directory import TunedDirectory
from timecat.study.plan import Elsewhere, Snapshot
from timecat.study.results import ChosenResult
from timecat.tune.tuning import Run, Tuning


@dataclass(frozen=True)
class TunedCat:
    """Networks whose features are concatenated."""

    name: str
    snapshots: tuple[Snapshot, ...]

    @property
    def features(self) -> int:
        return sum(snapshot.width for snapshot in self.snapshots)


def snapshot_of(tuning: Tuning, repetition: int, run: Run, model: MemberConfig) -> Snapshot:
    """The network that a run left, a ResNet as `model` says, for features to be computed of."""
    name = tuning.study.directory.tuned_features(tuning.name, repetition, run.plan.name)
    file = run.directory.snapshot(run.plan.steps)
    plan = dataclasses.replace(run.plan, name=name, model=dataclasses.replace(model, steps=run.plan.steps))
    return Snapshot(plan, run.plan.steps, elsewhere=Elsewhere(file, None, None, plan.model, plan.data))


def probe_frozen(
    tuning: Tuning, directory: TunedDirectory, cat: TunedCat, probe: ProbeFile, stop: Stop
) -> ChosenResult:
    """Choose a head on the held-out images, train it again, and read the test set once, as `timecat probe` does.

    The predictions are written; the features stay beside those of the study.

    Raises:
        Stopped: it was asked to.
        UserError: too few images for one batch, or all heads diverged.
    """
    store = FeatureStore(tuning.study, probe, devices(probe))
    with stop.at_once(), progress.probing(directory.probe(probe.name)):
        store.extract(list(cat.snapshots))
        keys = [str(store.key(part, snapshot)) for part in store.parts.values() for snapshot in cat.snapshots]
        digest = hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
        device, minutes = torch.device(store.devices[0]), tuning.tune.checkpoint_minutes
        passes = Passes(store, {cat.name: digest}, device, directory.probe(probe.name), minutes, stop)
        ((_, chosen),) = choose(passes, "heldout", [cat])
    labels = store.labels(store.parts["test"])
    answers = {"labels": labels, "predicted": chosen.predicted, "in_top5": chosen.in_top5}
    write_predictions(directory.predictions(probe.name), answers)
    return result_of_head(chosen, labels, probe.model.num_classes)
