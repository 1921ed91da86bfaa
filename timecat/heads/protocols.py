"""How heads are chosen: `heldout`, and `paper`, which chooses on the test set.

`heldout`: weight decay, learning rate and epoch are chosen on a stratified part of the training set that is held out;
the head is then trained again on all of it with those (or on the same part again, where not refit), and the test set is
read once.

`paper`: 28 epochs on all of the training set, and of all epochs and settings what is best ON THE TEST SET, as the
public code of arXiv 2506.18221 reports it; for comparison with its figures only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from timecat.config.probe import EPOCHS
from timecat.errors import UserError
from timecat.features.matrix import FeatureMatrix
from timecat.heads.lbfgs import Standardised, minimise
from timecat.heads.passes import Passes
from timecat.heads.sgd import Heads
from timecat.heads.sweep import AnyCat, Concatenation, Group, columns, groups, head_bytes
from timecat.progress_bar import bar
from timecat.study.directory import Protocol
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
    """

    lr: float | None
    weight_decay: float
    epochs: int | None
    chosen_by: float
    heads: list[HeadResult]
    predicted: np.ndarray
    in_top5: np.ndarray


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
    if len(passes.fit) < probe.data.batch_size:
        raise UserError(
            f"{passes.store.name}: its {len(passes.fit):,} images to train on do not fill one batch of "
            f"{probe.data.batch_size:,}; choose a smaller data.batch_size"
        )
    choose_by = _heldout if protocol == "heldout" else _paper
    shared = groups(cats, passes.grid, passes.classes, probe.probe.memory_gb)
    for together, parts in groupby(shared, key=lambda group: group.cats):
        yield from zip(together, choose_by(passes, together, list(parts)), strict=True)


def _heldout(passes: Passes, cats: Sequence[Concatenation], parts: list[Group]) -> Iterator[ChosenHead]:
    curves = np.concatenate([_heldout_curves(passes, group) for group in parts], axis=1)  # (cats, grid, epochs)
    chosen = [best(curve, cat.name) for curve, cat in zip(curves, cats, strict=True)]
    measured: dict[str, Any] = {}

    def test(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        ending = [index for index, (_, last) in enumerate(chosen) if last == epoch]
        if ending:
            predicted, in_top5 = passes.predict(heads.logits, matrix, heads.shape)
            for index in ending:
                if (predicted[index] < 0).any():
                    raise UserError(f"the head of {cats[index].name} diverged when trained again; lower model.lr")
                measured[str(index)] = [predicted[index, 0].clone(), in_top5[index, 0].clone()]

    won = np.array([passes.grid[cell] for cell, _ in chosen])
    passes.train(
        cats,
        won[:, :1],
        won[:, 1:],
        passes.all if passes.probe.probe.refit else passes.fit,
        epochs=max(last for _, last in chosen) + 1,
        horizon=passes.epochs,
        purpose="trained again",
        measured_on="test",
        measure=test,
        measured=measured,
    )
    for index, (cell, epoch) in enumerate(chosen):
        value, predictions = float(curves[index, cell, epoch]), [tensor.numpy() for tensor in measured[str(index)]]
        yield ChosenHead(*passes.grid[cell], epoch + 1, value, _curves(passes.grid, curves[index]), *predictions)


def _heldout_curves(passes: Passes, group: Group) -> np.ndarray:
    """Top-1 on the held-out images (cats, K, epochs)."""
    measured: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        measured["epochs"].append(passes.accuracy(heads.logits, matrix, heads.shape))

    epochs = passes.epochs
    passes.train(
        group.cats,
        *_settings(group),
        passes.fit,
        epochs=epochs,
        horizon=epochs,
        purpose="chosen on held-out images",
        measured_on=passes.held_part,
        measure=measure,
        measured=measured,
    )
    return torch.stack(measured["epochs"], 2).numpy()


def _paper(passes: Passes, cats: Sequence[Concatenation], parts: list[Group]) -> Iterator[ChosenHead]:
    by_cat: list[list[ChosenHead]] = [[] for _ in cats]
    for group in parts:
        for index, chosen in enumerate(_paper_pass(passes, group)):
            by_cat[index].append(chosen)
    for several in by_cat:
        winner = max(several, key=lambda chosen: chosen.chosen_by)
        winner.heads = [head for chosen in several for head in chosen.heads]
        yield winner


def _paper_pass(passes: Passes, group: Group) -> Iterator[ChosenHead]:
    measured: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        predicted, in_top5 = passes.predict(heads.logits, matrix, heads.shape)
        right = 100 * (predicted == passes.labels["test"].cpu()).double().mean(2)
        right[(predicted < 0).any(2)] = torch.nan
        measured["epochs"].append(right)
        curves = torch.stack(measured["epochs"], 2).numpy()
        for index, curve in enumerate(curves):
            if np.isfinite(curve[:, -1]).any():
                cell, at = best(curve, group.cats[index].name)
                if at == epoch:
                    measured[str(index)] = [predicted[index, cell].clone(), in_top5[index, cell].clone()]

    passes.train(
        group.cats,
        *_settings(group),
        passes.all,
        epochs=EPOCHS,
        horizon=EPOCHS,
        purpose="best on the test set",
        measured_on="test",
        measure=measure,
        measured=measured,
    )
    for index, curve in enumerate(torch.stack(measured["epochs"], 2).numpy()):
        cell, epoch = best(curve, group.cats[index].name)
        predictions = [tensor.numpy() for tensor in measured[str(index)]]
        yield ChosenHead(
            *group.grid[cell], epoch + 1, float(curve[cell, epoch]), _curves(group.grid, curve), *predictions
        )


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
            value = float(passes.accuracy(data.logits(optimum), train, shape))
            heads[decay] = {
                "lr": None,
                "weight_decay": decay,
                "curve": [value],
                "objective": optimum.curve,
                "slope": optimum.slope,
            }
            advance(1)
        chosen = max(decays, key=lambda decay: (heads[decay]["curve"][0] or 0.0, decay))
        rows = torch.from_numpy(passes.all if passes.probe.probe.refit else passes.fit)
        data = Standardised(train, own, rows)
        optimum = minimise(data, labels[rows.to(passes.device)], passes.classes, chosen, None)
        predicted, in_top5 = passes.predict(data.logits(optimum), passes.matrix("test", snapshots, size), shape)
        advance(1)
    results = [heads[decay] for decay in passes.probe.probe.weight_decays]
    return ChosenHead(
        None, chosen, None, heads[chosen]["curve"][0] or 0.0, results, predicted[0, 0].numpy(), in_top5[0, 0].numpy()
    )
