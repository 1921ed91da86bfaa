"""Mixtures: several components as one training set, each epoch in the weights' shares; a function of (seed, epoch).

P = sum_j lambda_j P[j] of arXiv 2506.18221: component j is a file or groups of one, lambda_j its share of every epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from timecat.config.data import ComponentConfig, DataConfig
from timecat.data import checksums
from timecat.data.beton import Beton, join, read_beton
from timecat.data.split import SPLIT_SEED, stratified_split
from timecat.errors import UserError

GOLDEN = 0x9E3779B9  # of 2**32: the golden ratio's fraction


@dataclass(frozen=True)
class Mixture:
    """Components to draw from.

    Attributes:
        names: of the components.
        shares: of every epoch's images, adding up to 1.
        rows: of each component its samples, int64 (n_j,), disjoint.
    """

    names: tuple[str, ...]
    shares: tuple[Fraction, ...]
    rows: tuple[np.ndarray, ...]

    def counts(self, seed: int, epoch: int, images: int) -> list[int]:
        """How many of an epoch's `images` are of each component: less than one from images x share, and exactly
        `images` together.

        Systematic sampling (Madow 1949): the shares laid end to end, cut at the whole numbers after an offset. The
        offset steps by the golden ratio from epoch to epoch, so that no component is rounded the same way for long.
        """
        offset = Fraction((seed * 0x85EBCA6B + (epoch + 1) * GOLDEN) % 2**32, 2**32)
        edges, total = [0], Fraction(0)
        for share in self.shares:
            total += images * share
            edges.append(int(total + offset))  # the floor
        return [high - low for low, high in pairwise(edges)]

    def epoch(self, seed: int, epoch: int, images: int) -> tuple[np.ndarray, np.ndarray]:
        """The samples of an epoch, shuffled, and how often each was drawn before; both int64 (images,).

        Each component is gone through in shuffled passes that go on from epoch to epoch, so that of its images none is
        drawn twice before all were drawn once.
        """
        before = np.sum([self.counts(seed, e, images) for e in range(epoch)], axis=0, dtype=np.int64)
        before = np.broadcast_to(before, len(self.names))
        samples, passes = [], []
        for number, (rows, start, count) in enumerate(
            zip(self.rows, before.tolist(), self.counts(seed, epoch, images), strict=True)
        ):
            places = np.arange(start, start + count)
            passes.append(places // len(rows))
            drawn = np.empty(count, np.int64)
            for this in np.unique(passes[-1]).tolist():
                order = np.random.default_rng([seed, this, number + 1]).permutation(rows)
                mine = passes[-1] == this
                drawn[mine] = order[places[mine] % len(rows)]
            samples.append(drawn)
        shuffled = np.random.default_rng([seed, epoch]).permutation(images)
        return np.concatenate(samples)[shuffled], np.concatenate(passes)[shuffled]

    def only(self, kept: np.ndarray) -> "Mixture":
        """The same of these samples alone, int64 ascending."""
        return replace(self, rows=tuple(rows[np.isin(rows, kept)] for rows in self.rows))


def split_mixture(mixture: Mixture, labels: np.ndarray, holdout: float) -> tuple[Mixture, np.ndarray, np.ndarray]:
    """Hold out of each component, class by class: the mixture of what is left, its samples and those held out.

    Raises:
        UserError: as `stratified_split`.
    """
    kept, held = [], []
    for name, rows in zip(mixture.names, mixture.rows, strict=True):
        if holdout:
            here, out = stratified_split(labels[rows], holdout, SPLIT_SEED, f"data.mixture.{name}")
            rows, out = rows[here], rows[out]
            held.append(out)
        kept.append(rows)
    indices = np.sort(np.concatenate(kept))
    return mixture.only(indices), indices, np.sort(np.concatenate(held)) if held else indices[:0]


def shares_of(data: DataConfig) -> tuple[Fraction, ...]:
    """The weights as shares that add up to 1, exactly: 0.1 is a tenth."""
    weights = [Fraction(str(component.weight)) for component in data.components.values()]
    return tuple(weight / sum(weights) for weight in weights)


def in_words(data: DataConfig, batch_size: int) -> list[str]:
    """What is done with the weights, and what an epoch is made of, a line a component; nothing without a mixture.

    A component with fewer images than its share is repeated within the epoch. Where files are missing yet, the lines on
    components are too.
    """
    weights = [component.weight for component in data.components.values()]
    lines = []
    if weights and abs(sum(weights) - 1) > 1e-9:
        given, taken = (", ".join(f"{value:.4g}" for value in values) for values in (weights, data.shares.values()))
        lines = [f"data.mixture: weights {given} add up to {sum(weights):.4g}, and are taken as shares {taken}"]
    if not weights or not all(path.exists() for path in data.training_files):
        return lines
    mixture = read_mixture(data)[1]
    there = [round(len(rows) * (1 - data.holdout)) for rows in mixture.rows]
    images = sum(there) - sum(there) % batch_size
    for name, share, count in zip(mixture.names, mixture.shares, there, strict=True):
        often = f"each is seen {float(images * share) / count:.2g} times an epoch"
        lines.append(f"component {name}: {float(share):.3g} of an epoch's {images:,} images, from {count:,}: {often}")
    return lines


def read_mixture(data: DataConfig) -> tuple[Beton, Mixture]:
    """The index of all components' files together, and which of its samples belong to which component.

    The index has the components as its groups, and labels of the mixture's label space.

    Raises:
        UserError: a file is missing or damaged, a component has no image, or two have the same image.
    """
    betons = {path: read_beton(path) for path in sorted(set(data.component_files.values()))}
    for path in betons:
        checksums.check(path)
    starts = dict(zip(betons, np.cumsum([0, *(len(beton) for beton in betons.values())]).tolist(), strict=False))
    joined = join(list(betons.values()))
    owner, labels, first = np.full(len(joined), -1), joined.labels.copy(), 0
    rows = []
    for number, (name, component) in enumerate(data.components.items()):
        path = data.component_files[name]
        mine = starts[path] + _rows(name, component, betons[path])
        if (owner[mine] >= 0).any():
            other = list(data.components)[int(owner[mine].max())]
            raise UserError(f"data.mixture: {other} and {name} have images of {path} in common; give them other groups")
        owner[mine] = number
        if data.label_space == "side_by_side":
            labels[mine] += first
            first += betons[path].num_classes
        rows.append(mine)
    index = replace(joined, labels=labels, groups=owner, group_names=tuple(data.components))
    return index, Mixture(tuple(data.components), shares_of(data), tuple(rows))


def _rows(name: str, component: ComponentConfig, beton: Beton) -> np.ndarray:
    """The samples of a file that a component has, int64 ascending.

    Raises:
        UserError: it has groups and the file has none, or the file has no image of one of them.
    """
    if component.groups is None:
        return np.arange(len(beton))
    where = f"data.mixture.{name}"
    if beton.groups is None:
        raise UserError(f"{where}: {beton.path} has no groups; write it with `timecat write --groups`")
    numbers = group_numbers(component.groups, beton.group_names)
    there = np.bincount(beton.groups, minlength=len(beton.group_names))
    for group, number in zip(component.groups, numbers, strict=True):
        if number is None or not there[number]:
            known = ", ".join(known for known, count in zip(beton.group_names, there, strict=True) if count)
            known = known if len(known) < 200 else f"{known[:200]}…"
            raise UserError(f"{where}: {beton.path} has no image of the group {group!r}; it has {known}")
    return np.flatnonzero(np.isin(beton.groups, np.array(numbers, dtype=np.int64)))


def group_numbers(wanted: Sequence[str | int], names: Sequence[str]) -> list[int | None]:
    """Of groups by name, or by number where no group has that name, the numbers; None of one that is not there."""

    def number(group: str | int) -> int | None:
        if str(group) in names:
            return names.index(str(group))
        return group if isinstance(group, int) and 0 <= group < len(names) else None

    return [number(group) for group in wanted]
