"""What this process is: its cores, its rank among those that train a member, and the parent that it ends with."""

import ctypes
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from timecat.errors import UserError

CGROUPS = Path("/sys/fs/cgroup")  # version 2, or version 1 below memory/, cpu/ and others
UNLIMITED = 2**62  # bytes: version 1 writes the largest number of pages for no limit
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
OF_LAUNCHERS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
OF_LAUNCHERS += ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS")  # that Lightning reads as numbers
PARENT = "TIMECAT_PARENT"  # an environment variable: the process that this one must not outlive


def check_environment() -> None:
    """Refuse what is no number where Lightning, libgomp and numba want one; they raise, or take it for none.

    Raises:
        UserError: a variable is no number; torchrun's are not all there; or the working directory is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working directory was removed; change to one that is there") from None
    for key in OF_LAUNCHERS:
        if not os.environ.get(key, "0").isdecimal():
            raise UserError(f"{key} is {os.environ[key]!r}; it must be a whole number, or unset")
    for key in THREADS:
        if not all(each.strip().isdecimal() and int(each) for each in os.environ.get(key, "1").split(",")):
            raise UserError(f"{key} is {os.environ[key]!r}; it must be a whole number of 1 or more, or unset")
    if in_torchrun():
        for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"):
            if not int(os.environ.get(key, "0")):
                raise UserError(f"{key} is not what torchrun, whose TORCHELASTIC_RUN_ID is set, gives; unset both")


def in_slurm_step() -> bool:
    """Whether srun started this process; a batch script's own commands have SLURM's variables too."""
    return "SLURM_STEP_ID" in os.environ


def in_torchrun() -> bool:
    """Whether torchrun started this process, one of those of a member."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def torchruns_devices() -> dict[str, int]:
    """The keys of the trainer section that follow from how torchrun was called; none where it was not."""
    if not in_torchrun():
        return {}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"devices": here, "num_nodes": int(os.environ["WORLD_SIZE"]) // here}


def cores() -> int:
    """Of this process and those that it starts: SLURM's --cpus-per-task where srun started it (not every cluster binds
    tasks to them), else those that the kernel lets it run on, or as many as a quota of its cgroups (docker run --cpus)
    gives time for, rounded up; its share of them where torchrun started others too.

    Sums depend on the number of threads, so that a member that goes on on another node must compute with as many.
    """
    given = os.environ.get("SLURM_CPUS_PER_TASK", "") if in_slurm_step() else ""
    found = int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))
    granted = None if given else quota()
    if granted is not None:
        found = max(1, min(found, math.ceil(granted)))
    return max(1, found // int(os.environ.get("LOCAL_WORLD_SIZE", 1))) if in_torchrun() else found


def started_here(devices: int) -> int:
    """Processes of a member of so many devices on this machine that share `cores`: one each, unless srun or torchrun
    started this one as one of them, with cores of its own."""
    return 1 if in_slurm_step() or in_torchrun() else devices


def compute_threads(processes: int) -> int:
    """Threads of torch's operators in each of so many processes that share `cores`.

    A function of what a member is trained with, not of what else runs meanwhile: see `cores`.
    """
    return max(1, cores() // processes)


def decoding_threads(processes: int) -> int:
    """Threads that decode images in each of so many processes that share `cores`: a core is left to the training."""
    return max(1, compute_threads(processes) - 1)


def is_first_rank() -> bool:
    """Whether this process speaks for its member, where several train it by DDP."""
    keys = ("RANK", *(["SLURM_PROCID"] if in_slurm_step() else []), "LOCAL_RANK")
    return next((os.environ[key] for key in keys if key in os.environ), "0") == "0"


def die_with_parent(status: int) -> None:
    """A killed parent that set PARENT takes this process along (Linux's PR_SET_PDEATHSIG), also if it died already.

    Args:
        status: to exit with in that case.
    """
    parent = os.environ.pop(PARENT, None)  # not for the processes that DDP starts
    if parent is not None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit(status)


def has_fast_bf16(cpuinfo: str | None = None) -> bool:
    """Whether this machine's CPU computes bfloat16 no slower than float32: x86 with AVX-512, or Arm's bf16.

    With AVX2 alone bf16-mixed trains at about a quarter of float32's speed (300 against 1,200 images/s seen).
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return True
    words = set(cpuinfo.split())
    return bool(words & {"avx512bw", "bf16"})


def quota(cgroups: Path = CGROUPS, own: str | None = None) -> float | None:
    """Cores that this process's cgroups give it time for, such as 1.5; None where none of them is limited.

    Args:
        cgroups, own: as those of `free_memory`.
    """
    granted = []
    for version, directory in _cgroups("cpu", cgroups, own):
        if version == 2:
            time, period = _number(directory / "cpu.max"), _number(directory / "cpu.max", 1)
        else:
            time, period = _number(directory / "cpu.cfs_quota_us"), _number(directory / "cpu.cfs_period_us")
        if time and period:
            granted.append(time / period)
    return min(granted, default=None)


def free_memory(meminfo: str | None = None, cgroups: Path = CGROUPS, own: str | None = None) -> int:
    """Bytes that this process can still take: what the kernel says is available, within the limits of its cgroups.

    Args:
        meminfo: of /proc/meminfo.
        cgroups: where cgroups lie, version 2, or version 1 below memory/.
        own: of /proc/self/cgroup.
    """
    lines = dict(line.split(":", 1) for line in (meminfo or Path("/proc/meminfo").read_text()).splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    for version, directory in _cgroups("memory", cgroups, own):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (_number(directory / name) for name in names)
        cache = _number(directory / "memory.stat", "inactive_file") or 0  # given back where it is needed
        if limit is not None and used is not None:
            free = min(free, limit - used + cache)
    return max(0, free)


def memory_limit(cgroups: Path = CGROUPS, own: str | None = None) -> int | None:
    """Bytes that this process's cgroups let all of theirs take together; None where none of them is limited.

    Args:
        cgroups, own: as those of `free_memory`.
    """
    of = _cgroups("memory", cgroups, own)
    limits = [_number(path / ("memory.max" if version == 2 else "memory.limit_in_bytes")) for version, path in of]
    return min((limit for limit in limits if limit is not None and limit < UNLIMITED), default=None)


def _cgroups(controller: str, cgroups: Path, own: str | None) -> Iterator[tuple[int, Path]]:
    """Version and directory of each cgroup around this process that may limit it, from the inside."""
    for line in (Path("/proc/self/cgroup").read_text() if own is None else own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controllers
        for directory in (root / path.lstrip("/"), *(root / path.lstrip("/")).parents):
            if directory.is_relative_to(root):
                yield (1 if controllers else 2), directory


def _number(path: Path, at: int | str = 0) -> int | None:
    """That word of a file of a cgroup, or the one after a key; None of `max`, -1, or without it."""
    try:
        words = path.read_text().split()
    except OSError:
        return None
    if isinstance(at, str):
        at = words.index(at) + 1 if at in words else len(words)
    return int(words[at]) if at < len(words) and words[at].isdigit() else None


def share_of_memory() -> float:
    """Bytes that one stage may plan with on a CPU: half of `free_memory`, as files are cached in the same memory."""
    return coarse(free_memory() / 2)


def coarse(size: float) -> float:
    """Bytes rounded down to three binary digits, so that what is planned does not change with each byte in use."""
    step = 2.0 ** (math.floor(math.log2(max(1.0, size))) - 2)
    return math.floor(size / step) * step
