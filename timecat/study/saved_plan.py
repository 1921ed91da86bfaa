"""study.json and what lies beside weights: from these a study's cats are loaded, without its config."""

import dataclasses
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from timecat import files
from timecat.config.data import DataConfig, Interpolation
from timecat.config.section import suggestion
from timecat.data.beton import class_names
from timecat.data.preprocessing import CropMode, Preprocessing, preprocessing_of
from timecat.errors import UserError
from timecat.study.directory import VERSION, StudyDirectory, read_record, write_record
from timecat.study.plan import Snapshot
from timecat.study.study import Study


class SavedNetwork(TypedDict):
    """One network of a cat.

    Keys:
        member: its directory's name, and `step` the snapshot's; None of a network from elsewhere.
        file: of one from elsewhere.
        backbone, features: as `timecat.networks.backbone.Weights` has them.
    """

    member: str | None
    step: int
    file: str | None
    backbone: str | None
    features: int


class SavedPlan(TypedDict):
    """study.json, as far as cats are loaded from it; of earlier versions it has no networks."""

    cats: dict[str, dict[str, Any]]
    networks: NotRequired[dict[str, list[list[SavedNetwork]]]]
    runs: NotRequired[list[dict[str, Any]]]


class SavedPreprocessing(TypedDict, total=False):
    """preprocessing.json: the fields of `Preprocessing`, and what the classes are called."""

    input_size: tuple[int, int, int]
    crop_mode: CropMode
    crop_pct: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    max_side: int | None
    storage: str
    quality: int
    classes: list[str]


PLAN_AGAIN = "remove it, and `timecat fit` with the study's config writes it again"


def save_plan(study: Study) -> None:
    """Keep the plan of the whole study, whichever of its cats are asked for."""
    study = Study(study.file)
    networks: dict[str, list[list[SavedNetwork]]] = {}
    for seeded in study.seeded_cats():
        networks.setdefault(seeded.cat.name, []).append([_saved(snapshot) for snapshot in seeded.snapshots])
    plan = {
        "name": study.name,
        "batch_size": study.batch_size,
        "horizon": study.horizon,
        "cats": {name: _plain(dataclasses.asdict(cat)) for name, cat in study.cats.items()},
        "networks": networks,
        "runs": [{**dataclasses.asdict(member), "steps": member.steps} for member in study.members],
    }
    if read_record(study.directory.plan, again=True) != files.as_json({"version": VERSION, **plan}):
        write_record(study.directory.plan, plan)


def _saved(snapshot: Snapshot) -> SavedNetwork:
    of_study = snapshot.elsewhere is None
    return {
        "member": snapshot.plan.name if of_study else None,
        "step": snapshot.step,
        "file": None if snapshot.elsewhere is None else str(snapshot.elsewhere.file.absolute()),
        "backbone": None if snapshot.elsewhere is None else snapshot.elsewhere.backbone,
        "features": snapshot.width,
    }


def _plain(cat: dict[str, Any]) -> dict[str, Any]:
    """Without what stands under `networks` already."""
    return {key: value for key, value in cat.items() if key != "elsewhere"}


def save_preprocessing(path: Path, data: DataConfig) -> None:
    """Keep beside weights, or a head, how their images are seen in evaluation, and what the classes are called."""
    classes = [] if data.mixture else class_names(data.training_files[0])
    write_record(path, {**preprocessing_of(data).as_json(), "classes": classes})


def read_preprocessing(path: Path) -> tuple[Preprocessing, tuple[str, ...]] | None:
    """What `save_preprocessing` wrote, classes after the preprocessing; None where there is none."""
    record = read_record(path, SavedPreprocessing, "remove it, and `timecat fit` or `timecat probe` writes it again")
    return (Preprocessing.of_json(record), tuple(record.get("classes", ()))) if record else None


def read_networks(directory: StudyDirectory, cat: str, repetition: int) -> tuple[dict[str, Any], list[SavedNetwork]]:
    """The keys of a cat and its networks in one repetition, as `save_plan` wrote them.

    Raises:
        UserError: no study lies there, or it has no such cat or repetition.
    """
    plan = cast(SavedPlan | None, read_record(directory.plan, SavedPlan, PLAN_AGAIN))
    if plan is None:
        raise UserError(f"{directory}: no study lies there; name the directory of one, such as runs/demo")
    if "networks" not in plan:
        raise UserError(f"{directory.plan}: is of an earlier version; `timecat fit` with the study's config renews it")
    if cat not in plan["networks"]:
        raise UserError(f"{directory}: has no cat {cat!r}; {suggestion(cat, plan['networks'])}")
    repetitions = plan["networks"][cat]
    if not 0 <= repetition < len(repetitions):
        last = len(repetitions) - 1
        raise UserError(f"{directory}: {cat} has no repetition {repetition}; choose from 0 to {last}")
    return plan["cats"][cat], repetitions[repetition]
