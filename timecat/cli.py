"""The command `timecat`. Commands that need neither torch nor Lightning import neither and answer at once."""

import errno
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from timecat import __version__
from timecat.config import as_arguments, read_config, split_arguments
from timecat.errors import UserError

if TYPE_CHECKING:
    from timecat.cluster.stop import Stop
    from timecat.study.study import Study

HELP = """\
usage: timecat COMMAND [--config FILE] [--section.key VALUE ...]

Time-Cat: train N short members instead of one long one, concatenate their
frozen features, probe.

the whole study
  run       write missing data, train members, probe, report; goes on where it
            was stopped
  plan      members, snapshots, steps, images, epochs; --images-per-sec N adds
            hours, --nodes N --devices D how a member's global batch is shared
  status    what is finished, running or missing
  launch    the whole study as SLURM jobs; --dry-run prints the scripts,
            --nodes N --devices D spread a member, other options go to sbatch;
            again: only what is missing
its stages
  write     data set -> .beton files (timecat write --help)
  fit       train members: all that are unfinished, --member K alone, or
            SLURM_ARRAY_TASK_ID's
  probe     features once, then linear heads on every cat, all together
  report    table, report.md, report.png and TensorBoard from the results on
            disk
            both: --protocol paper chooses on the test set as the paper does,
            beside the honest results
Lightning's own, on a member's or a probe's config
  fit, validate, test, predict
            timecat fit --config configs/probe/digits.yaml
            timecat fit --help lists every key

example: timecat run --config configs/demo.yaml
"""
COMMANDS = ("run", "launch", "plan", "status", "probe", "report")
LIGHTNING = ("fit", "validate", "test", "predict")
EXIT_USER_ERROR = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; 2 after one line on stderr where the input is at fault."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _dispatch(arguments)
    except UserError as error:
        _complain(str(error))
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        _complain("stopped; the same command goes on from what is finished")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        _complain(f"{where}the disk is full; make room, and the same command goes on")
        return EXIT_USER_ERROR


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    command, *rest = arguments
    if command in ("-V", "--version"):
        print(f"timecat {__version__}")
        return 0
    if command == "write":
        from timecat.data.write.command import main as write

        return write(rest)
    if command in LIGHTNING:
        return _lightning(command, rest)
    if command not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(command, [*COMMANDS, "write", *LIGHTNING], 1)
        raise UserError(
            f"no command {command!r}" + (f"; did you mean {close[0]}?" if close else "; see timecat --help")
        )
    if "-h" in rest or "--help" in rest:
        print(HELP, end="")
        return 0
    configs, overrides, others = split_arguments(rest)
    options = {} if command == "launch" else _options(command, others)
    config = read_config(configs, overrides)

    from timecat.study.study import Study

    study = Study(config)
    if command == "plan":
        from timecat.report.plan import plan

        plan(study, **options)
    elif command == "launch":
        from timecat.cluster.launch import launch

        return launch(study, as_arguments(configs, overrides), others)
    elif command == "status":
        from timecat.report.status import status

        status(study)
    elif command == "report":
        from timecat.report.report import report

        report(study, **options)
    elif command == "probe":
        study = _of_one_data_set(study, options.pop("data", None))
        from timecat.heads.probe import probe

        probe(study, **options)
    else:
        from timecat.run import run

        return run(study, rest)
    return 0


def _complain(line: str) -> None:
    from timecat.terminal import say

    say(f"timecat: {line}", error=True)


def _of_one_data_set(study: "Study", name: str | None) -> "Study":
    """The study with the one probe that is named, or that SLURM's array task numbers."""
    from timecat.config import data_name

    names = [data_name(path) for path in study.probes]
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if name is None and task is not None:
        if not task.isdigit() or int(task) >= len(names):
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; study.probes are numbered 0 to {len(names) - 1}")
        name = names[int(task)]
    if name is not None:
        if name not in names:
            raise UserError(f"--data {name}: no such probe in study {study.name}; there are {', '.join(names)}")
        study.probes = [study.probes[names.index(name)]]
    return study


def _options(command: str, others: list[str]) -> dict[str, Any]:
    """What is left of the command line after configs and overrides: the command's own options."""
    known: dict[str, dict[str, Callable[[str], Any]]] = {
        "plan": {"--images-per-sec": float, "--nodes": int, "--devices": int},
        "fit": {"--member": int, "--slots": int, "--devices-per-member": int, "--serve": bool},
        "probe": {"--protocol": _protocol, "--data": str},
        "report": {"--protocol": _protocol},
    }
    options: dict[str, Any] = {}
    rest = list(others)
    while rest:
        name, has_value, value = rest.pop(0).partition("=")
        kind = known.get(command, {}).get(name)
        if kind is None:
            raise UserError(f"timecat {command}: unknown argument {name!r}; see timecat --help")
        if not has_value:
            value = "yes" if kind is bool else rest.pop(0) if rest else ""
        try:
            options[name[2:].replace("-", "_")] = kind(value)
        except ValueError:
            raise UserError(f"timecat {command}: {name} needs a number, not {value!r}") from None
    return options


def _protocol(value: str) -> str:
    if value not in ("heldout", "paper"):
        raise UserError(f"--protocol {value!r}: choose heldout, or paper (best epoch on the test set)")
    return value


def _lightning(command: str, arguments: list[str]) -> int:
    """A study's `fit` trains its members; everything else is LightningCLI on a member's or a probe's config."""
    configs, overrides, others = split_arguments(arguments)
    informs = any(name.startswith(("-h", "--help", "--print_config", "--print_shtab")) for name in others)
    config = read_config(configs, overrides) if configs else {}
    if command == "fit" and "study" in config and not informs:
        from timecat.cluster.stop import stop_on_signal

        with stop_on_signal() as stop:  # before the imports, which take seconds
            return _fit(config, configs, overrides, others, stop)
    if command == "fit" and informs and not configs:
        print(
            "a study's config takes, beside the keys below:\n"
            "  --member K    train the plan's member K alone\n"
            "  --slots N     members trained at once (study.slots; one per GPU, one on a CPU)\n"
            "  --devices-per-member D    instead of trainer.devices; members are packed on the GPUs that are visible\n"
        )
    if not configs and not informs:
        raise UserError(
            f"timecat {command}: no config given; add --config configs/demo.yaml, or see timecat fit --help"
        )
    from timecat.members.trainer import lightning

    lightning(command, arguments, probe="probe" in config)
    return 0


def _fit(config: dict, configs: list[str], overrides: dict[str, Any], others: list[str], stop: "Stop") -> int:
    from timecat.members.fit import fit
    from timecat.process import in_slurm_step
    from timecat.study.study import Study

    options = _options("fit", others)
    if "devices_per_member" in options:
        overrides["trainer.devices"] = options["devices_per_member"]
        config.setdefault("trainer", {})["devices"] = options["devices_per_member"]
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if "member" not in options and "serve" not in options and task is not None:
        if not task.isdigit():
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; it must be the number of a member")
        options["member"] = int(task)
    if "member" not in options and in_slurm_step() and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        raise UserError("srun started several processes for a whole study; name one of its members by --member K")
    return fit(
        Study(config),
        as_arguments(configs, overrides),
        stop,
        member=options.get("member"),
        slots=options.get("slots"),
        serving="serve" in options,
    )
