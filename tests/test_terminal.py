"""Every command that draws, on a terminal of 80 columns and redirected, to its end or to Ctrl-C."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.processes import command
from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from tests.support.terminal import COLUMNS, Terminal, colours
from timecat.progress_bar import bar
from timecat.terminal import tables

PROBES = ("digits", "digits-again", "handwritten", "numerals", "ten-classes")
VALUE = re.compile(r"\d+\.\d ± \d+\.\d")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Path, Terminal]:
    """A study of five probes, two repetitions and two slots, and the terminal in which `timecat run` finished it."""
    root = tmp_path_factory.mktemp("terminal")
    data = {"root": "data", "source": "digits", "train": "digits/train.beton"}
    for name in PROBES:
        images = {**data, "test": "digits/test.beton"}
        write_probe(root / f"{name}.yaml", images, {"weight_decays": [5e-4, 5e-3]}, trainer={"max_epochs": 4})
    cats = {"cat1": {"members": 1, "steps": 8}, "cat2": {"members": 2, "steps": 4}}
    settings = {"name": "s", "root": "runs", "repetitions": 2, "slots": 2}
    write_study(root / "study.yaml", data, ONE_CYCLE, cats, probes=[f"{name}.yaml" for name in PROBES], **settings)
    terminal = Terminal(command("run", "--config", "study.yaml"), root)
    assert terminal.wait() == 0, terminal.text
    return root, terminal


def copy(study: tuple[Path, Terminal], to: Path, *without: str) -> Path:
    """The study's directory, without some of what lies in runs/s."""
    shutil.copytree(study[0], to, dirs_exist_ok=True)
    for name in without:
        shutil.rmtree(to / "runs" / "s" / name)
    return to


def assert_table(text: str) -> None:
    """The report's table: all probes, a value and its spread for each of both cats."""
    calibration, _, table = text.partition("linear probes on frozen features")
    assert all(f"calibration: {name}\n" in re.sub(" +\n", "\n", calibration) for name in PROBES)
    assert all(re.search(rf"(?<!\S){name}(?!\S)", table) for name in PROBES)
    assert len(VALUE.findall(table)) == 2 * len(PROBES)


def test_run_on_a_terminal(study):
    _, terminal = study
    terminal.assert_readable()
    assert_table(terminal.text)
    for drawn in ("train.beton", "starting: torch", "finished", "features of handwritten", "heads, trained again"):
        assert drawn in terminal.raw, drawn
    assert "6 of 6 members finished" in terminal.text
    decays = set(re.findall(r"(?<!\S)(0\.0+5)'(?=[\s,])", terminal.text))  # both are at an edge of the grid
    assert decays and decays <= {"0.0005", "0.005"}
    assert colours(terminal.raw)


@pytest.mark.parametrize("title", ["fashion-mnist", "my-own-photographs: 1,200 heads, chosen on held-out images"])
def test_a_bar_shows_share_rate_and_time_left_at_80_columns(tmp_path, title):
    """The longer title stands above its bar."""
    program = """if True:
        import sys, time
        from timecat.progress_bar import bar
        with bar(sys.argv[1], 100_000_000, "images", 40_000_000) as advance:
            for _ in range(8):
                advance(1_000_000)
                time.sleep(0.15)
        """
    terminal = Terminal([sys.executable, "-c", program, title], tmp_path)
    line = re.compile(re.escape(title) + r"\s+━[━╸╺]{9,} +4\d% +[\d,]+ images/s \d+:\d\d:\d\d")
    terminal.until(lambda shown: line.match(shown.text) is not None)
    assert terminal.wait() == 0
    terminal.assert_readable()
    assert terminal.text == ""


@pytest.mark.parametrize("title", ["features", "[/red] of {task.nothing}"])
def test_a_bar_takes_any_title(tmp_path, title):
    program = (
        "import sys; from timecat.progress_bar import bar\nwith bar(sys.argv[1], 3, 'images') as advance: advance(3)"
    )
    terminal = Terminal([sys.executable, "-c", program, title], tmp_path)
    assert terminal.wait() == 0, terminal.text
    assert title in terminal.raw


def test_elsewhere_a_bar_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("timecat.progress_bar.EVERY", 0.0)
    with bar("digits", 4, "images", 1) as advance:
        advance(1)
        advance(2)
    first, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"digits: 2 of 4, [\d,]+ images/s, 0:00:00 to go", first)
    assert last.startswith("digits: 4 of 4, ")


LIGHT = {"plan": "members to train", "status": "6 of 6 members finished", "report": "linear probes"}


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=["colour", "dumb", "no colour"])
def test_light_commands_on_a_terminal(study, name, environment):
    terminal = Terminal(command(name, "--config", "study.yaml"), study[0], **environment)
    assert terminal.wait() == 0, terminal.text
    terminal.assert_readable()
    assert LIGHT[name] in terminal.text
    assert not environment or not colours(terminal.raw)
    if name == "report":
        assert_table(terminal.text)


@pytest.mark.parametrize("name", LIGHT)
def test_light_commands_redirected(study, name):
    ended = subprocess.run(command(name, "--config", "study.yaml"), cwd=study[0], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert LIGHT[name] in ended.stdout
    assert "\x1b" not in ended.stdout and "…" not in ended.stdout
    if name == "report":
        assert_table(ended.stdout)
        *_, costs, row = [line for line in ended.stdout.splitlines() if line.startswith(" cat2 ")]
        assert len(VALUE.findall(row)) == len(PROBES) and "FLOP" in costs


def assert_told(text: str) -> None:
    """A line for each member and each data set, and the tables whole; nothing was drawn."""
    assert "member 0 of 6 (member_0_8): 8 steps, " in text
    assert_table(text)
    for name in PROBES:
        assert text.count(f"features of {name}: ") == 1


def test_run_redirected(study, tmp_path):
    root = copy(study, tmp_path, "member_0_8", "features", "probe")
    ended = subprocess.run(command("run", "--config", "study.yaml"), cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    text = ended.stderr + ended.stdout
    assert_told(text)
    assert "Traceback" not in text and "\x1b" not in text and "…" not in text


@pytest.mark.slow
def test_run_on_a_terminal_without_cursor(study, tmp_path):
    root = copy(study, tmp_path, "member_0_8", "features", "probe")
    terminal = Terminal(command("run", "--config", "study.yaml"), root, TERM="dumb")
    assert terminal.wait() == 0, terminal.text
    terminal.assert_readable()
    assert_told(terminal.text)
    assert "\x1b[1A" not in terminal.raw and not colours(terminal.raw)


def test_fit_of_one_member_on_a_terminal(study, tmp_path):
    """The table is drawn by the process that trains."""
    root = copy(study, tmp_path, "member_0_8")
    terminal = Terminal(command("fit", "--config", "study.yaml", "--member", "0"), root)
    assert terminal.wait() == 0, terminal.text
    terminal.assert_readable()
    assert terminal.text.startswith("study s: training 1 of 6 members\ns: 6 of 6 members finished, 100% of the steps")
    assert re.search(r"^ +0  member_0_8  +finished  +8 / 8  ", terminal.text, re.M)


def test_ctrl_c_in_the_live_table(study, tmp_path):
    """Members that would take minutes are stopped while they run, and all that is drawn ends well."""
    root = copy(study, tmp_path)
    longer = ["--study.name", "long", "--study.cats.cat1.steps", "40000", "--study.cats.cat2.steps", "20000"]
    terminal = Terminal(command("fit", "--config", "study.yaml", *longer), root)
    terminal.until(lambda shown: shown.text.count("running") == 2 and " images/s " in shown.text)
    terminal.press_ctrl_c()
    assert terminal.wait() == 130, terminal.text
    terminal.assert_readable()
    assert "timecat: stopped with 6 members to go; the same command goes on from there" in terminal.text
    assert len(list((root / "runs" / "long").glob("*/last.ckpt"))) == 2


HELD = """if True:
    import sys, time
    import {module} as module
    original = module.{owner}.{name}
    def held(*arguments, **keywords):
        original(*arguments, **keywords)
        time.sleep({seconds})
    module.{owner}.{name} = held
    from timecat.cli import main
    sys.exit(main(sys.argv[1:]))
"""
FEATURES = HELD.format(module="timecat.extraction.file", owner="FeatureFile", name="write", seconds=1)
HEADS = HELD.format(module="timecat.heads.sgd", owner="Heads", name="step", seconds=1)
IMAGES = HELD.format(module="timecat.data.write.partial", owner="Partial", name="add", seconds=600)


@pytest.mark.parametrize(
    ("program", "without", "arguments", "drawn"),
    [
        pytest.param(
            FEATURES, ["features", "probe"], ["probe", "--config", "study.yaml"], "features of digits", id="features"
        ),
        pytest.param(
            *(HEADS, ["probe"], ["probe", "--config", "study.yaml"], "digits: 8 heads, chosen on held-out images"),
            id="heads",
            marks=pytest.mark.slow,
        ),
        pytest.param(IMAGES, [], ["write", "digits", "data/other"], "train.beton", id="write"),
    ],
)
def test_ctrl_c_in_the_middle_of_a_bar(study, tmp_path, program, without, arguments, drawn):
    """The bar stands as the work is held; then it is gone, one line says what to do, and the same command goes on."""
    root = copy(study, tmp_path, *without)
    terminal = Terminal([sys.executable, "-c", program, *arguments], root)
    terminal.until(lambda shown: any(line.startswith(drawn) for line in shown.lines) and "━" in shown.text)
    terminal.press_ctrl_c()
    assert terminal.wait() == 130, terminal.text
    terminal.assert_readable()
    assert terminal.lines[len(terminal.text.splitlines()) - 1].startswith("timecat: stopped; the same command goes on")
    again = Terminal(command(*arguments), root, NO_COLOR="1")
    assert again.wait() == 0, again.text
    again.assert_readable()
    assert not colours(again.raw)


HEADER = ["cat", "members x steps", "top-1\n[95 %]", *PROBES]
ROWS = [
    [f"cat{n}", f"{n} x {400_000 // n:,}", "87.9 [87.3, 88.5]", *(f"5{n}.3 ± 1.{n} (+4.{p})" for p in range(5))]
    for n in (1, 2, 4, 5)
]


@pytest.mark.parametrize("width", [30, 50, 80, 120, 400])
def test_tables_go_on_below_with_every_cell_whole(width):
    shown = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    pieces = tables(shown, HEADER, ROWS, left=["cat"])
    for piece in pieces:
        shown.print(piece)
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for row in ROWS:
        assert sum(line.startswith(f" {row[0]} ") for line in lines) == len(pieces)
        assert all(cell in text for cell in row[1:])
    assert all(name in text for name in PROBES)
    assert (len(pieces) == 1) == (width == 400)


def test_lines_wrap_between_words_and_paths_stay_whole(tmp_path):
    path = f"/{'directory/' * 12}file"
    program = "import sys; from timecat.terminal import say; say(sys.argv[1]); say(sys.argv[1], error=True)"
    line = f"cat4 [b]bold[/b] on {path} " + "weight-decay 0.0005 " * 6
    terminal = Terminal([sys.executable, "-c", program, line.strip()], tmp_path)
    assert terminal.wait() == 0
    assert terminal.text.split() == 2 * line.split()
    assert all(len(shown) <= COLUMNS for shown in terminal.lines if path not in shown)
    ended = subprocess.run([sys.executable, "-c", program, line.strip()], capture_output=True, text=True)
    assert ended.stdout == ended.stderr == line.strip() + "\n"
