"""Computing features: shards of a part, on one device, by all members whose weights fit in its memory."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from timecat.config.probe import ProbeConfig
from timecat.data.datamodule import ImageData
from timecat.data.loader import BetonLoader
from timecat.errors import UserError
from timecat.extraction.ahead import one_ahead
from timecat.extraction.compiled import compiled
from timecat.extraction.file import FeatureFile
from timecat.extraction.parts import Part
from timecat.extraction.precision import float32_products
from timecat.extraction.writer import Writer
from timecat.networks.backbone import Backbone, Weights, load_backbone
from timecat.networks.folded import folded


@dataclass
class Work:
    """Shards to compute on one device: that of process `rank`."""

    rank: int
    part: Part
    snapshots: tuple[Weights, ...]
    arrays: tuple[FeatureFile, ...]
    shards: list[int]
    device: str
    config: ProbeConfig


@torch.inference_mode()
def compute(work: Work, data: ImageData, advance: Callable[[int], None]) -> None:
    """Compute and store the shards of `work` that each array misses."""
    if not work.shards:
        return
    device, config = torch.device(work.device), work.config
    networks = [folded(load_backbone(file, device)) for file in work.snapshots]
    forwards = [_forward(network, config, data.config.eval_batch_size) for network in networks]
    half = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    storage = getattr(torch, config.storage)
    missing = [set(array.missing()) for array in work.arrays]
    loaders = [_loader(work, shard, data, device) for shard in work.shards]
    with (
        Writer(len(work.arrays)) as writer,
        float32_products(tf32=config.precision == "tf32"),
        half,
        closing(one_ahead(loaders)) as every,
    ):
        for shard, batches in zip(work.shards, every, strict=True):
            wanted = [index for index, shards in enumerate(missing) if shard in shards]
            computed: list[list[Tensor]] = [[] for _ in wanted]
            for images, *_ in batches:
                images = data.normalise(images.to(device, non_blocking=True))
                for index, features in zip(wanted, computed, strict=True):
                    features.append(forwards[index](images).float())
                advance(len(images) * len(wanted))
            for index, features in zip(wanted, computed, strict=True):
                stored = torch.cat(features).to(storage)
                if not torch.isfinite(stored).all():
                    why = "the member diverged: train it with a lower model.lr in another study"
                    if torch.isfinite(torch.cat(features)).all():
                        why = "they are too large for float16: set probe.storage to bfloat16"
                    raise UserError(f"{work.snapshots[index].path}: its features are not finite; {why}")
                writer.put(work.arrays[index], shard, stored.cpu())


def _loader(work: Work, shard: int, data: ImageData, device: torch.device) -> BetonLoader:
    indices = work.part.indices[work.arrays[0].rows(shard)]
    return data.view_loader(work.part.split, indices, work.part.view, pin=device.type == "cuda")


def _forward(network: Backbone, config: ProbeConfig, batch: int) -> Callable[[Tensor], Tensor]:
    """A network's features, compiled for whole batches; a shard's last one may be less, and is no reason for another
    graph."""
    if not config.compile:
        return network.features
    quick = compiled(network.features, "features", dynamic=False)
    return lambda images: quick(images) if len(images) == batch else network.features(images)
