"""`timecat bottleneck saturation`: how much of a cat's features its members repeat, and what each of them adds."""

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from timecat import files
from timecat.bottleneck.held_out import HeldOut, read_held_out
from timecat.bottleneck.measures.cka import linear_cka
from timecat.bottleneck.measures.collapse import collapse_within_classes
from timecat.bottleneck.measures.effective_rank import effective_rank
from timecat.bottleneck.measures.explained import explained
from timecat.bottleneck.measures.ridge import RidgeHeads
from timecat.bottleneck.saturation_picture import picture
from timecat.config.files import ProbeFile
from timecat.heads.scores import interval
from timecat.progress_bar import bar
from timecat.study.directory import write_record
from timecat.study.plan import SeededCat, Snapshot
from timecat.study.saturation import CurvePoint, Saturation, SaturationOfCat, saturation_section
from timecat.study.study import Study
from timecat.tensorboard_events import write_events
from timecat.terminal import say

ORDERS = 12  # of adding members; all of them where there are fewer
PAIRS = 12  # of members that are compared, in each repetition


def saturation(study: Study, data: str | None = None) -> None:
    """Measure every cat on each probe's held-out images; print it, write saturation.json, .png, .svg and events.

    Raises:
        UserError: a member is not trained yet, or there is no such probe.
    """
    for probe in study.probes_named(data):
        cats = [cat for cat in study.seeded_cats(probe.name) if cat.cat.concatenates]
        found = _measure(study, probe, cats, read_held_out(study, probe, cats))
        directory = study.directory.probe(probe.name)
        write_record(directory.saturation(".json"), found)
        png = picture(study.name, found, "png")
        files.write_bytes(directory.saturation(".svg"), picture(study.name, found, "svg"))
        files.write_bytes(directory.saturation(".png"), png)
        scalars = {
            f"saturation/{probe.name}/{key}/{name}": of_cat[key]
            for name, of_cat in found["cats"].items()
            for key in ("effective_rank", "acc1")
        }
        write_events(directory.saturation(""), f"saturation/{probe.name}", png, scalars)
        saturation_section(found).show()
        say(f"{directory.saturation('.json')}  {directory.saturation('.png')}")


def _measure(study: Study, probe: ProbeFile, cats: list[SeededCat], seen: HeldOut) -> Saturation:
    names = list(dict.fromkeys(cat.cat.name for cat in cats))
    baseline = study.baseline if study.baseline in names else names[0]
    by_name = {name: [cat for cat in cats if cat.cat.name == name] for name in names}
    bases = by_name[baseline]
    width = max(cat.features for cat in cats)
    found: Saturation = {
        "data": probe.name,
        "baseline": baseline,
        "repetitions": study.repetitions,
        "fit_images": len(seen.fit_labels),
        "held_images": len(seen.held_labels),
        "weights": seen.weights,
        "cats": {},
        "random": f"{baseline} to {width:,}",
    }
    with bar(f"{probe.name}: saturation", len(cats) + len(bases), "cats") as advance:
        for name, several in by_name.items():
            found["cats"][name] = _of_cat(several, bases, seen, advance)
        if all(base.features < width for base in bases):
            found["cats"][found["random"]] = _random(bases, width, seen, advance)
    return found


def _of_cat(
    cats: list[SeededCat], bases: list[SeededCat], seen: HeldOut, advance: Callable[[int], None]
) -> SaturationOfCat:
    ranks, right, alike, shared, given, taken, collapse = [], [], [], [], [], [], []
    curves = []
    for cat, base in zip(cats, bases, strict=True):
        fit, held = seen.together(cat.snapshots)
        ranks.append(effective_rank(held))
        heads = RidgeHeads(fit, seen.fit_labels, seen.classes)
        right.append(_right(heads, torch.arange(fit.shape[1]), held, seen))
        for one, other in _pairs(cat.snapshots):
            alike.append(linear_cka(seen.held[one.name], seen.held[other.name]))
            shared.append(_explained(seen, (one,), (other,)))
        if cat.snapshots != base.snapshots:
            given.append(_explained(seen, base.snapshots, cat.snapshots))
            taken.append(_explained(seen, cat.snapshots, base.snapshots))
        of_members = [collapse_within_classes(seen.fit[each.name], seen.fit_labels) for each in cat.snapshots]
        collapse.append(statistics.fmean(of_members))
        if len(cat.snapshots) > 1:
            curves.append(_curve(cat, heads, held, seen))
        advance(1)
    features = torch.cat(shared) if shared else None
    return {
        "features": cats[0].features,
        "members": cats[0].cat.members,
        "effective_rank": statistics.fmean(ranks),
        "effective_ranks": ranks,
        "acc1": 100 * float(np.mean(right)),
        "interval": interval(np.mean(right, axis=0)),
        "cka": statistics.fmean(alike) if alike else None,
        "explained": float(features.mean()) if features is not None else None,
        "explained_quantiles": _quantiles(features) if features is not None else None,
        "by_baseline": float(torch.cat(given).mean()) if given else None,
        "of_baseline": float(torch.cat(taken).mean()) if taken else None,
        "collapse": statistics.fmean(collapse),
        "curve": _averaged(curves),
    }


def _random(bases: list[SeededCat], width: int, seen: HeldOut, advance: Callable[[int], None]) -> SaturationOfCat:
    """The baseline's features through a random layer as wide as the widest cat: standardised, Gaussian, ReLU."""
    ranks, right, collapse = [], [], []
    for number, base in enumerate(bases):
        fit, held = seen.together(base.snapshots)
        mean, std = fit.mean(0), fit.std(0).clamp(min=1e-6)
        weights = torch.randn(fit.shape[1], width, generator=torch.Generator().manual_seed(number)).to(fit.device)
        fit, held = (((each - mean) / std @ weights / math.sqrt(len(weights))).relu() for each in (fit, held))
        ranks.append(effective_rank(held))
        heads = RidgeHeads(fit, seen.fit_labels, seen.classes)
        right.append(_right(heads, torch.arange(width), held, seen))
        collapse.append(collapse_within_classes(fit, seen.fit_labels))
        advance(1)
    return {
        "features": width,
        "members": 1,
        "effective_rank": statistics.fmean(ranks),
        "effective_ranks": ranks,
        "acc1": 100 * float(np.mean(right)),
        "interval": interval(np.mean(right, axis=0)),
        "cka": None,
        "explained": None,
        "explained_quantiles": None,
        "by_baseline": None,
        "of_baseline": None,
        "collapse": statistics.fmean(collapse),
        "curve": [],
    }


def _right(heads: RidgeHeads, columns: Tensor, held: Tensor, seen: HeldOut) -> np.ndarray:
    """Which held-out images the head on these columns gets right, float64 (m,)."""
    columns = columns.to(held.device)
    return (heads.predict(columns, held) == seen.held_labels).double().cpu().numpy()


def _pairs(snapshots: Sequence[Snapshot]) -> list[tuple[Snapshot, Snapshot]]:
    """Ordered pairs of members; of many a seeded choice."""
    pairs = list(permutations(snapshots, 2))
    chosen = np.random.default_rng(0).permutation(len(pairs))[:PAIRS]
    return [pairs[k] for k in sorted(chosen.tolist())]


def _explained(seen: HeldOut, one: tuple[Snapshot, ...], other: tuple[Snapshot, ...]) -> Tensor:
    (fit, held), (fit_other, held_other) = seen.together(one), seen.together(other)
    return explained(fit, fit_other, held, held_other).cpu()


def _quantiles(values: Tensor) -> list[float]:
    """The tenth, half and nine tenths."""
    return torch.quantile(values, torch.tensor([0.1, 0.5, 0.9], dtype=values.dtype)).tolist()


def _orders(count: int) -> list[tuple[int, ...]]:
    if math.factorial(min(count, 8)) <= ORDERS:
        return list(permutations(range(count)))
    rng = np.random.default_rng(0)
    return [tuple(rng.permutation(count).tolist()) for _ in range(ORDERS)]


def _curve(
    cat: SeededCat, heads: RidgeHeads, held: Tensor, seen: HeldOut
) -> list[tuple[float, np.ndarray, list[float]]]:
    """For 1 to all members, over the orders: mean effective rank, the mean of right (m,), and top-1 by order."""
    edges = np.cumsum([0, *(snapshot.width for snapshot in cat.snapshots)])
    known: dict[frozenset[int], tuple[float, np.ndarray]] = {}

    def of(members: frozenset[int]) -> tuple[float, np.ndarray]:
        if members not in known:
            columns = torch.cat([torch.arange(edges[k], edges[k + 1]) for k in sorted(members)])
            rank = effective_rank(held[:, columns.to(held.device)])
            known[members] = rank, _right(heads, columns, held, seen)
        return known[members]

    orders, points = _orders(len(cat.snapshots)), []
    for count in range(1, len(cat.snapshots) + 1):
        values = [of(frozenset(order[:count])) for order in orders]
        right = [each for _, each in values]
        points.append((statistics.fmean(rank for rank, _ in values), np.mean(right, axis=0), [r.mean() for r in right]))
    return points


def _averaged(curves: list[list[tuple[float, np.ndarray, list[float]]]]) -> list[CurvePoint]:
    """Over the repetitions; the gain of each member is paired on the same images."""
    points: list[CurvePoint] = []
    before: np.ndarray | None = None
    for number, of_repetitions in enumerate(zip(*curves, strict=True), 1):
        right = np.mean([each for _, each, _ in of_repetitions], axis=0)
        by_order = [100 * value for _, _, values in of_repetitions for value in values]
        gain = None if before is None else right - before
        points.append(
            {
                "members": number,
                "orders": len(by_order),
                "effective_rank": statistics.fmean(rank for rank, _, _ in of_repetitions),
                "acc1": 100 * float(right.mean()),
                "interval": interval(right),
                "lowest": min(by_order),
                "highest": max(by_order),
                "gain": None if gain is None else 100 * float(gain.mean()),
                "gain_interval": None if gain is None else interval(gain),
            }
        )
        before = right
    return points
