"""Few-shot heads as they are shown: top-1 and gain over the baseline by images a class, and a picture."""

import statistics
from collections.abc import Sequence
from typing import cast

import numpy as np

from timecat import files
from timecat.config.files import ProbeFile
from timecat.heads.sources import Source, probes_of, read_current
from timecat.report.estimate import student_interval
from timecat.report.few_shot_picture import picture
from timecat.study.few_shot import ALL, FewShot, FewShotSummary, Mean, Point, SizeSummary
from timecat.tables import Section, Table, points, score
from timecat.tensorboard_events import write_events
from timecat.terminal import say

Heads = dict[tuple[str, str], float]  # top-1 by repetition and draw


def summarise_few_shot(source: Source, probe: ProbeFile) -> FewShotSummary | None:
    """What `timecat few-shot` found on a data set with the cats as they are; None where it found nothing yet.

    Means are over the draws and repetitions that all cats with heads on so many images have.
    """
    path = source.directory.probe(probe.name).few_shot(".json")
    found = cast(FewShot | None, read_current(source, probe, path, FewShot))
    if found is None:
        return None
    sizes: list[SizeSummary] = []
    cats: dict[str, dict[str, Point]] = {name: {} for name in found["cats"]}
    for count in sorted(found["sizes"], key=lambda count: (count == ALL, count.zfill(9))):
        by_cat = {name: heads for name in cats if (heads := _heads(found, name, count))}
        shared = [key for key in next(iter(by_cat.values()), {}) if all(key in heads for heads in by_cat.values())]
        if not shared:
            continue
        repetitions, draws = (len(set(keys)) for keys in zip(*shared, strict=True))
        sizes.append({**found["sizes"][count], "shots": count, "draws": draws, "repetitions": repetitions})
        base = by_cat.get(source.baseline)
        for name, heads in by_cat.items():
            gains = [heads[key] - base[key] for key in shared] if base and name != source.baseline else None
            cats[name][count] = {
                "acc1": mean([heads[key] for key in shared]),
                "gain": mean(gains) if gains is not None else None,
            }
    if not sizes:
        return None
    return {
        "data": found["data"],
        "baseline": source.baseline,
        "classes": found["classes"],
        "test_images": found["test_images"],
        "weight_decays": found["settings"]["weight_decays"],
        "sizes": sizes,
        "cats": {name: points for name, points in cats.items() if points},
    }


def _heads(found: FewShot, cat: str, count: str) -> Heads:
    return {
        (repetition, draw): cell["acc1"]
        for repetition, entry in found["cats"][cat].items()
        for draw, cell in entry["cells"].get(count, {}).items()
    }


def mean(values: Sequence[float]) -> Mean:
    """The mean, and its interval."""
    return {"mean": statistics.fmean(values), "interval": student_interval(np.array(values))}


def show_few_shot(source: Source, name: str) -> None:
    """Print one data set's tables; write few_shot.png, few_shot.svg and TensorBoard's events."""
    (probe,) = probes_of(source, name)
    found = summarise_few_shot(source, probe)
    if found is None:
        return
    few_shot_section(found).show()
    directory = source.directory.probe(name)
    png = picture(source.name, found, "png")
    files.write_bytes(directory.few_shot(".svg"), picture(source.name, found, "svg"))
    files.write_bytes(directory.few_shot(".png"), png)
    scalars = {
        f"few_shot/{name}/{key}/{cat}/{count}": value["mean"]
        for cat, of_cat in found["cats"].items()
        for count, point in of_cat.items()
        for key, value in (("acc1", point["acc1"]), ("gain", point["gain"]))
        if value is not None
    }
    write_events(directory.few_shot(""), f"few_shot/{name}", png, scalars)
    say(f"{directory.few_shot('.json')}  {directory.few_shot('.png')}")


def few_shot_section(found: FewShotSummary) -> Section:
    """A row a number of images a class: top-1, and gains over the baseline."""
    title = (
        f"{found['data']}: heads on n images a class, {found['classes']:,} classes; top-1 % of "
        f"{found['test_images']:,} test images [95 %]"
    )
    cats = found["cats"]
    rows = [[_size(size), *(_score(of_cat.get(size["shots"])) for of_cat in cats.values())] for size in found["sizes"]]
    tables = [Table(title, ["images a class", *cats], rows)]
    others = {name: of_cat for name, of_cat in cats.items() if name != found["baseline"]}
    if others:
        rows = [
            [_size(size), *(_gain(of_cat.get(size["shots"])) for of_cat in others.values())] for size in found["sizes"]
        ]
        tables.append(Table(f"gain over {found['baseline']}, points", ["images a class", *others], rows))
    image = ("top-1 and gain against images a class", f"probe/{found['data']}/few_shot.png")
    return Section(title, tables, _notes(found), image)


def _size(size: SizeSummary) -> str:
    return f"all ({size['train_images']:,})" if size["shots"] == ALL else size["shots"]


def _score(point: Point | None) -> str:
    return score(point["acc1"]["mean"], point["acc1"]["interval"]) if point else ""


def _gain(point: Point | None) -> str:
    return points(point["gain"]["mean"], point["gain"]["interval"]) if point and point["gain"] else ""


def _notes(found: FewShotSummary) -> list[str]:
    sizes = found["sizes"]
    most = max(size["draws"] for size in sizes), max(size["repetitions"] for size in sizes)
    decays = ", ".join(f"{decay:g}" for decay in found["weight_decays"])
    price = "; ".join(f"{_size(size)}: {size['train_images']:,} + {size['held_images']:,}" for size in sizes)
    lines = [
        f"means over {_times(*most)}, all images once in each repetition; [95 %]: Student's t over these; gains paired "
        "by draw; a draw's images are the same for every cat",
        f"weight decay ({decays}) chosen on as many held-out images a class, or all there are; the test set read once "
        "for each head",
        f"labels, to train + to choose: {price}",
    ]
    fewer = [f"{size['short_classes']:,} of fewer than {size['shots']}" for size in sizes if size["short_classes"]]
    if fewer:
        lines.append(f"classes with fewer images, all of which are used: {', '.join(fewer)}")
    return lines


def _times(draws: int, repetitions: int) -> str:
    of = f"{draws} draw{'s' * (draws > 1)} of the images"
    return f"{of} x {repetitions} repetitions" if repetitions > 1 else f"{of}, one repetition"
