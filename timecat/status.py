"""`timecat status`: what of a study is finished, running, stopped or missing, read from disk."""

from rich.console import Console

from timecat import files
from timecat.config import data_name
from timecat.display import members_table
from timecat.study import Study


def status(study: Study, console: Console | None = None) -> None:
    """Print a row per member, then the probes and the report."""
    console = console or Console()
    console.print(members_table(study))
    for path in study.probes:
        name = data_name(path)
        results = files.read_json(study.directory / "probe" / name / "results.json") or {}
        done = sum(len(cat["repetitions"]) for cat in results.get("cats", {}).values())
        wanted = len(study.cats) * study.repetitions
        state = "finished" if done >= wanted else f"{done} of {wanted} cats" if done else "missing"
        console.print(f"probe {name}: {state}")
    report = study.directory / "report.md"
    console.print(f"report: {report}" if report.exists() else "report: missing; timecat report writes it")
