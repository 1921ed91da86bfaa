"""What a linear map leaves of a cat's features: so a head on many members has no more inputs than one on a single."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from timecat.extraction.parts import Part
from timecat.study.plan import SeededCat, Snapshot

ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Projected:
    """A cat's features after the map, as a block of columns."""

    cat: SeededCat

    @property
    def name(self) -> str:
        return f"{self.cat.name}.{self.cat.cat.projection}"

    @property
    def width(self) -> int:
        return self.cat.features


@dataclass(frozen=True)
class ProjectedCat:
    """What a head is trained on: the block alone."""

    of: SeededCat

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def snapshots(self) -> tuple[Projected]:
        return (Projected(self.of),)

    @property
    def features(self) -> int:
        return self.of.features


def projected(cat: SeededCat) -> SeededCat | ProjectedCat:
    """What a cat's head is trained on: the cat itself where there is nothing to project away."""
    return ProjectedCat(cat) if cat.features < cat.all_features else cat


class Features(Protocol):
    """Where members' features come from."""

    parts: dict[str, Part]
    probe: Any

    def split(self) -> tuple[np.ndarray, np.ndarray]: ...
    def load(self, part: Part, snapshot: Snapshot) -> Tensor: ...


class Projections:
    """The maps of one data set's features, each made once."""

    def __init__(self, store: Features) -> None:
        self._store, self._maps = store, dict[str, Tensor]()

    def apply(self, part: Part, block: Projected) -> Tensor:
        """The projected features (n, width), float32, of a part's images."""
        columns = [self._store.load(part, snapshot) for snapshot in block.cat.snapshots]
        matrix = self._map(block)
        return torch.cat([rows @ matrix for rows in _rows(columns, torch.arange(len(columns[0])))])

    def _map(self, block: Projected) -> Tensor:
        if block.name not in self._maps:
            make = self._principal if block.cat.cat.projection == "pca" else self._random
            self._maps[block.name] = make(block)
        return self._maps[block.name]

    def _random(self, block: Projected) -> Tensor:
        """Independent N(0, 1/width), a function of the probe's seed and the repetition (Johnson and Lindenstrauss)."""
        rng = np.random.default_rng([self._store.probe.seed, block.cat.repetition])
        size = block.cat.all_features, block.width
        return torch.from_numpy(rng.standard_normal(size) / np.sqrt(block.width)).float()

    def _principal(self, block: Projected) -> Tensor:
        """The leading eigenvectors of the covariance over the training images that are not held out."""
        part = next(part for part in self._store.parts.values() if part.split == "train" and part.name != "heldout")
        fit, _ = self._store.split()
        chosen = torch.from_numpy(np.searchsorted(part.indices, fit))
        columns = [self._store.load(part, snapshot) for snapshot in block.cat.snapshots]
        total, squares = torch.zeros(block.cat.all_features, dtype=torch.float64), 0
        for rows in _rows(columns, chosen):
            wide = rows.double()
            total, squares = total + wide.sum(0), squares + wide.T @ wide
        mean = total / len(chosen)
        vectors = torch.linalg.eigh(squares / len(chosen) - torch.outer(mean, mean))[1].flip(1)[:, : block.width]
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # eigenvectors have no sign of their own
        return (vectors * largest.sign()).float()


def _rows(columns: list[Tensor], chosen: Tensor):
    """The chosen rows of all columns side by side, float32, some at a time."""
    for rows in chosen.split(ROWS_AT_ONCE):
        yield torch.cat([column[rows].float() for column in columns], 1)
