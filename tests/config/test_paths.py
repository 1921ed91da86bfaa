"""Which file a config's name means: on a command line, and inside another config."""

from pathlib import Path

import pytest

from timecat.cli import main
from timecat.config.paths import find_config, folders_of
from timecat.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The working directory: empty, outside the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def test_what_a_config_names_is_beside_it_before_it_is_here(elsewhere):
    touch("study/cat.yaml", "study/p.yaml", "p.yaml", "above/p.yaml", "above/deep/deeper/cat.yaml")
    assert find_config("p.yaml", folders_of(["study/cat.yaml"]), "k") == Path("study/p.yaml")
    assert find_config("p.yaml", folders_of(["above/deep/deeper/cat.yaml"]), "k") == Path("above/p.yaml")
    assert find_config("p.yaml", folders_of(["/nowhere/cat.yaml"]), "k") == Path("p.yaml")
    assert find_config("p.yaml", folders_of(["study/cat.yaml", "above/deep/more.yaml"]), "k") == Path("above/p.yaml")
    assert find_config(str(elsewhere / "p.yaml"), folders_of(["study/cat.yaml"]), "k") == elsewhere / "p.yaml"
    with pytest.raises(UserError, match=r"q\.yaml: no such file, .*mend study\.probes"):
        find_config("q.yaml", folders_of(["study/cat.yaml"]), "study.probes")


def test_timecats_own_configs_have_their_names_everywhere(elsewhere):
    own = ROOT / "configs/probe/digits.yaml"
    assert find_config("configs/probe/digits.yaml", folders_of(["/nowhere/cat.yaml"]), "k") == own
    touch("configs/probe/digits.yaml")
    assert find_config("configs/probe/digits.yaml", (), "k") == Path("configs/probe/digits.yaml")
    for name in ("README.md", "timecat/cli.py", "configs/../README.md", "configs/none.yaml"):
        with pytest.raises(UserError):
            find_config(name, (), "k")


def test_a_command_line_takes_what_is_here_else_timecats_own_and_says_so(elsewhere, capsys):
    assert main(["plan", "--config", str(ROOT / "configs/demo.yaml")]) == 0
    by_path = capsys.readouterr()
    assert main(["plan", "configs/demo.yaml"]) == 0
    by_name = capsys.readouterr()
    assert by_name.out == by_path.out
    own = ROOT / "configs/demo.yaml"
    assert by_name.err.split("\n")[0] == f"timecat: configs/demo.yaml: not here, so timecat's own: {own}"
    assert not by_path.err
    Path("configs").mkdir()
    Path("configs/demo.yaml").write_text("data: {}\n")
    assert main(["plan", "configs/demo.yaml"]) == 2
    assert "the config has no study section" in capsys.readouterr().err


def test_a_config_copied_elsewhere_has_its_probes(elsewhere, capsys):
    """From the working directory that has neither, and beside probes of its own."""
    Path("mine").mkdir()
    Path("mine/my.yaml").write_text((ROOT / "configs/demo.yaml").read_text())
    assert main(["plan", "mine/my.yaml"]) == 0
    assert "digits" in capsys.readouterr().out
    touch("mine/configs/probe/digits.yaml")
    assert main(["plan", "mine/my.yaml"]) == 2
    assert "mine/configs/probe/digits.yaml: holds no sections" in capsys.readouterr().err
