"""Fenced blocks of the documentation, the commands in them, and what a reader must have for these.

A comment before the fence marks a block; neither a forge nor mkdocs shows it:

    <!-- needs: ImageNet -->                              all commands of the block
    <!-- needs: ImageNet for fit, write; a cluster -->    those with one of these words; of several needs the first

`timecat launch` is tried as a dry run, whatever it needs.
"""

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "docker/README.md"]
PAGES += sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))
NEEDS = ("ImageNet", "Tiny ImageNet", "a cluster")

Pipe = tuple[tuple[str, ...], ...]  # words of commands, each of which reads what the one before it prints

_MARK = re.compile(r"<!-- needs: (.+) -->")
_FENCE = re.compile(r"( *)(```+)(.*)")


@dataclass(frozen=True)
class Command:
    """A line behind `$ `, without its comment and with the lines that continue it.

    Attributes:
        pipes: what `&&` joins.
        needs: one of NEEDS, where the block's mark says so.
        output: the lines below it, as the page shows them.
    """

    pipes: tuple[Pipe, ...]
    needs: str | None
    output: str = ""


@dataclass(frozen=True)
class Block:
    """What stands in a fence.

    Attributes:
        where: page and line.
        language: of the fence; empty where it names none.
        marks: of each need the words that mark a command; none marks all of them.
    """

    where: str
    language: str
    text: str
    marks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def commands(self) -> list[Command]:
        """Those of a console block; other blocks have none."""
        found: list[Command] = []
        if self.language != "console":
            return found
        for line in self.text.replace("\\\n", "").splitlines():
            if not line.startswith("$ "):
                found[-1] = replace(found[-1], output=f"{found[-1].output}{line}\n")
                continue
            text = re.sub(r"\s#\s.*", "", line.removeprefix("$ "))
            joined = (each.split(" | ") for each in text.split(" && "))
            pipes = tuple(tuple(tuple(shlex.split(command)) for command in pipe) for pipe in joined)
            words = {word for pipe in pipes for command in pipe for word in command}
            need = next((need for need, marked in self.marks.items() if not marked or words & set(marked)), None)
            found.append(Command(pipes, need))
        return found


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    lines, found, number = (ROOT / page).read_text().splitlines(), [], 0
    while number < len(lines):
        fence = _FENCE.fullmatch(lines[number])
        if fence is not None:
            indent, ticks, language = fence.groups()
            end = lines.index(f"{indent}{ticks}", number + 1)
            text = "\n".join(line.removeprefix(indent) for line in lines[number + 1 : end])
            found.append(Block(f"{page}:{number + 1}", language, text, _marks(lines[number - 1])))
            number = end
        number += 1
    return found


def _marks(line: str) -> dict[str, list[str]]:
    mark = _MARK.fullmatch(line.strip())
    pairs = [each.strip().partition(" for ") for each in mark[1].split(";")] if mark else []
    return {need: [word.strip() for word in words.split(",") if word.strip()] for need, _, words in pairs}
