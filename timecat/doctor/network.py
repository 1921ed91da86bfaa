"""By which network a member's processes on several nodes would talk; on one machine none of it matters."""

import os
import socket
from collections.abc import Iterator

from timecat.cluster.gloo import default_interface, is_loopback
from timecat.doctor.line import Line

NAMES = {"gloo": "GLOO_SOCKET_IFNAME", "NCCL": "NCCL_SOCKET_IFNAME"}


def check() -> Iterator[Line]:
    here = [name for _, name in socket.if_nameindex()]
    told, mend = [], ""
    for library, variable in NAMES.items():
        named = os.environ.get(variable)
        if named is None:
            continue
        told.append(f"{library} by {named} ({variable})")
        # NCCL takes several, parts of names, and ^ for others than these
        if library == "gloo" and named not in here:
            mend = f"{variable} names no interface of this machine: unset it, or take one of {', '.join(here)}"
    if NAMES["gloo"] not in os.environ:
        by_name = is_loopback()
        if by_name is None:
            told.append("gloo has no address: the host's name does not resolve")
            mend = f"for members on several nodes: export {NAMES['gloo']}={default_interface() or 'the interface'}"
        elif by_name:
            told.append(
                f"gloo by {default_interface() or 'the loopback'}, as the host's own name is a loopback address"
            )
        else:
            told.append("gloo by the address of the host's name")
    if NAMES["NCCL"] not in os.environ:
        told.append("NCCL chooses by itself")
    yield Line("network", "; ".join(told), mend)
