"""Every claim about speed and agreement on one CUDA card, as figures, in under 8 minutes.

    python -m benchmarks.gpu                              # on a GPU: benchmarks-gpu.json
    python -m benchmarks.gpu --device cpu                 # every part in small, on any machine
    python -m benchmarks.gpu --parts step,checks

The JSON is written after each part, so that a run that is cut off still tells. Timings are medians of rounds that take
turns, with least and most. It ends with status 1 where a check fails.
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")

import torch

from benchmarks.gpu.ceilings import ceilings
from benchmarks.gpu.checks import checks
from benchmarks.gpu.extraction import extraction
from benchmarks.gpu.failure import FAILED, failure
from benchmarks.gpu.heads import heads
from benchmarks.gpu.loader import loader
from benchmarks.gpu.step import step
from timecat.members.trainer import quiet_lightning

PARTS = {
    "ceilings": ceilings,
    "loader": loader,
    "step": step,
    "extraction": extraction,
    "heads": heads,
    "checks": checks,
}
LIBRARIES = ("torch", "torchvision", "lightning", "numba", "numpy")


def machine(device: torch.device) -> dict[str, Any]:
    """Card, processor, versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "date": time.strftime("%Y-%m-%d"),
        **{library: version(library) for library in LIBRARIES if find_spec(library)},  # numba comes with ffcv
    }


def lines(found: dict[str, Any], indent: int = 2) -> list[str]:
    """Figures a person reads."""
    told = []
    for key, value in found.items():
        if isinstance(value, dict) and "median" in value:
            told.append(f"{' ' * indent}{key}: {value['median']:,.4g} ({value['least']:,.4g} to {value['most']:,.4g})")
        elif isinstance(value, dict) and "found" in value:
            told.append(f"{' ' * indent}{key}: {value['found']} ({value['seconds']:.1f} s)")
        elif isinstance(value, dict):
            told += [f"{' ' * indent}{key}", *lines(value, indent + 2)]
        elif isinstance(value, float):
            told.append(f"{' ' * indent}{key}: {value:,.4g}")
        elif value is not None:
            told.append(f"{' ' * indent}{key}: {value}")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, comma-separated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-gpu.json"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here; --device cpu runs every part in small")
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    quiet_lightning()
    device = torch.device(options.device)
    told: dict[str, Any] = {"machine": machine(device)}
    print("\n".join(["machine", *lines(told["machine"])]), flush=True)
    for name in options.parts.split(","):
        start = time.perf_counter()
        try:
            told[name] = PARTS[name](device, options.device == "cpu")
        except Exception as error:  # the other parts still tell
            told[name] = {"the part": failure(error)}
        told[f"{name} seconds"] = time.perf_counter() - start
        options.out.write_text(json.dumps(told, indent=2) + "\n")
        print("\n".join([f"{name} ({told[f'{name} seconds']:.0f} s)", *lines(told[name])]), flush=True)
    results = [(part, name, each) for part in PARTS for name, each in told.get(part, {}).items()]
    failed = [f"{part}: {name}" for part, name, each in results if isinstance(each, dict) and FAILED in str(each)]
    print(f"{options.out}: " + (f"{len(failed)} FAILED: {'; '.join(failed)}" if failed else "all is well"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
