"""argparse as every command takes it: what is wrong is one line, and help keeps the lines of its text."""

import argparse
from typing import Any, NoReturn

from timecat.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser that raises UserError of bad options; none may be shortened."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        kept = argparse.RawDescriptionHelpFormatter
        super().__init__(*arguments, formatter_class=kept, allow_abbrev=False, **keywords)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")
