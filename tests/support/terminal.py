"""A command in a terminal of 80 columns, and what a person sees of it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte

COLUMNS, ROWS = 80, 40
PATIENCE = 180.0  # seconds


class Terminal:
    """Runs a command whose standard streams are a pseudo-terminal.

    Attributes:
        raw: all that it wrote, control sequences included.
    """

    def __init__(self, command: list[str], cwd: Path, **environment: str) -> None:
        self.raw = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        # wider and taller than the terminal that the command knows: nothing scrolls away, and what is too wide shows
        self._screen = pyte.Screen(2 * COLUMNS, 400)
        self._stream = pyte.Stream(self._screen)
        given = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**given, "TERM": "xterm-256color", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(slave)

    def until(self, condition: Callable[["Terminal"], bool]) -> None:
        """Wait until what it shows fulfils a condition."""
        end = time.monotonic() + PATIENCE
        while not condition(self):
            assert time.monotonic() < end, f"did not come:\n{self.text}"
            assert self._read(), f"ended before:\n{self.text}"

    def wait(self) -> int:
        """Read to its end; the exit status."""
        end = time.monotonic() + PATIENCE
        while self._read():
            if time.monotonic() > end:
                self._process.kill()
                raise AssertionError(f"did not end:\n{self.text}")
        os.close(self._master)
        return self._process.wait()

    def press_ctrl_c(self) -> None:
        self.press("\x03")

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 1.0)[0]:
            return True
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # Linux's word for the end of a pseudo-terminal
            return False
        text = piece.decode(errors="replace")
        self.raw += text
        self._stream.feed(text)
        return bool(piece)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")

    def assert_readable(self) -> None:
        """Nothing is wider than the terminal, cut or left half drawn, and the cursor is there again."""
        assert "Traceback" not in self.raw, self.text
        too_wide = [line for line in self.lines if len(line) > COLUMNS]
        assert not too_wide
        assert "…" not in self.raw
        assert "━" not in self.text, "a bar was left behind"
        assert self.raw.rfind("\x1b[?25h") >= self.raw.rfind("\x1b[?25l")


def colours(raw: str) -> list[str]:
    """Control sequences that set a colour."""
    return [code for code in re.findall(r"\x1b\[([\d;]*)m", raw) if re.search(r"(^|;)([349]\d|10\d)(;|$)", code)]
