"""Pictures by matplotlib: without a screen, text as text, and the same file for the same content."""

import io
from typing import Any


def pyplot() -> Any:
    """matplotlib's pyplot, which takes a while to import."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "timecat"})
    from matplotlib import pyplot

    return pyplot


def as_bytes(figure: Any, kind: str, dpi: int = 150) -> bytes:
    """The figure as a file, png or svg; it is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    pyplot().close(figure)
    return buffer.getvalue()


def color_sequence() -> Any:
    """matplotlib's ten."""
    import matplotlib

    return matplotlib.color_sequences["tab10"]
