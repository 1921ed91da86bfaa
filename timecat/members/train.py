"""Train one member of a study to its last step, from its checkpoint where there is one."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from timecat.cluster.members_table import say_finished
from timecat.cluster.slots import FAILED
from timecat.cluster.stop import REQUEUED, STOPPED, Stop, Stopped
from timecat.data import checksums
from timecat.errors import Diverged, UserError
from timecat.process import compute_threads, is_first_rank, started_here
from timecat.study import progress
from timecat.study.directory import MemberDirectory, write_record
from timecat.study.plan import MemberPlan
from timecat.study.recipe import CONTENT, recipe, trained_with
from timecat.study.saved_plan import save_preprocessing
from timecat.study.study import Study
from timecat.terminal import say

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from timecat.data.datamodule import ImageData
    from timecat.members.member import Member
    from timecat.members.trainer import StudyCLI, TimecatCLI


def trainer_of_members(study: Study, stop: Stop, slots: int) -> Callable[[MemberPlan], int]:
    """A function that trains a member in this process and returns `fit`'s exit status for it.

    It raises Diverged where the member did, in the process that speaks for it.
    """
    # Each member computes with its share of the cores even when it is alone: sums depend on the number of threads.
    processes = slots * started_here(study.trainer.devices_per_member)
    os.environ.setdefault("OMP_NUM_THREADS", str(compute_threads(processes)))
    from timecat.members.trainer import StudyCLI

    cli = StudyCLI(study)

    def train(plan: MemberPlan) -> int:
        directory = study.directory.member(plan.name)
        patient = "SLURM_JOB_ID" in os.environ
        lock = progress.lock(directory.lock, patient) if is_first_rank() else -1
        if lock is None:
            say(f"timecat: {plan.name} is being trained by another process", error=True)
            return FAILED
        try:
            if not progress.is_finished(study, plan):  # by another process, since we looked
                train_member(study, plan, cli, stop)
            say_finished(study, plan)
            return 0
        except Diverged as error:
            if is_silent():
                return 0
            raise Diverged(f"{error}; lower model.lr, in a study of another name") from None
        except Stopped as stopped:
            if is_silent():
                return 0
            say(f"timecat: {plan.name} {stopped}; the same command goes on from there", error=True)
            return REQUEUED if stop.requeues() else STOPPED
        finally:
            if lock != -1:
                os.close(lock)

    return train


def is_silent() -> bool:
    """Whether another process of the member speaks for it, and exits with what became of it: Lightning's launcher kills
    the first rank where another one does not exit with 0."""
    return not is_first_rank() and "SLURM_JOB_ID" not in os.environ


def train_member(study: Study, plan: MemberPlan, cli: "StudyCLI", stop: Stop) -> None:
    """Train one member.

    Raises:
        Stopped: it was asked to; the checkpoint is saved.
        Diverged: its loss, its weights or the optimiser's state is not finite any more; nothing of that was saved.
        UserError: what is there was trained on another file, or is past a step that the plan wants.
    """
    import lightning as L
    import torch

    from timecat.members.loggers import user_loggers

    torch.compiler.reset()  # graphs of members before this one count towards torch's limit, after which none is made
    directory = study.directory.member(plan.name)
    L.seed_everything(plan.seed, verbose=False)
    member, data = cli.instantiate(plan)
    content = checksums.content(data.beton("train"))
    if not checksums.same_content(trained_with(directory).get(CONTENT, content), content):
        raise UserError(
            f"{plan.data.training_files[0]}: is not the file that {directory} was trained on; choose another study.name"
        )
    if is_first_rank():  # which sweeps what is half written, also by another process
        write_record(directory.recipe, {**recipe(study, plan), CONTENT: content})
        save_preprocessing(directory.preprocessing, plan.data)
    loggers = user_loggers(study.file.written["trainer"].get("logger"), study.directory, directory)
    train_to_the_end(cli, directory, plan, member, data, study.checkpoint_minutes, stop, loggers=loggers)
    if is_first_rank() and not progress.is_finished(study, plan):
        raise UserError(
            f"{directory}: its checkpoint is past a step at which the plan wants a snapshot "
            f"({', '.join(f'{step:,}' for step in plan.snapshots)}); choose another study.name, or move {directory} "
            "away and `timecat fit` trains it again"
        )


def train_to_the_end(
    cli: "TimecatCLI",
    directory: MemberDirectory,
    plan: MemberPlan,
    member: "Member",
    data: "ImageData",
    checkpoint_minutes: float,
    stop: Stop,
    callbacks: Sequence["Callback"] = (),
    loggers: Sequence["Logger"] = (),
    **settings: Any,
) -> None:
    """Train a module from its newest checkpoint, or from its start, to the plan's last step.

    Args:
        callbacks, settings: of the trainer, besides the config's and those that all members have.
        loggers: beside TensorBoard's.

    Raises:
        Stopped: it was asked to; the checkpoint is saved.
        Diverged: as `train_member`.
    """
    from lightning.pytorch.loggers import TensorBoardLogger

    from timecat.data.global_batch import check_ghosts
    from timecat.members.checkpoint import BesideTheOld, Checkpoint, newest_checkpoint, sweep
    from timecat.members.last_validation import LastValidation
    from timecat.members.loggers import GoOn, keep_rows
    from timecat.members.progress_callback import ProgressCallback

    if is_first_rank():
        sweep(directory)
    resume, step = newest_checkpoint(directory) or (None, None)
    tensorboard = TensorBoardLogger(
        str(directory.path.parent), name=directory.path.name, version="", purge_step=step, default_hp_metric=False
    )
    trainer = cli.trainer_of_member(
        max_steps=plan.steps,
        max_epochs=-1,
        logger=[tensorboard, *loggers],
        default_root_dir=str(directory),
        callbacks=[
            ProgressCallback(directory, plan, plan.data.batch_size),
            Checkpoint(directory, plan, checkpoint_minutes, plan.data.batch_size, stop),
            LastValidation(plan),
            GoOn(directory, loggers),
            *callbacks,
        ],
        plugins=[BesideTheOld()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **settings,
    )
    if stop.is_set() and trainer.world_size == 1:  # several processes agree at a batch's end only
        raise Stopped("stopped before its first step")
    keep_rows(loggers, step or 0)
    data.setup("fit")
    trainer.accumulate_grad_batches = data.accumulated(trainer.world_size)
    check_ghosts(data.images_at_once(trainer.world_size), plan.model.ghost_batch_size)
    if trainer.check_val_every_n_epoch is None:
        trainer.val_check_interval *= trainer.accumulate_grad_batches  # a study counts steps, Lightning batches
    try:
        trainer.fit(member, datamodule=data, ckpt_path=resume and str(resume))
    except Diverged as error:
        good = newest_checkpoint(directory)
        left = f"{good[0].name}, of step {good[1]:,}" if good else "none yet"
        raise Diverged(f"{directory.path.name} diverged: {error}; its last good checkpoint: {left}") from None
