"""Every block of the documentation does what it says.

Commands of timecat run in order, on a small copy of what a reader has after `make demo` (`support/documented.py`), in a
terminal of 80 columns. One that is marked to need something (`support/blocks.py`) must be refused for the lack of it.
Of other programs what they name must be there (`support/programs.py`).
"""

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.blocks import NEEDS, PAGES, Block, Pipe, blocks
from tests.support.documented import prepare
from tests.support.in_process import in_a_pipe, on_a_terminal
from tests.support.programs import command_of_timecat
from tests.support.small_study import finish_members
from tests.support.terminal import COLUMNS
from timecat.config.features import FeaturesFile
from timecat.config.files import ProbeFile, StudyFile

BLOCKS = {page: blocks(page) for page in PAGES}
LACKING = r"(?i)no such file|no such directory|not trained yet|no probe has a result"
OF_THE_MACHINE = {"ffcv", "setuptools", "cv2", "numba", "gcc", "CUDA"}  # that not every machine has
GIVEN = {  # what a page's Python takes from the reader's own
    "files": [f"photos/{label}/{number:02}.png" for label in (0, 1) for number in range(5)],
    "labels": 5 * [0] + 5 * [1],
    "images": torch.zeros(1, 3, 64, 64),
}
WIDTH = 640 // 2  # of cat5's features; networks are half as wide here
COMES_OUT = {  # what the comments of a page's Python say, by the number of its block
    ("README.md", 0): "features.features.shape == (50, WIDTH) and len(features.files) == len(features.labels) == 50",
    (
        "docs/inference.md",
        0,
    ): "cat.num_features == WIDTH and image.shape == (3, 28, 28) and features.shape == (1, WIDTH)"
    " and cat.classes[best] in map(str, range(10)) and found.features.shape == (50, WIDTH)",
    ("docs/inference.md", 1): "set(model.predict(files)) == {0, 1}",
    ("docs/inference.md", 2): "features.shape == (1, 3 * 256)",
}


def of(language: str) -> list:
    """The blocks of a language, each by its page and line."""
    found = (block for page in PAGES for block in BLOCKS[page] if block.language == language)
    return [pytest.param(block, id=block.where) for block in found]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What has run, in the working directory of a reader who has followed `make demo` and docs/features.md."""
    with pytest.MonkeyPatch.context() as patch:
        prepare(tmp_path_factory.mktemp("clone"), patch)
        ran: set[Pipe] = set()
        assert not fault((("timecat", "run", "--config", "configs/demo.yaml"),), ran)
        exec(BLOCKS["docs/features.md"][0].text, {})
        yield ran


def test_languages_and_marks():
    for block in (block for found in BLOCKS.values() for block in found):
        assert block.language in ("console", "python", "yaml", ""), block.where
        assert set(block.marks) <= set(NEEDS), f"{block.where}: needs {block.marks}; known are {NEEDS}"
        marked = {word for words in block.marks.values() for word in words}
        there = {word for each in block.commands for pipe in each.pipes for words in pipe for word in words}
        assert marked <= there, f"{block.where}: no command has {marked - there}"


@pytest.mark.parametrize("block", of("console"))
def test_commands(block, ran):
    faults = []
    for command in block.commands:
        for pipe in command.pipes:
            found = fault(pipe, ran, command.needs, command.output)
            faults += [f"{shlex.join(pipe[0])}: {found}"] if found else []
    assert not faults, "\n".join(faults)


def fault(pipe: Pipe, ran: set[Pipe], needs: str | None = None, output: str = "") -> str | None:
    """Run a command as far as it can be, if it has not been; what is wrong with it."""
    try:
        words = command_of_timecat(pipe[0])
    except AssertionError as error:
        return str(error)
    if words is None or ((tuple(words), *pipe[1:]) in ran and not output):
        return None
    ran.add((tuple(words), *pipe[1:]))
    if absent := [word for word in words if word.endswith(".yaml") and not Path(word).exists()]:
        return f"no {', '.join(absent)}"
    if words[0] == "launch":
        words = [*dict.fromkeys((*words, "--dry-run"))]  # where there is a cluster, it gets no jobs
    elif needs:
        status, _, said = in_a_pipe(words)
        lacks = status == 2 and re.search(LACKING, said)
        return None if lacks else f"is marked to need {needs}, but ended with {status}: {said}"
    if words[0] == "run":
        finish_members(next(word for word in words if word.endswith(".yaml")), stem="imagenet")  # the cheaper one
    if len(pipe) == 1 and not output:
        status, lines = on_a_terminal(words)
        if status:
            return "\n".join([f"ended with {status}:", *filter(None, lines)])
        return "; ".join(f"wider than a terminal: {line}" for line in lines if len(line) > COLUMNS) or None
    status, said, complaint = in_a_pipe(words)
    for following in pipe[1:]:
        said = subprocess.run(following, input=said, text=True, capture_output=True, check=True).stdout
    if status:
        return f"ended with {status}: {complaint}"
    return None if needs or told(said) == told(output) else f"prints\n{said}where the page has\n{output}"


def told(output: str) -> list[str]:
    """What a page can show of an output: its words; where a machine is told of, what has a version."""
    named = re.findall(r"([\w-]+)\s+\d+\.\d+\.\d+[\w.]*(?=[,; \n])", output)
    return sorted({*named} - OF_THE_MACHINE) if "kernel" in output else output.split()


@pytest.mark.parametrize("page", [page for page, found in BLOCKS.items() if "python" in {b.language for b in found}])
def test_python(page, ran):
    names = dict(GIVEN)
    for number, block in enumerate(block for block in BLOCKS[page] if block.language == "python"):
        exec(compile(block.text, block.where, "exec"), names)
        assert eval(COMES_OUT.get((page, number), "True"), {**names, "WIDTH": WIDTH}), block.where


@pytest.mark.parametrize("block", of("yaml"))
def test_configs(block, tmp_path):
    fragment = whole(block)
    path = tmp_path / "config.yaml"
    if "features" in fragment:
        path.write_text(yaml.safe_dump(fragment))
        FeaturesFile.read([str(path)])
    elif "test" in fragment.get("data", {}):
        path.write_text(yaml.safe_dump({"probe": {}, "model": {"num_classes": 2}, **fragment}))
        ProbeFile.read(str(path))
    else:
        study = {"name": "s", "cats": {"cat1": {"members": 1, "steps": 1}}, **fragment.get("study", {})}
        data = {"batch_size": 1, **fragment.get("data", {"train": "train.beton"})}
        sections = {"model": {"num_classes": 2}, **fragment, "study": study, "data": data}
        path.write_text(yaml.safe_dump(sections))
        StudyFile.read([str(path)])


def whole(block: Block) -> dict:
    """A fragment below the sections that its indentation leaves out."""
    depth = (len(block.text) - len(block.text.lstrip())) // 2
    content = yaml.safe_load(textwrap.dedent(block.text))
    for section in ("study", "cats")[:depth][::-1]:
        content = {section: content}
    return content
