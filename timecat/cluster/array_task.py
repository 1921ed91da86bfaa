"""What a command works on: what its options name, or what the number of SLURM's array task stands for."""

import os
from typing import Any

from timecat.config.files import data_name
from timecat.errors import UserError
from timecat.process import in_slurm_step, in_torchrun
from timecat.study.study import Study


def numbered_member(options: dict[str, Any]) -> int | None:
    """The member that is named, or that SLURM's array task numbers; None for all.

    Raises:
        UserError: the task has no number, or several processes were started for all members.
    """
    member = options["member"]
    if member is None and not options["serve"]:
        member = _task("a member")
    by_srun = in_slurm_step() and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    by_torchrun = in_torchrun() and os.environ["WORLD_SIZE"] != "1"
    if member is None and (by_srun or by_torchrun):
        raise UserError(
            f"{'torchrun' if by_torchrun else 'srun'} started several processes for a whole study; name one of its "
            "members by --member K"
        )
    return member


def numbered_data_set(study: Study, name: str | None) -> str | None:
    """The data set that is named, or that SLURM's array task numbers; None for all.

    Raises:
        UserError: no probe has this number.
    """
    names = [data_name(path) for path in study.file.study.probes]
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if name is None and task is not None:
        if not task.isdigit() or int(task) >= len(names):
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; study.probes are numbered 0 to {len(names) - 1}")
        return names[int(task)]
    return name


def numbered_repetition(given: int | None) -> int | None:
    """The repetition that is named, or that SLURM's array task numbers; None for all.

    Raises:
        UserError: the task has no number.
    """
    return _task("a repetition") if given is None else given


def _task(of: str) -> int | None:
    """The number of this array task; None outside of an array."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if task is not None and not task.isdigit():
        raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; it must be the number of {of}")
    return None if task is None else int(task)
