"""How many cores this process may use."""

import os

from timecat import slurm


def cores() -> int:
    """SLURM's --cpus-per-task where srun started this process (not every cluster binds tasks to them), else those that
    the kernel lets it run on.

    Sums depend on the number of threads, so that a member that goes on on another node must compute with as many.
    """
    given = os.environ.get("SLURM_CPUS_PER_TASK", "") if slurm.in_step() else ""
    return int(given) if given.isdigit() and int(given) else len(os.sched_getaffinity(0))
