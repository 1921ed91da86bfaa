"""A soup: one network whose weights are the mean of several snapshots' (Wortsman et al. 2022, arXiv 2203.05482)."""

import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from itertools import islice

import torch
from torch import Tensor

from timecat import files
from timecat.data.datamodule import ImageData
from timecat.networks.batch_norm import recalibrate
from timecat.networks.resnet import channels_last, resnet_from_state
from timecat.networks.weights import read_weights
from timecat.study.plan import Snapshot
from timecat.study.study import Study
from timecat.terminal import say


def make_soup(study: Study, soup: Snapshot, device: torch.device) -> None:
    """Write the mean of its snapshots' weights, with BatchNorm statistics of its own, where it is not there yet.

    The statistics are the mean over `model.batch_norm_batches` batches of the first snapshot's training (arXiv
    2203.05482 has none to compute; 1803.05407, section 3.1, has). Its snapshots are finished.

    Raises:
        UserError: a snapshot cannot be read, or its training file is not there.
    """
    path, plan = study.snapshot_path(soup), soup.soup[0].plan
    if path.is_file():
        return
    states = [read_weights(study.snapshot_path(snapshot)) for snapshot in soup.soup]
    network = resnet_from_state(average(states), str(path)).to(device)
    if plan.model.channels_last:
        channels_last(network)
    given = {"seed": plan.seed, "steps": plan.steps, "num_classes": plan.model.num_classes}
    data = ImageData(**{**asdict(plan.data), **given})
    say(f"{soup.name}: the mean of {len(states)} snapshots; BatchNorm's statistics anew")
    recalibrate(network, _training_images(data, plan.model.batch_norm_batches, device))
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({key: value.cpu().contiguous() for key, value in network.state_dict().items()}, buffer)
    files.write_bytes(path, buffer.getvalue())


def average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts of one network, in float64; whole numbers are the first one's."""
    return {
        key: torch.stack([state[key].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in states[0].items()
    }


def _training_images(data: ImageData, batches: int, device: torch.device) -> Iterator[Tensor]:
    with closing(data.train_loader(data.seed)) as loader:
        for images, *_ in islice(loader, batches):
            yield data.normalise(images.to(device))
