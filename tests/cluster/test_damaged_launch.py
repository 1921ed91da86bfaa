"""launch/jobs and launch/lock that are none of ours: a line at once, not a minute of silence."""

import time

import pytest

from timecat.cluster.launch_lock import launch_lock
from timecat.cluster.slurm import submitted
from timecat.errors import UserError
from timecat.study.directory import StudyDirectory


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b"{}", b'{"host": 1, "process": 2}', b"\xff" * 9])
def test_a_lock_that_is_none_is_named_at_once(tmp_path, content):
    directory = StudyDirectory(tmp_path)
    directory.launch.mkdir()
    directory.launch_lock.write_bytes(content)
    begun = time.monotonic()
    with (
        pytest.raises(UserError, match=r"launch/lock: is no lock of timecat launch; remove it"),
        launch_lock(directory),
    ):
        pass
    assert time.monotonic() - begun < 10
    assert directory.launch_lock.read_bytes() == content


@pytest.mark.parametrize("line", ["member x 17", "member 1", "\xff", "member ² 17", "member 1 17 18", "other 1 17"])
def test_a_line_of_jobs_that_is_none_is_named(tmp_path, line):
    directory = StudyDirectory(tmp_path)
    assert submitted(directory) == {}
    directory.launch.mkdir()
    directory.jobs.write_text("member 0 17_0\nmember 0 18_0\nprobe 1 19_1\n")
    assert submitted(directory) == {("member", 0): "18_0", ("probe", 1): "19_1"}
    directory.jobs.write_text(f"member 0 17_0\n{line}\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"launch/jobs:2: is no line of timecat launch"):
        submitted(directory)
