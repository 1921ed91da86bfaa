"""Cores that decode for a GPU: with too few of them it waits for images."""

from pathlib import Path

from timecat.process import cores
from timecat.study.study import Study
from timecat.terminal import say

FEWEST = 12  # a GPU


def gpus_here() -> int:
    """NVIDIA's devices on this machine, without asking the driver."""
    return len([path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()])


def say_of_few_cores(study: Study, devices: int) -> None:
    """A line where this machine's GPUs, or else the devices that a member is to have here, have few cores each."""
    accelerator, gpus = study.trainer.accelerator, gpus_here()
    if accelerator not in ("gpu", "cuda") and (accelerator != "auto" or not gpus):
        return
    count = gpus or devices
    if cores() < FEWEST * count:
        say(
            f"timecat: {cores()} cores here for {count} GPU{'s' * (count > 1)}: a GPU wants {FEWEST} or more to decode "
            "for it; on SLURM, --cpus-per-task gives them",
            error=True,
        )
