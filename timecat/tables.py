"""Tables of scores, and how they are to be read: in the terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from timecat.terminal import fits, print_table, say

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Table:
    """One table, its cells as text.

    Args:
        left: so many columns from the first on are text; the others are aligned to the right.
        fold: where a cell goes on in a second line if the terminal is too narrow.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    fold: str = " ["

    def show(self) -> None:
        """Print it."""
        header, rows = self.header, self.rows
        if not fits(header, rows):
            header = [self._in_two(cell) if self.fold in cell else cell.replace(" ", "\n", 1) for cell in header]
            rows = [[self._in_two(cell) for cell in row] for row in rows]
        print_table(self.title, header, rows, left=header[: self.left])

    def _in_two(self, cell: str) -> str:
        return cell.replace(self.fold, "\n" + self.fold.lstrip())

    def markdown(self) -> list[str]:
        """Its lines, without the title."""
        rule = "|" + "|".join("---" if column < self.left else "--:" for column in range(len(self.header))) + "|"
        return [f"| {' | '.join(self.header)} |", rule, *(f"| {' | '.join(row)} |" for row in self.rows), ""]


@dataclass(frozen=True)
class Section:
    """A part of a report: tables under one title.

    Args:
        title: in Markdown; a table whose title is the same has none of its own there.
        notes: what the numbers are, a sentence each.
        image: in Markdown: what it shows, and its path beside the report.
    """

    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    image: tuple[str, str] | None = None

    def show(self) -> None:
        """Print the tables and the notes."""
        for table in self.tables:
            table.show()
        for note in self.notes:
            say(note)

    def markdown(self) -> list[str]:
        """Its lines."""
        lines = [f"## {self.title}", ""]
        for table in self.tables:
            lines += [f"{table.title}:", ""] if table.title != self.title else []
            lines += table.markdown()
        lines += [*(f"- {note}" for note in self.notes), ""] if self.notes else []
        return [*lines, "![{}]({})".format(*self.image), ""] if self.image else lines


def score(mean: float, interval: Interval) -> str:
    """A score in percent, such as 45.3 [44.1, 46.5]."""
    return f"{mean:.1f}" if interval is None else f"{mean:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def points(difference: float | None, interval: Interval) -> str:
    """A difference of two scores, such as +1.2 [+0.3, +2.1]; nothing for None."""
    if difference is None:
        return ""
    return f"{difference:+.1f}" if interval is None else f"{difference:+.1f} [{interval[0]:+.1f}, {interval[1]:+.1f}]"


def spread(mean: float, sd: float | None, digits: int = 1) -> str:
    """The mean and standard deviation of several repetitions, such as 45.3 ± 0.4; the value of a single one."""
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """A document of these sections."""
    return "\n".join([f"# {title}", "", *(line for section in sections for line in section.markdown())])
