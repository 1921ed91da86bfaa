"""A real SLURM for all tests of this folder that want one."""

from pathlib import Path

import pytest

from tests.support.private_slurm import PrivateSlurm, missing_programs

INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if missing := missing_programs():
        pytest.skip(f"NOT TESTED ON SLURM: {', '.join(missing)} missing; as root: {INSTALL}")
    slurm = PrivateSlurm(tmp_path_factory.mktemp("slurm"))
    # every task imports torch, which takes twice as long where Python may not keep its bytecode
    slurm.environment |= {"OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": str(Path("build/bytecode").absolute())}
    slurm.environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()
