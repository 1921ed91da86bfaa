"""What probes and the report leave: results.json, predictions.npz, report.json; and which of it is this study's."""

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from timecat import files
from timecat.config.files import ProbeFile
from timecat.config.probe import EPOCHS
from timecat.config.study import HeadKind
from timecat.data.order import POOL
from timecat.study.directory import Protocol, read_record
from timecat.study.plan import SeededCat
from timecat.study.progress import is_finished
from timecat.study.protocols import BEFORE, as_seen_by, keeps_last_batch
from timecat.study.recipe import resolved_data
from timecat.study.record import damaged
from timecat.study.scores import (
    Calibration,
    ExtraTestResult,
    Scores,
    extra_settings,
)
from timecat.study.study import Study

# Of a probe's data keys, those that features and heads are no function of, or that `head_settings` has.
ELSEWHERE = ("workers", "root", "source", "val", "eval_batch_size", "train_images", "device_batch_size", "batch_size")
ELSEWHERE += ("test_fraction", "max_side", "skip_broken")
ELSEWHERE += ("tests",)  # which `missing_tests` looks at


FINISHED_WORK = "it is finished work: put it back from a copy, or remove it, and the heads are trained again"


class HeadResult(TypedDict):
    """One head of the sweep.

    Keys:
        curve: top-1 in percent after each epoch on what it is chosen on, None where it has diverged.
        objective, slope: of lbfgs: the objective after each evaluation, the largest derivative at the end.
    """

    lr: float | None
    weight_decay: float
    curve: list[float | None]
    objective: NotRequired[list[float]]
    slope: NotRequired[float]


class ChosenResult(Scores):
    """A chosen head: what it is worth, and the heads that it was chosen from.

    Keys:
        calibration: of its logits; results of earlier versions have none.
        epochs: it was trained for; None of a solver that goes to the optimum.
        chosen_by_acc1: top-1 in percent on what it was chosen on.
    """

    lr: float | None
    weight_decay: float
    epochs: int | None
    chosen_by_acc1: float
    heads: list[HeadResult]
    calibration: NotRequired[Calibration]


class Kept(TypedDict, total=False):
    """SHA-256 of the files that probe.logits keeps of a chosen head: itself, and its logits of the test images."""

    head_sha256: str
    logits_sha256: str


class CatResult(ChosenResult, Kept):
    """The chosen head of one cat in one repetition.

    Keys:
        key: a hash of what the features are a function of.
        head: linear, or the members' own.
        weights: SHA-256 of the snapshots' files, in the cat's order.
        seeds: of its members.
        steps: of its longest member.
        snapshots: their names, in the cat's order.
        features: their number, behind the projection where there is one.
        projection: how and to how many features; empty without one.
        tests: of data.tests, by name.
    """

    key: str
    head: NotRequired[HeadKind]
    weights: NotRequired[list[str]]
    seeds: list[int]
    steps: int
    snapshots: NotRequired[list[str]]
    features: int
    projection: NotRequired[list[str]]
    tests: NotRequired[dict[str, ExtraTestResult]]


class CatResults(TypedDict):
    """A cat's results, by repetition."""

    members: int
    steps: int
    repetitions: dict[str, CatResult]


class Results(TypedDict):
    """results.json of one data set and protocol.

    Keys:
        settings: what the heads are a function of, beside the features.
        images: the data keys that the features are a function of.
    """

    data: str
    protocol: Protocol
    classes: int
    test_images: int
    train_images: int
    settings: dict[str, Any]
    images: NotRequired[dict[str, Any]]
    cats: dict[str, CatResults]


class ReportedCat(TypedDict):
    """What `is_reported` reads of a cat in report.json."""

    members: int
    steps: int


class ReportedData(TypedDict):
    """What `is_reported` reads of a data set in report.json."""

    name: str


class Reported(TypedDict):
    """What `is_reported` reads of report.json, whose types stand in `reported.py`, which imports this file's."""

    data: list[ReportedData]
    cats: dict[str, ReportedCat]
    tests: NotRequired[dict[str, dict[str, Any]]]


def head_settings(probe: ProbeFile, protocol: Protocol = "heldout") -> dict[str, Any]:
    """What a probe's heads are a function of, beside the features."""
    return {
        "solver": probe.probe.solver,
        "lrs": sorted({lr for lr, _ in probe.probe.grid(probe.model.lr)}),
        "weight_decays": probe.probe.weight_decays,
        "epochs": probe.trainer.max_epochs or EPOCHS,
        "batch_size": probe.data.batch_size,
        "seed": probe.seed,
        "holdout": probe.data.holdout,
        "refit": probe.probe.refit,
        "views": probe.probe.views,
        "last_batch": keeps_last_batch(protocol),
        "order": "blocks",  # of an epoch's images, as timecat.data.order says
    }


def order_before(images: int) -> dict[str, str]:
    """What results of so many training images that do not tell their epochs' order were trained in."""
    return {"order": "permuted"} if images > POOL else {}


def image_settings(probe: ProbeFile) -> dict[str, Any]:
    """What of a probe's config its features are a function of, as JSON has it; what `auto` is, only a device tells."""
    keys = {key: value for key, value in resolved_data(probe.data).items() if key not in ELSEWHERE}
    precision = {} if probe.probe.precision == "auto" else {"precision": probe.probe.precision}
    return {**files.as_json(keys), **precision, "storage": probe.probe.storage}


def read_results(study: Study, probe: ProbeFile, protocol: Protocol) -> Results | None:
    """A data set's results by this protocol, where they are those of the probe's config; else None.

    Raises:
        UserError: they are of a version that this timecat does not know.
    """
    stored = read_stored(study.directory.probe(probe.name).results(protocol))
    return stored if stored is not None and are_of(probe, protocol, stored) else None


def are_of(probe: ProbeFile, protocol: Protocol, stored: Results) -> bool:
    """Whether results are those of a probe's config."""
    heads, images = head_settings(probe, protocol), image_settings(as_seen_by(protocol, probe))
    return (
        stored["classes"] == probe.model.num_classes
        # a key that is not there had its default: version 1 has no images, and later ones may have more keys
        and {**heads, **BEFORE, **order_before(stored["train_images"]), **stored["settings"]} == heads
        and {**images, **stored.get("images", {})} == {**stored.get("images", {}), **images}
    )


def read_stored(path: Path) -> Results | None:
    """results.json, of whichever config it is; None where there is none.

    Raises:
        UserError: it is damaged, or of a version that this timecat does not know.
    """
    stored = cast(Results | None, read_record(path, mend=FINISHED_WORK))
    if stored and "version" not in stored and "cats" in stored and not {"protocol", "classes"} <= set(stored):
        return None  # of the first versions, which nothing can be made of
    stored = cast(Results | None, read_record(path, Results, FINISHED_WORK))
    if stored is None:
        return None
    for name, cat in stored["cats"].items():
        for repetition, result in cat["repetitions"].items():
            if len(result["per_class"]) != stored["classes"] or all(rate is None for rate in result["per_class"]):
                where = f"cats.{name}.repetitions.{repetition}.per_class"
                raise damaged(path, f"{where} is not of {stored['classes']} classes", FINISHED_WORK)
    return stored


def result_of(study: Study, results: Results | None, wanted: SeededCat) -> CatResult | None:
    """The result of a cat as it is planned, of its members as they are on disk; None where there is none.

    This is what `status` counts, `launch` submits, `probe` trains and `report` shows.
    """
    if results is None or wanted.cat.name not in results["cats"]:
        return None
    result = results["cats"][wanted.cat.name]["repetitions"].get(str(wanted.repetition))
    if result is None:
        return None
    if result["steps"] != wanted.cat.steps or result["seeds"] != [snapshot.plan.seed for snapshot in wanted.trained]:
        return None
    names = [snapshot.name for snapshot in wanted.snapshots]
    if result.get("head", "linear") != wanted.cat.head or result.get("projection", []) != projection_of(wanted):
        return None
    if result.get("snapshots", names) != names:  # not of earlier versions, where all had the same steps
        return None
    weights = result.get("weights")  # not in version 1
    if weights is not None and not are_the_same(weights, [study.digest(snapshot) for snapshot in wanted.snapshots]):
        return None
    return result


def are_the_same(before: list[str], now: list[str | None]) -> bool:
    """Whether the files that a result was made of are those of now, by their hashes; a missing one counts as it was."""
    return len(before) == len(now) and all(new in (None, old) for old, new in zip(before, now, strict=True))


def projection_of(cat: SeededCat) -> list[str]:
    """How a cat's features are projected, and to how many; empty where they are not."""
    return [cat.cat.projection, str(cat.features)] if cat.features < cat.all_features else []


def missing_tests(probe: ProbeFile, result: CatResult) -> list[str]:
    """Those of data.tests that a result says nothing of, as the config has them."""
    read = result.get("tests", {})
    wanted = extra_settings(probe.data)
    return [name for name, settings in wanted.items() if name not in read or read[name]["settings"] != settings]


def count_probed(study: Study, probe: ProbeFile, protocol: Protocol = "heldout") -> tuple[int, int]:
    """How many of the study's cats have their result on a data set and all its test sets, over all repetitions, and how
    many there are."""
    results, wanted = read_results(study, probe, protocol), study.seeded_cats(probe.name)
    found = [result_of(study, results, cat) for cat in wanted]
    return sum(result is not None and not missing_tests(probe, result) for result in found), len(wanted)


def is_reported(study: Study, protocol: Protocol = "heldout") -> bool:
    """Whether all is trained and probed, and the report is of just these cats."""
    report = read_record(study.directory.report(protocol, ".json"), Reported, again=True)
    if report is None or not study.directory.report(protocol, ".md").is_file():
        return False
    reported = {name: (cat["members"], cat["steps"]) for name, cat in report["cats"].items()}
    if reported != {cat.name: (cat.members, cat.steps) for cat in study.cats.values()}:
        return False
    if [data["name"] for data in report["data"]] != [probe.name for probe in study.probes]:
        return False
    shown = report.get("tests", {})
    if any(list(shown.get(probe.name, {})) != list(probe.data.extra_tests) for probe in study.probes):
        return False
    counts = [count_probed(study, probe, protocol) for probe in study.probes]
    return all(is_finished(study, plan) for plan in study.members) and all(done == all_ for done, all_ in counts)
