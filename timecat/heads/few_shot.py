"""`timecat few-shot`: heads on n images a class, for several n and draws, on each cat's stored features."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.precision import float32_products
from timecat.heads.lbfgs import Optimum, Standardised, minimise
from timecat.heads.passes import LOGITS_AT_ONCE
from timecat.heads.shots import Shots
from timecat.heads.sources import Source, probes_of
from timecat.heads.stored import StoredCat, StoredFeatures, images_to_fit, opened, unfinished
from timecat.progress_bar import bar
from timecat.study.directory import write_record
from timecat.study.few_shot import ALL, Cell, FewShot, Size
from timecat.terminal import say

SHOTS = ("1", "2", "5", "10", "20", "50", "100", ALL)
DRAWS = 5
WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1, 1.0)  # on standardised features
SAVE_EVERY = 1.0  # seconds
Head = tuple[Tensor, Tensor]  # weight (classes, D) and bias (classes,) on the features as they are stored


def few_shot(
    source: Source,
    data: str | None = None,
    shots: Sequence[str] | None = None,
    draws: int | None = None,
    show: Callable[[str], None] = lambda name: None,
) -> None:
    """Fit and test every head that few_shot.json does not have yet.

    A head is fitted on n images a class of those that are not held out, and its weight decay is chosen on as many of
    the held-out ones, or all of them where they are fewer; it is tested on the whole test set, once.

    Args:
        shots: n, numbers or `all`; SHOTS where not given.
        draws: of the images; DRAWS where not given. Of all images there is one.
        show: is told the name of each data set that is done.

    Raises:
        UserError: a member is not trained yet, or the data make no sense.
    """
    probes = probes_of(source, data)
    for probe in probes:
        images_to_fit(source, probe)
    for probe in probes:
        with opened(source, probe) as features:
            if features.cats:
                _Fewer(features, shots or SHOTS, draws or DRAWS).run()
        show(probe.name)


class _Fewer:
    """The heads of one data set."""

    def __init__(self, features: StoredFeatures, shots: Sequence[str], draws: int) -> None:
        self.features, self.passes, self.probe = features, features.passes, features.probe
        self.draws = draws
        labels = {name: values.cpu().numpy() for name, values in self.passes.labels.items()}
        self.labels = labels[features.train_part], labels[self.passes.held_part]
        self.rows = self.passes.fit, self.passes.held.numpy()
        of_class = np.bincount(self.labels[0][self.rows[0]], minlength=self.passes.classes)
        self.shots = self._sensible(shots, int(of_class.max()))
        path = features.directory.few_shot(".json")
        settings = {
            "seed": self.probe.seed,
            "holdout": self.probe.data.holdout,
            "views": self.probe.probe.views,
            "weight_decays": list(WEIGHT_DECAYS),
        }
        self.record = features.begin(path, FewShot, settings)
        self.path, there = path, of_class[of_class > 0]
        self.record |= {"classes": len(there), "test_images": len(labels["test"])}
        sizes: dict[str, Size] = self.record.setdefault("sizes", {})
        for count in self.shots:
            drawn, held = (each.first(_number(count)) for each in self._draw(0))
            short = int((there < (_number(count) or 0)).sum())
            sizes[count] = {"train_images": len(drawn), "held_images": len(held), "short_classes": short}

    def _sensible(self, shots: Sequence[str], most: int) -> list[str]:
        """Ascending; n of which no class has more become all."""
        few = sorted({int(count) for count in shots if count != ALL})
        beyond = [str(count) for count in few if count >= most]
        if beyond:
            say(f"{self.probe.name}: no class has more than {most:,} images to train on; {', '.join(beyond)} is all")
        return [str(count) for count in few if count < most] + ([ALL] if beyond or ALL in shots else [])

    def _draw(self, draw: int) -> tuple[Shots, Shots]:
        """Images to train on, and held-out ones to choose by; the same for every cat."""
        return (
            Shots(self.labels[0][self.rows[0]], self.rows[0], self.probe.seed, draw, 0),
            Shots(self.labels[1][self.rows[1]], self.rows[1], self.probe.seed, draw, 1),
        )

    def run(self) -> None:
        unfinished(self.record, self.features.cats)  # cells of other features are gone then
        todo: list[tuple[StoredCat, dict[int, list[str]]]] = []
        for cat in self.features.cats:
            of_cat: dict[str, Any] = self.record["cats"].setdefault(cat.cat, {})
            cells = of_cat.setdefault(cat.repetition, {**cat.entry, "cells": {}})["cells"]
            missing = {
                draw: [
                    count
                    for count in self.shots
                    if str(draw) not in cells.get(count, {}) and (count != ALL or draw == 0)
                ]
                for draw in range(self.draws)
            }
            todo.append((cat, missing))
        asked = len(self.features.cats) * sum(1 if count == ALL else self.draws for count in self.shots)
        total, left = asked, sum(len(counts) for _, missing in todo for counts in missing.values())
        saved = time.monotonic()
        try:
            with bar(f"{self.probe.name}: few-shot", total, "heads", total - left) as advance:
                for cat, missing in todo:
                    cells = self.record["cats"][cat.cat][cat.repetition]["cells"]
                    for draw, counts in missing.items():
                        if counts:
                            for count, cell in self._cells(cat, draw, counts, advance).items():
                                cells.setdefault(count, {})[str(draw)] = cell
                        if time.monotonic() - saved > SAVE_EVERY:
                            write_record(self.path, self.record)
                            saved = time.monotonic()
        finally:
            write_record(self.path, self.record)

    @float32_products(tf32=False)
    def _cells(self, cat: StoredCat, draw: int, counts: list[str], advance: Callable[[int], None]) -> dict[str, Cell]:
        """The heads of one draw, tested together in one pass over the test images."""
        passes, room = self.passes, self.passes.room
        largest = 4 * len(passes.fit) * cat.of.features
        beside = largest if largest < room / 2 else 0
        train = self.features.matrix(self.features.train_part, cat, beside)
        held = self.features.matrix(passes.held_part, cat, beside)
        draws = self._draw(draw)
        heads: list[Head] = []
        chosen: list[tuple[float, float]] = []
        for count in counts:
            rows, choosing = (torch.from_numpy(each.first(_number(count))) for each in draws)
            data = Standardised(train, [slice(0, cat.of.features)], rows)
            if beside:
                data.keep()
            decay, value, head = self._chosen(data, held, choosing)
            heads.append(head)
            chosen.append((decay, value))
            advance(1)
        predicted = self._predict(heads, self.features.matrix("test", cat, beside))
        right = (predicted == passes.labels["test"].cpu()).double().mean(1)
        return {
            count: {"weight_decay": decay, "chosen_by_acc1": value, "acc1": 100 * float(share)}
            for count, (decay, value), share in zip(counts, chosen, right, strict=True)
        }

    def _chosen(self, data: Standardised, held: FeatureMatrix, choosing: Tensor) -> tuple[float, float, Head]:
        """Weight decay, top-1 on the held-out images in percent, and the head: of equals the strongest decay's."""
        part = self.features.train_part
        labels = self.passes.labels[part][data.rows.to(self.passes.device)]
        truth = self.passes.labels[self.passes.held_part][choosing.to(self.passes.device)]
        best: tuple[float, float, Optimum] | None = None
        optimum = None
        for decay in sorted(WEIGHT_DECAYS, reverse=True):
            optimum = minimise(data, labels, self.passes.classes, decay, optimum)
            logits = [data.logits(optimum)(features)[0, 0] for features in held.batches(choosing, 8192)]
            value = 100 * float((torch.cat(logits, 1).argmax(0) == truth).double().mean())
            if best is None or value > best[1]:
                best = decay, value, optimum
        assert best is not None
        decay, value, optimum = best
        weight = optimum.weight.double() * data.scale
        return decay, value, (weight.float(), (optimum.bias.double() - weight @ data.mean).float())

    def _predict(self, heads: list[Head], test: FeatureMatrix) -> Tensor:
        """int32 (heads, test images) on the CPU."""
        weight, bias = torch.cat([head[0] for head in heads]), torch.cat([head[1] for head in heads])
        rows, shape = max(1, min(8192, LOGITS_AT_ONCE // len(bias))), (len(heads), self.passes.classes, -1)
        logits = (
            torch.addmm(bias[:, None], weight, features.T).view(shape)
            for features in test.batches(torch.arange(test.rows), rows)
        )
        return torch.cat([of_batch.argmax(1).int().cpu() for of_batch in logits], 1)


def _number(count: str) -> int | None:
    """Images a class; None for all."""
    return None if count == ALL else int(count)
