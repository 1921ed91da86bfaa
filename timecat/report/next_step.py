"""What to do next with a study, told by the last line of its commands."""

import shlex
from collections.abc import Sequence

from timecat.study.directory import Protocol
from timecat.study.progress import is_finished, member_state
from timecat.study.results import count_probed, is_reported
from timecat.study.study import Study
from timecat.terminal import say


def say_next_step(study: Study, arguments: Sequence[str], protocol: Protocol = "heldout") -> None:
    """Print the command.

    Args:
        arguments: of the study's commands: its configs and what the command line changed.
    """
    say(f"next: {next_step(study, shlex.join(arguments), protocol)}", indent=6)


def next_step(study: Study, arguments: str, protocol: Protocol) -> str:
    """The command that goes on from what lies on disk."""
    states = {member_state(study, plan).state for plan in study.members}
    if "damaged" in states:
        return f"timecat verify {arguments}"
    if "diverged" in states:
        return f"lower model.lr, choose another study.name, then timecat run {arguments}"
    if not all(is_finished(study, plan) for plan in study.members):
        return f"timecat run {arguments}"
    if not study.probes:
        return "name probes in study.probes, then timecat probe"
    chosen = "" if protocol == "heldout" else f" --protocol {protocol}"
    counts = [count_probed(study, probe, protocol) for probe in study.probes]
    if any(done < wanted for done, wanted in counts):
        return f"timecat probe {arguments}{chosen}"
    if not is_reported(study, protocol):
        return f"timecat report {arguments}{chosen}"
    several = [cat for cat in study.cats.values() if cat.concatenates and cat.members > 1]
    cat = several[-1] if several else study.cats[study.baseline]
    return f"timecat features {study.directory}:{cat.name} IMAGES OUT"
