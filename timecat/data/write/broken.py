"""Images that cannot be stored, and how they are told: a line for each reason, with a count and the first names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from timecat.terminal import console, say

ENOUGH = 4096  # pixels: a --max-side that takes what is too large


@dataclass(frozen=True)
class Broken:
    """An image and why it is not stored: broken, or whole and too large."""

    name: str
    reason: str
    too_large: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def say_broken(broken: Sequence[Broken]) -> None:
    """List them on stderr, the most frequent reason first, no line wider than a terminal."""
    of_reason: dict[str, list[str]] = {}
    for each in broken:  # the numbers in a reason differ from image to image
        of_reason.setdefault(re.sub(r"\d+", "N", each.reason), []).append(each.name)
    screen = console(error=True)
    width = screen.width if screen.is_terminal else 0
    for reason, names in sorted(of_reason.items(), key=lambda item: -len(item[1])):
        kept = next(each.reason for each in broken if each.name == names[0]) if len(names) == 1 else reason
        line = f"{len(names):,} x {kept}: {first_of(names)}"
        say(line if not width or len(line) <= width else f"{line[: width - 3]}...", error=True)


def first_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def mend(split: str, broken: Sequence[Broken], at_least: bool) -> str:
    """The one line that says what stops a writing, and what to do.

    Args:
        at_least: whether there may be more.
    """
    large = [each for each in broken if each.too_large]
    number = f"{len(broken)} or more" if at_least else f"{len(broken)}"
    told = "too large" if len(large) == len(broken) else "broken"
    remedy = "--skip-broken leaves them out and goes on from here"
    if large:
        which = "takes them" if len(large) == len(broken) else f"takes the {len(large)} that are too large"
        remedy = f"--max-side {ENOUGH} {which}, {remedy}"
    are = "image is" if len(broken) == 1 else "images are"
    return f"{split}: {number} {are} {told}, such as {broken[0]}; {remedy}"
