"""The one error a user is meant to see, and how it tells what a user has written."""

from typing import Any

LONGEST = 900  # characters of a line
LONGEST_VALUE = 80  # of a value in it


class UserError(Exception):
    """Bad input, told in one line that names the thing and the mend; the command exits with status 2."""


class Diverged(Exception):
    """A training whose loss or weights are no finite numbers any more; its text is one line.

    No fault of the input that could be told before: exit status 1. What it saved before is as good as it was.
    """


def one_line(text: str, longest: int = LONGEST) -> str:
    """The text in one line: spaces for line breaks, escapes for what no terminal should get, the middle left out where
    it is long."""
    text = " ".join(line.strip() for line in text.splitlines())
    if not text.isprintable():
        text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end]} … {text[-end:]}"


def shown(value: Any) -> str:
    """A value as an error tells it, however large it is."""
    try:
        return one_line(repr(value), LONGEST_VALUE)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; a list that holds itself
        return f"a {type(value).__name__} too large to tell"
