"""What sbatch's options say of GPUs, as a member needs it: GPUs on each of its nodes, a process for each.

Lightning wants as many tasks on a node as it has devices there, and each of them to see all of the node's GPUs. SLURM's
`--gpus` may share them unequally, and `--gpus-per-task` hides a task's GPUs from the others: both become
`--gpus-per-node` here.
"""

import re
from dataclasses import dataclass

from timecat.errors import UserError

GPU_OPTIONS = ("--gpus-per-node", "--gres", "--gpus", "--gpus-per-task")
# What a process of a member must not be told, and what says the same.
REFUSED = {
    "--gpus-per-socket": "give --gpus-per-node",
    "--tres-per-task": "give --gpus-per-node and --cpus-per-task",
    "--ntasks-per-gpu": "leave it out: a member has a process for each of its GPUs",
    "--cpus-per-gpu": "give --cpus-per-task, the cores of the process that a GPU has",
    "--gpu-bind": "leave it out: each process of a member must see all of its node's GPUs",
}


@dataclass(frozen=True)
class Gpus:
    """GPUs on each node.

    Attributes:
        count: of them.
        option, value: by which the scripts ask sbatch for them.
    """

    count: int
    option: str
    value: str


def read_gpus(sbatch: dict[str, str | None], nodes: int, devices: int | None) -> Gpus | None:
    """What is asked for of GPUs, or None where no option speaks of them.

    Args:
        sbatch: options by their long names.
        nodes: of each member.
        devices: of each member on each node, where that was given.

    Raises:
        UserError: an option that no member can be trained by, or one that contradicts another.
    """
    for name, mend in REFUSED.items():
        if name in sbatch and (name, sbatch[name]) != ("--gpu-bind", "none"):
            raise UserError(f"{name}: {mend}")
    given = [name for name in GPU_OPTIONS if name in sbatch and (name != "--gres" or _of_gres(sbatch[name]))]
    if not given:
        return None
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} both ask for GPUs; give one of them, such as --gpus-per-node")
    (name,) = given
    value = sbatch[name] or ""
    gpus = _read(name, value, nodes, devices)
    if gpus.count < 1:
        raise UserError(f"{name} {value}: asks for no GPU; leave it out, and give --trainer.accelerator cpu for a CPU")
    if devices not in (None, gpus.count):
        raise UserError(f"{name} {value}: {gpus.count} GPUs on a node, --devices says {devices}; leave one of them out")
    return gpus


def _read(name: str, value: str, nodes: int, devices: int | None) -> Gpus:
    if name == "--gres":
        return Gpus(sum(count for _, count in _of_gres(value)), name, value)
    kinds = _kinds(name, value)
    if name == "--gpus-per-task":
        if sum(count for _, count in kinds) != 1:
            raise UserError(f"{name} {value}: a process of a member drives one GPU; give --gpus-per-node {value}")
        kinds = [(kind, devices or 1) for kind, _ in kinds]
    if name == "--gpus":
        if any(count % nodes for _, count in kinds):
            raise UserError(f"{name} {value}: {nodes} nodes cannot share them equally; give --gpus-per-node")
        kinds = [(kind, count // nodes) for kind, count in kinds]
    value = ",".join(f"{kind}:{count}" if kind else str(count) for kind, count in kinds)
    return Gpus(sum(count for _, count in kinds), "--gpus-per-node", value)


def _kinds(name: str, value: str) -> list[tuple[str, int]]:
    """(type, number) of what stands as `4`, `a100:4` or `a100:2,h100:2`; the type may be empty."""
    found = [re.fullmatch(r"(?:([^:,=]+):)?(\d+)", part) for part in value.split(",")]
    if not all(found):
        raise UserError(f"{name} {value}: is no number of GPUs; give it as 4 or a100:4")
    return [(match[1] or "", int(match[2])) for match in found if match]


def _of_gres(value: str | None) -> list[tuple[str, int]]:
    """The GPUs among what --gres lists, such as `gpu:a100:4,nvme:1`; one where there is no number."""
    found = []
    for part in (value or "").split(","):
        name, *fields = re.split("[:=]", part.partition("(")[0])
        if name in ("gpu", "gres/gpu"):
            last = fields[-1] if fields else ""
            found.append((fields[0] if len(fields) > 1 else "", int(last) if last.isdigit() else 1))
    return found
