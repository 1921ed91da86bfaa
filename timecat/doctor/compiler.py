"""What torch.compile, of model.compile, builds its code with; nothing else of timecat needs it."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from timecat.doctor.line import Line


def check() -> Iterator[Line]:
    c = os.environ.get("CC") or next((name for name in ("gcc", "clang", "cc") if shutil.which(name)), None)
    cxx = os.environ.get("CXX") or next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), None)
    header = Path(sysconfig.get_path("include"), "Python.h").exists()
    python = f"python{sysconfig.get_python_version()}"
    lacking = [name for name, found in (("gcc", c), ("g++", cxx), (f"{python}-dev", header)) if not found]
    has = [_version(name) for name in (c, cxx) if name] + (["Python.h"] if header else [])
    mend = f"for model.compile: apt-get install {' '.join(lacking)}, or its like" if lacking else ""
    yield Line("compiler", ", ".join(has) or "none", mend)


def _version(compiler: str) -> str:
    """Such as gcc 12.2.0; its name alone where it does not tell."""
    try:
        said = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return compiler
    return f"{compiler} {said}" if said and "\n" not in said else compiler
