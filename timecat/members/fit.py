"""`timecat fit` on a study: train one member here, or all that are unfinished, a process per GPU."""

import shutil
from contextlib import suppress

from timecat.cluster.members_table import diverged_in_words, live_table
from timecat.cluster.slots import FAILED, default_slots, say_of_slow_bf16, serve, train_in_slots, work
from timecat.cluster.stop import REQUEUED, STOPPED, Stop, requeue
from timecat.data.mixture import in_words
from timecat.errors import Diverged, UserError
from timecat.members.live_charts import write_live_charts
from timecat.members.train import trainer_of_members
from timecat.process import die_with_parent, is_first_rank
from timecat.study import progress
from timecat.study.plan import MemberPlan
from timecat.study.recipe import check_recipe
from timecat.study.saved_plan import save_plan, save_preprocessing
from timecat.study.study import Study
from timecat.terminal import say


def fit(
    study: Study,
    arguments: list[str],
    stop: Stop,
    *,
    member: int | None = None,
    slots: int | None = None,
    serving: bool = False,
) -> int:
    """Train every unfinished member of the study, or the one that is named.

    Args:
        arguments: the command line after `timecat fit`, for the processes of slots.
        stop: what signals ask for.
        member: its number in the plan.
        slots: members trained at once; by default one per visible GPU, and one on a CPU.
        serving: train the members that another `fit` names on standard input.

    Returns:
        The exit status: 0 where all are finished, 130 where the training was asked to stop, 75 where SLURM was asked to
        go on with it later, 1 where a member failed or is being trained by another process.
    """
    die_with_parent(STOPPED)
    if serving:
        return serve(study, trainer_of_members(study, stop, slots or 1), stop)
    plans = sorted(study.members, key=work, reverse=True) if member is None else [study.member(member)]
    for plan in plans:
        check_recipe(study, plan)
        directory = study.directory.member(plan.name)
        for step in plan.snapshots if progress.is_finished(study, plan) else ():
            directory.verify(step)
        if is_first_rank() and directory.is_begun() and not directory.preprocessing.exists():  # of an earlier version
            save_preprocessing(directory.preprocessing, plan.data)
    fresh = member is None and not study.directory.path.exists()
    try:
        return _train(study, plans, arguments, stop, member, slots)
    except UserError:
        if fresh:
            _leave_nothing(study)
        raise


def _train(
    study: Study, plans: list[MemberPlan], arguments: list[str], stop: Stop, member: int | None, slots: int | None
) -> int:
    save_plan(study)
    unfinished = [plan for plan in plans if not progress.is_finished(study, plan)]
    if not unfinished:
        say(f"{study.directory}: nothing to train, {len(plans)} of {len(plans)} members are finished")
        return 0
    slots = slots or default_slots(study)
    if is_first_rank():
        write_live_charts(study)
        say_of_slow_bf16(study)
        say(f"study {study.name}: training {len(unfinished)} of {len(study.members)} members")
        for line in in_words(study.data, study.batch_size):
            say(line)
    if member is not None or (len(unfinished) == 1 and study.trainer.devices_per_member == 1):
        try:
            with live_table(study, enabled=is_first_rank()):
                status = trainer_of_members(study, stop, slots)(unfinished[0])
        except Diverged as error:
            say(f"timecat: {error}", error=True)
            status = FAILED
    else:
        status = train_in_slots(study, unfinished, arguments, slots, stop)
    if status == REQUEUED:
        requeue()
    if status == FAILED and (words := diverged_in_words(study)) is not None:
        say(words, error=True)
    return status


def _leave_nothing(study: Study) -> None:
    """Remove what a refused run left of a study that was not there before, where no member was begun."""
    if not any(study.directory.member(plan.name).is_begun() for plan in study.members):
        shutil.rmtree(study.directory.path, ignore_errors=True)
        with suppress(OSError):  # other studies lie there
            study.directory.path.parent.rmdir()
