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
from typing import Any, Literal

import numpy as np
import torch

from timecat.errors import UserError
from timecat.features.matrix import FeatureMatrix
from timecat.heads.lbfgs import Standardised, minimise
from timecat.heads.linear_probe import EPOCHS
from timecat.heads.passes import Passes
from timecat.heads.sgd import Heads
from timecat.heads.sweep import Block, Group, columns, groups, head_bytes
from timecat.progress_bar import bar

Protocol = Literal["heldout", "paper"]


@dataclass
class Found:
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
    heads: list[dict[str, Any]]
    predicted: np.ndarray
    in_top5: np.ndarray


def choose(passes: Passes, protocol: Protocol, blocks: list[Block]) -> Iterator[tuple[Block, Found]]:
    """Train and choose the heads of all blocks, group by group of what fits in memory.

    Raises:
        UserError: too few images for one batch, all heads of a block diverged, or a solver that the protocol has not.
    """
    settings = passes.settings
    if settings.probe.solver == "lbfgs":
        if protocol == "paper":
            raise UserError("probe.solver lbfgs: the paper's protocol trains by SGD; use heldout, or solver sgd")
        for block in blocks:
            yield block, _optimum(passes, block)
        return
    if len(passes.fit) < settings.data.batch_size:
        raise UserError(
            f"{passes.store.name}: its {len(passes.fit):,} images to train on do not fill one batch of "
            f"{settings.data.batch_size:,}; choose a smaller data.batch_size"
        )
    one = _heldout if protocol == "heldout" else _paper
    shared = groups(blocks, settings.grid, settings.classes, settings.probe.memory_gb)
    for together, parts in groupby(shared, key=lambda group: group.blocks):
        yield from zip(together, one(passes, together, list(parts)), strict=True)


def _heldout(passes: Passes, blocks: Sequence[Block], parts: list[Group]) -> Iterator[Found]:
    settings = passes.settings
    curves = np.concatenate([_heldout_curves(passes, group) for group in parts], axis=1)  # (blocks, grid, epochs)
    chosen = [best(curve, block.name) for curve, block in zip(curves, blocks, strict=True)]
    kept: dict[str, Any] = {}

    def test(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        ending = [index for index, (_, last) in enumerate(chosen) if last == epoch]
        if ending:
            predicted, in_top5 = passes.predict(heads.logits, matrix, heads.shape)
            for index in ending:
                if (predicted[index] < 0).any():
                    raise UserError(f"the head of {blocks[index].name} diverged when trained again; lower model.lr")
                kept[str(index)] = [predicted[index, 0].clone(), in_top5[index, 0].clone()]

    won = np.array([settings.grid[cell] for cell, _ in chosen])
    passes.train(
        blocks,
        won[:, :1],
        won[:, 1:],
        passes.all if settings.probe.refit else passes.fit,
        epochs=max(last for _, last in chosen) + 1,
        horizon=settings.epochs,
        purpose="trained again",
        measured_on="test",
        measure=test,
        kept=kept,
    )
    for index, (cell, epoch) in enumerate(chosen):
        value, predictions = float(curves[index, cell, epoch]), [tensor.numpy() for tensor in kept[str(index)]]
        yield Found(*settings.grid[cell], epoch + 1, value, _told(settings.grid, curves[index]), *predictions)


def _heldout_curves(passes: Passes, group: Group) -> np.ndarray:
    """Top-1 on the held-out images (blocks, K, epochs)."""
    kept: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        kept["epochs"].append(passes.accuracy(heads.logits, matrix, heads.shape))

    epochs = passes.settings.epochs
    passes.train(
        group.blocks,
        *_settings(group),
        passes.fit,
        epochs=epochs,
        horizon=epochs,
        purpose="chosen on held-out images",
        measured_on=passes.held_part,
        measure=measure,
        kept=kept,
    )
    return torch.stack(kept["epochs"], 2).numpy()


def _paper(passes: Passes, blocks: Sequence[Block], parts: list[Group]) -> Iterator[Found]:
    found: list[list[Found]] = [[] for _ in blocks]
    for group in parts:
        for index, one in enumerate(_paper_pass(passes, group)):
            found[index].append(one)
    for several in found:
        winner = max(several, key=lambda one: one.chosen_by)
        winner.heads = [head for one in several for head in one.heads]
        yield winner


def _paper_pass(passes: Passes, group: Group) -> Iterator[Found]:
    kept: dict[str, Any] = {"epochs": []}

    def measure(epoch: int, heads: Heads, matrix: FeatureMatrix) -> None:
        predicted, in_top5 = passes.predict(heads.logits, matrix, heads.shape)
        right = 100 * (predicted == passes.labels["test"].cpu()).double().mean(2)
        right[(predicted < 0).any(2)] = torch.nan
        kept["epochs"].append(right)
        curves = torch.stack(kept["epochs"], 2).numpy()
        for index, curve in enumerate(curves):
            if np.isfinite(curve[:, -1]).any():
                cell, at = best(curve, group.blocks[index].name)
                if at == epoch:
                    kept[str(index)] = [predicted[index, cell].clone(), in_top5[index, cell].clone()]

    passes.train(
        group.blocks,
        *_settings(group),
        passes.all,
        epochs=EPOCHS,
        horizon=EPOCHS,
        purpose="best on the test set",
        measured_on="test",
        measure=measure,
        kept=kept,
    )
    for index, curve in enumerate(torch.stack(kept["epochs"], 2).numpy()):
        cell, epoch = best(curve, group.blocks[index].name)
        predictions = [tensor.numpy() for tensor in kept[str(index)]]
        yield Found(*group.grid[cell], epoch + 1, float(curve[cell, epoch]), _told(group.grid, curve), *predictions)


def _settings(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates and weight decays (blocks, K)."""
    rates, decays = (np.tile(values, (len(group.blocks), 1)) for values in np.array(group.grid).T)
    return rates, decays


def _told(grid: Sequence[tuple[float, float]], curves: np.ndarray) -> list[dict[str, Any]]:
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


def _optimum(passes: Passes, block: Block) -> Found:
    """The convex problem of each weight decay, from the largest, whose optimum is where the next one begins."""
    settings = passes.settings
    members, (own,) = columns([block])
    size = head_bytes(block.features, settings.classes)
    train = passes.matrix("train", members, size)
    labels, shape = passes.labels["train"], (1, 1, settings.classes)
    decays = sorted(settings.probe.weight_decays, reverse=True)
    heads: dict[float, dict[str, Any]] = {}
    with bar(f"{passes.store.name} {block.name}: optima", len(decays) + 1, "heads") as advance:
        data, optimum = Standardised(train, own, torch.from_numpy(passes.fit)), None
        for decay in decays:
            optimum = minimise(data, labels[data.rows.to(passes.device)], settings.classes, decay, optimum)
            value = float(passes.accuracy(data.logits(optimum), train, shape))
            told = {"curve": [value], "objective": optimum.curve, "slope": optimum.slope}
            heads[decay] = {"lr": None, "weight_decay": decay, **told}
            advance(1)
        chosen = max(decays, key=lambda decay: (heads[decay]["curve"][0], decay))
        rows = torch.from_numpy(passes.all if settings.probe.refit else passes.fit)
        data = Standardised(train, own, rows)
        optimum = minimise(data, labels[rows.to(passes.device)], settings.classes, chosen, None)
        predicted, in_top5 = passes.predict(data.logits(optimum), passes.matrix("test", members, size), shape)
        advance(1)
    kept = [heads[decay] for decay in settings.probe.weight_decays]
    return Found(None, chosen, None, heads[chosen]["curve"][0], kept, predicted[0, 0].numpy(), in_top5[0, 0].numpy())
