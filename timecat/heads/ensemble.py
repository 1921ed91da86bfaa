"""A head on each member, their probabilities averaged: the deep ensemble that one head on all features is held against.

Lakshminarayanan et al. 2017 (arXiv 1612.01474), on frozen features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from timecat.heads.linear_head import EnsembleHead, LinearHead
from timecat.heads.passes import Passes
from timecat.heads.protocols import ChosenHead, choose
from timecat.study.directory import Protocol
from timecat.study.plan import SeededCat, Snapshot


@dataclass(frozen=True)
class OneMember:
    """What a single member's head is trained on."""

    snapshot: Snapshot

    @property
    def name(self) -> str:
        return self.snapshot.name

    @property
    def snapshots(self) -> tuple[Snapshot]:
        return (self.snapshot,)

    @property
    def features(self) -> int:
        return self.snapshot.width


def members_of(cats: Sequence[SeededCat]) -> list[OneMember]:
    """Each member of these cats once, the widest first."""
    members = {snapshot.name: OneMember(snapshot) for cat in cats for snapshot in cat.snapshots}
    return sorted(members.values(), key=lambda member: -member.features)


def ensembles(passes: Passes, protocol: Protocol, cats: Sequence[SeededCat]) -> Iterator[tuple[SeededCat, ChosenHead]]:
    """Choose a head for each member as for any cat, then average their probabilities.

    What the ensemble was chosen by is the mean of what its members' heads were.
    """
    heads = {member.name: chosen for member, chosen in choose(passes, protocol, members_of(cats))}
    for cat in cats:
        own = [heads[snapshot.name] for snapshot in cat.snapshots]
        head = EnsembleHead(tuple(cast(LinearHead, chosen.head).to(passes.device) for chosen in own))
        chosen_by = float(np.mean([chosen.chosen_by for chosen in own]))
        curves = [curve for chosen in own for curve in chosen.heads]
        yield cat, ChosenHead(None, 0.0, None, chosen_by, curves, *passes.read(cat, head.logits), head)
