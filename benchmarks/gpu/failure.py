"""What a part, a way or a check leaves that did not go through: the others still tell."""

import traceback
from typing import Any

FAILED = "FAILED"


def failure(error: Exception, seconds: float = 0.0) -> dict[str, Any]:
    """An entry of the results; the traceback goes to stderr."""
    traceback.print_exception(error)
    why = " ".join(str(error).split())[:300] or type(error).__name__
    return {"found": f"{FAILED}: {why}", "seconds": seconds}
