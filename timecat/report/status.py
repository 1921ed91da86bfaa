"""`timecat status`: what of a study is finished, running, stopped or missing, from disk and, where it is, SLURM."""

from collections.abc import Callable

from timecat.cluster import slurm
from timecat.cluster.members_table import LEFT, diverged_in_words, members_table
from timecat.study.progress import is_finished, member_state
from timecat.study.results import count_probed, is_reported
from timecat.study.study import Study
from timecat.study.tuned import is_of, read_tuned
from timecat.terminal import print_table, say

LAST_LINES = 3


def status(study: Study, clear: Callable[[], None] = lambda: None) -> None:
    """Print a row per member, then the probes, what was tuned, the report, and why SLURM's tasks failed.

    Args:
        clear: called before the first line, once all is known.
    """
    tasks = slurm.tasks(study.directory)
    unfinished = {plan.index for plan in study.members if not is_finished(study, plan)}
    of_members = {number: task for (stage, number), task in tasks.items() if stage == "member" and number in unfinished}
    clear()
    if study.members:
        print_table(*members_table(study, tasks=of_members), left=LEFT)
    else:
        say(f"{study.name}: no member to train")
    if (words := diverged_in_words(study)) is not None:
        say(words)
    for plan in study.members:
        if (state := member_state(study, plan)).state == "diverged":
            say(f"    {plan.name}: {state.why}", indent=8)
        elif state.state == "damaged":
            say(state.why)
    logs = {("member", index): study.directory.member_log(index) for index in unfinished}
    for place, probe in enumerate(study.probes):
        done, wanted = count_probed(study, probe)
        state = "finished" if done == wanted else f"{done} of {wanted} cats" if done else "missing"
        if done < wanted:
            logs["probe", place] = study.directory.probe_log(place)
        say(f"probe {probe.name}: {state}{_slurm_says(tasks, 'probe', place, done < wanted)}")
    cats = {(cat.cat.name, cat.repetition): cat for cat in study.seeded_cats()}
    for name, directories in study.directory.all_tuned().items():
        tuned = [read_tuned(directory) for directory in directories.values()]
        of_these = [each for each in tuned if each and is_of(study, each, cats.get((each["cat"], each["repetition"])))]
        say(f"tuned {name}: {len(of_these)} of {study.repetitions} repetitions")
    report = study.directory.report("heldout", ".md")
    state = "missing" if not report.exists() else str(report) if is_reported(study) else f"{report} is of other results"
    hint = "" if state == str(report) else _slurm_says(tasks, "report", 0, True)
    say(f"report: {state}{hint}")
    for key, log in logs.items():
        task = tasks.get(key)
        if task is not None and task.has_failed and log.exists():
            say(f"{key[0]} {key[1]}: {task}; the end of {log}:")
            for line in log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]:
                say(f"    {line}")


def _slurm_says(tasks: dict[tuple[str, int], slurm.Task], stage: str, number: int, is_missing: bool) -> str:
    task = tasks.get((stage, number))
    return f"; SLURM: {task}" if task is not None and is_missing else ""
