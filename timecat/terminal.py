"""What is printed keeps its meaning at any width: no number is cut, no word is broken, no path is folded.

On a terminal sentences wrap between words, and a table that is too wide goes on below. In a file or a pipe a line is a
line, however long.
"""

import textwrap
from collections.abc import Collection, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

ANY_WIDTH = 100_000  # of a file or a pipe
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")  # of a thousand each


def console(error: bool = False) -> Console:
    """Stdout, or stderr."""
    screen = Console(stderr=error, markup=False, emoji=False)  # names mean what they say
    if not screen.is_terminal:
        screen.width = ANY_WIDTH
    return screen


def can_redraw() -> bool:
    """Whether bars and live tables make sense on stderr: a terminal that can move its cursor; TERM=dumb cannot."""
    screen = console(error=True)
    return screen.is_terminal and not screen.is_dumb_terminal


def say(line: str, error: bool = False, indent: int = 0) -> None:
    """Print a line on stdout, or on stderr; no markup.

    Args:
        indent: columns, of what a terminal's width puts below its first line.
    """
    to = console(error)
    if to.is_terminal:
        below = " " * indent
        line = textwrap.fill(line, to.width, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    to.print(Text(line), soft_wrap=True)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str]) -> None:
    """Print a table on stdout.

    Args:
        header: names of the columns; the first one is printed again where the table goes on below.
        left: columns of text; the others are aligned to the right.
    """
    say(title)
    to = console()
    for table in tables(to, header, rows, left):
        to.print(table)


def fits(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the table need not go on below on stdout."""
    return len(tables(console(), header, rows, ())) == 1


def tables(on: Console, header: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str]) -> list[Table]:
    """The table in as many pieces as the console's width makes of it, each with as many columns as fit."""

    def piece(columns: list[int], whole_cells: bool = True) -> Table:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in columns:
            name = header[column]
            table.add_column(Text(name), justify="left" if name in left else "right", no_wrap=whole_cells)
        for row in rows:
            table.add_row(*(Text(row[column]) for column in columns))
        return table

    def is_too_wide(columns: list[int]) -> bool:
        unbounded = on.options.update(width=ANY_WIDTH)
        return on.measure(piece(columns), options=unbounded).maximum > on.width

    pieces: list[list[int]] = [[0]]
    for column in range(1, len(header)):
        if len(pieces[-1]) > 1 and is_too_wide([*pieces[-1], column]):
            pieces.append([0])
        pieces[-1].append(column)
    return [piece(columns, whole_cells=not is_too_wide(columns)) for columns in pieces]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 12:03:45."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def short(value: float | None, unit: str = "") -> str:
    """A number of 0 or more to three digits, such as 64.7 MFLOP or 1.24 M; a question mark for None."""
    if value is None:
        return "?"
    power = 0
    while value >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}".rstrip()
