"""How much memory `timecat plan` may count on for heads, without asking a device."""

from typing import NamedTuple

from timecat.cluster.slots import has_gpus
from timecat.config.files import ProbeFile
from timecat.process import share_of_memory


class Memory(NamedTuple):
    """So much, and whose it is."""

    gigabytes: float
    whose: str = ""

    def __str__(self) -> str:
        return f"{self.gigabytes:.3g} GB{self.whose}"


def planned_memory(probe: ProbeFile) -> Memory | None:
    """What probe.memory_gb says, or of a CPU what it is where not given; None of a GPU, which only torch can ask."""
    if probe.probe.memory_gb is not None:
        return Memory(probe.probe.memory_gb)
    if has_gpus(probe.trainer.accelerator):
        return None
    return Memory(share_of_memory() / 1e9, ", half of what is free here")
