"""`timecat launch`: the whole study as SLURM jobs, by the scripts of launch/; only what is missing is submitted."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

from timecat import files
from timecat.cluster import slurm
from timecat.cluster.arrays import MemberArray, arrays, as_time
from timecat.cluster.launch_lock import launch_lock
from timecat.cluster.sbatch_options import Options
from timecat.cluster.scripts import filled_in, longest_minutes
from timecat.config.files import data_name
from timecat.data.global_batch import in_words
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory
from timecat.study.plan import MemberPlan
from timecat.study.progress import is_finished
from timecat.study.recipe import check_recipe
from timecat.study.results import count_probed, is_reported
from timecat.study.study import Study
from timecat.terminal import say


def launch(study: Study, forwarded: list[str], given: dict[str, Any], arguments: list[str]) -> int:
    """Submit what of the study is neither finished nor waiting nor running; or print the scripts.

    Args:
        forwarded: --config, overrides and cats, for the tasks.
        given: launch's own options: nodes, devices, throttle, images_per_sec, dry_run.
        arguments: sbatch's.

    Raises:
        UserError: no SLURM, the plan does not fit it, or SLURM refuses a script.
    """
    options = Options.read(study, given, arguments)
    sharing = (study.data.device_batch_size, options.nodes, options.devices, study.model.ghost_batch_size)
    batch = in_words(study.batch_size, *sharing)
    if given["dry_run"]:
        missing = _missing(study)
        members = _arrays(study, missing, options, given)
        for name, text in filled_in(study, forwarded, options, members, missing.probes).items():
            print(f"# ---- {name}\n{text}", end="")
        print(f"# ---- a member: {batch}")
        for array in members:
            limit = f" --time={as_time(array.minutes)}" if array.minutes else ""
            print(f"# sbatch --array={array.numbers}{limit} member.sbatch")
        for line in _lines(study, missing, dict.fromkeys(missing.keys, "would submit")):
            print(f"# {line}")
        return 0
    if not slurm.is_here():
        raise UserError("no sbatch here: run this on the cluster's login node, or train here with `timecat run`")
    with launch_lock(study.directory):
        missing = _missing(study)
        if not missing.submits:
            for line in _lines(study, missing, {}):
                say(line)
            return 0
        for plan in missing.unfinished:
            check_recipe(study, plan)
        members = _arrays(study, missing, options, given)
        _check_numbers(missing)
        _check_cluster(options, 0 if study.trainer.accelerator == "cpu" else options.devices)
        _warn_of_missing_data(study)
        directory = study.directory.launch
        for name, text in filled_in(study, forwarded, options, members, missing.probes).items():
            files.write_bytes(directory / name, text.encode())
        for stage in ("member", "probe", "report"):
            try:
                slurm.ask("sbatch", "--test-only", str(directory / f"{stage}.sbatch"))
            except UserError as error:
                raise UserError(f"SLURM refuses {directory / stage}.sbatch: {error}") from None
        for task in missing.outdated:
            slurm.ask("scancel", task.job)
        study.directory.logs.mkdir(parents=True, exist_ok=True)
        _submit(study.directory, missing, members)
    say(f"{batch} for each member")
    for line in _lines(study, missing, slurm.submitted(study.directory)):
        print(line)
    print(f"timecat status {shlex.join(forwarded)}")
    print(f"tensorboard --logdir {study.directory}")
    return 0


def _lines(study: Study, missing: "Missing", jobs: dict[tuple[str, int], str]) -> list[str]:
    """A line for each task that is submitted, with its job; or why none is."""
    if not missing.submits:
        why = f"{len(missing.alive)} tasks wait or run" if missing.alive else "the study is finished"
        return [f"{study.directory}: nothing to submit; {why}"]
    lines = [f"{jobs['member', index]}  member {index} ({study.member(index).name})" for index in missing.members]
    for place in missing.probes:
        name = data_name(study.file.study.probes[place])
        lines.append(f"{jobs['probe', place]}  probe {name}, after {len(missing.unfinished)} members")
    if missing.report:
        lines.append(f"{jobs['report', 0]}  report, after the probes")
    return lines


@dataclass
class Missing:
    """What a launch submits, and what of earlier launches it builds on.

    Args:
        unfinished: members without a marker.
        members, probes, report: to submit, by their numbers.
        earlier: tasks that already train some of the unfinished members.
        probing: tasks that already probe, or wait for the right members.
        outdated: tasks that wait, and do not know of what is submitted now.
        alive: all tasks of earlier launches that wait or run.
    """

    unfinished: list[MemberPlan]
    members: list[int]
    probes: list[int]
    report: bool
    earlier: list[slurm.Task]
    probing: list[slurm.Task]
    outdated: list[slurm.Task]
    alive: list[slurm.Task]

    @property
    def submits(self) -> bool:
        return bool(self.members or self.probes or self.report)

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Stage and number of each task that is submitted."""
        tasks = [("member", index) for index in self.members] + [("probe", place) for place in self.probes]
        return [*tasks, *([("report", 0)] if self.report else [])]


def _missing(study: Study) -> Missing:
    alive = {key: task for key, task in slurm.tasks(study.directory).items() if task.is_alive}
    unfinished = [plan for plan in study.members if not _is_whole(study, plan)]
    members = [plan.index for plan in unfinished if ("member", plan.index) not in alive]
    outdated: set[tuple[str, int]] = set()
    if members:
        outdated = {key for key, task in alive.items() if key[0] != "member" and task.state == "PENDING"}
    counts = [count_probed(study, probe) for probe in study.probes]
    unprobed = [place for place, (done, wanted) in enumerate(counts) if unfinished or done < wanted]
    probes = [place for place in unprobed if ("probe", place) not in alive.keys() - outdated]
    if probes:
        outdated |= alive.keys() & {("report", 0)}
    report = bool(study.probes) and not is_reported(study) and ("report", 0) not in alive.keys() - outdated
    return Missing(
        unfinished,
        members,
        probes,
        report,
        earlier=[alive["member", plan.index] for plan in unfinished if ("member", plan.index) in alive],
        probing=[task for key, task in alive.items() if key[0] == "probe" and key not in outdated],
        outdated=[alive[key] for key in sorted(outdated)],
        alive=list(alive.values()),
    )


def _arrays(study: Study, missing: Missing, options: Options, given: dict[str, Any]) -> list[MemberArray]:
    """The members to submit, as they are submitted."""
    plans = [study.member(index) for index in missing.members]
    speed = given["images_per_sec"] and given["images_per_sec"] * options.nodes * options.devices
    return arrays(plans, study.batch_size, speed, longest_minutes(options.sbatch), given["throttle"])


def _check_numbers(missing: Missing) -> None:
    """Refuse a task's number that SLURM would refuse after others are submitted."""
    most = slurm.max_array_size()
    for stage, numbers in (("member", missing.members), ("probe", missing.probes)):
        if most is not None and numbers and max(numbers) >= most:
            raise UserError(
                f"{stage} {max(numbers):,}: this cluster's MaxArraySize is {most:,}, so that tasks are numbered to "
                f"{most - 1:,}; take fewer study.repetitions, in several studies with other seeds"
            )


def _submit(directory: StudyDirectory, missing: Missing, members: list[MemberArray]) -> None:
    """Call slurm.sh, which calls sbatch."""
    environment = {
        **os.environ,
        "SCRIPTS": str(directory.launch),
        "JOBS": str(directory.jobs),
        "MEMBERS": " ".join(map(str, members)),
        "EARLIER": " ".join(task.job for task in missing.earlier),
        "PROBES": ",".join(map(str, missing.probes)),
        "PROBING": " ".join(task.job for task in missing.probing),
        "REPORT": "yes" if missing.report else "",
    }
    ended = subprocess.run(
        ["bash", str(directory.launch / "slurm.sh")], env=environment, capture_output=True, text=True
    )
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"slurm.sh failed: {why}; launch again to submit the rest")


def _is_whole(study: Study, plan: MemberPlan) -> bool:
    """Whether the member is finished and its snapshots are those that were written.

    Raises:
        UserError: a snapshot is another one.
    """
    if not is_finished(study, plan):
        return False
    for step in plan.snapshots:
        study.directory.member(plan.name).verify(step)
    return True


def _check_cluster(options: Options, gpus: int) -> None:
    """Say what does not fit in the plan's words; all else sbatch --test-only says."""
    partitions = slurm.partitions()
    names = (options.sbatch.get("--partition") or "").split(",")
    for name in names:
        if name not in partitions and name:
            known = ", ".join(sorted(filter(None, partitions)))
            raise UserError(f"--partition {name}: no such partition; the cluster has {known}")
    offers = [partitions[name] for name in names if name in partitions]
    if not offers:  # no default partition; sbatch will say so
        return
    where = f"partition {','.join(names)}" if names[0] else "the default partition"
    if options.nodes > (most := max(offer.nodes for offer in offers)):
        raise UserError(f"--nodes {options.nodes}: {where} has {most} nodes")
    asked = options.gpus.count if options.gpus else gpus
    if asked > (most := max(offer.gpus for offer in offers)):
        raise UserError(f"{asked} GPUs a node asked: {where} has {most} at most; give --devices or --gpus-per-node")


def _warn_of_missing_data(study: Study) -> None:
    for path in study.train_files:
        if not path.exists():
            say(f"timecat: {path}: not there on this machine; the nodes must see it", error=True)
