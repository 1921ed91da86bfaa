"""SIGBUS told in a line: a file that is mapped into memory was cut under its reader, or its disk failed.

A read beyond the end of a mapped file is a signal and no exception, and ends the process without a word. It comes at a
read instruction of compiled code, so that the handler may take Python's lock and say which file it was.
"""

import ctypes
import faulthandler
import os
import signal
import sys
from typing import Any

BAD_INPUT = 2  # exit status, as of every UserError
_ADDRESS_AT = 16  # bytes from the start of siginfo_t, in Linux on 64 bits
_SIGINFO = 4  # SA_SIGINFO: the handler gets a siginfo_t


class _Action(ctypes.Structure):
    """struct sigaction of glibc on x86-64 and AArch64."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * 16),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_installed: list[Any] = []  # what C calls must stay


def tell_bus_errors() -> None:
    """From now on a bus error says which file it was, and exits with status 2.

    Not where Python's faulthandler is on, which someone asked for to see more, nor on other systems than Linux.
    """
    if _installed or faulthandler.is_enabled() or sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def handler(number: int, info: int, context: int) -> None:
        address = ctypes.c_uint64.from_address(info + _ADDRESS_AT).value
        mend = "put it back whole, then the same command goes on from its last checkpoint"
        line = f"timecat: {_file_at(address)}: was cut while it was read, or its disk failed (SIGBUS); {mend}\n"
        os.write(2, line.encode(errors="surrogateescape"))
        os._exit(BAD_INPUT)

    action = _Action(ctypes.cast(handler, ctypes.c_void_p).value, flags=_SIGINFO)
    _installed.append(handler)
    ctypes.CDLL(None).sigaction(signal.SIGBUS, ctypes.byref(action), None)


def _file_at(address: int) -> str:
    """The file that is mapped at an address."""
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        for line in maps:
            words = line.split(maxsplit=5)
            first, last = (int(each, 16) for each in words[0].split("-"))
            if first <= address < last and len(words) > 5:
                return words[5].rstrip("\n")
    return "a file"
