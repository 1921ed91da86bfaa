"""Cores that this process may use, and whether they compute bfloat16 fast."""

import os
from collections.abc import Iterator
from pathlib import Path

from timecat.doctor.line import Line
from timecat.process import cores, has_fast_bf16, in_slurm_step, quota

CPUINFO = Path("/proc/cpuinfo")
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512bw", "bf16")  # the fastest first; bf16 is Arm's


def check() -> Iterator[Line]:
    granted, given = quota(), len(os.sched_getaffinity(0))
    of = [f"{os.cpu_count()} in the machine", f"{given} by affinity"]
    of += [f"time for {granted:.3g} by the cgroup's quota"] if granted is not None else []
    of += [f"{os.environ.get('SLURM_CPUS_PER_TASK', '?')} by srun's --cpus-per-task"] if in_slurm_step() else []
    yield Line("cores", f"{cores()} ({', '.join(of)})")
    cpuinfo = CPUINFO.read_text()
    words = set(cpuinfo.split())
    best = next((word for word in INSTRUCTIONS if word in words), None)
    if has_fast_bf16(cpuinfo):
        yield Line("bf16, CPU", f"fast ({best})" if best else "fast")
    else:
        mend = "on this CPU train with --trainer.precision 32-true"
        yield Line("bf16, CPU", "about a quarter of float32's speed, without AVX-512", mend)
