"""How much of a device heads and features may take."""

from pathlib import Path

import torch

from timecat.config.probe import ProbeConfig
from timecat.errors import UserError
from timecat.process import coarse, share_of_memory

OF_FREE = 0.85  # of a CUDA device's memory; the rest is for products, batches and fragments


def memory_full(where: Path | str, config: ProbeConfig, device: torch.device, *others: str) -> UserError:
    """What to say when the device's memory was full: which key to lower, to what."""
    now = device_room(config, device) / 1e9
    given = f"now {now:g}" if config.memory_gb is not None else "not given: it is what was free"
    mend = ", ".join([f"lower probe.memory_gb ({given}), as in --probe.memory_gb {now / 2:.3g}", *others])
    return UserError(f"{where}: the device's memory is full; {mend}; what is finished stays")


def device_room(config: ProbeConfig, device: torch.device) -> float:
    """Bytes: probe.memory_gb; else of what is free now, 0.85 on a CUDA device, on a CPU as `share_of_memory` says."""
    if config.memory_gb is not None:
        return config.memory_gb * 1e9
    if device.type != "cuda":
        return share_of_memory()
    free = torch.cuda.mem_get_info(device)[0]
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # ours, and free too
    return coarse(OF_FREE * (free + kept))
