"""Loggers of the user, by trainer.logger, beside TensorBoard: each member is one run of theirs, through requeues."""

import csv
import importlib
import inspect
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import loggers as of_lightning
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from timecat.errors import UserError
from timecat.process import is_first_rank
from timecat.study.directory import LoggerRuns, MemberDirectory, StudyDirectory, write_record

EXAMPLE = "give a class_path with init_args, such as {class_path: CSVLogger}, or a list of these"


def user_loggers(written: Any, directory: StudyDirectory, member: MemberDirectory) -> list[Logger]:
    """The loggers of one member.

    What a class takes and the config does not give is filled in, so that the run is the member's, and stays so when the
    member goes on: `save_dir`; `project` and `experiment_name`, the study's name; `name` and `run_name`, the member's;
    `id`, which is kept in the member's directory; `run_id`, as MLflow told it when the run began. A class that has a
    `version` and no `id` keeps a directory <save_dir>/<name>/<version>: these are then the study's name and the
    member's.

    Args:
        written: trainer.logger: a class_path with init_args, or a list of these; the name alone is enough for a class
            of lightning.pytorch.loggers.

    Raises:
        UserError: it is something else, there is no such class, or it refuses its arguments.
    """
    found = logger_classes(written)
    if not found:
        return []
    kept = member.read_logger_runs()
    if kept is None:
        kept = LoggerRuns(id=f"{directory.path.name}-{member.path.name}-{secrets.token_hex(4)}", run_ids={})
        if is_first_rank():
            write_record(member.logger_runs, kept)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--logger", type=list[Logger])
    filled = [
        {"class_path": path, "init_args": {**_run_of_a_member(kind, kept, directory, member), **arguments}}
        for kind, path, arguments in found
    ]
    try:
        return list(parser.instantiate(parser.parse_object({"logger": filled})).logger)
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        raise UserError(f"trainer.logger: {' '.join(str(error).split())}") from None


def logger_classes(written: Any) -> list[tuple[type, str, dict[str, Any]]]:
    """Of each logger the class, its full path, and the arguments that the config gives; see `user_loggers`."""
    given = written if isinstance(written, list) else [] if written is None else [written]
    return [_checked(each) for each in given]


def _checked(given: Any) -> tuple[type, str, dict[str, Any]]:
    given = {"class_path": given} if isinstance(given, str) else given
    path = given.get("class_path") if isinstance(given, dict) else None
    if not isinstance(path, str):
        raise UserError(f"trainer.logger is {given!r}: {EXAMPLE}; TensorBoard's is there without")
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module) if module else of_lightning, name, None)
    except ImportError as error:
        raise UserError(f"trainer.logger: {path} cannot be imported ({error})") from None
    if not (isinstance(kind, type) and issubclass(kind, Logger)):
        raise UserError(f"trainer.logger: {path} is no logger; {EXAMPLE}")
    return kind, f"{kind.__module__}.{kind.__qualname__}", dict(given.get("init_args") or {})


def _run_of_a_member(
    kind: type, kept: LoggerRuns, directory: StudyDirectory, member: MemberDirectory
) -> dict[str, Any]:
    """Arguments that a class takes and that make its run the member's."""
    study, name = directory.path.name, member.path.name
    takes = inspect.signature(kind).parameters
    values = {
        "save_dir": str(directory.loggers),
        "project": study,
        "experiment_name": study,
        "name": name,
        "run_name": name,
    }
    if "id" in takes:
        values["id"] = kept["id"]
    elif "version" in takes:
        values |= {"name": study, "version": name}
    if (run_id := kept["run_ids"].get(kind.__name__)) is not None:
        values["run_id"] = run_id
    return {key: value for key, value in values.items() if key in takes}


class GoOn(L.Callback):
    """What lets loggers go on where a member does: what they hold is written with each checkpoint, and the ids that
    they give their runs are kept."""

    def __init__(self, directory: MemberDirectory, loggers: Sequence[Logger]) -> None:
        self.directory, self.loggers = directory, loggers

    def on_train_start(self, trainer: L.Trainer, member: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        told = {type(each).__name__: run for each in self.loggers if (run := getattr(each, "run_id", None))}
        kept = self.directory.read_logger_runs()
        if kept is not None and told and told != kept["run_ids"]:
            write_record(self.directory.logger_runs, {"id": kept["id"], "run_ids": told})

    def on_save_checkpoint(self, trainer: L.Trainer, member: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        for logger in self.loggers:
            logger.save()


def keep_rows(loggers: Sequence[Logger], step: int) -> None:
    """Of CSV files the rows up to the step that the member goes on from; Lightning's writer begins with an empty file.

    Before a trainer has these loggers.
    """
    for logger in loggers:
        path = Path(logger.log_dir or "") / ExperimentWriter.NAME_METRICS_FILE
        if isinstance(logger, CSVLogger) and is_first_rank() and path.is_file():
            with path.open(newline="") as file:
                rows = [{key: value for key, value in row.items() if value != ""} for row in csv.DictReader(file)]
            logger.experiment.metrics += [row for row in rows if int(row["step"]) <= step]
            logger.save()
