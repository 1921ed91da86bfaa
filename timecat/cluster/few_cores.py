"""Cores that decode for a GPU: with too few of them it waits for images."""

from pathlib import Path

from timecat.process import cores
from timecat.study.study import Study
from timecat.terminal import say

FEWEST = 12  # a GPU


def gpus_here() -> int:
    """NVIDIA's devices on this machine, without asking the driver."""
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


def few_cores(study: Study, devices: int) -> tuple[str, str] | None:
    """What there is and what to do where this machine's GPUs, or else the devices that a member is to have here, have
    few cores each."""
    accelerator, gpus = study.trainer.accelerator, gpus_here()
    if accelerator not in ("gpu", "cuda") and (accelerator != "auto" or not gpus):
        return None
    count = gpus or devices
    if cores() >= FEWEST * count:
        return None
    few = f"{cores()} cores here for {count} GPU{'s' * (count > 1)}"
    return few, f"a GPU wants {FEWEST} or more to decode for it; on SLURM, --cpus-per-task gives them"


def say_of_few_cores(study: Study, devices: int) -> None:
    """A line where there are few."""
    found = few_cores(study, devices)
    if found is not None:
        say(f"timecat: {': '.join(found)}", error=True)
