"""NVIDIA's cards and driver, as the driver itself tells of them, without torch; in a process of its own."""

import ctypes
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from timecat.cluster.few_cores import gpus_here
from timecat.doctor.line import Line
from timecat.terminal import short
from timecat.versions import toolkit_of_torch

CARDS = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia/version")
IN_A_CONTAINER = "in a container: docker run --gpus all, apptainer exec --nv"
# The oldest driver of each CUDA: docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1
OLDEST = {11: 450, 12: 525, 13: 580}
# Of CUresult, in cuda.h
ERRORS = {
    100: ("no device", "CUDA_VISIBLE_DEVICES may hide all: unset it"),
    802: ("system not ready", "start NVSwitch's nvidia-fabricmanager"),
    803: ("driver and its libraries differ", "reboot, after an update of the driver"),
    804: ("no forward compatibility on this card", "take the CUDA compatibility package out of LD_LIBRARY_PATH"),
}
MAJOR, MINOR = 75, 76  # of CUdevice_attribute: the compute capability
NATIVE_BF16 = 8  # the compute capability's major number from which tensor cores have bfloat16 (Ampere)


def check() -> Iterator[Line]:
    if not gpus_here() and not DRIVER.exists():
        cards = _cards()
        if cards:
            yield Line("GPUs", f"{cards} of NVIDIA's, without a driver", f"install the driver; {IN_A_CONTAINER}")
        else:
            yield Line("GPUs", "none: timecat trains on the CPU")
        return
    number = _driver_number()
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        yield Line("driver", f"{number}, without libcuda.so.1", f"install the driver's libraries; {IN_A_CONTAINER}")
        return
    found = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(found))
    gives = (found.value // 1000, found.value % 1000 // 10)
    yield Line("driver", f"{number}, for CUDA up to {gives[0]}.{gives[1]}", too_old(toolkit_of_torch(), gives))
    error = cuda.cuInit(0)
    if error:
        why, mend = ERRORS.get(error, ("see CUresult in cuda.h", "ask nvidia-smi, load nvidia_uvm, or reboot"))
        yield Line("GPUs", f"{gpus_here()}, but the driver's error {error}: {why}", mend)
        return
    yield from of(_devices(cuda))


def too_old(toolkit: str | None, gives: tuple[int, int]) -> str:
    """What to do where torch was built for a CUDA that the driver is too old for; nothing where it is not.

    Within a major version of CUDA every driver of it will do.

    Args:
        toolkit: that of torch, such as CUDA 13.2.
        gives: the newest CUDA that the driver knows.
    """
    if toolkit is None or not toolkit.startswith("CUDA "):
        return ""
    major = int(toolkit.removeprefix("CUDA ").partition(".")[0])
    if major <= gives[0]:
        return ""
    driver = f"{OLDEST[major]} or newer" if major in OLDEST else f"one for CUDA {major}"
    return f"torch is built for {toolkit}: update the driver to {driver}, or install a torch built for CUDA {gives[0]}"


def of(devices: list[tuple[str, tuple[int, int], int]]) -> Iterator[Line]:
    """Lines on GPUs, each its name, compute capability and bytes of memory."""
    alike = [
        f"{count} x {name}, {short(memory, 'B')}, compute capability {major}.{minor}"
        for (name, (major, minor), memory), count in Counter(devices).items()
    ]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield Line("GPUs", "; ".join(alike) + ("" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"))
    slow = sorted({name for name, (major, _), _ in devices if major < NATIVE_BF16})
    mend = f"{', '.join(slow)}: --trainer.precision 16-mixed" if slow else ""
    yield Line("bf16, GPU", "not in its tensor cores" if slow else "native", mend)


def _devices(cuda: ctypes.CDLL) -> list[tuple[str, tuple[int, int], int]]:
    count, found = ctypes.c_int(), []
    cuda.cuDeviceGetCount(ctypes.byref(count))
    for i in range(count.value):
        device, number, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        name = ctypes.create_string_buffer(100)
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetName(name, len(name), device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        capability = []
        for attribute in (MAJOR, MINOR):
            cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            capability.append(number.value)
        found.append((name.value.decode(errors="replace"), (capability[0], capability[1]), memory.value))
    return found


def _cards() -> int:
    """NVIDIA's display controllers on the PCI bus, with a driver or without."""
    found = 0
    for device in CARDS.glob("*"):
        try:
            of_nvidia = (device / "vendor").read_text().strip() == "0x10de"
            found += of_nvidia and (device / "class").read_text().startswith("0x03")
        except OSError:
            continue
    return found


def _driver_number() -> str:
    """Such as 580.65.06."""
    try:
        words = DRIVER.read_text().split()
    except OSError:
        return "of unknown version"
    return next((word for word in words if word[:1].isdigit() and word.count(".") >= 1), "of unknown version")
