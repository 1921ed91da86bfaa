"""Whether SLURM is here, and what it offers."""

from collections.abc import Iterator

from timecat.cluster import slurm
from timecat.doctor.line import Line
from timecat.errors import UserError

WHAT = "SLURM"


def check() -> Iterator[Line]:
    if not slurm.is_here():
        yield Line(WHAT, "not here; timecat run needs none")
        return
    try:
        number, size, offers = slurm.ask("sbatch", "--version").strip(), slurm.max_array_size(), slurm.partitions()
    except UserError as error:
        why = str(error).split("; ")[-1].removeprefix("fatal: ")
        mend = "on a cluster: ask its admin, or try its login node; elsewhere timecat run needs no SLURM"
        yield Line(WHAT, f"sbatch is here, but reaches no controller ({why})", mend)
        return
    with_gpus = [f"{name} ({of.nodes} nodes, up to {of.gpus})" for name, of in offers.items() if name and of.gpus]
    told = f"{number}, MaxArraySize {size:,}" if size else number
    yield Line(WHAT, f"{told}, {len([name for name in offers if name])} partitions")
    if with_gpus:
        yield Line("SLURM's GPUs", ", ".join(with_gpus))
    else:
        yield Line("SLURM's GPUs", "no partition says that it has some", "timecat launch --trainer.accelerator cpu")
