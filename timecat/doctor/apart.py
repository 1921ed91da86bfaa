"""A check in a process of its own: what it imports may crash, hang, or be of another processor."""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from timecat.doctor.line import Line
from timecat.process import PARENT, die_with_parent


def in_a_process(name: str) -> Iterator[Line]:
    """The lines of the check of timecat.doctor.<name>, as it says them; one more where its process dies of it."""
    started = subprocess.Popen(
        [sys.executable, "-m", "timecat.doctor.apart", name],
        env={**os.environ, PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert started.stdout is not None
    for said in started.stdout:
        yield Line(**json.loads(said))
    status = started.wait()
    if status:
        why = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        yield Line(name, f"what it imports ends the process ({why})", "install it again, for this processor", True)


def main(name: str) -> None:
    """The process: a line of JSON for each line."""
    die_with_parent(1)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print, too
    from timecat.doctor.doctor import failed

    try:
        for line in importlib.import_module(f"timecat.doctor.{name}").check():
            print(json.dumps(vars(line)), file=out)
    except Exception as error:
        print(json.dumps(vars(failed(name, error))), file=out)
    out.flush()
    os._exit(0)  # what was imported may hang at the end


if __name__ == "__main__":
    main(sys.argv[1])
