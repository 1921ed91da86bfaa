"""Optimisers and learning-rate schedules of pretraining, by name."""

import math
from typing import Any, Literal

import torch
from schedulefree import AdamWScheduleFree
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from timecat.errors import UserError

Optimizer = Literal["schedule_free_adamw", "sgd"]
Schedule = Literal["constant", "step", "cosine", "one_cycle"]


def make_optimizer(
    name: Optimizer, parameters: Any, *, lr: float, momentum: float, beta2: float, weight_decay: float, warmup: int
) -> torch.optim.Optimizer:
    """The optimiser; `schedule_free_adamw` (Defazio et al. 2024, arXiv 2405.15682) warms up by itself."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    return AdamWScheduleFree(
        parameters, lr, betas=(momentum, beta2), weight_decay=weight_decay, warmup_steps=warmup, foreach=True
    )


def make_schedule(
    name: Schedule, optimizer: torch.optim.Optimizer, *, steps: int | None, warmup: int, pct_start: float
) -> LRScheduler | None:
    """A scheduler that is stepped once per optimiser step, or None where the learning rate is the optimiser's own.

    `step` divides by 10 at 1/3 and 2/3 of the horizon (the predecessor's recipe: 30 and 60 of 90 epochs, arXiv
    2212.07346), `one_cycle` is torch's OneCycleLR (Smith and Topin 2018), `cosine` falls to 0.

    Raises:
        UserError: a schedule with a horizon but no steps, or a horizon for schedule-free.
    """
    if isinstance(optimizer, AdamWScheduleFree):
        if name != "constant":
            raise UserError(f"model.schedule {name} contradicts schedule_free_adamw; use constant, or sgd")
        return None
    if name == "constant":
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup)) if warmup else None
    if steps is None:
        raise UserError(f"model.schedule {name} needs to know its last step; train it in a study, or set model.steps")
    if name == "one_cycle":
        return OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=steps + 1, pct_start=pct_start)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if name == "step":
            return 0.1 ** (3 * step // steps)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)
