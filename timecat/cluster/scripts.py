"""The scripts of launch/, filled in for a study."""

import os
import shlex
import sys
from pathlib import Path

from timecat.cluster.arrays import MemberArray, minutes_of, ranges
from timecat.cluster.sbatch_options import Options, check_words
from timecat.errors import UserError
from timecat.packaged import packaged
from timecat.study.study import Study

SCRIPTS = ("member.sbatch", "probe.sbatch", "report.sbatch", "slurm.sh")
# What the report takes of the options; the rest is about the machines that train.
OF_THE_REPORT = ("--partition", "--account", "--qos", "--reservation", "--clusters", "--chdir", "--mail-user")
REMOVED = object()


def filled_in(
    study: Study, forwarded: list[str], options: Options, members: list[MemberArray], probes: list[int]
) -> dict[str, str]:
    """The scripts of ./launch, else of timecat's own launch/, with the study's arguments, logs and sbatch options.

    Args:
        forwarded: the arguments of the tasks.
        members: arrays, which slurm.sh submits; where there are several, each with an --array and a --time of its own.
        probes: the numbers of the tasks; all where there is none.
    """
    texts = {name: text_of(name) for name in SCRIPTS}
    together = members[0].numbers if len(members) == 1 else ranges([plan.index for plan in study.members])
    ask: dict[str, object] = {"--gpus-per-node": options.devices}
    if options.gpus is not None:
        ask = {"--gpus-per-node": REMOVED, options.gpus.option: options.gpus.value}
    elif study.trainer.accelerator == "cpu":
        ask = {"--gpus-per-node": REMOVED}
    of_the_report = {key: value for key, value in options.sbatch.items() if key in OF_THE_REPORT}
    settings = {
        "member.sbatch": {
            "--output": _log(study, study.directory.member_log("%a")),
            "--array": together,
            "--nodes": options.nodes,
            "--ntasks-per-node": options.devices,
            **options.sbatch,
            **ask,
        },
        "probe.sbatch": {
            "--output": _log(study, study.directory.probe_log("%a")),
            "--array": ranges(probes or list(range(max(1, len(study.file.study.probes))))),
            **options.sbatch,
            **({} if ask == {"--gpus-per-node": options.devices} else ask),
            **_cores_of_all(options, texts["probe.sbatch"]),
        },
        "report.sbatch": {"--output": _log(study, study.directory.report_log), **of_the_report},
    }
    given = os.environ.get("TIMECAT", "").split()
    timecat = given or [sys.executable, "-m", "timecat"]
    check_words([*timecat, *forwarded, *(str(value) for of in settings.values() for value in of.values())])
    lines = [f"TIMECAT=({shlex.join(timecat)})", f"set -- {shlex.join(forwarded)}"]
    return {name: _fill(text, settings.get(name), lines) for name, text in texts.items()}


def _log(study: Study, path: Path) -> str:
    """As --output takes it: % in a directory's name is doubled, else SLURM replaces it.

    Raises:
        UserError: there is a backslash, after which SLURM would not number the logs.
    """
    directory = str(study.directory.logs)
    if "\\" in directory:
        raise UserError(
            f"{directory}: has a backslash, which SLURM takes no log's path with; choose another study.root"
        )
    return f"{directory.replace('%', '%%')}/{path.name}"


def text_of(name: str) -> str:
    """A script of ./launch, else of timecat's own.

    Raises:
        UserError: there is none.
    """
    own = packaged("launch")
    places = [Path("launch"), *([own] if own else [])]
    place = next((place for place in places if (place / SCRIPTS[0]).is_file()), None)
    if place is None:
        raise UserError("launch/member.sbatch: neither here nor with timecat; install it again")
    return (place / name).read_text()


def longest_minutes(sbatch: dict[str, str | None]) -> int | None:
    """A member's time limit, as sbatch's options or the script have it; None of no limit."""
    given = sbatch.get("--time") or _setting(text_of("member.sbatch"), "--time")
    return minutes_of(given) if given else None


def _cores_of_all(options: Options, script: str) -> dict[str, object]:
    """A probe is one task with all the GPUs that were asked for, so it has the cores of as many tasks of a member."""
    given = options.sbatch.get("--cpus-per-task") or _setting(script, "--cpus-per-task")
    if options.gpus is None or not given or not given.isdigit():
        return {}
    return {"--cpus-per-task": int(given) * options.gpus.count}


def _setting(script: str, name: str) -> str | None:
    """What a script asks for by itself."""
    lines = [line.split()[1].partition("=") for line in script.splitlines() if line.startswith("#SBATCH --")]
    return next((value for option, _, value in lines if option == name), None)


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
