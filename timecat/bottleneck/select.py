"""`timecat bottleneck select`: members chosen one by one on held-out images, with what the choice costs counted."""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from timecat.bottleneck.held_out import HeldOut, read_held_out
from timecat.bottleneck.measures.ridge import RidgeHeads
from timecat.config.files import ProbeFile
from timecat.heads.scores import interval
from timecat.progress_bar import bar
from timecat.study.directory import write_record
from timecat.study.plan import SeededCat, Snapshot
from timecat.study.study import Study
from timecat.terminal import print_table, say

RANDOM = 20  # picks of each size, for comparison


class Chosen(TypedDict):
    """The members chosen so far, mean over the repetitions, in percent.

    Keys:
        snapshots: by repetition, in the order of choice.
        images: pretraining images of the chosen, runs counted to the last snapshot that is used.
        chosen_by, acc1: top-1 of the ridge head on the images that chose, and on those that did not.
        random: acc1 of as many members of the pool by chance.
    """

    members: int
    snapshots: list[list[str]]
    images: float
    chosen_by: float
    acc1: float
    interval: tuple[float, float]
    random: float


class Row(TypedDict):
    """One of the study's cats beside them."""

    images: int
    acc1: float
    interval: tuple[float, float]


class Selection(TypedDict):
    """selection.json of one data set.

    Keys:
        pool: snapshots to choose from, in each repetition.
        pool_images: pretraining images of all of them, which is what a choice costs.
        heads: that were fitted to choose.
    """

    data: str
    choosing_images: int
    telling_images: int
    pool: list[list[str]]
    pool_images: int
    heads: int
    steps: list[Chosen]
    cats: dict[str, Row]


def select(study: Study, data: str | None = None, members: int | None = None) -> None:
    """Choose for each probe; print it and write selection.json.

    Raises:
        UserError: a member is not trained yet, or there is no such probe.
    """
    for probe in study.probes_named(data):
        # direct training is what cats are compared with, not what one could choose for an unknown component
        cats = [
            cat
            for cat in study.seeded_cats(probe.name)
            if cat.cat.concatenates
            and cat.cat.direct is None
            and all(each.trained == (each,) for each in cat.snapshots)
        ]
        found = _select(study, probe, cats, read_held_out(study, probe, cats), members or study.most_members)
        path = study.directory.probe(probe.name).selection
        write_record(path, found)
        title = (
            f"{probe.name}: chosen on {found['choosing_images']:,} held-out images, top-1 % on the other "
            f"{found['telling_images']:,}; a pool of {len(found['pool'][0])} snapshots"
        )
        print_table(title, *_cells(found), left=["members"])
        several = len(found["pool"]) > 1
        for number, names in enumerate(found["steps"][-1]["snapshots"]):
            say(f"chosen{f' in repetition {number}' if several else ''}: {', '.join(names)}")
        say(
            f"a choice costs the whole pool: {found['pool_images']:,} images of pretraining"
            f"{' a repetition' if several else ''}, and {found['heads']:,} ridge heads in all"
        )
        say(str(path))


def _select(study: Study, probe: ProbeFile, cats: list[SeededCat], seen: HeldOut, most: int) -> Selection:
    repetitions = range(study.repetitions)
    pools = [_pool([cat for cat in cats if cat.repetition == repetition]) for repetition in repetitions]
    most = min(most, *(len(pool) for pool in pools))
    order = torch.randperm(len(seen.held_labels), generator=torch.Generator().manual_seed(1))
    choosing, telling = order[: len(order) // 2], order[len(order) // 2 :]
    by_step: list[list[tuple[tuple[Snapshot, ...], np.ndarray, np.ndarray, float]]] = [[] for _ in range(most)]
    rows: dict[str, list[np.ndarray]] = {}
    heads = 0
    total = sum(len(pool) - step for pool in pools for step in range(most)) + len(cats)
    with bar(f"{probe.name}: choosing members", total + RANDOM * most * len(pools), "heads") as advance:
        for repetition, pool in zip(repetitions, pools, strict=True):
            of_pool = _Pool(pool, seen)
            chosen: list[Snapshot] = []
            for step in range(most):
                left = [snapshot for snapshot in pool if snapshot not in chosen]
                tried = [(of_pool.right([*chosen, snapshot]), snapshot) for snapshot in left]
                heads += len(tried)
                advance(len(tried))
                right, best = max(tried, key=lambda each: float(each[0][choosing].mean()))
                chosen.append(best)
                by_chance = [of_pool.right(pick)[telling].mean() for pick in _picks(pool, step + 1)]
                advance(RANDOM)
                kept = right[choosing], right[telling], statistics.fmean(by_chance)
                by_step[step].append((tuple(chosen), *kept))
            for cat in cats:
                if cat.repetition == repetition:
                    rows.setdefault(cat.cat.name, []).append(of_pool.right(cat.snapshots)[telling])
                    advance(1)
    steps: list[Chosen] = [
        {
            "members": number,
            "snapshots": [[snapshot.name for snapshot in chosen] for chosen, *_ in of_step],
            "images": statistics.fmean(_images(study, chosen) for chosen, *_ in of_step),
            "chosen_by": 100 * statistics.fmean(float(by.mean()) for _, by, _, _ in of_step),
            "acc1": 100 * statistics.fmean(float(told.mean()) for _, _, told, _ in of_step),
            "interval": interval(np.mean([told for _, _, told, _ in of_step], axis=0)),
            "random": 100 * statistics.fmean(by_chance for *_, by_chance in of_step),
        }
        for number, of_step in enumerate(by_step, 1)
    ]
    return {
        "data": probe.name,
        "choosing_images": len(choosing),
        "telling_images": len(telling),
        "pool": [[snapshot.name for snapshot in pool] for pool in pools],
        "pool_images": _images(study, pools[0]),
        "heads": heads,
        "steps": steps,
        "cats": {
            name: {
                "images": study.cats[name].images,
                "acc1": 100 * float(np.mean(right)),
                "interval": interval(np.mean(right, axis=0)),
            }
            for name, right in rows.items()
        },
    }


class _Pool:
    """Ridge heads on any members of a pool."""

    def __init__(self, pool: Sequence[Snapshot], seen: HeldOut) -> None:
        self._seen, (fit, self._held) = seen, seen.together(tuple(pool))
        self._heads = RidgeHeads(fit, seen.fit_labels, seen.classes)
        edges = np.cumsum([0, *(snapshot.width for snapshot in pool)]).tolist()
        self._columns = {s.name: torch.arange(*ends) for s, ends in zip(pool, pairwise(edges), strict=True)}

    def right(self, members: Sequence[Snapshot]) -> np.ndarray:
        """Which held-out images their head gets right, float64 (m,)."""
        columns: Tensor = torch.cat([self._columns[snapshot.name] for snapshot in members]).to(self._held.device)
        return (self._heads.predict(columns, self._held) == self._seen.held_labels).double().cpu().numpy()


def _pool(cats: list[SeededCat]) -> list[Snapshot]:
    """Each snapshot once."""
    return list({snapshot.name: snapshot for cat in cats for snapshot in cat.snapshots}.values())


def _picks(pool: list[Snapshot], count: int) -> list[list[Snapshot]]:
    rng = np.random.default_rng(0)
    return [[pool[k] for k in rng.choice(len(pool), count, replace=False)] for _ in range(RANDOM)]


def _images(study: Study, snapshots: Sequence[Snapshot]) -> int:
    """Images that these were trained on; snapshots of one run are one training, to the last of them."""
    longest: dict[str, int] = {}
    for snapshot in snapshots:
        longest[snapshot.plan.name] = max(longest.get(snapshot.plan.name, 0), snapshot.step)
    return sum(longest.values()) * study.batch_size


def _cells(found: Selection) -> tuple[list[str], list[list[str]]]:
    header = ["members", "images", "top-1 [95 %]", "where chosen", "by chance"]
    rows = []
    for step in found["steps"]:
        low, high = step["interval"]
        value = f"{step['acc1']:.1f} [{low:.1f}, {high:.1f}]"
        chosen = [f"{step['members']} chosen", f"{step['images']:,.0f}", value, f"{step['chosen_by']:.1f}"]
        rows.append([*chosen, f"{step['random']:.1f}"])
    for name, row in found["cats"].items():
        low, high = row["interval"]
        rows.append([name, f"{row['images']:,}", f"{row['acc1']:.1f} [{low:.1f}, {high:.1f}]", "", ""])
    return header, rows
