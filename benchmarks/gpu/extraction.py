"""Features of 1 and of 12 snapshots by the store of `timecat probe`, against a bare loop of one network."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.photos import write_photos
from benchmarks.rounds import seconds, timing
from timecat import files
from timecat.config.files import ProbeFile, StudyFile
from timecat.data.write.write import write
from timecat.extraction.extract import FeatureStore
from timecat.members.checkpoint import save_snapshot
from timecat.networks.resnet import channels_last, resnet
from timecat.study.directory import write_record
from timecat.study.study import Study


def untrained(folder: Path, small: bool, members: int) -> Study:
    """A study of so many members whose snapshots are there, as if they had been trained."""
    network = {"depth": 10, "width": 8} if small else {"depth": 50, "width": 64}
    config: dict[str, Any] = {
        "seed_everything": 0,
        "study": {"name": f"bench{members}", "root": str(folder), "cats": {"cat": {"members": members, "steps": 1}}},
        "model": {**network, "num_classes": 10, "optimizer": "sgd", "lr": 0.1},
        "data": {"train": "train.beton", "root": str(folder / "written"), "batch_size": 32, "train_images": 1},
    }
    study = Study(StudyFile.parse(config))
    for plan in study.members:
        directory = study.directory.member(plan.name)
        save_snapshot(directory.snapshot(1), resnet(plan.model.depth, plan.model.width, 10).state_dict())
        write_record(directory.done, {"step": 1, "snapshots": {"1": files.sha256(directory.snapshot(1))}})
    return study


def extraction(device: torch.device, small: bool) -> dict[str, Any]:
    """images/s through one network: of the bare loop, and of the store with 1 and 12 snapshots, decoding included."""
    count, side, batch = (128, 32, 32) if small else (8192, 224, 256)
    found: dict[str, Any] = {}
    network = resnet(10, 8, 10) if small else resnet(50, 64, 10)
    channels_last(network)
    network.to(device).eval()
    images = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    half = device.type == "cuda"

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            return network.features(images)

    times = 3 if small else 20
    found["bare loop images/s"] = timing([batch / seconds(forward, device, times) for _ in range(3)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", count)
        beton = write(str(folder / "photos"), folder / "written", progress=False)[0]
        config = {
            "probe": {"weight_decays": [1e-4]},
            "model": {"num_classes": 2},
            "data": {
                "train": beton.name,
                "test": beton.name,
                "root": str(beton.parent),
                "holdout": 0.1,
                "resolution": side,
                "augment": False,
                "eval_batch_size": batch,
            },
            "trainer": {"accelerator": device.type if device.type == "cpu" else "gpu", "devices": 1},
        }
        probe = replace(ProbeFile.parse("bench.yaml", config), path=str(folder / "bench.yaml"))
        for members in (1, 12):
            study = untrained(folder, small, members)
            store = FeatureStore(study, probe, ["cuda:0" if device.type == "cuda" else "cpu"])
            start = time.perf_counter()
            passes = store.extract([cat.snapshots[k] for cat in study.seeded_cats() for k in range(members)])
            found[f"{members} snapshots: forward passes/s"] = passes / (time.perf_counter() - start)
            assert passes == 2 * count * members, passes
    return found
