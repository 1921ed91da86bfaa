"""How heads are chosen: `heldout`, and `paper`, which chooses on the test set.

`heldout`: weight decay, learning rate and epoch are chosen on a stratified part of the training set that is held out;
the head is then trained again on all of it with those (or on the same part again, where not refit), and the test set is
read once.

`paper`: 28 epochs on all of the training set, the last batch of each too, and of all epochs and settings what is best
ON THE TEST SET, as the public code of arXiv 2506.18221 reports it; for comparison with its figures only. The images
are normalised as `timecat.study.protocols` says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch

from timecat.config.probe import EPOCHS
from timecat.errors import UserError
from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.precision import float32_products
from timecat.heads.lbfgs import Standardised, minimise
from timecat.heads.linear_head import KeptHead, LinearHead
from timecat.heads.passes import Passes, Reading
from timecat.heads.sgd import Heads
from timecat.heads.sweep import AnyCat, Concatenation, Group, columns, groups, head_bytes
from timecat.progress_bar import bar
from timecat.study.directory import Protocol
from timecat.study.protocols import keeps_last_batch
from timecat.study.results import HeadResult


@dataclass
class ChosenHead:
    """The chosen head of one cat and repetition, and all that it was chosen from.

    Attributes:
        epochs: it was trained for; None of a solver that goes to the optimum.
        chosen_by: top-1 in percent on what it was chosen on.
        heads: of each head its lr, weight_decay and curve: top-1 in percent after each epoch on what it is chosen on,
            None where it has diverged.
        predicted, in_top5: of the test images, int32 (n,) and bool (n,).
        logits: of the test images, float16 (n, classes), whose argmax is `predicted`.
        head: itself; None of the members' own classifiers.
    """

    lr: float | None
    weight_decay: float
    epochs: int | None
    chosen_by: float
    heads: list[HeadResult]
    predicted: np.ndarray
    in_top5: np.ndarray
    logits: np.ndarray
    head: KeptHead | None = None


def choose(passes: Passes, protocol: Protocol, cats: list[AnyCat]) -> Iterator[tuple[AnyCat, ChosenHead]]:
    """Train and choose the heads of all cats, group by group of what fits in memory.

    Raises:
        UserError: too few images for one batch, all heads of a cat diverged, or a solver that the protocol has not.
    """
    probe = passes.probe
    if probe.probe.solver == "lbfgs":
        if protocol == "paper":
            raise UserError("probe.solver lbfgs: the paper's protocol trains by SGD; use heldout, or solver sgd")
        for cat in cats:
            yield cat, _optimum(passes, cat)
        return
    if not keeps_last_batch(protocol) and len(passes.fit) < probe.data.batch_size:
        raise UserError(
            f"{passes.store.name}: its {len(passes.fit):,} images to train on do not fill one batch of "
            f"{probe.data.batch_size:,}; choose a smaller data.batch_size"
        )
    choose_by = _heldout if protocol == "heldout" else _paper
    shared = groups(cats, passes.grid, passes.classes, passes.room / 1e9)
    for together, parts in groupby(shared, key=lambda group: group.cats):
        yield from zip(together, choose_by(passes, together, list(parts)), strict=True)
        passes.forget()


def _heldout(passes: Passes, cats: Sequence[Concatenation], parts: list[Group]) -> Iterator[ChosenHead]:
    curves = np.concatenate([_heldout_curves(passes, group) for group in parts], axis=1)  # (cats, grid, epochs)
    chosen = [best(curve, cat.name) for curve, cat in zip(curves, cats, strict=True)]
    measured: dict[str, Any] = {}

    def keep(epoch: int, heads: Heads, features: Callable[[str], FeatureMatrix]) -> None:
        for index, (_, last) in enumerate(chosen):
            if last == epoch:
                measured[str(index)] = list(heads.head(index, 0))

    won = np.array([passes.grid[cell] for cell, _ in chosen])
    passes.train(
        cats,
        won[:, :1],
        won[:, 1:],
        passes.all if passes.probe.probe.refit else passes.fit,
        epochs=max(last for _, last in chosen) + 1,
        horizon=passes.epochs,
        purpose="trained again",
        measure=keep,
        measured=measured,
    )
    for index, (cell, epoch) in enumerate(chosen):
        value, head = float(curves[index, cell, epoch]), LinearHead(*measured.pop(str(index)))
        reading = _read(passes, cats[index], head)
        yield ChosenHead(*passes.grid[cell], epoch + 1, value, _curves(passes.grid, curves[index]), *reading, head)


def _read(passes: Passes, cat: Concatenation, head: LinearHead) -> Reading:
    """The head on the test images.

    Raises:
        UserError: it diverged.
    """
    reading = passes.read(cat, head.to(passes.device).logits)
    if (reading.predicted < 0).any():
        raise UserError(f"the head of {cat.name} diverged when trained again; lower model.lr")
    return reading


def _heldout_curves(passes: Passes, group: Group) -> np.ndarray:
    """Top-1 on the held-out images (cats, K, epochs)."""
    measured: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, features: Callable[[str], FeatureMatrix]) -> None:
        part = passes.held_part
        measured["epochs"].append(passes.accuracy(heads.logits, features(part), heads.shape, part))

    epochs = passes.epochs
    passes.train(
        group.cats,
        *_settings(group),
        passes.fit,
        epochs=epochs,
        horizon=epochs,
        purpose="chosen on held-out images",
        measure=measure,
        measured=measured,
    )
    return torch.stack(measured["epochs"], 2).numpy()


class _Best(NamedTuple):
    """The best of one pass: its setting, last epoch and top-1, all curves of the pass, and the head."""

    setting: tuple[float, float]
    epochs: int
    value: float
    curves: list[HeadResult]
    head: LinearHead


def _paper(passes: Passes, cats: Sequence[Concatenation], parts: list[Group]) -> Iterator[ChosenHead]:
    by_pass = [_paper_pass(passes, group) for group in parts]
    for cat, several in zip(cats, zip(*by_pass, strict=True), strict=True):
        won = max(several, key=lambda each: each.value)
        curves = [head for each in several for head in each.curves]
        lr, decay = won.setting
        yield ChosenHead(lr, decay, won.epochs, won.value, curves, *_read(passes, cat, won.head), won.head)


def _paper_pass(passes: Passes, group: Group) -> list[_Best]:
    """Of each cat."""
    measured: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, features: Callable[[str], FeatureMatrix]) -> None:
        measured["epochs"].append(passes.accuracy(heads.logits, features("test"), heads.shape, "test"))
        curves = torch.stack(measured["epochs"], 2).numpy()
        for index, curve in enumerate(curves):
            if np.isfinite(curve[:, -1]).any():
                cell, at = best(curve, group.cats[index].name)
                if at == epoch:
                    measured[str(index)] = list(heads.head(index, cell))

    passes.train(
        group.cats,
        *_settings(group),
        passes.all,
        epochs=EPOCHS,
        horizon=EPOCHS,
        purpose="best on the test set",
        last_batch=keeps_last_batch("paper"),
        measure=measure,
        measured=measured,
    )
    found = []
    for index, curve in enumerate(torch.stack(measured["epochs"], 2).numpy()):
        cell, epoch = best(curve, group.cats[index].name)
        value, head = float(curve[cell, epoch]), LinearHead(*measured[str(index)])
        found.append(_Best(group.grid[cell], epoch + 1, value, _curves(group.grid, curve), head))
    return found


def _settings(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and weight decays (cats, K)."""
    rates, decays = (np.tile(values, (len(group.cats), 1)) for values in np.array(group.grid).T)
    return rates, decays


def _curves(grid: Sequence[tuple[float, float]], curves: np.ndarray) -> list[HeadResult]:
    return [
        {"lr": lr, "weight_decay": decay, "curve": [None if np.isnan(value) else float(value) for value in curve]}
        for (lr, decay), curve in zip(grid, curves, strict=True)
    ]


def best(curves: np.ndarray, name: str) -> tuple[int, int]:
    """(setting, epoch) of the largest value of (settings, epochs); of equals the last epoch, then the last setting.

    Raises:
        UserError: every head diverged.
    """
    if np.isnan(curves).all():
        raise UserError(f"every head of {name} diverged; choose a smaller model.lr or probe.lrs")
    backwards = np.nan_to_num(curves, nan=-1.0).T[::-1, ::-1]
    epoch, cell = np.unravel_index(int(backwards.argmax()), backwards.shape)
    return curves.shape[0] - 1 - int(cell), curves.shape[1] - 1 - int(epoch)


@float32_products(tf32=False)
def _optimum(passes: Passes, cat: Concatenation) -> ChosenHead:
    """The convex problem of each weight decay, from the largest, whose optimum is where the next one begins."""
    snapshots, (own,) = columns([cat])
    size = head_bytes(cat.features, passes.classes)
    train = passes.matrix("train", snapshots, size)
    labels, shape = passes.labels["train"], (1, 1, passes.classes)
    decays = sorted(passes.probe.probe.weight_decays, reverse=True)
    heads: dict[float, HeadResult] = {}
    with bar(f"{passes.store.name} {cat.name}: optima", len(decays) + 1, "heads") as advance:
        data, optimum = Standardised(train, own, torch.from_numpy(passes.fit)), None
        for decay in decays:
            optimum = minimise(data, labels[data.rows.to(passes.device)], passes.classes, decay, optimum)
            value = float(passes.accuracy(data.logits(optimum), train, shape, passes.held_part))
            heads[decay] = {
                "lr": None,
                "weight_decay": decay,
                "curve": [None if np.isnan(value) else value],
                "objective": optimum.curve,
                "slope": optimum.slope,
            }
            advance(1)
        curves = np.array([heads[decay]["curve"] for decay in reversed(decays)], float)
        cell, _ = best(curves, cat.name)
        chosen = decays[::-1][cell]
        rows = torch.from_numpy(passes.all if passes.probe.probe.refit else passes.fit)
        data = Standardised(train, own, rows)
        optimum = minimise(data, labels[rows.to(passes.device)], passes.classes, chosen, None)
        head = data.head(optimum)
        reading = _read(passes, cat, head)
        advance(1)
    results = [heads[decay] for decay in passes.probe.probe.weight_decays]
    value = heads[chosen]["curve"][0] or 0.0
    return ChosenHead(None, chosen, None, value, results, *reading, head.to(torch.device("cpu")))
