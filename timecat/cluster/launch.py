"""`timecat launch`: the whole study as SLURM jobs, by the scripts of launch/; only what is missing is submitted."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from timecat import files
from timecat.cluster import slurm
from timecat.cluster.launch_lock import launch_lock
from timecat.config import data_name
from timecat.data.global_batch import told
from timecat.data.root import data_root
from timecat.errors import UserError
from timecat.report.status import is_probed
from timecat.study import progress
from timecat.study.recipe import check_recipe
from timecat.study.study import Run, Study
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
        dry_run: print the scripts, submit nothing.
        sbatch: everything else, by its long name; None where an option has no value.
    """

    nodes: int = 1
    devices: int = 1
    dry_run: bool = False
    sbatch: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def read(cls, study: Study, arguments: list[str]) -> "Options":
        """Parse what is left of the command line after configs and overrides.

        Raises:
            UserError: no option, a number that is none, or an option that is launch's own to set.
        """
        given: dict[str, str | None] = {}
        rest = list(arguments)
        while rest:
            name, has_value, value = rest.pop(0).partition("=")
            if not name.startswith("-"):
                raise UserError(f"timecat launch: {name!r} is no option; see timecat --help")
            name = SHORT.get(name, name)
            if name in OURS:
                raise UserError(f"timecat launch: {name} follows from the plan; leave it out")
            if not has_value and rest and not rest[0].startswith("-"):
                value, has_value = rest.pop(0), "="
            given[name] = value if has_value else None
        options = cls(dry_run="--dry-run" in given)
        given.pop("--dry-run", None)
        trainer = study.config.get("trainer") or {}
        asked = _gpus_per_node(given)
        configured = trainer.get("devices") if isinstance(trainer.get("devices"), int) else 1
        options.nodes = _number("--nodes", given.pop("--nodes", None) or trainer.get("num_nodes") or 1)
        options.devices = _number("--devices", given.pop("--devices", None) or asked or configured)
        options.sbatch = given
        return options


def _gpus_per_node(sbatch: dict[str, str | None]) -> int:
    return sum(slurm.gpus(f"gpu:{part}") for part in (sbatch.get("--gpus-per-node") or "").split(","))


def _number(name: str, value: object) -> int:
    if not str(value).isdigit() or int(str(value)) < 1:
        raise UserError(f"timecat launch: {name} needs a number of 1 or more, not {value!r}")
    return int(str(value))


def launch(study: Study, forwarded: list[str], arguments: list[str]) -> int:
    """Submit what of the study is neither finished nor waiting nor running; or print the scripts.

    Args:
        forwarded: --config and overrides, for the tasks.
        arguments: the rest of the command line.

    Raises:
        UserError: no SLURM, the plan does not fit it, or SLURM refuses a script.
    """
    options = Options.read(study, arguments)
    data = study.config.get("data") or {}
    device_batch_size = data.get("device_batch_size")
    batch = told(study.batch_size, device_batch_size, options.nodes, options.devices, study.ghost_batch_size)
    scripts = filled_in(study, forwarded, options)
    if options.dry_run:
        for name, text in scripts.items():
            print(f"# ---- {name}\n{text}", end="")
        return 0
    if not slurm.is_here():
        raise UserError("no sbatch here: run this on the cluster's login node, or train here with `timecat run`")
    with launch_lock(study.directory):
        missing = _missing(study)
        if not missing.submits:
            why = f"{len(missing.alive)} tasks wait or run" if missing.alive else "the study is finished"
            say(f"{study.directory}: nothing to submit; {why}")
            return 0
        for run in missing.unfinished:
            check_recipe(study, run)
        _check_cluster(options, 0 if _is_on_cpu(study) else options.devices)
        _warn_of_missing_data(study)
        directory = study.directory / "launch"
        for name, text in scripts.items():
            files.write_bytes(directory / name, text.encode())
        for stage in ("member", "probe", "report"):
            try:
                slurm.ask("sbatch", "--test-only", str(directory / f"{stage}.sbatch"))
            except UserError as error:
                raise UserError(f"SLURM refuses {directory / stage}.sbatch: {error}") from None
        for task in missing.outdated:
            slurm.ask("scancel", task.job)
        (study.directory / "logs").mkdir(parents=True, exist_ok=True)
        _submit(directory, missing)
    jobs = slurm.submitted(study.directory)
    say(f"{batch} for each member")
    for index in missing.members:
        print(f"{jobs['member', index]}  member {index} ({study.run(index).name})")
    for index in missing.probes:
        print(
            f"{jobs['probe', index]}  probe {data_name(study.probes[index])}, after {len(missing.unfinished)} members"
        )
    if missing.report:
        print(f"{jobs['report', 0]}  report, after the probes")
    print(f"timecat status {shlex.join(forwarded)}")
    print(f"tensorboard --logdir {study.directory}")
    return 0


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

    unfinished: list[Run]
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


def _missing(study: Study) -> Missing:
    alive = {key: task for key, task in slurm.tasks(study.directory).items() if task.is_alive}
    unfinished = [run for run in study.runs if not _is_whole(study, run)]
    members = [run.index for run in unfinished if ("member", run.index) not in alive]
    outdated = set()
    if members:
        outdated = {key for key, task in alive.items() if key[0] != "member" and task.state == "PENDING"}
    unprobed = [i for i, path in enumerate(study.probes) if unfinished or not is_probed(study, path)]
    probes = [i for i in unprobed if ("probe", i) not in alive.keys() - outdated]
    if probes:
        outdated |= alive.keys() & {("report", 0)}
    is_reported = not unprobed and (study.directory / "report.json").exists()
    report = bool(study.probes) and not is_reported and ("report", 0) not in alive.keys() - outdated
    return Missing(
        unfinished,
        members,
        probes,
        report,
        earlier=[alive["member", run.index] for run in unfinished if ("member", run.index) in alive],
        probing=[task for key, task in alive.items() if key[0] == "probe" and key not in outdated],
        outdated=[alive[key] for key in sorted(outdated)],
        alive=list(alive.values()),
    )


def _submit(directory: Path, missing: Missing) -> None:
    """Call slurm.sh, which calls sbatch."""
    environment = {
        **os.environ,
        "SCRIPTS": str(directory),
        "JOBS": str(directory / slurm.JOBS),
        "MEMBERS": ",".join(map(str, missing.members)),
        "EARLIER": " ".join(task.job for task in missing.earlier),
        "PROBES": ",".join(map(str, missing.probes)),
        "PROBING": " ".join(task.job for task in missing.probing),
        "REPORT": "yes" if missing.report else "",
    }
    ended = subprocess.run(["bash", str(directory / "slurm.sh")], env=environment, capture_output=True, text=True)
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"slurm.sh failed: {why}; launch again to submit the rest")


def _is_whole(study: Study, run: Run) -> bool:
    """Whether the member's marker is there and its snapshots are those that it tells of.

    Raises:
        UserError: a snapshot is another one.
    """
    directory = study.directory / run.name
    if not progress.is_finished(directory, run):
        return False
    done = files.read_json(directory / progress.DONE)
    for step in run.snapshots:
        path = directory / f"snapshot_{step}.pt"
        if files.sha256(path) != done["snapshots"][str(step)]:
            raise UserError(
                f"{path} is not what {progress.DONE} tells of; put it back, or remove {progress.DONE} to train it again"
            )
    return True


def _is_on_cpu(study: Study) -> bool:
    return (study.config.get("trainer") or {}).get("accelerator") == "cpu"


def filled_in(study: Study, forwarded: list[str], options: Options) -> dict[str, str]:
    """The scripts of ./launch, else of timecat's own launch/, with the study's arguments, logs and sbatch options."""
    places = [Path("launch"), Path(__file__).parents[2] / "launch"]
    place = next((place for place in places if (place / SCRIPTS[0]).is_file()), None)
    if place is None:
        raise UserError("launch/member.sbatch: no such file here; copy the launch directory of timecat's source")
    gpus: dict[str, object] = {"--gpus-per-node": options.devices}
    if _is_on_cpu(study) or set(GPU_OPTIONS) & set(options.sbatch):
        gpus["--gpus-per-node"] = REMOVED
    logs = study.directory / "logs"
    of_the_report = {key: value for key, value in options.sbatch.items() if key in OF_THE_REPORT}
    settings = {
        "member.sbatch": {
            "--output": logs / "fit_%a.log",
            "--array": _ranges([run.index for run in study.runs]),
            "--nodes": options.nodes,
            "--ntasks-per-node": options.devices,
            **gpus,
            **options.sbatch,
        },
        "probe.sbatch": {
            "--output": logs / "probe_%a.log",
            "--array": _ranges(list(range(max(1, len(study.probes))))),
            **({} if gpus["--gpus-per-node"] is not REMOVED else gpus),
            **options.sbatch,
        },
        "report.sbatch": {"--output": logs / "report.log", **of_the_report},
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
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])


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
    data = study.config.get("data") or {}
    path = data_root(data.get("root")) / str(data.get("train"))
    if not path.exists():
        say(f"timecat: {path}: not there on this machine; the nodes must see it", error=True)
