"""`timecat doctor`: every check at once, each with its thread, told in a fixed order as they answer."""

import importlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from timecat.doctor.apart import in_a_process
from timecat.doctor.line import INDENT, Line

Check = Callable[[], Iterator[Line]]
SECONDS = 10.0  # for all checks together: to import all takes 6 on two idle cores
TRY_AGAIN = "try again: this machine is busy, or a disk or a driver hangs"
_importing = threading.Lock()


def checks(configs: list[str]) -> dict[str, Check]:
    """All of them by name, in the order in which they are told: the slow ones last.

    Args:
        configs: of a study or a probe, to look at too; none of them need be.
    """

    def of(module: str) -> Iterator[Line]:
        with _importing:  # several threads at once would meet modules that are half made
            check = importlib.import_module(f"timecat.doctor.{module}").check
        yield from check(configs) if module == "config" else check()

    here = ("installed", "kernel", "processor", "memory", "disk", "locks", "compiler", "slurm", "network")
    named = (*here, "config") if configs else here
    found: dict[str, Check] = {name: partial(of, name) for name in named}
    return found | {name: partial(in_a_process, name) for name in ("gpus", "decoding", "libraries")}


def doctor(configs: list[str], as_json: bool, of: dict[str, Check] | None = None, seconds: float = SECONDS) -> int:
    """Print a line for each thing that was looked at; 1 where something is broken that timecat needs, else 0.

    Args:
        configs: as those of `checks`.
        as_json: an object a line, as `Line.as_json` has it.
        of: other checks than all.
        seconds: in which it ends, whatever hangs.
    """
    end, found = time.monotonic() + seconds, []
    for name, said in [(name, _start(name, check)) for name, check in (of or checks(configs)).items()]:
        for line in _answers(name, said, end, seconds):
            found.append(line)
            _print(line, as_json)
    states = [line.state for line in found]
    if not as_json:
        _say(_in_all(states.count("mend"), states.count("broken")), 0)
    return 1 if "broken" in states else 0


def _start(name: str, check: Check) -> "queue.SimpleQueue[Line | None]":
    """Begin a check; what it says as it says it, and then None."""
    said: queue.SimpleQueue[Line | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for line in check():
                said.put(line)
        except Exception as error:
            said.put(failed(name, error))
        finally:
            said.put(None)

    threading.Thread(target=work, name=name, daemon=True).start()
    return said


def _answers(name: str, said: "queue.SimpleQueue[Line | None]", end: float, seconds: float) -> Iterator[Line]:
    """What a check says until it has said all, or the end, which is seconds after the beginning."""
    try:
        while (line := said.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            yield line
    except queue.Empty:
        yield Line(name, f"no answer in {seconds:.3g} s", TRY_AGAIN)


def failed(name: str, error: Exception) -> Line:
    """A check that did not do what it should tells no more of the machine than this."""
    why = " ".join(f"{type(error).__name__}: {error}".split())
    return Line(name, f"this check itself failed ({why:.300})", "look at it by hand; the other lines hold")


def _print(line: Line, as_json: bool) -> None:
    if as_json:
        print(json.dumps(line.as_json()), flush=True)
    else:
        _say(str(line), INDENT)


def _say(line: str, indent: int) -> None:
    try:
        from timecat.terminal import say
    except ImportError:  # rich is not there, which a line tells
        print(line, flush=True)
    else:
        say(line, indent=indent)


def _in_all(mend: int, broken: int) -> str:
    if broken:
        return f"{broken} broken: timecat does not work here before that is mended; {mend} more to mend"
    return f"{mend} to mend, and timecat works without" if mend else "all is well"
