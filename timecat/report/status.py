"""`timecat status`: what of a study is finished, running, stopped or missing, from disk and, where it is, SLURM."""

from timecat import files
from timecat.cluster import slurm
from timecat.cluster.members_table import LEFT, members_table
from timecat.cluster.slots import log_of
from timecat.config import data_name
from timecat.study import progress
from timecat.study.study import Study
from timecat.terminal import print_table, say

LAST_LINES = 3


def probed(study: Study, path: str) -> tuple[int, int]:
    """How many cats of a data set have their result, and how many there are, over all repetitions."""
    results = files.read_json(study.directory / "probe" / data_name(path) / "results.json") or {}
    done = sum(len(cat["repetitions"]) for cat in results.get("cats", {}).values())
    return done, len(study.cats) * study.repetitions


def is_probed(study: Study, path: str) -> bool:
    done, wanted = probed(study, path)
    return done >= wanted


def status(study: Study) -> None:
    """Print a row per member, then the probes and the report, and why SLURM's tasks failed."""
    tasks = slurm.tasks(study.directory)
    unfinished = {run.index for run in study.runs if progress.state_of(study, run)["state"] != "finished"}
    shown = {number: task for (stage, number), task in tasks.items() if stage == "member" and number in unfinished}
    print_table(*members_table(study, tasks=shown), left=LEFT)
    logs = {("member", run.index): log_of(study, run) for run in study.runs if run.index in unfinished}
    for i, path in enumerate(study.probes):
        name = data_name(path)
        done, wanted = probed(study, path)
        state = "finished" if done >= wanted else f"{done} of {wanted} cats" if done else "missing"
        if done < wanted:
            logs["probe", i] = study.directory / "logs" / f"probe_{i}.log"
        say(f"probe {name}: {state}{_told(tasks, 'probe', i, done < wanted)}")
    report = study.directory / "report.md"
    missing = f"missing; timecat report writes it{_told(tasks, 'report', 0, True)}"
    say(f"report: {report}" if report.exists() else f"report: {missing}")
    for key, log in logs.items():
        task = tasks.get(key)
        if task is not None and task.has_failed and log.exists():
            say(f"{key[0]} {key[1]}: {task}; the end of {log}:")
            for line in log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]:
                say(f"    {line}")


def _told(tasks: dict[tuple[str, int], slurm.Task], stage: str, number: int, is_missing: bool) -> str:
    task = tasks.get((stage, number))
    return f"; SLURM: {task}" if task is not None and is_missing else ""
