"""`timecat status`: what of a study is finished, running, stopped or missing, from disk and, where it is, SLURM."""

from rich.console import Console

from timecat import files, progress, slurm
from timecat.config import data_name
from timecat.display import members_table
from timecat.slots import log_of
from timecat.study import Study

LAST_LINES = 3


def probed(study: Study, path: str) -> tuple[int, int]:
    """How many cats of a data set have their result, and how many there are, over all repetitions."""
    results = files.read_json(study.directory / "probe" / data_name(path) / "results.json") or {}
    done = sum(len(cat["repetitions"]) for cat in results.get("cats", {}).values())
    return done, len(study.cats) * study.repetitions


def is_probed(study: Study, path: str) -> bool:
    done, wanted = probed(study, path)
    return done >= wanted


def status(study: Study, console: Console | None = None) -> None:
    """Print a row per member, then the probes and the report, and why SLURM's tasks failed."""
    console = console or Console()
    tasks = slurm.tasks(study.directory)
    unfinished = {run.index for run in study.runs if progress.state_of(study, run)["state"] != "finished"}
    shown = {number: task for (stage, number), task in tasks.items() if stage == "member" and number in unfinished}
    console.print(members_table(study, tasks=shown), soft_wrap=True)
    logs = {("member", run.index): log_of(study, run) for run in study.runs if run.index in unfinished}
    for i, path in enumerate(study.probes):
        name = data_name(path)
        done, wanted = probed(study, path)
        state = "finished" if done >= wanted else f"{done} of {wanted} cats" if done else "missing"
        if done < wanted:
            logs["probe", i] = study.directory / "logs" / f"probe_{i}.log"
        console.print(f"probe {name}: {state}{_told(tasks, 'probe', i, done < wanted)}", soft_wrap=True)
    report = study.directory / "report.md"
    missing = f"missing; timecat report writes it{_told(tasks, 'report', 0, True)}"
    console.print(f"report: {report}" if report.exists() else f"report: {missing}", soft_wrap=True)
    for key, log in logs.items():
        task = tasks.get(key)
        if task is not None and task.has_failed and log.exists():
            console.print(f"{key[0]} {key[1]}: {task}; the end of {log}:", soft_wrap=True, highlight=False)
            for line in log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]:
                console.print(f"    {line}", soft_wrap=True, highlight=False, markup=False)


def _told(tasks: dict[tuple[str, int], slurm.Task], stage: str, number: int, is_missing: bool) -> str:
    task = tasks.get((stage, number))
    return f"; SLURM: {task}" if task is not None and is_missing else ""
