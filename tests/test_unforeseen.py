"""What nobody foresaw, and what the operating system refuses: one line that names the thing, and nothing is lost."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile import ended
from tests.support.in_process import in_a_pipe
from tests.support.small_study import ONE_CYCLE, finish_members, write_probe, write_study
from timecat import cli
from timecat.unforeseen import refused

CATS = {"cat1": {"members": 1, "steps": 4}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits) -> Path:
    """A study whose members are trained and probed, and reported."""
    folder = tmp_path_factory.mktemp("whole")
    before = Path.cwd()
    os.chdir(folder)
    try:
        data = {"root": str(digits), "workers": 1}
        write_probe(
            Path("p.yaml"), {**data, "test": "test.beton"}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 1}
        )
        write_study(Path("s.yaml"), data, ONE_CYCLE, CATS, probes=["p.yaml"])
        finish_members("s.yaml")
        for command in ("probe", "report"):
            assert in_a_pipe([command, "s.yaml"])[0] == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(whole, tmp_path, monkeypatch) -> Path:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_nobody_foresaw_is_a_line_and_a_log_but_in_a_test_an_error(here, monkeypatch, capsys):
    def broken(*_):
        raise ZeroDivisionError("of [/x]\nno user's")

    monkeypatch.setattr("timecat.report.status.status", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["status", "s.yaml"])
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["timecat", "status", "s.yaml"])
    assert cli.from_shell() == 1
    (log,) = Path("runs/s/logs").glob("error_*.log")
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "ZeroDivisionError: of [/x] no user's" in line and str(log) in line, line
    assert "in broken" in log.read_text()


def test_of_no_study_the_log_lies_here_else_where_one_can_write(tmp_path, monkeypatch):
    from timecat.unforeseen import keep_traceback

    monkeypatch.chdir(tmp_path)
    keep_traceback(ValueError("x"), None).rename("moved.log")
    assert keep_traceback(ValueError("x"), tmp_path / "none" / "logs").parent == Path(".")
    monkeypatch.setattr("timecat.unforeseen._places", lambda logs, name: [tmp_path / "none" / name])
    path = keep_traceback(ValueError("x"), None)
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()


def test_the_shells_command_has_a_line_for_what_is_unforeseen(here):
    """In a process of its own: a file of the package that fails as it is imported."""
    code = "import sys, timecat.config.read as r; r.read_config = None; from timecat.cli import from_shell; "
    code += "sys.argv = ['timecat', 'status', 's.yaml']; sys.exit(from_shell())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr


IN_THE_WAY = [  # what is there as something else, and what falls over it
    ("runs", "file", ["plan", "fit", "run"]),
    ("runs/s", "file", ["plan", "fit"]),
    ("runs/s/probe", "file", ["probe"]),
    ("runs/s/probe/p/lock", "directory", ["probe"]),
    ("runs/s/probe/p/results.json", "directory", ["status", "probe", "report"]),
    ("runs/s/probe/p/predictions.npz", "directory", ["report", "probe"]),
    ("runs/s/member_0_4/done.json", "directory", ["status", "fit", "probe"]),
    ("runs/s/member_0_4/recipe.json", "directory", ["plan", "fit"]),
    ("runs/s/report.md", "directory", ["report"]),
    ("runs/s/report.json", "directory", ["report"]),
    ("runs/s/compare", "file", ["report"]),
    ("s.yaml", "directory", ["status"]),
    ("p.yaml", "directory", ["status"]),
]


@pytest.mark.parametrize(("name", "kind", "commands"), IN_THE_WAY, ids=lambda value: str(value))
def test_what_is_in_the_way_is_named(here, name, kind, commands):
    path = Path(name)
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "directory":
        (path / "below").mkdir(parents=True)
    else:
        path.touch()
    for command in commands:
        status, why, line = ended([command, "s.yaml"], (2,))
        assert not why and status == 2, (command, why)
        assert name in line, (command, line)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENAMETOOLONG]
)
def test_what_the_disk_refuses_is_named_with_its_mend(here, number, monkeypatch):
    """At the first write of a report."""
    Path("runs/s/report.json").unlink()

    def refuses(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("timecat.files.os.fsync", refuses)
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    status, why, line = ended(["report", "s.yaml"], (2,))
    assert not why and status == 2 and "runs/s/report" in line, (why, line)
    assert refused(OSError(number, "x", "a path")) is not None
    after = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    assert all(after[path] == content for path, content in before.items())
    assert not [path for path in after if ".tmp-" in path.name]


def test_a_name_of_300_letters_is_refused_where_it_is_a_name_and_told_where_it_is_a_path(here):
    for words in (["--study.name", "n" * 300], ["--study.root", "r" * 300]):
        status, why, line = ended(["fit", "s.yaml", *words], (2,))
        assert (not why and status == 2 and words[0][-4:] in line) or "too long" in line, (why, line)


def test_a_report_of_the_same_results_is_not_written_again(here):
    for words in (["report", "s.yaml"], ["report", "s.yaml", "--by", "class"]):
        assert in_a_pipe(words)[0] == 0
        before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
        assert in_a_pipe(words)[0] == 0
        assert before == {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    Path("runs/s/report.svg").unlink()
    assert in_a_pipe(["report", "s.yaml"])[0] == 0
    assert Path("runs/s/report.svg").exists()
