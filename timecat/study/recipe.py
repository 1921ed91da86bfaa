"""What a member's weights are a function of: kept beside them, so that nothing else is ever counted as finished.

Two recipes are the same where they mean the same, however they are spelt: every key is there, with its default where
the config is silent, and a view's with what its preset says.
"""

from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any

from timecat import files
from timecat.config.data import DataConfig
from timecat.config.member import MemberConfig
from timecat.config.trainer import TrainerConfig
from timecat.data.views import NORMALISATIONS, train_view
from timecat.errors import UserError
from timecat.study.directory import MemberDirectory
from timecat.study.plan import MemberPlan
from timecat.study.record import damaged
from timecat.study.study import Study

CONTENT = "data.train's content"  # a key of the recipe that only the file itself can tell
# Beside the files' content, these change no weight.
WITHOUT_EFFECT = ("workers", "root", "source", "test_fraction", "max_side", "skip_broken")
WITHOUT_EFFECT += ("val", "test", "tests", "eval_batch_size", "train_images")
SET_BY_THE_STUDY = ("num_classes", "seed", "steps")
OF_THE_TRAINER = (
    "precision",
    "sync_batchnorm",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "overfit_batches",
)
FREE_TO_CHANGE_WEIGHTS = ("callbacks", "plugins")  # of the trainer's other keys


def recipe(study: Study, plan: MemberPlan) -> dict[str, Any]:
    """Everything of the config that a member's weights are a function of, flat, by dotted key, as JSON has it."""
    horizon = {"steps": plan.steps} if plan.has_horizon else {}
    return {"seed": plan.seed, **horizon, **flat(plan.model, plan.data, study.trainer)}


def flat(model: MemberConfig, data: DataConfig, trainer: TrainerConfig) -> dict[str, Any]:
    """What of three sections weights are a function of, by dotted key, as JSON has it."""
    sections = {
        "model": {key: value for key, value in asdict(model).items() if key != "steps"},
        "data": {key: value for key, value in resolved_data(data).items() if key not in WITHOUT_EFFECT},
        "trainer": {key: getattr(trainer, key) for key in OF_THE_TRAINER}
        | {key: trainer.other.get(key) for key in FREE_TO_CHANGE_WEIGHTS},
    }
    keys_of_all = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    return files.as_json(keys_of_all)


def resolved_data(data: DataConfig) -> dict[str, Any]:
    """The section's keys, with what the preset says where they are silent; without those that a study sets."""
    view = train_view(data)
    keys = {key: value for key, value in asdict(data).items() if key not in SET_BY_THE_STUDY}
    shown = {key: getattr(view, key) for key in ("flip", "padding", "scale", "interpolation")}
    if data.mixture:  # its order counts: labels and draws go by it
        keys["mixture"] = [
            (name, {"weight": data.shares[name], "train": component.train or data.train, "groups": component.groups})
            for name, component in data.components.items()
        ]
    return {**keys, **shown, "normalisation": data.normalisation or NORMALISATIONS[data.view]}


def trained_with(directory: MemberDirectory) -> dict[str, Any]:
    """The recipe of what lies in a member's directory; empty where nothing was trained there.

    A key that is not there had its default: version 1 kept what the config spelt out, and later ones may have more
    keys.

    Raises:
        UserError: something was trained there, and nothing tells how.
    """
    stored = directory.read_recipe() if directory.is_begun() else None
    if stored is None:
        return {}
    stored.pop("version", None)
    of_version_1 = {"num_classes": 1000}
    given: dict[str, dict[str, Any]] = {"model": of_version_1, "data": {"train": ""}, "trainer": {}}
    for key, value in stored.items():
        section, _, name = key.partition(".")
        if key != CONTENT and section in given:
            given[section][name] = tuple(value) if isinstance(value, list) else value
    if given["data"].get("mixture"):
        with suppress(TypeError, ValueError):  # which `_known` then refuses
            given["data"]["mixture"] = dict(given["data"]["mixture"])
    kinds = {"model": MemberConfig, "data": DataConfig, "trainer": TrainerConfig}
    try:
        model, data, trainer = (_known(kind, given[section]) for section, kind in kinds.items())
        return {**flat(model, data, trainer), **stored}
    except (UserError, TypeError, ValueError, AttributeError, KeyError, IndexError, OverflowError) as error:
        raise damaged(directory.recipe, str(error), directory.mend) from None


def _known(kind: type, given: dict[str, Any]) -> Any:
    return kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})


def check_recipe(study: Study, plan: MemberPlan) -> None:
    """Refuse to go on with, or to count as finished, what another recipe trained.

    Raises:
        UserError: naming the first key that differs.
    """
    directory = study.directory.member(plan.name)
    before, now = trained_with(directory), recipe(study, plan)
    before.pop(CONTENT, None)
    if not before or before == now:
        return
    key = next(key for key in [*before, *now] if before.get(key) != now.get(key))
    raise UserError(
        f"{directory} was trained with {key} {before.get(key)!r}, the config says {now.get(key)!r}; "
        "choose another study.name, or put the config back"
    )
