"""Nearest neighbours as they are shown: a cat a row, with intervals paired on the same test images."""

from typing import cast

import numpy as np

from timecat.config.files import ProbeFile
from timecat.heads.sources import Source, probes_of, read_current
from timecat.report.estimate import intervals, shown, unit_of, words
from timecat.study.arrays import check_predictions, read_npz
from timecat.study.knn import Knn, KnnRow, KnnSummary
from timecat.study.results import FINISHED_WORK
from timecat.tables import Section, Table, points, score
from timecat.terminal import say


def summarise_knn(source: Source, probe: ProbeFile) -> KnnSummary | None:
    """What `timecat knn` found on a data set with the cats as they are; None where it found nothing yet."""
    directory = source.directory.probe(probe.name)
    found = cast(Knn | None, read_current(source, probe, directory.knn(".json"), Knn))
    if found is None:
        return None
    if (arrays := read_npz(directory.knn(".npz"), FINISHED_WORK)) is None:
        return None
    named = [f"{name}_{k}" for name, entries in found["cats"].items() for k in entries]
    check_predictions(directory.knn(".npz"), arrays, [name for name in named if name in arrays], FINISHED_WORK)
    right = {
        name: {k: (arrays[f"{name}_{k}"] == arrays["labels"]).astype(float) for k in entries}
        for name, entries in found["cats"].items()
        if all(f"{name}_{k}" in arrays for k in entries)
    }
    if not right:
        return None
    repetitions = min(len(of_cat) for of_cat in right.values())
    unit, baseline = unit_of(repetitions), right.get(source.baseline, {})
    rows: dict[str, KnnRow] = {}
    for name, of_cat in right.items():
        entries, values = list(found["cats"][name].values()), np.stack(list(of_cat.values()))
        both = [of_cat[k] - baseline[k] for k in of_cat if k in baseline and name != source.baseline]
        difference = np.stack(both) if both else None
        rows[name] = {
            "features": entries[0]["features"],
            "acc1": 100 * float(values.mean()),
            "values": [entry["acc1"] for entry in entries],
            "interval": shown(intervals(values), unit),
            "difference": None if difference is None else 100 * float(difference.mean()),
            "difference_interval": None if difference is None else shown(intervals(difference), unit),
            "ks": [entry["k"] for entry in entries],
            "temperatures": [entry["temperature"] for entry in entries],
        }
    return {
        "data": found["data"],
        "baseline": source.baseline,
        "train_images": found["train_images"],
        "held_images": found["held_images"],
        "test_images": found["test_images"],
        "repetitions": repetitions,
        "tried": len(found["settings"]["settings"]),
        "cats": rows,
    }


def show_knn(source: Source, name: str) -> None:
    """Print one data set's table."""
    (probe,) = probes_of(source, name)
    found = summarise_knn(source, probe)
    if found is None:
        return
    knn_section(found).show()
    say(str(source.directory.probe(name).knn(".json")))


def knn_section(found: KnnSummary) -> Section:
    """A row a cat."""
    title = (
        f"{found['data']}: nearest neighbours, top-1 % of {found['test_images']:,} test images by "
        f"{found['train_images']:,} training images"
    )
    header = ["cat", "features", "top-1 [95 %]", f"to {found['baseline']} [95 %]", "k", "temperature"]
    rows = []
    for name, row in found["cats"].items():
        cells = [name, f"{row['features']:,}", score(row["acc1"], row["interval"])]
        cells.append(points(row["difference"], row["difference_interval"]))
        ks = [str(k) for k in row["ks"]]
        temperatures = ["none" if t is None else f"{t:g}" for t in row["temperatures"]]
        cells += [values[0] if len(set(values)) == 1 else ", ".join(values) for values in (ks, temperatures)]
        rows.append(cells)
    return Section(title, [Table(title, header, rows)], _notes(found))


def _notes(found: KnnSummary) -> list[str]:
    repetitions = found["repetitions"]
    of = f"means over {repetitions} repetitions" if repetitions > 1 else "one repetition"
    chosen = f", the best of {found['tried']} settings on {found['held_images']:,} held-out images"
    return [
        f"{of}; cosine similarity s, a neighbour's vote exp(s / temperature){chosen if found['tried'] > 1 else ''}; "
        "the test set read once",
        f"[95 %]: {words(unit_of(repetitions), repetitions)}; differences paired on the same images, repetition by "
        "repetition",
    ]
