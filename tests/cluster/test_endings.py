"""What is told of a member's process that failed."""

import signal

import pytest

from timecat.cluster.endings import why

EARLIER = "timecat: of an earlier run\n"


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (2, "timecat: data.train: no such file\nWarning: at exit\n", "data.train: no such file"),
        (1, "Traceback\n  File\nValueError: three\n\n", "ValueError: three"),
        (1, "", "exit status 1, without a word"),
        (
            -signal.SIGKILL,
            "timecat: a line\n",
            "its process was ended by SIGKILL: memory ran out, or somebody killed it",
        ),
        (-signal.SIGBUS, "", "its process was ended by SIGBUS: a data file became shorter while it was read"),
        (-signal.SIGSEGV, "", "its process was ended by SIGSEGV"),
        (-200, "", "its process was ended by signal 200"),
    ],
)
def test_its_own_last_line_or_the_signal_that_ended_it(tmp_path, status, said, told):
    log = tmp_path / "fit_0.log"
    log.write_text(EARLIER + said)
    assert why(status, log, len(EARLIER)).startswith(told)


def test_a_log_that_is_not_there(tmp_path):
    assert why(1, tmp_path / "none", 0) == "exit status 1, without a word"
