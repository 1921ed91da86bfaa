"""Extractors' features as what heads are trained on: blocks of columns, and several of them side by side."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timecat.config.features import SPLITS
from timecat.extraction.arrays import check_finite


@dataclass(frozen=True, eq=False)
class Block:
    """One extractor's features: arrays (rows, width) by split, memory-mapped, and the files that they lie in."""

    name: str
    arrays: dict[str, np.ndarray]
    paths: dict[str, Path]

    @property
    def width(self) -> int:
        return self.arrays["train"].shape[1]

    def check(self) -> None:
        """Look at every number.

        Raises:
            UserError: one is not finite.
        """
        for split in SPLITS:
            check_finite(self.arrays[split], self.paths[split])


@dataclass(frozen=True)
class ExternalCat:
    """What one head is trained on: an extractor's features, or those of several side by side.

    Attributes:
        extractor: its name in the config.
        snapshots: the blocks, in their order.
    """

    extractor: str
    snapshots: tuple[Block, ...]

    @property
    def name(self) -> str:
        return seeded_name(self.extractor)

    @property
    def features(self) -> int:
        return sum(block.width for block in self.snapshots)


def seeded_name(extractor: str) -> str:
    """What its head's predictions are called: as those of a cat in its one repetition."""
    return f"{extractor}_0"
