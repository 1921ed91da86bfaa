"""What `timecat run` would refuse after minutes, looked at in its first second, by all commands that plan or train."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from timecat.cluster.slots import trains_on_gpus
from timecat.config.data import DataConfig
from timecat.config.files import ProbeFile
from timecat.config.member import MemberConfig
from timecat.config.places import Places
from timecat.config.trainer import TrainerConfig
from timecat.data import checksums, global_batch
from timecat.data.class_map import labels_of_test
from timecat.data.index import ImageIndex, check_batch, split_labels
from timecat.data.missing import Origin, missing_files, no_source
from timecat.data.sources.outline import Outline
from timecat.errors import UserError
from timecat.heads.sweep import groups, largest_first
from timecat.process import in_slurm_step, in_torchrun
from timecat.report.memory import planned_memory
from timecat.study.directory import Protocol
from timecat.study.progress import is_finished
from timecat.study.recipe import CONTENT, check_recipe, trained_with
from timecat.study.study import Study

Command = Literal["plan", "run", "fit", "probe", "launch"]
TRAINS_HERE = ("run", "fit")


def check(
    study: Study, command: Command, *, data: str | None = None, one: bool = False, protocol: Protocol = "heldout"
) -> UserError | None:
    """Look at all that the command, and those that follow it, will read.

    Args:
        data: the one data set that `probe` is for.
        one: `fit` trains one member, of a study that was looked at before: its probes may be changed meanwhile.
        protocol: of `probe`.

    Returns:
        That a source of images is not there, of `plan`, whose numbers need none.

    Raises:
        UserError: a file is missing where the command needs it, is damaged, or is not what the config says; a class is
            too small to be split; images do not fill a batch; what lies in the study's directory is of another recipe.
    """
    probes = [] if one else study.probes_named(data) if command == "probe" else study.probes
    absent: UserError | None = None
    with study.file.places.told():
        _check_root(study.directory.path)
        if command != "probe":
            absent = _with_line(_check_members(study, command), study.file.places)
    for probe in probes:
        with probe.places.told(probe.path):
            images = dataclasses.replace(probe.data, num_classes=probe.model.num_classes)
            found = _check_images(images, command, reads=command in ("run", "probe"))
            absent = absent or _with_line(found, probe.places)
            _check_tests(probe, images)
            _check_heads(study, probe, protocol)
    return absent


def _with_line(error: UserError | None, places: Places) -> UserError | None:
    """An error that is not raised at once, as `Places.told` makes it."""
    where = places.of(str(error)) if error else ""
    return UserError(f"{where}: {error}") if where else error


def _check_root(path: Path) -> None:
    """Refuse a study's directory that can be none.

    Raises:
        UserError: it, or one above it, is a file.
    """
    for each in (path, *path.parents):
        if each.exists():
            if not each.is_dir():
                raise UserError(f"{each}: is in the way: a file where a directory must be; move it, or set study.root")
            return


def _check_members(study: Study, command: Command) -> UserError | None:
    trainer, absent = study.trainer, None
    for member in study.members if command != "launch" else ():
        check_recipe(study, member)
        if command in ("plan", *TRAINS_HERE):
            study.directory.member(member.name).look(member.snapshots)
    if command in TRAINS_HERE:
        devices = trainer.devices_per_member
        sharing = (study.data.device_batch_size, trainer.num_nodes, devices, study.model.ghost_batch_size)
        global_batch.in_words(study.batch_size, *sharing)
        check_machines(trainer)
        if trainer.sync_batchnorm and not trains_on_gpus(study):
            raise UserError("trainer.sync_batchnorm: torch has it for GPUs only; set it to false on a CPU")
    for data in study.all_data:
        members = [member for member in study.members if member.data == data]
        classes = min(member.model.num_classes for member in members)
        images = dataclasses.replace(data, num_classes=classes, test=None, tests=None)
        absent = _check_images(images, command, reads=command in TRAINS_HERE) or absent
        if not all(path.exists() for path in images.training_files):
            continue
        world = trainer.num_nodes * trainer.devices_per_member
        if data.batch_size % world == 0:
            parts = global_batch.batches_per_step(data.batch_size, data.device_batch_size, world)
            for member in members:
                check_one_value(member.model, member.data, world)
            check_validation(trainer, len(ImageIndex(images).split()[0]) // data.batch_size * parts)
        unfinished = [member for member in members if not is_finished(study, member)]
        stored = {member.name: trained_with(study.directory.member(member.name)).get(CONTENT) for member in unfinished}
        if not any(stored.values()):
            continue
        content = checksums.content(ImageIndex(images).beton("train"))
        for name, before in stored.items():
            if before is not None and not checksums.same_content(before, content):
                raise UserError(
                    f"{images.training_files[0]}: is not the file that {study.directory.member(name)} was trained on; "
                    "choose another study.name"
                )
    return absent


def check_one_value(model: MemberConfig, data: DataConfig, devices: int) -> None:
    """Refuse a batch of which BatchNorm would see one value a channel, as torch does at the first step.

    Args:
        devices: that share the batch.

    Raises:
        UserError: so; or they cannot share it equally.
    """
    at_once = data.batch_size // devices
    at_once //= global_batch.batches_per_step(data.batch_size, data.device_batch_size, devices)
    images, halved = model.ghost_batch_size or at_once, 32 if model.stem == "imagenet" else 8
    side = (data.train_resolution or (data.resolution,))[0]
    if images == 1 and side <= halved:
        raise UserError(
            f"data.resolution {side}: of one image at once the last stage has one value a channel, which BatchNorm "
            "cannot normalise; choose a larger one, or batches of two images or more"
        )


def check_machines(trainer: TrainerConfig) -> None:
    """Refuse to wait for machines that nobody starts, which Lightning does for ever, and to be a process too many.

    Raises:
        UserError: several machines, and neither srun, torchrun nor NODE_RANK tells which of them this is; or more
            processes than a member has.
    """
    here = trainer.devices_per_member
    all_ = trainer.num_nodes * here
    for key, count in (("RANK", all_), ("SLURM_PROCID", all_), ("LOCAL_RANK", here)):
        rank = int(os.environ.get(key, "0"))
        if rank >= count and (key != "SLURM_PROCID" or in_slurm_step()):
            raise UserError(
                f"{key} is {rank}, but trainer.devices and trainer.num_nodes make {count} process{'es' * (count > 1)}; "
                "start no more, or unset it"
            )
    told = in_slurm_step() or in_torchrun() or {"NODE_RANK", "GROUP_RANK"} & os.environ.keys()
    if trainer.num_nodes > 1 and not told:
        raise UserError(
            f"trainer.num_nodes is {trainer.num_nodes}, but this is one machine: set it to 1, or start the training on "
            "all of them by timecat launch, srun or torchrun, or give each MASTER_ADDR, MASTER_PORT and NODE_RANK"
        )


def check_validation(trainer: TrainerConfig, batches: int) -> None:
    """Refuse to validate after more batches than an epoch has, as Lightning does once all is set up.

    Args:
        batches: of an epoch, as Lightning counts them, several a step where gradients are accumulated.

    Raises:
        UserError: so.
    """
    interval = trainer.other.get("val_check_interval")
    by_epoch = trainer.other.get("check_val_every_n_epoch", 1) is not None
    if by_epoch and isinstance(interval, int) and interval > batches:
        raise UserError(
            f"trainer.val_check_interval is {interval:,}, an epoch has {batches:,} batches; choose fewer, or set "
            "trainer.check_val_every_n_epoch to null, so that it counts through the epochs"
        )


def _check_images(data: DataConfig, command: Command, reads: bool) -> UserError | None:
    """The files that are there, and what those will hold that are not; as `check` returns and raises.

    Args:
        reads: whether the command needs the files; `run` writes those that have a source.
    """
    index, missing = ImageIndex(data), missing_files([data])
    writes = command in ("plan", "run")
    for path, origin in missing.items():
        if reads and (origin is None or not writes):
            raise no_source(path)
    for split, path in data.files.items():
        if path.exists():
            index.beton(split)
    if not any(path in missing for path in data.training_files):
        check_batch(data.training_files[0], len(index.split()[0]), data.batch_size)
    for path, origin in missing.items():
        if origin is None or not writes:
            continue
        if (why := origin.absent()) is not None:
            absent = UserError(why)
            if command == "run":
                raise absent
            return absent
        made_of = origin.outline(path)
        if path == data.files.get("train"):
            _check_outline(data, path, origin, made_of)
    return None


def _check_outline(data: DataConfig, path: Path, origin: Origin, made_of: Outline) -> None:
    """The training file that is still to be written."""
    if data.num_classes is not None and len(made_of.classes) > data.num_classes:
        raise UserError(
            f"{origin.source}: has {len(made_of.classes)} classes, model.num_classes says {data.num_classes}; mend it"
        )
    if data.train_images not in (None, len(made_of.labels)) and not data.skip_broken:
        raise UserError(
            f"{origin.source}: has {len(made_of.labels):,} images to train on, data.train_images says "
            f"{data.train_images:,}; mend the one that is wrong"
        )
    kept, _ = split_labels(made_of.labels, data, f"{path}, made of {origin.source}", made_of.classes)
    check_batch(path, len(kept), data.batch_size)


def _check_tests(probe: ProbeFile, data: DataConfig) -> None:
    index = ImageIndex(data)
    for name, test in data.extra_tests.items():
        if not test.ood and (data.directory / test.test).exists() and data.files["train"].exists():
            labels_of_test(index, probe.model.num_classes, name)


def _check_heads(study: Study, probe: ProbeFile, protocol: Protocol) -> None:
    classes = probe.model.num_classes
    if probe.probe.solver == "lbfgs" and protocol == "paper":
        raise UserError("probe.solver lbfgs: the paper's protocol trains by SGD; use heldout, or solver sgd")
    for cat in study.seeded_cats(probe.name):
        for snapshot in cat.trained if cat.cat.head == "own" else ():
            if snapshot.plan.model.num_classes != classes:
                raise UserError(
                    f"study.cats.{cat.cat.name}.head: its members tell {snapshot.plan.model.num_classes:,} classes, "
                    f"the probe {probe.name} has {classes:,}; name others in study.cats.{cat.cat.name}.probes"
                )
    memory = planned_memory(probe)
    if memory is not None:
        fitted = [cat for cat in largest_first(study, probe.name) if cat.cat.head == "linear"]
        groups(fitted, probe.probe.grid(probe.model.lr), classes, memory.gigabytes)
