"""`timecat status --watch`: the status again and again, until the study is finished."""

import time

from timecat.report.status import status
from timecat.study.results import is_reported
from timecat.study.study import Study
from timecat.terminal import console

EVERY = 5.0  # seconds; each time SLURM is asked too


def watch(study: Study) -> None:
    """Print it in the same place of a terminal, else below each other; ends with the study, or by Ctrl-C."""
    screen = console()
    while True:
        status(study, screen.clear)
        if is_reported(study):
            return
        time.sleep(EVERY)
