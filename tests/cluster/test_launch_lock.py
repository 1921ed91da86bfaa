"""One launch at a time, also where several find the lock of one that died."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timecat.cluster import launch_lock as module
from timecat.cluster.launch_lock import launch_lock
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory

CONTENDER = """if True:
    import os, sys, time
    from pathlib import Path
    from timecat.cluster import launch_lock as module
    from timecat.study.directory import StudyDirectory

    is_dead = module._is_dead
    def slowly(owner, path):  # between seeing a dead owner and removing its lock
        dead = is_dead(owner, path)
        time.sleep(0.3 * dead * int(sys.argv[2]))
        return dead
    module._is_dead = slowly
    inside = Path(sys.argv[1]) / "inside"
    with module.launch_lock(StudyDirectory(Path(sys.argv[1]))):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        time.sleep(0.4)
        inside.unlink()
"""


def dead_lock(study: Path) -> Path:
    """The lock of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path = study / "launch" / "lock"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"host": socket.gethostname(), "process": ended.pid, "time": 0}))
    return path


def test_of_several_that_see_a_dead_lock_one_launches_at_a_time(tmp_path):
    path = dead_lock(tmp_path)
    contenders = [
        subprocess.Popen([sys.executable, "-c", CONTENDER, str(tmp_path), str(k)], stderr=subprocess.PIPE)
        for k in range(4)
    ]
    for contender in contenders:
        _, complaint = contender.communicate(timeout=60)
        assert contender.returncode == 0, complaint.decode()
    assert not path.exists()


def test_the_lock_of_another_is_not_removed_at_the_end(tmp_path):
    path = tmp_path / "launch" / "lock"
    with launch_lock(StudyDirectory(tmp_path)):
        path.unlink()  # taken for dead
        path.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_a_launch_that_lives_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    again = launch_lock(StudyDirectory(tmp_path))
    with launch_lock(StudyDirectory(tmp_path)), pytest.raises(UserError, match=f"process {os.getpid()}"):
        again.__enter__()


@pytest.mark.parametrize("content", ["", "garbage", "[]", '{"host": 3}', '{"host": "h", "process": "x"}', "directory"])
def test_a_lock_of_something_else_is_told_at_once(tmp_path, content):
    path = tmp_path / "launch" / "lock"
    path.parent.mkdir()
    path.mkdir() if content == "directory" else path.write_text(content)
    before = time.monotonic()
    with pytest.raises(UserError, match="no lock of timecat launch"), launch_lock(StudyDirectory(tmp_path)):
        pass
    assert time.monotonic() - before < 5
