"""The command `timecat`. Commands that need neither torch nor Lightning import neither and answer at once."""

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

from timecat import __version__
from timecat.errors import UserError
from timecat.help import BOTTLENECK_HELP, HELP

if TYPE_CHECKING:
    from timecat.cluster.stop import Stop
    from timecat.extraction.external import ExternalFeatures
    from timecat.study.directory import Protocol
    from timecat.study.study import Study

STUDY_COMMANDS = ("run", "plan", "status", "launch", "fit", "probe", "report", "knn", "few-shot")
BOTTLENECK = ("counterexample", "saturation", "select")
ON_FEATURES = ("run", "plan", "status", "probe", "report", "knn", "few-shot")
ALSO_ON_FEATURES = ("cats", "configs", "protocol", "by", "ks", "temperatures", "shots", "draws")  # options
LIGHTNING = ("fit", "validate", "test", "predict")
WRITES = {"predict": "\nWrites features.npy and indices.npy to trainer.default_root_dir."}
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


def _complain(line: str) -> None:
    from timecat.terminal import say

    say(f"timecat: {line}", error=True)


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
    if command == "features":
        from timecat.inference.features_command import main as features

        return features(rest)
    if command == "export":
        from timecat.inference.export_command import main as export

        return export(rest)
    if command == "predict" and _names_a_cat(rest):
        from timecat.inference.predict_command import main as predict

        return predict(rest)
    if command not in (*STUDY_COMMANDS, "tune", "bottleneck", *LIGHTNING):
        from timecat.config.section import suggestion

        known = [*STUDY_COMMANDS, "write", "features", "export", "tune", "bottleneck", *LIGHTNING]
        raise UserError(f"no command {command!r}; {suggestion(command, known)}")
    if command == "bottleneck":
        if not rest or rest[0] in ("-h", "--help", "help"):
            print(BOTTLENECK_HELP, end="")
            return 0
        command, rest = _bottleneck(rest)
        if command == "bottleneck counterexample":
            from timecat.bottleneck.counterexample.command import main as counterexample

            return counterexample(rest)

    from timecat.config.features import is_features
    from timecat.config.read import read_config, split_arguments

    configs, overrides, others = split_arguments(rest)
    asks = any(name.startswith(("-h", "--help", "--print_config", "--print_shtab")) for name in others)
    if command == "tune" and not asks:
        return _tune(configs, overrides, others)
    if is_features(configs) and not asks:
        return _on_features(command, configs, overrides, others)
    members = {key: value for key, value in overrides.items() if not key.startswith("probe.")}
    if command in LIGHTNING and (command != "fit" or (configs and "study" not in read_config(configs, members))):
        return _lightning(command, configs, overrides, others, asks)
    if asks:
        if any(name in ("-h", "--help") for name in others):
            from timecat.options import help_of

            print(help_of(command), end="")
            return 0
        return _lightning(command, configs, overrides, others, asks)
    return _on_study(command, configs, overrides, others)


def _names_a_cat(arguments: list[str]) -> bool:
    """Whether it is a cat that is to predict, such as runs/demo:cat5, and no config of Lightning's."""
    return bool(arguments) and not arguments[0].startswith("-") and not arguments[0].endswith((".yaml", ".yml"))


def _bottleneck(arguments: list[str]) -> tuple[str, list[str]]:
    """The command with its second word, and what follows it."""
    from timecat.config.section import suggestion

    if arguments[0] not in BOTTLENECK:
        raise UserError(f"timecat bottleneck {arguments[0]}: no such part; {suggestion(arguments[0], BOTTLENECK)}")
    return f"bottleneck {arguments[0]}", arguments[1:]


def _on_study(command: str, configs: list[str], overrides: dict[str, Any], others: list[str]) -> int:
    from timecat.config.features import is_features
    from timecat.config.read import as_arguments
    from timecat.options import parse_options
    from timecat.study.study import Study

    given = others
    options, others = parse_options(command, others)
    if is_features(options.get("configs", [])):
        return _on_features(command, configs, overrides, given)
    if options.get("devices_per_member"):
        overrides["trainer.devices"] = options["devices_per_member"]
    if command == "fit":
        _devices_of_torchrun(overrides)
    only, configs = options.pop("cats"), [*configs, *options.pop("configs", [])]
    study = Study.read(configs, overrides, only)
    forwarded = as_arguments(configs, overrides) + ([f"--cats={','.join(only)}"] if only is not None else [])
    if command == "fit":
        from timecat.cluster.stop import stop_on_signal

        with stop_on_signal() as stop:  # before the imports, which take seconds
            from timecat.members.fit import fit

            member = _member(options)
            serving = options["serve"]
            return fit(study, forwarded, stop, member=member, slots=options["slots"], serving=serving)
    if command == "plan":
        from timecat.report.plan import plan

        plan(study, **options)
    elif command == "launch":
        from timecat.cluster.launch import launch

        return launch(study, forwarded, options, others)
    elif command == "status":
        from timecat.report.status import status

        status(study)
    elif command == "report":
        by, protocol = options["by"], options["protocol"]
        if by:
            from timecat.report.breakdown_report import report_by

            report_by(study, protocol, by)
        else:
            from timecat.report.report import report

            report(study, protocol)
    elif command == "probe":
        data = _data_set(study, options["data"])
        from timecat.cluster.stop import until_stopped

        return until_stopped(lambda stop: _probe(study, options["protocol"], data, stop))
    elif command in ("knn", "few-shot"):
        _by_other_classifiers(command, study, options)
    elif command == "bottleneck saturation":
        from timecat.bottleneck.saturation import saturation

        saturation(study, **options)
    elif command == "bottleneck select":
        from timecat.bottleneck.select import select

        select(study, **options)
    else:
        from timecat.run import run

        return run(study, forwarded)
    return 0


def _probe(study: "Study", protocol: "Protocol", data: str | None, stop: "Stop") -> None:
    from timecat.heads.probe import probe
    from timecat.report.report import print_data

    probe(study, protocol, data, lambda name: print_data(study, name, protocol), stop)


def _by_other_classifiers(command: str, source: "Study | ExternalFeatures", options: dict[str, Any]) -> None:
    if command == "knn":
        from timecat.heads.knn import knn
        from timecat.report.knn import show_knn

        knn(source, **options, show=lambda name: show_knn(source, name))
    else:
        from timecat.heads.few_shot import few_shot
        from timecat.report.few_shot import show_few_shot

        few_shot(source, **options, show=lambda name: show_few_shot(source, name))


def _tune(configs: list[str], overrides: dict[str, Any], others: list[str]) -> int:
    from timecat.config.tune import TuneFile
    from timecat.options import parse_options
    from timecat.tune.tuning import Tuning

    options, _ = parse_options("tune", others)
    tuning = Tuning(TuneFile.read([*configs, *options["configs"]], overrides))
    from timecat.cluster.stop import stop_on_signal

    with stop_on_signal() as stop:  # before the imports, which take seconds
        from timecat.tune.tune import tune

        return tune(tuning, stop, _repetition(options["repetition"]))


def _repetition(given: int | None) -> int | None:
    """The repetition that is named, or that SLURM's array task numbers."""
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if given is None and task is not None:
        if not task.isdigit():
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; it must be the number of a repetition")
        return int(task)
    return given


def _on_features(command: str, configs: list[str], overrides: dict[str, Any], others: list[str]) -> int:
    from timecat.config.features import FeaturesFile
    from timecat.extraction.external import ExternalFeatures
    from timecat.options import parse_options

    if command not in ON_FEATURES:
        raise UserError(
            f"timecat {command}: makes no sense on features from elsewhere; their config takes {', '.join(ON_FEATURES)}"
        )
    options, _ = parse_options(command, others)
    defaults, _ = parse_options(command, [])
    only, configs, protocol = options["cats"], [*configs, *options["configs"]], options.get("protocol", "heldout")
    for key, value in options.items():
        if key not in ALSO_ON_FEATURES and value != defaults[key]:
            raise UserError(f"--{key.replace('_', '-')}: makes no sense on features from elsewhere; leave it out")
    features = ExternalFeatures(FeaturesFile.read(configs, overrides), only)
    if command == "plan":
        from timecat.report.external_plan import plan_external

        plan_external(features)
    elif command == "status":
        from timecat.report.external_plan import status_external

        status_external(features)
    elif command in ("knn", "few-shot"):
        mine = {key: value for key, value in options.items() if key not in ("cats", "configs")}
        _by_other_classifiers(command, features, mine)
    if command in ("probe", "run"):
        from timecat.cluster.stop import until_stopped
        from timecat.heads.external import probe_external

        status = until_stopped(lambda stop: probe_external(features, protocol, stop))
        if status:
            return status
    if command == "probe":
        from timecat.report.external import print_heads

        print_heads(features, protocol)
    elif options.get("by"):
        from timecat.report.breakdown_report import report_by

        report_by(features, protocol, options["by"])
    elif command in ("report", "run"):
        from timecat.report.external import report_external

        report_external(features, protocol)
    return 0


def _devices_of_torchrun(overrides: dict[str, Any]) -> None:
    """A member has a device for each process that torchrun started, whatever its config says.

    Raises:
        UserError: the command line says something else.
    """
    from timecat.process import torchruns_devices

    for key, count in torchruns_devices().items():
        given = overrides.setdefault(f"trainer.{key}", count)
        if str(given) != str(count):
            raise UserError(f"trainer.{key} is {given}, but torchrun's options make it {count}; leave it out")


def _member(options: dict[str, Any]) -> int | None:
    """The member that is named, or that SLURM's array task numbers."""
    from timecat.process import in_slurm_step, in_torchrun

    member, task = options["member"], os.environ.get("SLURM_ARRAY_TASK_ID")
    if member is None and not options["serve"] and task is not None:
        if not task.isdigit():
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; it must be the number of a member")
        member = int(task)
    by_srun = in_slurm_step() and os.environ.get("SLURM_STEP_NUM_TASKS", "1") != "1"
    by_torchrun = in_torchrun() and os.environ["WORLD_SIZE"] != "1"
    if member is None and (by_srun or by_torchrun):
        raise UserError(
            f"{'torchrun' if by_torchrun else 'srun'} started several processes for a whole study; name one of its "
            "members by --member K"
        )
    return member


def _data_set(study: "Study", name: str | None) -> str | None:
    """The data set that is named, or that SLURM's array task numbers."""
    from timecat.config.files import data_name

    names = [data_name(path) for path in study.file.study.probes]
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    if name is None and task is not None:
        if not task.isdigit() or int(task) >= len(names):
            raise UserError(f"SLURM_ARRAY_TASK_ID is {task!r}; study.probes are numbered 0 to {len(names) - 1}")
        return names[int(task)]
    return name


def _lightning(command: str, configs: list[str], overrides: dict[str, Any], others: list[str], asks: bool) -> int:
    """LightningCLI on one network: a probe's, or a member's without a study."""
    from timecat.config.files import ProbeFile, check_member
    from timecat.config.read import as_arguments, read_config
    from timecat.terminal import say

    is_probe = False
    if not configs and not asks:
        raise UserError(f"timecat {command}: no config given; name one, such as configs/probe/digits.yaml")
    if configs:
        config = read_config(configs, overrides)
        if "tune" in config:
            raise UserError(f"{configs[-1]}: is a config of timecat tune; give it to this command")
        is_probe = "probe" in config
        if is_probe:
            ProbeFile.parse(configs[-1], config)
        else:
            check_member(config)
    if asks and {"-h", "--help"} & set(others):
        ends = "" if command == "fit" else " --ckpt_path CHECKPOINT"
        print(f"Lightning's {command} on one network, a probe's or a member's.{WRITES.get(command, '')}")
        print(f"example: timecat {command} --config configs/probe/digits.yaml{ends}\n")
    if command == "fit" and not asks:
        network = "a linear probe on images" if is_probe else "one network, without a study"
        say(f"training {network}, by Lightning" + ("; timecat probe is the way by features" if is_probe else ""))
    arguments = [command, *as_arguments(configs, overrides), *others]
    if is_probe:
        from timecat.heads.cli import ProbeCLI

        ProbeCLI(arguments)
    else:
        from timecat.members.trainer import MemberCLI

        MemberCLI(arguments)
    return 0
