"""Versions of timecat, Python and the libraries, against those that timecat's metadata ask for; imports none."""

import importlib.metadata
import platform
from collections.abc import Iterator

from timecat import __version__
from timecat.doctor.line import Line
from timecat.versions import DISTRIBUTION, toolkit_of_torch, version

ALONE = ("torch", "torchvision", "lightning")  # each with a line of its own
OF_A_KERNEL = ("ffcv", "setuptools", "simplejpeg", "opencv-python-headless")  # either pair does: see the kernel's line


def check() -> Iterator[Line]:
    yield Line("timecat", __version__)
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        wanted, pythons = {}, SpecifierSet()
    else:
        needed = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
        wanted = {each.name: each.specifier for each in needed if each.marker is None}
        pythons = SpecifierSet(about["Requires-Python"] or "")
    python = platform.python_version()
    fits = pythons.contains(python, prereleases=True)
    mend = "" if fits else f"timecat wants {pythons}: make setup PYTHON=python3.12"
    yield Line("Python", f"{python}, {platform.system()} on {platform.machine()}", mend)
    for name in ALONE:
        yield _line(name, wanted.get(name))
    others = {name: _line(name, specifier) for name, specifier in wanted.items() if name not in ALONE}
    for name, line in others.items():
        if line.mend and not (line.broken and name in OF_A_KERNEL):
            yield line
    well = [f"{name} {line.value}" for name, line in others.items() if not line.mend]
    if well:
        yield Line("others", ", ".join(well))


def _line(name: str, wanted) -> Line:
    """A distribution's version, and what to do about one that is not within those wanted (None: any)."""
    found = version(name)
    if found is None:
        return Line(name, "not installed", f"make setup, or pip install '{name}{wanted or ''}'", broken=True)
    built = f" ({toolkit_of_torch() or 'for the CPU alone'})" if name == "torch" else ""
    fits = wanted is None or wanted.contains(found, prereleases=True)
    return Line(name, found + built, "" if fits else f"timecat wants {wanted}: pip install '{name}{wanted}'")
