"""What a member's weights are a function of: kept beside them, so that nothing else is ever counted as finished."""

from pathlib import Path
from typing import Any

from timecat import files
from timecat.errors import UserError
from timecat.study.study import Run, Study

RECIPE = "recipe.json"
FILE = "data.train's content"  # a key of the recipe that only the file itself can tell
WITHOUT_EFFECT = {
    "workers",
    "root",
    "source",
    "val",
    "test",
    "eval_batch_size",
    "train_images",
}  # data keys, on weights


def recipe(study: Study, run: Run) -> dict[str, Any]:
    """Everything of the config that a member's weights are a function of, flat, by dotted key."""
    given = study.config.get("data") or {}
    data = {k: v for k, v in given.items() if k not in WITHOUT_EFFECT}
    trainer = study.config.get("trainer") or {}
    sections = {
        "model": {**(study.config.get("model") or {}), **run.model},
        "data": data,
        "trainer": {k: trainer[k] for k in ("precision", "sync_batchnorm", "gradient_clip_val") if k in trainer},
    }
    flat = {f"{section}.{key}": value for section, keys in sections.items() for key, value in sorted(keys.items())}
    return {"seed": run.seed, **({"steps": run.steps} if study.horizon else {}), **flat}


def trained_with(directory: Path) -> dict[str, Any]:
    """The recipe of what lies in a member's directory; empty where nothing was trained there."""
    if not any(directory.glob("*.ckpt")) and not any(directory.glob("snapshot_*.pt")):
        return {}
    return files.read_json(directory / RECIPE) or {}


def check_recipe(study: Study, run: Run) -> None:
    """Refuse to go on with, or to count as finished, what another recipe trained.

    Raises:
        UserError: naming the first key that differs.
    """
    directory = study.directory / run.name
    before, now = trained_with(directory), recipe(study, run)
    before.pop(FILE, None)
    if not before or before == now:
        return
    key = next(key for key in [*before, *now] if before.get(key) != now.get(key))
    raise UserError(
        f"{directory} was trained with {key} {before.get(key)!r}, the config says {now.get(key)!r}; "
        "choose another study.name, or put the config back"
    )
