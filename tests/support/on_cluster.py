"""A study on the tests' SLURM, and small ones to run there."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.private_slurm import PrivateSlurm
from tests.support.processes import wait_until
from tests.support.small_study import write_probe, write_study
from timecat.study.study import Study


class OnCluster:
    """A study and the commands on it, as a user on the login node gives them."""

    def __init__(self, slurm: PrivateSlurm, config: str) -> None:
        self.slurm, self.config = slurm, config
        self.directory = Study.read([config]).directory.path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "timecat", arguments[0], "--config", self.config, *arguments[1:]]

    def run(self, *arguments: str, status: int = 0) -> str:
        ended = subprocess.run(
            self.command(*arguments), env=self.slurm.environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == status, ended.stderr
        return ended.stdout if status == 0 else ended.stderr

    def launch(self, *arguments: str) -> dict[str, str]:
        """Jobs by what they are, such as {'member 0': '7_0', 'probe digits': '8_0', 'report': '9'}."""
        said = self.run("launch", "--cpus-per-task=1", *arguments)
        found = re.findall(r"^(\d+(?:_\d+)?)  (member \d+|probe|report)", said, re.MULTILINE)
        return {what: job for job, what in found}

    def ended(self, job: str, seconds: float = 180) -> str:
        """Wait for a job's end; its state."""
        wait_until(lambda: self.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), seconds, f"{job} goes on")
        return self.state(job)

    def state(self, job: str) -> str:
        return self.slurm.job(job).get("JobState", "")

    def log(self, name: str) -> str:
        path = self.directory / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""


def study(tmp_path: Path, digits: Path, name: str, model: dict, cats: dict, probe: bool = True, **settings) -> str:
    """A config of a mixture of digits with a probe of digits."""
    data = {"root": str(digits), "workers": 1}
    digits_probe = write_probe(tmp_path / "digits.yaml", data, {"weight_decays": [1e-3]}, trainer={"max_epochs": 3})
    probes, every_20_steps = (
        [digits_probe] if probe else [],
        {"val_check_interval": 20, "check_val_every_n_epoch": None},
    )
    mixture = {"digits": {"weight": 3}, "others": {"weight": 1, "train": "test.beton"}}
    path, images = tmp_path / f"{name}.yaml", {"root": str(digits), "padding": 2, "mixture": mixture}
    return write_study(path, images, model, cats, every_20_steps, probes=probes, **settings)
