"""`timecat fit` on a study: train one member here, or all that are unfinished, a process per GPU."""

import os
from typing import Any

from timecat import files
from timecat.cluster.members_table import live_table, say_finished
from timecat.cluster.slots import FAILED, default_slots, devices_per_member, serve, train_in_slots, work
from timecat.cluster.stop import REQUEUED, STOPPED, Stop, requeue
from timecat.data.beton import count_images
from timecat.data.global_batch import check_ghosts
from timecat.data.root import data_root
from timecat.errors import UserError
from timecat.process import cores, die_with_parent, is_first_rank
from timecat.study import progress
from timecat.study.recipe import FILE, RECIPE, check_recipe, recipe, trained_with
from timecat.study.study import Run, Study
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
        arguments: the command line after `timecat fit`, for LightningCLI and for the processes of slots.
        stop: what signals ask for.
        member: index in the plan.
        slots: members trained at once; by default one per visible GPU, and one on a CPU.
        serving: train the members that another `fit` names on standard input.

    Returns:
        The exit status: 0 where all are finished, 130 where the training was asked to stop, 75 where SLURM was asked to
        go on with it later, 1 where a member failed or is being trained by another process.
    """
    die_with_parent(STOPPED)
    check_data(study)
    if serving:
        return serve(study, _trainer_of_members(study, arguments, stop, slots or 1), stop)
    runs = sorted(study.runs, key=lambda run: work(study, run), reverse=True) if member is None else [study.run(member)]
    for run in runs:
        check_recipe(study, run)
    unfinished = [run for run in runs if not progress.is_finished(study.directory / run.name, run)]
    if not unfinished:
        say(f"{study.directory}: nothing to train, {len(runs)} of {len(runs)} members are finished")
        return 0
    save_plan(study)
    slots = slots or default_slots(study)
    if member is not None or (len(unfinished) == 1 and devices_per_member(study) == 1):
        with live_table(study, enabled=is_first_rank()):
            status = _trainer_of_members(study, arguments, stop, slots)(unfinished[0])
    else:
        status = train_in_slots(study, unfinished, arguments, slots, stop)
    if status == REQUEUED:
        requeue()
    return status


def check_data(study: Study) -> None:
    """Refuse a study whose files are missing or damaged, before anything is started."""
    data = study.config.get("data") or {}
    if not data.get("train"):
        raise UserError("data.train is missing; name the .beton file to train on")
    for split in ("train", "val"):
        if data.get(split):
            count_images(data_root(data.get("root")) / data[split])


def save_plan(study: Study) -> None:
    if files.read_json(study.directory / "study.json") != study.resolved():
        files.write_json(study.directory / "study.json", study.resolved())


def _trainer_of_members(study: Study, arguments: list[str], stop: Stop, slots: int) -> Any:
    """A function that trains a member in this process and returns `fit`'s exit status for it."""
    # Each member computes with its share of the cores even when it is alone: sums depend on the number of threads.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // slots)))
    from timecat.members.checkpoint import Stopped
    from timecat.members.trainer import StudyCLI

    cli = StudyCLI(arguments)

    def train(run: Run) -> int:
        directory = study.directory / run.name
        held = progress.lock(directory, patient="SLURM_JOB_ID" in os.environ) if is_first_rank() else -1
        if held is None:
            say(f"timecat: {run.name} is being trained by another process", error=True)
            return FAILED
        try:
            if not progress.is_finished(directory, run):  # by another process, since we looked
                train_member(study, run, cli, stop)
            say_finished(study, run)
            return 0
        except Stopped as stopped:
            if not is_first_rank() and "SLURM_JOB_ID" not in os.environ:
                return 0  # Lightning's launcher kills the first rank where another one exits otherwise
            say(f"timecat: {run.name} {stopped}; the same command goes on from there", error=True)
            return REQUEUED if stop.requeues() else STOPPED
        finally:
            if held != -1:
                os.close(held)

    return train


def train_member(study: Study, run: Run, cli: Any, stop: Stop) -> None:
    """Train one member to its last step, from its checkpoint where there is one."""
    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger

    from timecat.members.checkpoint import Checkpoint, Stopped, newest_checkpoint
    from timecat.members.progress_callback import ProgressCallback

    directory = study.directory / run.name
    L.seed_everything(run.seed, verbose=False)
    member, data, trainer_settings = cli.instantiate(run)
    content = data.beton("train").fingerprint()
    if trained_with(directory).get(FILE, content) != content:
        raise UserError(
            f"{data.files['train']}: is not the file that {directory} was trained on; choose another study.name"
        )
    files.write_json(directory / RECIPE, {**recipe(study, run), FILE: content})
    resume, step = newest_checkpoint(directory) or (None, None)
    logger = TensorBoardLogger(study.directory, name=run.name, version="", purge_step=step, default_hp_metric=False)
    callbacks = [
        ProgressCallback(directory, run, study.batch_size),
        Checkpoint(directory, run, study.checkpoint_minutes, study.batch_size, stop),
    ]
    trainer = cli.trainer(
        trainer_settings,
        max_steps=run.steps,
        max_epochs=-1,
        logger=logger,
        default_root_dir=str(directory),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    if stop.is_set() and trainer.world_size == 1:  # several processes agree at a batch's end only
        raise Stopped("stopped before its first step")
    data.setup("fit")
    trainer.accumulate_grad_batches = data.accumulated(trainer.world_size)
    check_ghosts(data.images_at_once(trainer.world_size), member.hparams.ghost_batch_size)
    if trainer.check_val_every_n_epoch is None:
        trainer.val_check_interval *= trainer.accumulate_grad_batches  # a study counts steps, Lightning batches
    trainer.fit(member, datamodule=data, ckpt_path=resume and str(resume))
    if is_first_rank() and not progress.is_finished(directory, run):
        raise UserError(
            f"{directory}: its checkpoint is past a step at which the plan wants a snapshot "
            f"({', '.join(f'{step:,}' for step in run.snapshots)}); choose another study.name"
        )
