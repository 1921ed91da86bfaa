"""The kernel that decodes, imported. In a process of its own: it is compiled code."""

import time
from collections.abc import Iterator

from timecat.data.kernel import choose
from timecat.doctor.line import Line
from timecat.errors import UserError


def check() -> Iterator[Line]:
    what, begun = "decoding", time.monotonic()
    try:
        kernel, without = choose()
    except (UserError, ImportError) as error:
        yield Line(what, f"no kernel can be imported ({error})", "make setup", broken=True)
        return
    name = kernel.__name__.rpartition(".")[2].removesuffix("_kernel")
    told = f"{name}'s kernel imported in {time.monotonic() - begun:.1f} s"
    yield Line(what, f"{told}: {without}" if without else told, "make setup says what ffcv lacks" if without else "")
