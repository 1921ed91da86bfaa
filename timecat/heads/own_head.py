"""The members' own classifiers as heads: what a cat is worth as it was trained, with no head fitted to it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from timecat.errors import UserError
from timecat.heads.passes import Logits, Passes
from timecat.heads.protocols import ChosenHead
from timecat.networks.weights import read_weights
from timecat.study.plan import SeededCat
from timecat.study.study import Study


def own_heads(passes: Passes, study: Study, cats: list[SeededCat]) -> Iterator[tuple[SeededCat, ChosenHead]]:
    """Classify by each cat's own members: the mean of their probabilities, a deep ensemble where there are several.

    Raises:
        UserError: the members tell other classes than the probe has.
    """
    shape = 1, 1, passes.classes
    for cat in cats:
        logits = own_logits(passes, study, cat)
        held = passes.matrix(passes.held_part, list(cat.snapshots), 0)
        value = float(passes.accuracy(logits, held, shape, passes.held_part))
        yield cat, ChosenHead(None, 0.0, None, value, [], *passes.read(cat, logits))


def own_logits(passes: Passes, study: Study, cat: SeededCat) -> Logits:
    """The logarithm of the members' mean probability, (1, 1, classes, b)."""
    classifiers = [_classifier(passes, study, cat, number) for number in range(len(cat.snapshots))]
    widths = [snapshot.width for snapshot in cat.snapshots]

    def logits(features: Tensor) -> Tensor:
        members = [
            torch.nn.functional.linear(part, weight, bias).log_softmax(1)
            for part, (weight, bias) in zip(features.split(widths, 1), classifiers, strict=True)
        ]
        return torch.stack(members).logsumexp(0).T[None, None]

    return logits


def _classifier(passes: Passes, study: Study, cat: SeededCat, number: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, features) and bias (classes,) of a member, float32."""
    path = study.snapshot_path(cat.snapshots[number])
    state = read_weights(path)
    if len(state["fc.bias"]) != passes.classes:
        raise UserError(
            f"study.cats.{cat.cat.name}.head: its members tell {len(state['fc.bias']):,} classes, the probe "
            f"{passes.store.name} has {passes.classes:,}; name others in study.cats.{cat.cat.name}.probes"
        )
    return state["fc.weight"].float().to(passes.device), state["fc.bias"].float().to(passes.device)
