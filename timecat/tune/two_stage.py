"""`two_stage`: each member fine-tuned by itself, then frozen, and one linear head on all of them (arXiv 2212.07346).

Members are fine-tuned on the images that are not held out, and not again on all: the held-out ones choose the head, and
features that had learned their labels would choose one that trusts them too much.
"""

from pathlib import Path

from timecat import files
from timecat.networks.weights import read_weights
from timecat.study.tuned import Tuned, TunedRun
from timecat.tune.finetune import fine_tuned
from timecat.tune.frozen import TunedCat, probe_frozen, snapshot_of
from timecat.tune.train import Runs, choose, remove
from timecat.tune.tuning import Tuning


def two_stage(tuning: Tuning, repetition: int, paths: list[Path], weights: list[str], runs: Runs) -> Tuned:
    """Fine-tune each member with each setting of the grid, take its best on the held-out images, probe them together.

    Args:
        paths, weights: the members' files and their SHA-256, in the cat's order.

    Raises:
        Stopped: it was asked to.
        UserError: what is there was trained otherwise, or as `probe_frozen`.
    """
    directory, probe, cat = tuning.directory(repetition), tuning.probes[0], tuning.seeded(repetition)
    trained: list[TunedRun] = []
    snapshots = list(cat.snapshots)
    for member in range(len(paths) if tuning.steps else 0):
        cells = [tuning.fine_tuning(repetition, lr, decay, member) for lr, decay in tuning.tune.grid]
        found = [
            runs.train_cell(cell, [weights[member]], lambda cell=cell, k=member: fine_tuned(tuning, [paths[k]], cell))
            for cell in cells
        ]
        best = cells[found.index(choose(found))]
        trained += found
        snapshots[member] = snapshot_of(tuning, repetition, best, cat.snapshots[member].plan.model)
        remove(*(cell.directory.snapshot(cell.plan.steps) for cell in cells if cell is not best))
    used, frozen = (
        [tuning.study.snapshot_path(snapshot) for snapshot in snapshots],
        TunedCat(cat.name, tuple(snapshots)),
    )
    result = probe_frozen(tuning, directory, frozen, probe, runs.stop)
    return {
        "name": tuning.name,
        "method": "two_stage",
        "cat": tuning.cat.name,
        "repetition": repetition,
        "settings": tuning.settings(repetition),
        "weights": weights,
        "images": sum(run["images"] for run in trained if run["chosen"]),
        "images_in_all": sum(run["images"] for run in trained),
        "teacher_images": 0,
        "members": len(paths),
        "parameters": sum(parameters(path) for path in used),
        "features": cat.features,
        "runs": trained,
        "files": {str(path.relative_to(directory.path)): files.sha256(path) for path in used if path not in paths},
        "data": {probe.name: result},
    }


def parameters(path: Path) -> int:
    """Of the ResNet in a file, without its classifier."""
    buffers = ("running_mean", "running_var", "num_batches_tracked", ".blur")
    state = read_weights(path)
    return sum(each.numel() for key, each in state.items() if key[:3] != "fc." and not key.endswith(buffers))
