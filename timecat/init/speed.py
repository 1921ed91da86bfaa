"""How many images a second a member trains on here: by training one for some steps on a sample of the folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from timecat.cluster.slots import has_gpus
from timecat.errors import UserError
from timecat.files import read_json
from timecat.init.choose import Choice
from timecat.init.look import Folder
from timecat.process import cores

SECONDS = 10.0  # that the measured steps should take
CORE, GPU = 2e10, 2e13  # FLOP/s, roughly: of a core 1.3e10 and 4.7e10 were seen (1,400, 5,070 images/s of 9.4 MFLOP)
PATIENCE = 300.0  # seconds
IMAGES = 256  # of the sample


def guess(choice: Choice, classes: int) -> float | None:
    """Seconds that all trainings take on this machine's cores, to a factor of 3; None where a GPU trains."""
    return None if has_gpus("auto") else choice.flops(classes) / (CORE * cores())


def measure(folder: Folder, choice: Choice, keys: dict[str, Any]) -> float:
    """Images/s of one member alone on this machine, by `timecat run` in a directory of its own.

    Args:
        keys: the study's config, as it is written.

    Raises:
        UserError: it could not be trained, or takes longer than minutes.
    """
    flops = choice.flops(len(folder.classes)) / max(1, choice.all_images)
    with tempfile.TemporaryDirectory(prefix="timecat-init-") as made:
        here = Path(made)
        images = _sample(folder, here / "sample")
        batch = min(choice.device_batch or choice.batch, images)
        half = int(SECONDS * (GPU if has_gpus("auto") else CORE * cores()) / (flops * batch))
        half = min(max(3, half), 100)  # steps; the first half warms up
        data = {key: value for key, value in keys["data"].items() if key not in ("test_fraction", "val", "root")}
        data |= {"source": str(here / "sample"), "train": "written/train.beton", "holdout": 0.0, "batch_size": batch}
        study = {"name": "speed", "cats": {"one": {"members": 1, "steps": 2 * half}}}
        trainer = {**keys["trainer"], "log_every_n_steps": half, "limit_val_batches": 0}
        trainer.pop("val_check_interval")
        trainer.pop("check_val_every_n_epoch")
        config = {**keys, "study": study, "data": data, "trainer": trainer}
        (here / "speed.yaml").write_text(yaml.safe_dump(config))
        given = {key: value for key, value in os.environ.items() if key != "TIMECAT_DATA"}
        command = [sys.executable, "-m", "timecat", "run", "speed.yaml"]
        try:
            done = subprocess.run(command, cwd=here, env=given, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"--hours: {2 * half} steps took more than {PATIENCE:.0f} s here; give --images N"
            ) from None
        progress = read_json(here / "runs" / "speed" / "member_0" / "progress.json")
        rate = progress.get("images_per_sec") if isinstance(progress, dict) else None
        if done.returncode or not rate:
            why = (done.stderr.strip().splitlines() or ["no output"])[-1].removeprefix("timecat: ")
            raise UserError(f"--hours: some steps could not be trained here ({why}); give --images N")
        return float(rate)


def _sample(folder: Folder, into: Path) -> int:
    """Links to some images of each class; how many."""
    from timecat.data.sources.folders import images_of_classes, split_folders

    train = split_folders(folder.path)["train"]
    classes, paths, labels = images_of_classes(train, train)
    each = max(1, IMAGES // len(classes))
    left = [each] * len(classes)
    for number, (path, label) in enumerate(zip(paths, labels.tolist(), strict=True)):
        if left[label]:
            left[label] -= 1
            (into / str(label)).mkdir(parents=True, exist_ok=True)
            (into / str(label) / f"{number}{Path(path).suffix}").symlink_to(path)
    return sum(1 for _ in into.glob("*/*"))
