"""What the measures look at: a probe's training images, those to fit on and those held out; never its test set."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from timecat.config.files import ProbeFile
from timecat.extraction.extract import FeatureStore
from timecat.extraction.parts import Part
from timecat.heads.probe import devices
from timecat.study import progress
from timecat.study.plan import SeededCat, Snapshot
from timecat.study.study import Study

MOST_FIT, MOST_HELD = 20_000, 10_000  # images, drawn by seed 0 where there are more


@dataclass(frozen=True)
class HeldOut:
    """Features by snapshot's name, of images to fit (n) and held out (m).

    Attributes:
        fit, held: float32 (n, width) and (m, width).
        fit_labels, held_labels: int64 (n,) and (m,).
        classes: of the probe.
        weights: SHA-256 of each snapshot's file.
    """

    fit: dict[str, Tensor]
    held: dict[str, Tensor]
    fit_labels: Tensor
    held_labels: Tensor
    classes: int
    weights: dict[str, str]

    def together(self, snapshots: tuple[Snapshot, ...]) -> tuple[Tensor, Tensor]:
        """Their features side by side: to fit, and held out."""
        fit, held = ([of[snapshot.name] for snapshot in snapshots] for of in (self.fit, self.held))
        return torch.cat(fit, 1), torch.cat(held, 1)


def read_held_out(study: Study, probe: ProbeFile, cats: list[SeededCat]) -> HeldOut:
    """The features of all members of these cats, computed where they are missing.

    Raises:
        UserError: a member is not trained yet, or another process probes this data set.
    """
    snapshots = list({snapshot.name: snapshot for cat in cats for snapshot in cat.snapshots}.values())
    with progress.probing(study.directory.probe(probe.name)):
        on = devices(probe)
        store = FeatureStore(study, probe, on)
        del store.parts["test"]
        store.extract(snapshots)
        first = next(part for part in store.parts.values() if part.name != "heldout")
        fit, held = store.data.split()

        def load(part: Part, indices: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
            rows = torch.from_numpy(np.searchsorted(part.indices, indices))
            features = {each.name: store.load(part, each)[rows].float().to(on[0]) for each in snapshots}
            return features, torch.from_numpy(store.labels(part))[rows].to(on[0])

        fit_features, fit_labels = load(first, _some(fit, MOST_FIT))
        held_features, held_labels = load(store.parts.get("heldout", first), _some(held, MOST_HELD))
        weights = {snapshot.name: store.weights(snapshot) for snapshot in snapshots}
    classes = probe.model.num_classes
    return HeldOut(fit_features, held_features, fit_labels, held_labels, classes, weights)


def _some(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).permutation(rows)[:most])
