"""The command line of `timecat launch`: its own options, and those that go to sbatch as they are."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from timecat.cluster.gpu_options import Gpus, read_gpus
from timecat.errors import UserError
from timecat.study.study import Study

SHORT = {
    "-A": "--account",
    "-C": "--constraint",
    "-G": "--gpus",
    "-N": "--nodes",
    "-a": "--array",
    "-c": "--cpus-per-task",
    "-d": "--dependency",
    "-n": "--ntasks",
    "-p": "--partition",
    "-q": "--qos",
    "-t": "--time",
    "-w": "--nodelist",
    "-x": "--exclude",
}
CORES = SHORT["-c"]
OURS = ("--array", "--dependency", "--kill-on-invalid-dep", "--ntasks", "--ntasks-per-node", "--wrap", "--signal")


def check_configs(configs: list[str]) -> None:
    """Refuse sbatch's -c, which is --config here.

    Raises:
        UserError: a config is a number.
    """
    for path in configs:
        if path.isdigit():
            raise UserError(f"-c {path}: timecat launch takes -c for --config; give sbatch's as {CORES} {path}")


def check_words(words: Iterable[str]) -> None:
    """Refuse what could be a line of its own in a script.

    Raises:
        UserError: a word has a newline or another control character.
    """
    for word in words:
        if any(unicodedata.category(character) == "Cc" for character in word):
            raise UserError(f"{word!r}: has control characters, which no script of SLURM takes; leave them out")


@dataclass
class Options:
    """The command line of `timecat launch`.

    Args:
        nodes, devices: of each member; devices on each of its nodes, a process for each.
        gpus: what the options say of GPUs.
        sbatch: everything else, by its long name; None where an option has no value.
    """

    nodes: int = 1
    devices: int = 1
    gpus: Gpus | None = None
    sbatch: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def read(cls, study: Study, options: dict[str, Any], arguments: list[str]) -> "Options":
        """Take launch's own options, and sbatch's from the rest of the command line.

        Raises:
            UserError: no option, or one that is launch's own to set.
        """
        given: dict[str, str | None] = {}
        rest = list(arguments)
        check_words(rest)
        while rest:
            name, has_value, value = rest.pop(0).partition("=")
            if not name.startswith("-"):
                raise UserError(f"{name!r} is no option; see timecat launch --help")
            if name[:2] in SHORT:  # -G 4, -G=4, and as getopt takes it, -G4
                attached, name = name[2:], SHORT[name[:2]]
                if attached:
                    value, has_value = (f"{attached}={value}" if has_value else attached), "="
            if name in OURS:
                raise UserError(f"{name} follows from the plan; leave it out")
            if not has_value and rest and not rest[0].startswith("-"):
                value, has_value = rest.pop(0), "="
            given[name] = value if has_value else None
        nodes = options["nodes"] or study.trainer.num_nodes
        gpus = read_gpus(given, nodes, options["devices"])
        devices = options["devices"] or (gpus.count if gpus else study.trainer.devices_per_member)
        if gpus:
            given = {name: value for name, value in given.items() if name not in ("--gpus", "--gpus-per-task")}
            given[gpus.option] = gpus.value
        return cls(nodes, devices, gpus, given)
