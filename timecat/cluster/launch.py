"""`timecat launch`: the whole study as SLURM jobs, by the scripts of launch/; only what is missing is submitted."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timecat import files
from timecat.cluster import slurm
from timecat.cluster.launch_lock import launch_lock
from timecat.config.files import data_name
from timecat.data.global_batch import in_words
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory
from timecat.study.progress import is_finished
from timecat.study.recipe import check_recipe
from timecat.study.results import count_probed, is_reported
from timecat.study.study import MemberPlan, Study
from timecat.terminal import say

SCRIPTS = ("member.sbatch", "probe.sbatch", "report.sbatch", "slurm.sh")
SHORT = {
    "-A": "--account",
    "-C": "--constraint",
    "-G": "--gpus",
    "-N": "--nodes",
    "-c": "--cpus-per-task",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
    "-w": "--nodelist",
    "-x": "--exclude",
}
OURS = ("--array", "--dependency", "--kill-on-invalid-dep", "--ntasks", "--ntasks-per-node", "--wrap", "--signal")
# What the report takes of the options; the rest is about the machines that train.
OF_THE_REPORT = ("--partition", "--account", "--qos", "--reservation", "--clusters", "--chdir", "--mail-user")
GPU_OPTIONS = ("--gpus-per-node", "--gres", "--gpus")
REMOVED = object()


@dataclass
class Options:
    """The command line of `timecat launch`.

    Args:
        nodes, devices: of each member.
        sbatch: everything else, by its long name; None where an option has no value.
    """

    nodes: int = 1
    devices: int = 1
    sbatch: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def read(cls, study: Study, options: dict[str, Any], arguments: list[str]) -> "Options":
        """Take launch's own options, and sbatch's from the rest of the command line.

        Raises:
            UserError: no option, or one that is launch's own to set.
        """
        given: dict[str, str | None] = {}
        rest = list(arguments)
        while rest:
            name, has_value, value = rest.pop(0).partition("=")
            if not name.startswith("-"):
                raise UserError(f"timecat launch: {name!r} is no option; see timecat launch --help")
            name = SHORT.get(name, name)
            if name in OURS:
                raise UserError(f"timecat launch: {name} follows from the plan; leave it out")
            if not has_value and rest and not rest[0].startswith("-"):
                value, has_value = rest.pop(0), "="
            given[name] = value if has_value else None
        nodes = options["nodes"] or study.trainer.num_nodes
        devices = options["devices"] or _gpus_per_node(given) or study.trainer.devices_per_member
        return cls(nodes, devices, given)


def _gpus_per_node(sbatch: dict[str, str | None]) -> int:
    return sum(slurm.gpus(f"gpu:{part}") for part in (sbatch.get("--gpus-per-node") or "").split(","))


def launch(study: Study, forwarded: list[str], given: dict[str, Any], arguments: list[str]) -> int:
    """Submit what of the study is neither finished nor waiting nor running; or print the scripts.

    Args:
        forwarded: --config, overrides and cats, for the tasks.
        given: launch's own options: nodes, devices, dry_run.
        arguments: sbatch's.

    Raises:
        UserError: no SLURM, the plan does not fit it, or SLURM refuses a script.
    """
    options = Options.read(study, given, arguments)
    sharing = (study.data.device_batch_size, options.nodes, options.devices, study.model.ghost_batch_size)
    batch = in_words(study.batch_size, *sharing)
    if given["dry_run"]:
        missing = _missing(study)
        for name, text in filled_in(study, forwarded, options, missing).items():
            print(f"# ---- {name}\n{text}", end="")
        _say_missing(study, missing, dict.fromkeys(missing.keys, "would submit"))
        return 0
    if not slurm.is_here():
        raise UserError("no sbatch here: run this on the cluster's login node, or train here with `timecat run`")
    with launch_lock(study.directory):
        missing = _missing(study)
        if not missing.submits:
            _say_missing(study, missing, {})
            return 0
        for plan in missing.unfinished:
            check_recipe(study, plan)
        _check_cluster(options, 0 if study.trainer.accelerator == "cpu" else options.devices)
        _warn_of_missing_data(study)
        directory = study.directory.launch
        for name, text in filled_in(study, forwarded, options, missing).items():
            files.write_bytes(directory / name, text.encode())
        for stage in ("member", "probe", "report"):
            try:
                slurm.ask("sbatch", "--test-only", str(directory / f"{stage}.sbatch"))
            except UserError as error:
                raise UserError(f"SLURM refuses {directory / stage}.sbatch: {error}") from None
        for task in missing.outdated:
            slurm.ask("scancel", task.job)
        study.directory.logs.mkdir(parents=True, exist_ok=True)
        _submit(study.directory, missing)
    say(f"{batch} for each member")
    _say_missing(study, missing, slurm.submitted(study.directory))
    print(f"timecat status {shlex.join(forwarded)}")
    print(f"tensorboard --logdir {study.directory}")
    return 0


def _say_missing(study: Study, missing: "Missing", jobs: dict[tuple[str, int], str]) -> None:
    """A line for each task that is submitted, with its job."""
    if not missing.submits:
        why = f"{len(missing.alive)} tasks wait or run" if missing.alive else "the study is finished"
        say(f"{study.directory}: nothing to submit; {why}")
    for index in missing.members:
        print(f"{jobs['member', index]}  member {index} ({study.member(index).name})")
    for place in missing.probes:
        name = data_name(study.file.study.probes[place])
        print(f"{jobs['probe', place]}  probe {name}, after {len(missing.unfinished)} members")
    if missing.report:
        print(f"{jobs['report', 0]}  report, after the probes")


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


def _submit(directory: StudyDirectory, missing: Missing) -> None:
    """Call slurm.sh, which calls sbatch."""
    environment = {
        **os.environ,
        "SCRIPTS": str(directory.launch),
        "JOBS": str(directory.jobs),
        "MEMBERS": ",".join(map(str, missing.members)),
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


def filled_in(study: Study, forwarded: list[str], options: Options, missing: Missing) -> dict[str, str]:
    """The scripts of ./launch, else of timecat's own launch/, with the study's arguments, logs and sbatch options."""
    places = [Path("launch"), Path(__file__).parents[2] / "launch"]
    place = next((place for place in places if (place / SCRIPTS[0]).is_file()), None)
    if place is None:
        raise UserError("launch/member.sbatch: no such file here; copy the launch directory of timecat's source")
    gpus: dict[str, object] = {"--gpus-per-node": options.devices}
    if study.trainer.accelerator == "cpu" or set(GPU_OPTIONS) & set(options.sbatch):
        gpus["--gpus-per-node"] = REMOVED
    logs = study.directory.logs
    of_the_report = {key: value for key, value in options.sbatch.items() if key in OF_THE_REPORT}
    settings = {
        "member.sbatch": {
            "--output": logs / "fit_%a.log",
            "--array": _ranges(missing.members or [plan.index for plan in study.members]),
            "--nodes": options.nodes,
            "--ntasks-per-node": options.devices,
            **gpus,
            **options.sbatch,
        },
        "probe.sbatch": {
            "--output": logs / "probe_%a.log",
            "--array": _ranges(missing.probes or list(range(max(1, len(study.file.study.probes))))),
            **({} if gpus["--gpus-per-node"] is not REMOVED else gpus),
            **options.sbatch,
        },
        "report.sbatch": {"--output": study.directory.report_log, **of_the_report},
    }
    timecat = os.environ.get("TIMECAT", f"{sys.executable} -m timecat")
    lines = [f"export TIMECAT={shlex.quote(timecat)}", f"set -- {shlex.join(forwarded)}"]
    return {name: _fill((place / name).read_text(), settings.get(name), lines) for name in SCRIPTS}


def _fill(text: str, settings: dict | None, lines: list[str]) -> str:
    """Put the settings into the script's #SBATCH lines, and the lines below them."""
    if settings is None:
        return text
    script = text.splitlines()
    for name, value in settings.items():
        at = [i for i, line in enumerate(script) if line.startswith("#SBATCH")]
        same = [i for i in at if script[i].split()[1].partition("=")[0] == name]
        new = [] if value is REMOVED else [f"#SBATCH {name}" + ("" if value is None else f"={shlex.quote(str(value))}")]
        place = same[0] if same else at[-1] + 1
        script[place : place + len(same)] = new
    end = [i for i, line in enumerate(script) if line.startswith("#SBATCH")][-1] + 1
    script[end:end] = lines
    return "\n".join(script) + "\n"


def _ranges(numbers: list[int]) -> str:
    """Numbers as --array takes them, such as 0,2-4."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


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
    asked = _gpus_per_node(options.sbatch) if set(GPU_OPTIONS) & set(options.sbatch) else gpus
    if asked > (most := max(offer.gpus for offer in offers)):
        raise UserError(f"{asked} GPUs a node asked: {where} has {most} at most; give --devices or --gpus-per-node")


def _warn_of_missing_data(study: Study) -> None:
    path = study.data.files["train"]
    if not path.exists():
        say(f"timecat: {path}: not there on this machine; the nodes must see it", error=True)
