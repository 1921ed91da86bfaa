"""Memory, and the part of it that processes share by /dev/shm."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from timecat.cluster.few_cores import gpus_here
from timecat.doctor.line import Line
from timecat.process import free_memory, memory_limit
from timecat.terminal import short

LEAST = 2e9  # bytes: torch and Lightning alone take about one
SHARED, SHARED_LEAST = Path("/dev/shm"), 1e9  # bytes: what NCCL's own documentation gives Docker, --shm-size=1g


def check() -> Iterator[Line]:
    meminfo = Path("/proc/meminfo").read_text()
    total = int(next(line for line in meminfo.splitlines() if line.startswith("MemTotal:")).split()[1]) * 1024
    free, limit = free_memory(meminfo), memory_limit()
    within = f", within the cgroup's limit of {short(limit, 'B')}" if limit is not None and limit < total else ""
    mend = "" if free >= LEAST else "end what takes it, ask the job for more, or docker run --memory"
    yield Line("memory", f"{short(free, 'B')} free of {short(total, 'B')}{within}", mend)
    yield shared(gpus_here())


def shared(gpus: int) -> Line:
    """/dev/shm, which Docker makes 64 MB of: timecat's loaders are threads and need none, NCCL's processes do."""
    try:
        size = shutil.disk_usage(SHARED)
    except OSError as error:
        return Line(
            str(SHARED), f"not there ({error.strerror})", "mount it, where a member is to train on several GPUs"
        )
    value = f"{short(size.free, 'B')} free of {short(size.total, 'B')}"
    if size.free >= SHARED_LEAST:
        return Line(str(SHARED), value)
    if gpus < 2:
        return Line(str(SHARED), f"{value}, little, which matters with several GPUs alone")
    return Line(str(SHARED), value, "DDP over several GPUs wants 1 GB: docker run --shm-size=1g, or --ipc=host")
