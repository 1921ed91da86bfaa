"""Other programs of the documentation: what they name is there. None does its work; some tell of themselves."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from tests.support.blocks import ROOT

NOTHING_TO_CHECK = (".", "git", "cd", "mkdir", "export", "docker", "apptainer", "enroot")


def command_of_timecat(words: tuple[str, ...]) -> list[str] | None:
    """What follows `timecat` in a command or in what it starts; None where it starts none.

    Raises:
        AssertionError: what it names is not there.
    """
    match words:
        case ("timecat", *rest):
            return rest
        case ("make", *targets):
            _succeeds("make", "-n", *targets)
        case ("uv", "pip", "install", what):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert what == "." or what.strip(".[]") in project["optional-dependencies"], f"no extra of {what}"
        case ("tensorboard", "--logdir", logs):
            config = Path("configs", Path(logs).name).with_suffix(".yaml")
            assert Path(logs).is_dir() or (Path(logs).parent.name == "runs" and config.is_file()), f"nothing in {logs}"
        case ("hf", "upload", _, folder):
            assert Path(folder).is_dir(), f"no {folder}"
        case ("docker", "build", "-f", file, *_):
            assert (ROOT / file).is_file(), f"no {file}"
        case ("python", "-m", module, *options):
            _has_options(module, options)
        case ("torchrun", *rest):
            from torch.distributed.run import get_args_parser

            given = get_args_parser().parse_args(rest)
            assert given.module and given.training_script == "timecat", given
            return given.training_script_args
        case ("sbatch", *rest):
            place = next(k for k, word in enumerate(rest) if not word.startswith("-"))
            _succeeds("bash", "-n", rest[place])
            stages = re.findall(r'TIMECAT\[@\]}" (\w+)', (ROOT / rest[place]).read_text())
            return [stages[0], *rest[place + 1 :]]
        case (script, *rest) if script.startswith("launch/"):
            return _succeeds("bash", script, *rest, TIMECAT="echo").split()
        case (("docker" | "apptainer"), "run", *rest) | ("srun", *rest):
            image = max(k for k, word in enumerate(rest) if word in ("timecat", "timecat.sif"))
            return rest[image + 1 :]
        case _:
            assert words[0] in NOTHING_TO_CHECK, f"what of {words[0]} can be checked? Say so here"
    return None


def _has_options(module: str, options: list[str]) -> None:
    """Whether a benchmark's own help has them."""
    said = StringIO()
    with redirect_stdout(said), patch.object(sys, "argv", [module, "--help"]):
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as ended:
            assert not ended.code
    missing = [option for option in options if option.startswith("--") and option not in said.getvalue()]
    assert not missing, f"no option {missing}"


def _succeeds(*words: str, **environment: str) -> str:
    """Run it in the repository's root; what it prints."""
    ended = subprocess.run(words, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
