"""A network's answers on a test set."""

import numpy as np
import torch
from torch import nn

from timecat.data.datamodule import ImageData
from timecat.errors import UserError
from timecat.heads.scores import scores
from timecat.study.results import ChosenResult
from timecat.study.tuned import TunedRun


@torch.inference_mode()
def classify(network: nn.Module, data: ImageData, device: torch.device) -> dict[str, np.ndarray]:
    """Of the test images, in their order: `labels`, int64 (n,), the likeliest class as `predicted`, int32 (n,), and
    whether the label is among the five likeliest as `in_top5`, bool (n,).

    Raises:
        UserError: a logit is not finite.
    """
    network = network.to(device).eval()
    found: dict[str, list[torch.Tensor]] = {"labels": [], "predicted": [], "in_top5": []}
    for images, labels, *_ in data.test_dataloader():
        logits = network(data.normalise(images.to(device, non_blocking=True))).float().cpu()
        if not torch.isfinite(logits).all():
            raise UserError("tune: the network that was chosen has diverged; lower tune.lrs")
        found["labels"].append(labels)
        found["predicted"].append(logits.argmax(1).int())
        found["in_top5"].append((logits > logits.gather(1, labels[:, None])).sum(1) < 5)
    return {name: torch.cat(tensors).numpy() for name, tensors in found.items()}


def result_of(answers: dict[str, np.ndarray], classes: int, chosen: TunedRun, runs: list[TunedRun]) -> ChosenResult:
    """What `classify` gave is worth, and what it was chosen from."""
    return {
        **scores(answers["predicted"], answers["in_top5"], answers["labels"], classes),
        "lr": chosen["lr"],
        "weight_decay": chosen["weight_decay"],
        "epochs": None,
        "chosen_by_acc1": chosen["held_out_acc1"] or 0.0,
        "heads": [
            {"lr": run["lr"], "weight_decay": run["weight_decay"], "curve": [run["held_out_acc1"]]} for run in runs
        ],
    }
