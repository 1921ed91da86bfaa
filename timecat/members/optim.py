"""Optimisers and learning-rate schedules of pretraining, by name."""

import math
from typing import Any

import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from timecat.config.member import MemberConfig
from timecat.errors import UserError


class ScheduleFreeAdamW(AdamWScheduleFree):
    """Schedule-free AdamW as version 2 of the self-tuning entry to AlgoPerf 2024 has it (arXiv 2405.15682, 2502.15015).

    With gradient g at y, second moment v and step k from 0, c = sqrt(1 - beta2^(k+1)):

        z -= lr c (g / (sqrt(v) + eps) + weight_decay y),   x = lerp(x, z, lr^2 / sum lr^2),   y = lerp(x, z, 1 - beta1)

    The package's own step is lr (g / (sqrt(v) / c + eps) + weight_decay y): the same with eps / c and weight_decay c.
    """

    @torch.no_grad()
    def step(self, closure=None):
        given = [(group["eps"], group["weight_decay"]) for group in self.param_groups]
        for group, (eps, weight_decay) in zip(self.param_groups, given, strict=True):
            correction = math.sqrt(1 - group["betas"][1] ** (group["k"] + 1))
            group["eps"], group["weight_decay"] = eps / correction, weight_decay * correction
        try:
            return super().step(closure)
        finally:
            for group, (eps, weight_decay) in zip(self.param_groups, given, strict=True):
                group["eps"], group["weight_decay"] = eps, weight_decay

    @torch.no_grad()
    def averages(self) -> dict[nn.Parameter, Tensor]:
        """New tensors that hold x, for each parameter while these hold y."""
        averages = {}
        for group in self.param_groups:
            moved = [p for p in group["params"] if "z" in self.state[p]]
            if moved:
                z = [self.state[p]["z"] for p in moved]
                averages.update(zip(moved, torch._foreach_lerp(moved, z, 1 - 1 / group["betas"][0]), strict=True))
        return averages


def make_optimizer(config: MemberConfig, network: nn.Module, *, lr: float) -> torch.optim.Optimizer:
    """The optimiser of a network's parameters; `schedule_free_adamw` warms up by itself.

    Args:
        config: its optimizer, momentum, nesterov, beta2, warm-up, and weight decays: norm_weight_decay is that of
            BatchNorm's weights and biases, weight_decay where None.
        lr: the learning rate at the global batch.

    Raises:
        UserError: a value that the optimiser cannot take.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norm_ids = {id(parameter) for norm in norms for parameter in norm.parameters()}
    parameters = list(network.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": config.weight_decay}]
    if config.norm_weight_decay is not None:
        groups[0]["params"] = [p for p in parameters if id(p) not in norm_ids]
        norm_parameters = [p for p in parameters if id(p) in norm_ids]
        groups.append({"params": norm_parameters, "weight_decay": config.norm_weight_decay})
    try:
        if config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr, momentum=config.momentum, nesterov=config.nesterov)
        betas, warmup = (config.momentum, config.beta2), config.warmup_steps
        return ScheduleFreeAdamW(groups, lr, betas=betas, warmup_steps=warmup, foreach=True)
    except ValueError as error:
        raise UserError(
            f"model: {config.optimizer} cannot take its values ({error}); mend lr, momentum or weight_decay"
        ) from None


def make_schedule(config: MemberConfig, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
    """A scheduler that is stepped once per optimiser step, or None where the learning rate is the optimiser's own.

    All but `one_cycle` rise linearly for `warmup_steps`. Then `step` divides by 10 at 1/3 and 2/3 of the horizon (30
    and 60 of 90 epochs in arXiv 2212.07346), `linear` and `cosine` fall to 0 (linear: libffcv/ffcv-imagenet),
    `one_cycle` is torch's OneCycleLR (Smith and Topin 2018).

    Raises:
        UserError: a schedule with a horizon but no steps.
    """
    name, steps, warmup = config.schedule, config.steps, config.warmup_steps
    if isinstance(optimizer, AdamWScheduleFree):
        return None
    if name == "constant":
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup)) if warmup else None
    if steps is None:
        raise UserError(f"model.schedule {name} needs to know its last step; train it in a study, or set model.steps")
    if name == "one_cycle":
        return OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=steps + 1, pct_start=config.pct_start)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if name == "step":
            return 0.1 ** (3 * step // steps)
        share = (step - warmup) / (steps - warmup)
        return 1 - share if name == "linear" else 0.5 * (1 + math.cos(math.pi * share))

    return LambdaLR(optimizer, factor)
