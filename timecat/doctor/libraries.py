"""The libraries that every training imports, imported; and whether torch computes on the GPUs that are here.

In a process of its own (apart.py): it takes seconds, and a library of another processor or driver ends the process.
"""

import importlib
import time
from collections.abc import Iterator

from timecat.cluster.few_cores import gpus_here
from timecat.doctor.line import Line

MODULES = ("torch", "torchvision", "lightning.pytorch")


def check() -> Iterator[Line]:
    begun, imported = time.monotonic(), []
    for name in MODULES:
        try:
            importlib.import_module(name)
            imported.append(name.partition(".")[0])
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            yield Line(name, f"cannot be imported ({why:.300})", "install it again: make setup", broken=True)
    if "torch" in imported and gpus_here():
        yield on_the_gpu()
    if imported:
        yield Line("libraries", f"{', '.join(imported)} imported in {time.monotonic() - begun:.1f} s")


def on_the_gpu() -> Line:
    """Whether torch adds numbers on the first GPU that it sees."""
    import torch

    what = "torch's GPUs"
    if torch.version.cuda is None and torch.version.hip is None:
        return Line(
            what, "none: this torch is built for the CPU alone", "install one for CUDA: pytorch.org/get-started"
        )
    try:
        torch.ones(8, device="cuda").add(1).sum().item()
        nccl = ".".join(map(str, torch.cuda.nccl.version()))  # pyright: ignore[reportAttributeAccessIssue]
        return Line(what, f"{torch.cuda.device_count()}, the first of which computes; NCCL {nccl}")
    except Exception as error:
        why = " ".join(str(error).split())
        return Line(
            what, f"none that computes ({why:.200})", "see the driver's line; else install a torch for this GPU"
        )
