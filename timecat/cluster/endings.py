"""Why a member's process failed, in words: what it said last itself, or the signal that ended it."""

import signal
from pathlib import Path

OF_SIGNALS = {
    signal.SIGKILL: "memory ran out, or somebody killed it",
    signal.SIGBUS: "a data file became shorter while it was read, or its disk failed",
    signal.SIGSEGV: "a fault in compiled code; a damaged library, or memory",
    signal.SIGABRT: "compiled code gave up",
}
OURS = "timecat: "


def why(status: int, log: Path, since: int) -> str:
    """In one line.

    Args:
        status: its exit status; minus the number of the signal that ended it.
        log: where it wrote what it had to say.
        since: bytes of the log that were there before it.
    """
    if status < 0:
        return by_signal(-status)
    lines = [line.strip() for line in said(log, since).splitlines() if line.strip()]
    own = [line for line in lines if line.startswith(OURS)]
    return (own or lines or [f"exit status {status}, without a word"])[-1].removeprefix(OURS)


def by_signal(number: int) -> str:
    """What the signal is called, and what it mostly means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = OF_SIGNALS.get(number)  # pyright: ignore[reportArgumentType] (a Signals is its number)
    return f"its process was ended by {name}" + (f": {meaning}" if meaning else "")


def said(log: Path, since: int) -> str:
    """What was written to the log since it had so many bytes."""
    try:
        with log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def length(log: Path) -> int:
    """Bytes of a log; 0 where there is none."""
    return log.stat().st_size if log.exists() else 0
