"""What a check says: one thing of this machine, its value, and that it is well or what to do about it."""

from dataclasses import dataclass
from typing import Any

INDENT = 14  # columns: where values begin


@dataclass(frozen=True)
class Line:
    """One line of `timecat doctor`.

    Args:
        what: the thing, in a word or two.
        mend: what to do, in one line; nothing where all is well.
        broken: timecat cannot work without it.
    """

    what: str
    value: str
    mend: str = ""
    broken: bool = False

    @property
    def state(self) -> str:
        return "broken" if self.broken else "mend" if self.mend else "ok"

    def __str__(self) -> str:
        value = self.value
        verdict = "; ok" if self.state == "ok" else f"; {self.state.upper()}: {self.mend}"
        return f"{self.what:<{INDENT - 1}} {value}{verdict}"

    def as_json(self) -> dict[str, Any]:
        """what, value, state (ok, mend or broken) and mend (null where there is nothing to do)."""
        return {"what": self.what, "value": self.value, "state": self.state, "mend": self.mend or None}
