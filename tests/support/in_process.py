"""Commands of timecat in this process: a new one takes seconds to import torch."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pyte

from tests.support.terminal import COLUMNS
from timecat.cli import main


class _Screen(StringIO):
    def isatty(self) -> bool:
        return True


def in_a_pipe(words: list[str]) -> tuple[int, str, str]:
    """Status, stdout and stderr."""
    out, err = StringIO(), StringIO()
    return _status(words, out, err), out.getvalue(), err.getvalue()


def on_a_terminal(words: list[str]) -> tuple[int, list[str]]:
    """Status, and the lines that stand on the screen, which shows what is too wide."""
    both = _Screen()
    status = _status(words, both, both)
    screen = pyte.Screen(4 * COLUMNS, 400)
    pyte.Stream(screen).feed(both.getvalue().replace("\n", "\r\n"))
    return status, [line.rstrip() for line in screen.display]


def _status(words: list[str], out: StringIO, err: StringIO) -> int:
    with redirect_stdout(out), redirect_stderr(err):
        try:
            return main(words)
        except SystemExit as ended:  # argparse's
            return int(ended.code or 0)
