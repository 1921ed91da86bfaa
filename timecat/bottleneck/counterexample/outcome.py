"""What many small networks come to: what one of them keeps, and what cats of them win back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from timecat.bottleneck.counterexample.kept import concatenate, kept, solves, wilson
from timecat.bottleneck.counterexample.mixture import LABELS, TASKS, Array, point_weights
from timecat.bottleneck.counterexample.networks import train

CATS = (1, 2, 4)  # networks of a cat
WIDTHS = (1, 2)  # hidden units: room for one of the two features, and for both
KEPT = ("phi1", "phi2", "both", "neither")


@dataclass(frozen=True)
class Cats:
    """Cats of one kind, or networks trained directly on each task; all with a head refit on the task.

    Attributes:
        name: "direct" or "cat".
        width: hidden units of each network.
        networks: of each cat.
        steps: of each network.
        number: of cats.
        failed: (4,), cats whose best head errs on P[1] to P[4]: on one image of three.
    """

    name: str
    width: int
    networks: int
    steps: int
    number: int
    failed: list[int]

    @property
    def risk(self) -> Array:
        """Mean 0-1 risk on P[1] to P[4], (4,)."""
        return np.array(self.failed) / self.number / 3

    @property
    def interval(self) -> Array:
        """The 95 % interval of each of these means, (4, 2)."""
        return np.array([wilson(failed, self.number) for failed in self.failed]) / 3


@dataclass(frozen=True)
class Outcome:
    """Small networks on one mixture.

    Attributes:
        cats: the mixture's cats and, for each width, the direct networks.
        kept: for each width, how many seeds keep phi1, phi2, both or neither.
        own: for each width, the mean 0-1 risk on the mixture of the networks with their own heads.
    """

    cats: list[Cats]
    kept: dict[int, dict[str, int]]
    own: dict[int, float]

    def direct(self, width: int) -> Cats:
        return next(one for one in self.cats if one.name == "direct" and one.width == width)

    def gap(self, cats: Cats) -> Array:
        """Transfer less direct risk of networks of this width, on P[1] to P[4], (4,)."""
        return cats.risk - self.direct(cats.width).risk


def measure(
    weights: Array, seeds: int, steps: int, weight_decay: float, clear: float, advance: Callable[[int], None]
) -> Outcome:
    """Train networks of both widths on the mixture and on every task, and refit heads on their frozen features.

    A network of steps // n steps is the beginning of one of all steps: nothing in the training depends on its end.

    Args:
        weights: (4,), lambda.
        seeds: networks of each kind.
        steps: of a network alone; cats of n networks have steps // n each.
        clear: the least margin of a head, of the spread of its features.
        advance: told how many more steps of a seed are done, of seeds * steps * len(WIDTHS).
    """
    mixture = point_weights(weights)
    cats: list[Cats] = []
    keeps: dict[int, dict[str, int]] = {}
    own: dict[int, float] = {}
    for width in WIDTHS:
        shorter = [steps // n for n in CATS]
        frozen = train(np.vstack([mixture, TASKS]), width, seeds, shorter, weight_decay, advance)
        last = frozen[steps]
        on_tasks = [~solves(last.features[1 + task], clear)[:, task] for task in range(4)]
        cats.append(Cats("direct", width, 1, steps, seeds, [int(failed.sum()) for failed in on_tasks]))
        lengths = [(n, steps // n) for n in CATS] + [(n, steps) for n in CATS[1:]]
        for networks, length in lengths:
            if networks <= seeds:
                failed = ~solves(concatenate(frozen[length].features[0], networks), clear)
                cats.append(Cats("cat", width, networks, length, len(failed), failed.sum(0).tolist()))
        names = kept(solves(last.features[0], clear)).tolist()
        keeps[width] = {name: names.count(name) for name in KEPT}
        wrong = np.where(last.scores[0] >= 0, 1, -1) != LABELS
        own[width] = float((wrong @ mixture).mean())
    return Outcome(cats, keeps, own)
