"""A small study with what it can leave on disk: members, heads, knn, few-shot, saturation, a tuned cat, a report."""

from pathlib import Path

import yaml

from tests.support.in_process import in_a_pipe
from tests.support.small_study import ONE_CYCLE, write_probe, write_study

CONFIG = "study.yaml"
DATA = {"root": "data", "workers": 1}


def finished_study(folder: Path, digits: Path, small: bool = False) -> Path:
    """Make it below `folder`, which is then the working directory of commands on CONFIG.

    Args:
        small: only train, probe and report.
    """
    import os

    (folder / "data").symlink_to(digits)
    before = Path.cwd()
    os.chdir(folder)
    try:
        cats = {"cat1": {"members": 1, "steps": 4}, "cat2": {"members": 2, "steps": 2}}
        write_probe(
            Path("probe.yaml"),
            {**DATA, "tests": {"again": "test.beton"}},
            {"weight_decays": [1e-4, 1e-3]},
            trainer={"max_epochs": 1},
        )
        write_study(Path(CONFIG), DATA, ONE_CYCLE, cats, probes=["probe.yaml"])
        tune = {"study": CONFIG, "cat": "cat1", "method": "finetune", "probe": "probe", "images": 64, "lrs": [0.01]}
        sections = {"data": {"batch_size": 64}, "trainer": {"accelerator": "cpu", "devices": 1}}
        Path("tuned.yaml").write_text(yaml.safe_dump({"seed_everything": 50, "tune": tune, **sections}))
        commands = [
            *(["fit", CONFIG], ["probe", CONFIG], ["knn", CONFIG, "--k", "1,5"]),
            *(["few-shot", CONFIG, "--shots", "1,2", "--draws", "2"], ["bottleneck", "saturation", CONFIG]),
            *(["bottleneck", "select", CONFIG, "--members", "2"], ["tune", "tuned.yaml"], ["report", CONFIG]),
        ]
        for words in commands:
            if small and words[0] not in ("fit", "probe", "report"):
                continue
            status, out, err = in_a_pipe(words)
            assert status == 0, (words, out[-500:], err)
    finally:
        os.chdir(before)
    return folder


def kept_files(folder: Path) -> list[Path]:
    """All JSON files and arrays of heads and predictions below it."""
    return sorted([*folder.glob("runs/**/*.json"), *folder.glob("runs/**/*.npz"), *folder.glob("runs/**/logits/*.npy")])
