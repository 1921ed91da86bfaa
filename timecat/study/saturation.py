"""saturation.json: how much of a cat's features its members repeat; as `bottleneck saturation` leaves and shows it."""

from typing import TypedDict, cast

from timecat.config.files import ProbeFile
from timecat.study.directory import read_record
from timecat.study.study import Study
from timecat.tables import Section, Table, points, score


class CurvePoint(TypedDict):
    """A cat's first members, averaged over orders and repetitions, in percent.

    Keys:
        orders: how many were averaged.
        interval, gain_interval: 95 % by bootstrap over the held-out images; the gain is that over one member fewer.
        lowest, highest: top-1 of single orders.
    """

    members: int
    orders: int
    effective_rank: float
    acc1: float
    interval: tuple[float, float]
    lowest: float
    highest: float
    gain: float | None
    gain_interval: tuple[float, float] | None


class SaturationOfCat(TypedDict):
    """A cat's features, mean over the repetitions.

    Keys:
        effective_rank: of the held-out images' features; effective_ranks by repetition.
        acc1: of a ridge head on the held-out images, in percent; interval 95 % by bootstrap over them.
        cka: linear, mean over pairs of members.
        explained: R^2 of a member's features by ridge from another member, on held-out images; explained_quantiles its
            0.1, 0.5 and 0.9 quantile over features.
        by_baseline: R^2 of the cat's features by ridge from the baseline's; of_baseline the reverse.
        collapse: NC1 of a member's features on the images that are fitted, mean over members.
        curve: for 1 to all members.
    """

    features: int
    members: int
    effective_rank: float
    effective_ranks: list[float]
    acc1: float
    interval: tuple[float, float]
    cka: float | None
    explained: float | None
    explained_quantiles: list[float] | None
    by_baseline: float | None
    of_baseline: float | None
    collapse: float
    curve: list[CurvePoint]


class Saturation(TypedDict):
    """saturation.json of one data set.

    Keys:
        weights: SHA-256 of each snapshot's file.
        random: name of the baseline's features through a random layer as wide as the widest cat, if that is wider.
    """

    data: str
    baseline: str
    repetitions: int
    fit_images: int
    held_images: int
    weights: dict[str, str]
    cats: dict[str, SaturationOfCat]
    random: str


def read_saturation(study: Study, probe: ProbeFile) -> Saturation | None:
    """A data set's saturation.json, where it is of these cats' members as they are on disk; else None."""
    found = cast(Saturation | None, read_record(study.directory.probe(probe.name).saturation(".json"), Saturation))
    if found is None:
        return None
    cats = [cat for cat in study.seeded_cats(probe.name) if cat.cat.concatenates]
    now = {snapshot.name: study.digest(snapshot) for cat in cats for snapshot in cat.snapshots}
    same = found["weights"] == now and {cat.cat.name for cat in cats} == set(found["cats"]) - {found["random"]}
    return found if same else None


def saturation_section(found: Saturation) -> Section:
    """A row a cat, and a row for each number of members of each cat."""
    title = f"{found['data']}: {found['held_images']:,} held-out images, fitted on {found['fit_images']:,}"
    tables = [Table(title, *_cats(found)), Table("by the number of members", *_curves(found))]
    image = ("rank and gain", f"probe/{found['data']}/saturation.png")
    return Section(f"How saturated: {found['data']}", tables, _notes(found), image)


def _cats(found: Saturation) -> tuple[list[str], list[list[str]]]:
    base = found["baseline"]
    header = ["cat", "features", "effective rank", "ridge top-1 [95 %]", "CKA", "R² between", f"R² by {base}"]
    header += [f"R² of {base}", "NC1"]
    rows = []
    for name, cat in found["cats"].items():
        values = (cat["cka"], cat["explained"], cat["by_baseline"], cat["of_baseline"])
        row = [name, f"{cat['features']:,}", f"{cat['effective_rank']:.1f}", score(cat["acc1"], cat["interval"])]
        rows.append([*row, *("" if value is None else f"{value:.2f}" for value in values), f"{cat['collapse']:.3g}"])
    return header, rows


def _curves(found: Saturation) -> tuple[list[str], list[list[str]]]:
    header = ["cat", "members", "effective rank", "ridge top-1 [95 %]", "gain [95 %]", "orders"]
    rows = []
    for name, cat in found["cats"].items():
        for point in cat["curve"]:
            row = [name, str(point["members"]), f"{point['effective_rank']:.1f}"]
            row += [score(point["acc1"], point["interval"]), points(point["gain"], point["gain_interval"])]
            rows.append([*row, str(point["orders"])])
    return header, rows


def _notes(found: Saturation) -> list[str]:
    base, repetitions = found["baseline"], found["repetitions"]
    of = f"means over {repetitions} repetitions" if repetitions > 1 else "one repetition"
    return [
        f"{of}; all on {found['held_images']:,} images held out of the probe's training set, the test set is not read",
        "effective rank: exp of the entropy of the features' variances; CKA, R² between: of two members of the cat, 1 "
        f"where one holds all that the other does; R² by {base}: how much of the cat's features a linear map from "
        f"{base}'s gives; R² of {base}: the reverse; NC1: scatter within classes over that between them",
        f"{found['random']}: {base}'s features through a random layer, for a width that costs nothing",
        "ridge: a head in closed form, for comparison among these rows; gain: of one more member, averaged over orders",
    ]
