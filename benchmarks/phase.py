"""Where the gain of several short members begins, and where width wins: by epochs, classes and width.

    python -m benchmarks.phase --source $DATA/tiny-imagenet-32/pretrain --transfer $DATA/tiny-imagenet-32/transfer

For each number of classes and width a study by the recipe of configs/regime/saturated.yaml, whose members are kept at
several lengths: one member of T steps, four of T/4, one of T/4 (`short`), one of T steps and twice the width (`wide`).
Each is probed on classes that it never saw. A cell is a length of a study: what four members gain over each other one,
with a 95 % interval; and what might predict it, of the one long member on its own training images: top-1 by its own
classifier, NC1 (class means' separation) and effective rank of its features.

Writes OUT/phase.json, and phase.svg and .png where --picture says. Goes on where it was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.phase_picture import picture
from timecat import files
from timecat.bottleneck.measures.collapse import collapse_within_classes
from timecat.bottleneck.measures.effective_rank import effective_rank
from timecat.cli import main as timecat
from timecat.data.write.write import write
from timecat.extraction.extract import FeatureStore
from timecat.networks.weights import read_weights
from timecat.report.collect import read_predictions, results_by_cat
from timecat.report.estimate import intervals, shown, unit_of, words
from timecat.study.results import read_results
from timecat.study.study import Study
from timecat.terminal import print_table

STUDIES: tuple[tuple[int, int, tuple[int, ...]], ...] = (  # classes, width, steps of the one long member
    (10, 16, (1000, 2000)),
    (20, 16, (1000, 2000, 4000, 8000)),
    (20, 8, (1000, 2000, 4000, 8000)),
)
OTHERS = ("one", "short", "wide")


def write_images(source: Path, out: Path, classes: int) -> None:
    """`classes` of the source's classes, every k-th in sorted order, as train.beton and test.beton below `out`."""
    names = sorted(path.name for path in (source / "train").iterdir())
    for split, named in (("train", "train"), ("val", "test")):
        for name in names[:: len(names) // classes]:
            link = out / "images" / named / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to((source / split / name).resolve())
    write(str(out / "images"), out, progress=False)


def write_configs(base: Path, out: Path, classes: int, width: int, lengths: tuple[int, ...], repetitions: int) -> Path:
    """The study's config and those of its probes; the study's."""
    config: dict[str, Any] = yaml.safe_load(base.read_text())
    cats: dict[str, dict[str, Any]] = {}
    for steps in lengths:
        cats[f"one-{steps}"] = {"members": 1, "steps": steps}
        cats[f"four-{steps}"] = {"members": 4, "steps": steps // 4}
        cats[f"short-{steps}"] = {"members": 1, "steps": steps // 4}
        cats[f"wide-{steps}"] = {"members": 1, "steps": steps, "model": {"width": 2 * width}}
    name, data = f"{classes}-{width}", {"root": str(out), "train": f"{classes}/train.beton", "train_images": None}
    probes = {"own": {"data": {"train": f"{classes}/train.beton", "test": f"{classes}/test.beton", "holdout": 0.05}}}
    probes["own"]["model"] = {"num_classes": classes}
    probes["transfer"] = {"data": {"train": "transfer/train.beton", "test": "transfer/val.beton", "holdout": 0.1}}
    for probe, sections in probes.items():
        written = yaml.safe_load((base.parent.parent / "tiny/probe/transfer.yaml").read_text())
        written["data"] |= {**sections["data"], "root": str(out), "source": None}
        written["model"] |= sections.get("model", {})
        _write(out / f"{probe}-{classes}" / f"{probe}.yaml", written)
    config["study"] = {
        "name": name,
        "root": str(out / "runs"),
        "repetitions": repetitions,
        "seeds": [5 * repetition + member for repetition in range(repetitions) for member in range(4)],  # the base's
        "slots": 2,
        "cats": cats,
        "unequal_because": "cells of several lengths in one study",
        "probes": [str(out / f"{probe}-{classes}" / f"{probe}.yaml") for probe in probes],
    }
    config["model"] |= {"num_classes": classes, "width": width}
    config["data"] |= {**data, "source": None}
    return _write(out / f"{name}.yaml", config)


def _write(path: Path, config: dict[str, Any]) -> Path:
    for section in config.values():
        if isinstance(section, dict):
            for key in [key for key, value in section.items() if value is None]:
                del section[key]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def cells(path: Path, classes: int, width: int, lengths: tuple[int, ...]) -> list[dict[str, Any]]:
    """A cell for each length: what four members gain on unseen classes, and what the one long member is like."""
    study = Study.read([str(path)])
    (own,), (probe,) = ([each for each in study.probes if each.name == name] for name in ("own", "transfer"))
    results = read_results(study, probe, "heldout")
    assert results is not None
    by_cat = results_by_cat(study, results)
    arrays = read_predictions(study, probe, "heldout", by_cat)
    right = {cat: np.array([arrays[name] == arrays["labels"] for name in of]) for cat, of in by_cat.items()}
    unit, found = unit_of(study.repetitions), []
    store = FeatureStore(study, own, ["cpu"])
    per_epoch = len(store.split()[0])
    for steps in lengths:
        four = right[f"four-{steps}"].astype(float)
        gains = {}
        for other in OTHERS:
            difference = four - right[f"{other}-{steps}"]
            gains[other] = {
                "mean": 100 * float(difference.mean()),
                "values": [100 * float(value) for value in difference.mean(1)],
                "interval": shown(intervals(difference), unit),
            }
        found.append(
            {
                "classes": classes,
                "width": width,
                "steps": steps,
                "epochs": steps * study.batch_size / per_epoch,
                "repetitions": study.repetitions,
                "interval": words(unit, study.repetitions),
                "acc1": {cat: 100 * float(right[f"{cat}-{steps}"].mean()) for cat in ("one", "short", "four", "wide")},
                "gain": gains,
                **_predictors(study, store, steps),
            }
        )
    return found


def _predictors(study: Study, store: FeatureStore, steps: int) -> dict[str, float]:
    """Of the one long member on the images that it was trained on, the mean over the repetitions."""
    part, (fit, _) = store.parts["train"], store.split()
    rows = torch.from_numpy(np.searchsorted(part.indices, fit))
    labels = torch.from_numpy(store.labels(part))[rows]
    values = []
    for cat in study.seeded_cats():
        if cat.cat.name == f"one-{steps}":
            features = store.load(part, cat.snapshots[0])[rows].float()
            state = read_weights(study.snapshot_path(cat.snapshots[0]))
            predicted = (features @ state["fc.weight"].float().T + state["fc.bias"].float()).argmax(1)
            accuracy = 100 * float((predicted == labels).double().mean())
            values.append([accuracy, collapse_within_classes(features, labels), effective_rank(features)])
    accuracy, collapse, rank = np.mean(values, 0)
    return {"train_acc1": float(accuracy), "nc1": float(collapse), "effective_rank": float(rank)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("configs/regime/saturated.yaml"), help="whose recipe it is")
    parser.add_argument(
        "--source", type=Path, required=True, help="pretraining images: train, val, each a directory a class"
    )
    parser.add_argument("--transfer", type=Path, required=True, help="images of other classes, in the same way")
    parser.add_argument("--out", type=Path, default=Path("runs/phase"), help="where all of it lies")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=Path("runs/phase/phase"), help="without its suffix")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    write(str(arguments.transfer), out / "transfer", progress=False)
    found = []
    for classes, width, lengths in STUDIES:
        write_images(arguments.source, out / str(classes), classes)
        path = write_configs(arguments.base, out, classes, width, lengths, arguments.repetitions)
        status = timecat(["run", "--config", str(path)])
        if status:
            return status
        found += cells(path, classes, width, lengths)
        files.write_bytes(out / "phase.json", json.dumps(found, indent=1).encode())
    header = ["classes", "width", "epochs", "one", "short", "wide", "four", *(f"over {other}" for other in OTHERS)]
    header += ["train top-1", "NC1", "rank"]
    rows = [
        [
            str(cell["classes"]),
            str(cell["width"]),
            f"{cell['epochs']:.0f}",
            *(f"{cell['acc1'][name]:.1f}" for name in ("one", "short", "wide", "four")),
            *("{:+.1f} [{:+.1f}, {:+.1f}]".format(gain["mean"], *gain["interval"]) for gain in cell["gain"].values()),
            f"{cell['train_acc1']:.0f}",
            f"{cell['nc1']:.2f}",
            f"{cell['effective_rank']:.0f}",
        ]
        for cell in found
    ]
    print_table(
        f"four members' gain, top-1 points on unseen classes [95 %, {found[0]['interval']}]", header, rows, left=[]
    )
    for kind in ("svg", "png"):
        files.write_bytes(arguments.picture.with_suffix(f".{kind}"), picture(found, kind))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
