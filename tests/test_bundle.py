"""The bundle of the GPU's bench names all packages that those in it want; making it needs a network."""

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
THERE = ("torch", "torchvision", "lightning", "numba")  # on the other machine
NOT_IMPORTED = {"grpcio", "markdown", "setuptools", "tensorboard-data-server", "werkzeug"}  # TensorBoard's server's


def names(array: str) -> list[str]:
    """A shell array of bundle.sh."""
    found = re.search(rf"^{array}=\((.*?)\)", (ROOT / "benchmarks/gpu/bundle.sh").read_text(), re.DOTALL | re.MULTILINE)
    assert found, array
    return found[1].split()


def wanted(package: str) -> set[str]:
    """What it requires here, without its extras."""
    read = [Requirement(line) for line in requires(package) or ()]
    return {each.name.lower().replace("_", "-") for each in read if not each.marker or each.marker.evaluate()}


def test_what_is_in_the_bundle_finds_what_it_wants():
    there, todo = set(), [*THERE]
    while todo:
        if (package := todo.pop()) not in there:
            there.add(package)
            todo += () if package.startswith(("nvidia-", "cuda-")) else wanted(package)
    bundled = names("packages") + names("spare")
    for package in bundled:
        assert wanted(package) <= there | {*bundled} | NOT_IMPORTED, package
        assert f"\n{package}==" in (ROOT / "requirements.txt").read_text(), package
