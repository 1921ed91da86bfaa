"""The command line of `timecat launch`: its own options, and those that go to sbatch as they are."""

from dataclasses import dataclass, field
from typing import Any

from timecat.cluster import slurm
from timecat.errors import UserError
from timecat.study.study import Study

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
GPU_OPTIONS = ("--gpus-per-node", "--gres", "--gpus")


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
                raise UserError(f"{name!r} is no option; see timecat launch --help")
            name = SHORT.get(name, name)
            if name in OURS:
                raise UserError(f"{name} follows from the plan; leave it out")
            if not has_value and rest and not rest[0].startswith("-"):
                value, has_value = rest.pop(0), "="
            given[name] = value if has_value else None
        nodes = options["nodes"] or study.trainer.num_nodes
        devices = options["devices"] or gpus_per_node(given) or study.trainer.devices_per_member
        return cls(nodes, devices, given)


def gpus_per_node(sbatch: dict[str, str | None]) -> int:
    return sum(slurm.gpus(f"gpu:{part}") for part in (sbatch.get("--gpus-per-node") or "").split(","))
