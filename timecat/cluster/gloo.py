"""The network interface by which a member's processes talk: loopback on one machine, a route's on several nodes."""

import os
import socket
from pathlib import Path

ROUTES = Path("/proc/net/route")


def choose_interface() -> None:
    """Name the interface of the default route in GLOO_SOCKET_IFNAME where the host's own name is a loopback address.

    Debian's installer writes 127.0.1.1 for it into /etc/hosts. gloo binds to what the name resolves to, where no other
    node reaches it. What the environment names stays.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    name = default_interface() if is_loopback() else None  # a name that does not resolve is gloo's to tell
    if name is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = name


def stay_on_loopback() -> None:
    """Let gloo and NCCL open nothing that another machine reaches, where all processes are on this one.

    What the environment names stays.
    """
    names = [name for _, name in socket.if_nameindex()]
    if "lo" in names:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")


def is_loopback() -> bool | None:
    """Whether the host's own name is a loopback address; None where it does not resolve."""
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return None


def default_interface() -> str | None:
    """Of the default route with the smallest metric; None without one."""
    try:
        rows = [line.split() for line in ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return None
    found = [(int(row[6]), row[0]) for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"]
    return min(found)[1] if found else None
