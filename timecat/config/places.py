"""Where each key of a config stands, so that an error tells the file and the line to mend."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from timecat.errors import UserError

KEY = re.compile(r"(?<![\w./-])[A-Za-z_]\w*(?:\.[\w-]+)*")  # such as data.resolution; no part of a path


class LocatedError(UserError):
    """One that tells the file and the line already."""


class Places:
    """File and line of each key, by dotted key: `data.resolution`, `study.cats.cat4.of.0.steps`.

    A key that the command line gives stands in no file.
    """

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def add(self, path: str, node: yaml.Node | None, above: str = "") -> None:
        """Take the keys below a node of a file; later files come over earlier ones."""
        if isinstance(node, yaml.MappingNode):
            below = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            below = [(str(number), value, value) for number, value in enumerate(node.value)]
        else:
            return
        for name, key, value in below:
            dotted = f"{above}.{name}" if above else name
            self._of[dotted] = f"{path}:{key.start_mark.line + 1}"
            self.add(path, value, dotted)

    def drop(self, dotted: str) -> None:
        """Forget a key that the command line gives, and what stands below it."""
        for key in [key for key in self._of if key == dotted or key.startswith(f"{dotted}.")]:
            del self._of[key]
        self._of[dotted] = ""

    def of(self, message: str) -> str:
        """File and line of the first key that a message names; of one that is missing, its section's; else nothing."""
        keys = [found[0].rstrip(".") for found in KEY.finditer(message)]
        exact = next((key for key in keys if key in self._of and ("." in key or message.startswith(key))), None)
        if exact is not None:
            return self._of[exact]
        missing = re.match(r"(\w+(?:\.[\w-]+)+)(?:\.\w+)? is (?:missing|not given)", message)
        above = missing[1] if missing else ""
        while above and above not in self._of:
            above = above.rpartition(".")[0]
        return self._of.get(above, "")

    @contextmanager
    def told(self, path: str = "") -> Iterator[None]:
        """Errors within name the file and the line of the key that they are about.

        Args:
            path: what they name where they are about no key; nothing by default.
        """
        try:
            yield
        except LocatedError:
            raise
        except UserError as error:
            line = str(error)
            where = self.of(line)
            if where:
                raise LocatedError(f"{where}: {line.removeprefix(f'{path}: ')}") from None
            if path and not line.startswith(path):
                raise LocatedError(f"{path}: {line}") from None
            raise
