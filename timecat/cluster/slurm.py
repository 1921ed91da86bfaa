"""SLURM as its commands tell of it, without accounting: squeue, scontrol, sinfo, scancel; and what we submitted."""

import re
import shutil
import subprocess
from dataclasses import dataclass

from timecat.errors import UserError
from timecat.study.directory import StudyDirectory

JOB = re.compile(r"(member|probe|report) (\d{1,9}) ([\w.+-]+)", re.ASCII)  # a line of launch/jobs


@dataclass(frozen=True)
class Task:
    """A submitted task as SLURM has it; `state` is empty where SLURM has forgotten it."""

    job: str
    state: str = ""
    reason: str = ""
    restarts: int = 0

    def __str__(self) -> str:
        """As a person reads it: `17_1 queued (Dependency)`, `17_1 running, requeued 2 times`, `17_1 failed`."""
        if not self.state:
            return f"{self.job} forgotten"
        word = {"PENDING": "queued"}.get(self.state, self.state.lower().replace("_", " "))
        why = f" ({self.reason})" if self.reason != "None" and self.state not in ("RUNNING", "COMPLETED") else ""
        times = f", requeued {self.restarts} time{'s' if self.restarts > 1 else ''}" if self.restarts else ""
        return f"{self.job} {word}{why}{times}"

    @property
    def has_failed(self) -> bool:
        return not self.is_alive and self.state != "COMPLETED"

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs, and not for something that can never come."""
        waits = self.state in ("PENDING", "REQUEUED") and self.reason != "DependencyNeverSatisfied"
        return waits or self.state in ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING")


def is_here() -> bool:
    return shutil.which("sbatch") is not None and shutil.which("scontrol") is not None


def ask(*command: str) -> str:
    """A command's output.

    Raises:
        UserError: with what it complained about, in one line.
    """
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{command[0]}: {error}; is SLURM up?") from None
    if ended.returncode:
        lines = [line.removeprefix(f"{command[0]}: ").removeprefix("error: ") for line in ended.stderr.splitlines()]
        lines = [line for line in lines if line and not line.startswith("Try ")]
        raise UserError("; ".join(lines) or f"exit status {ended.returncode}")
    return ended.stdout


def submitted(directory: StudyDirectory) -> dict[tuple[str, int], str]:
    """The last job of each (stage, number) that was submitted for the study in this directory.

    Raises:
        UserError: the file that tells is damaged.
    """
    path = directory.jobs
    if not path.exists():
        return {}
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else ["not a file"]
    found = {}
    for number, line in enumerate(lines, 1):
        entry = JOB.fullmatch(line)
        if entry is None and line.strip():
            raise UserError(
                f"{path}:{number}: is no line of timecat launch; remove the line, or the file where squeue has no job "
                "of this study"
            )
        if entry is not None:
            found[entry[1], int(entry[2])] = entry[3]
    return found


def tasks(directory: StudyDirectory) -> dict[tuple[str, int], Task]:
    """What SLURM says of each task that was submitted; nothing where there is no SLURM."""
    jobs = submitted(directory)
    if not jobs or not is_here():
        return {}
    known = {}
    for array in {job.split("_")[0] for job in jobs.values()}:
        try:
            said = ask("scontrol", "show", "job", "--oneliner", array)
        except UserError:  # forgotten: MinJobAge, by default five minutes after its end
            continue
        for line in said.splitlines():
            fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
            state = (fields.get("JobState", ""), fields.get("Reason", ""), int(fields.get("Restarts", 0)))
            for task in _numbers(fields.get("ArrayTaskId", "")):
                known[f"{fields.get('ArrayJobId')}_{task}"] = state
            known.setdefault(fields["JobId"], state)
    return {key: Task(job, *known.get(job, ())) for key, job in jobs.items()}


def _numbers(text: str) -> list[int]:
    """An array's waiting tasks stand in one record, such as 0,2-4%2."""
    numbers = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def max_array_size() -> int | None:
    """The cluster's MaxArraySize, which every task's number is below; None where it does not tell."""
    for line in ask("scontrol", "show", "config").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return int(value)
    return None


@dataclass
class Partition:
    """What a partition offers: nodes, and the most GPUs on one of them."""

    nodes: int = 0
    gpus: int = 0


def partitions() -> dict[str, Partition]:
    """The cluster's partitions by name; the default one's stands under the empty name too."""
    offers: dict[str, Partition] = {}
    for line in ask("sinfo", "--noheader", "--format=%P|%D|%G").splitlines():
        name, nodes, gres = line.strip().split("|", 2)
        partition = offers.setdefault(name.rstrip("*"), Partition())
        partition.nodes += int(nodes)
        partition.gpus = max(partition.gpus, gpus(gres))
        if name.endswith("*"):
            offers[""] = partition
    return offers


def gpus(gres: str) -> int:
    """GPUs in what sinfo says, such as gpu:4 or gpu:a100:4(S:0-1)."""
    fields = [part.partition("(")[0].split(":") for part in gres.split(",")]
    return sum(int(field[-1]) for field in fields if field[0] == "gpu" and field[-1].isdigit())
