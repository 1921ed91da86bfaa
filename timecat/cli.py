"""The command `timecat`. Commands that need neither torch nor Lightning import neither and answer at once."""

import io
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timecat.errors import Diverged, UserError, one_line
from timecat.help import BOTTLENECK_HELP, HELP
from timecat.process import check_environment

if TYPE_CHECKING:
    from timecat.cluster.stop import Stop
    from timecat.study.directory import Protocol
    from timecat.study.study import Study

STUDY_COMMANDS = ("run", "plan", "status", "verify", "launch", "fit", "probe", "report", "knn", "few-shot")
BOTTLENECK = ("counterexample", "saturation", "select")
LIGHTNING = ("fit", "validate", "test", "predict")
COMMANDS = tuple(
    dict.fromkeys((*STUDY_COMMANDS, "init", "write", "features", "export", "tune", "bottleneck", "doctor", *LIGHTNING))
)
EXIT_USER_ERROR = 2


_logs: list[Path] = []  # of the study that the command is about, once that is known


def from_shell() -> int:
    """What a shell calls: `main`, of which what nobody foresaw is one line too, its traceback in a file; status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        return main()
    except Exception as error:
        from timecat.unforeseen import in_words, keep_traceback

        _complain(in_words(error, keep_traceback(error, _logs[-1] if _logs else None)))
        return 1


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status; 2 after one line on stderr where the input is at fault.

    Raises:
        Exception: one that nobody foresaw.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    before = _end_by_sigterm()
    try:
        return _dispatch(arguments)
    except UserError as error:
        _complain(str(error))
        return EXIT_USER_ERROR
    except Diverged as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("stopped; the same command goes on from what is finished")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        from timecat.unforeseen import refused

        line = refused(error)
        if line is None:
            raise
        _complain(line)
        return EXIT_USER_ERROR
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _end_by_sigterm() -> Any:
    """Let SIGTERM end what has no way of its own to stop as Ctrl-C does, with a line; what was there, if it is set."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, end)


def _complain(line: str) -> None:
    from timecat.terminal import say

    say(f"timecat: {one_line(line)}", error=True)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    command, *rest = arguments
    if command in ("-V", "--version"):
        from timecat.versions import in_one_line

        print(in_one_line())
        return 0
    if command == "--print-completion":
        from timecat.completion import print_completion

        return print_completion(rest, COMMANDS, BOTTLENECK)
    check_environment()
    if command == "write":
        from timecat.data.write.command import main as write

        return write(rest)
    if command == "doctor":
        from timecat.commands.doctor import on_doctor

        return on_doctor(rest)
    if command == "init":
        from timecat.init.command import main as init

        return init(rest)
    if command == "features":
        from timecat.inference.features_command import main as features

        return features(rest)
    if command == "export":
        from timecat.inference.export_command import main as export

        return export(rest)
    if command == "predict" and not _gives_a_config(rest):
        from timecat.inference.predict_command import main as predict

        return predict(rest)
    if command not in COMMANDS:
        from timecat.config.section import suggestion

        raise UserError(f"no command {command!r}; {suggestion(command, COMMANDS)}")
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
    if command == "launch":
        from timecat.cluster.sbatch_options import check_configs

        check_configs(configs)
    asks = any(name.startswith(("-h", "--help", "--print_config", "--print_shtab")) for name in others)
    if command == "tune" and not asks:
        from timecat.commands.tune import on_tune

        return on_tune(configs, overrides, others)
    if is_features(configs) and not asks:
        from timecat.commands.features import on_features

        return on_features(command, configs, overrides, others)
    members = {key: value for key, value in overrides.items() if not key.startswith("probe.")}
    if command in LIGHTNING and (command != "fit" or (configs and "study" not in read_config(configs, members))):
        from timecat.commands.lightning import on_one_network

        return on_one_network(command, configs, overrides, others, asks)
    if asks:
        help_at = next((place for place, name in enumerate(others) if name in ("-h", "--help")), None)
        if help_at is not None:
            from timecat.options import help_of

            print(help_of(command, *others[help_at + 1 : help_at + 2]), end="")
            return 0
        from timecat.commands.lightning import on_one_network

        return on_one_network(command, configs, overrides, others, asks)
    return _on_study(command, configs, overrides, others)


def _gives_a_config(arguments: list[str]) -> bool:
    """Whether a config names the network, as Lightning's predict has it, and no cat, such as runs/demo:cat5."""
    named = any(argument.partition("=")[0] in ("--config", "-c") for argument in arguments)
    return named or (bool(arguments) and arguments[0].endswith((".yaml", ".yml")))


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
        from timecat.commands.features import on_features

        return on_features(command, configs, overrides, given)
    if options.get("devices_per_member"):
        overrides["trainer.devices"] = options["devices_per_member"]
    if command == "fit":
        _devices_of_torchrun(overrides)
    only, configs = options.pop("cats"), [*configs, *options.pop("configs", [])]
    study = Study.read(configs, overrides, only)
    _logs.append(study.directory.logs)
    forwarded = as_arguments(configs, overrides) + ([f"--cats={','.join(only)}"] if only is not None else [])
    absent = member = data = None
    one = False
    if command in ("plan", "run", "fit", "probe", "launch"):
        from timecat.cluster.array_task import numbered_data_set, numbered_member
        from timecat.report.check import check

        member = numbered_member(options) if command == "fit" else None
        data = numbered_data_set(study, options["data"]) if command == "probe" else None
        one = member is not None or bool(options.get("serve"))
        absent = check(study, command, data=data, one=one, protocol=options.get("protocol", "heldout"))
    if command == "fit":
        from timecat.cluster.stop import stop_on_signal

        with stop_on_signal() as stop:  # before the imports, which take seconds
            from timecat.members.fit import fit

            ended = fit(study, forwarded, stop, member=member, slots=options["slots"], serving=options["serve"])
        if ended or one:
            return ended
    elif command == "plan":
        from timecat.report.plan import plan

        plan(study, **options)
        if absent is not None:
            if study.data.train_images is None:
                raise absent
            _complain(str(absent))  # of a study that tells its numbers, to be planned where its images are not
    elif command == "launch":
        from timecat.cluster.launch import launch

        return launch(study, forwarded, options, others)
    elif command == "status":
        if options["watch"]:
            from timecat.report.watch import watch

            watch(study)
        else:
            from timecat.report.status import status

            status(study)
    elif command == "verify":
        from timecat.verify.verify import verify

        return verify(study)
    elif command == "report" and options["by"]:
        from timecat.report.breakdown_report import report_by

        report_by(study, options["protocol"], options["by"])
        return 0
    elif command == "report":
        from timecat.report.report import report

        report(study, options["protocol"])
    elif command == "probe":
        from timecat.cluster.stop import until_stopped

        ended = until_stopped(lambda stop: _probe(study, options["protocol"], data, stop))
        if ended or data is not None:
            return ended
    elif command == "run":
        from timecat.run import run

        if ended := run(study, forwarded):
            return ended
    else:
        _beside_the_probes(command, study, options)
        return 0
    from timecat.report.next_step import say_next_step

    say_next_step(study, forwarded, options.get("protocol", "heldout"))
    return 0


def _beside_the_probes(command: str, study: "Study", options: dict[str, Any]) -> None:
    if command in ("knn", "few-shot"):
        from timecat.commands.other_classifiers import by_other_classifiers

        by_other_classifiers(command, study, options)
    elif command == "bottleneck saturation":
        from timecat.bottleneck.saturation import saturation

        saturation(study, **options)
    else:
        from timecat.bottleneck.select import select

        select(study, **options)


def _probe(study: "Study", protocol: "Protocol", data: str | None, stop: "Stop") -> None:
    from timecat.heads.probe import probe
    from timecat.report.compare.compare import write_comparison
    from timecat.report.report import print_data

    probe(study, protocol, data, lambda name: print_data(study, name, protocol), stop)
    write_comparison(study, protocol)


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
