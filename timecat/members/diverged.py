"""A training that diverged is told and stopped, and nothing of it takes the place of what was good.

The loss is looked at where it is logged, which waits for the device anyway; weights, statistics and the optimiser's
state before they are written. All processes of a member see the same numbers, and so raise together.
"""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import Tensor

from timecat.errors import Diverged
from timecat.networks.finite import first_not_finite


def learning_rate(trainer: L.Trainer) -> float:
    """Of the optimiser's first group, as it is scheduled now."""
    group = trainer.optimizers[0].param_groups[0]
    return float(group.get("scheduled_lr") or group["lr"])


def check_loss(trainer: L.Trainer, loss: float) -> None:
    """Stop where the loss is no number.

    Raises:
        Diverged: it is not finite.
    """
    if not math.isfinite(loss):
        raise _diverged(trainer, f"the loss is {loss}")


def check_weights(trainer: L.Trainer, state: Mapping[str, Tensor]) -> None:
    """Stop before a snapshot of what is no number.

    Raises:
        Diverged: a weight or a statistic is not finite.
    """
    if (name := first_not_finite(state.items())) is not None:
        raise _diverged(trainer, f"{name} is not finite")


def check_checkpoint(trainer: L.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Stop before a checkpoint of what is no number takes the place of one that is.

    Raises:
        Diverged: a weight, a statistic or something of the optimiser's state is not finite.
    """
    if (name := not_finite(checkpoint)) is not None:
        raise _diverged(trainer, f"{name} is not finite")


def not_finite(checkpoint: Mapping[str, Any]) -> str | None:
    """What of a checkpoint of Lightning is not finite: a key of its state dict, or of the optimiser's state."""
    optimizers = [
        (f"the optimiser's {key}", value)
        for optimizer in checkpoint.get("optimizer_states", [])
        for state in optimizer["state"].values()
        for key, value in state.items()
        if isinstance(value, Tensor)
    ]
    return first_not_finite([*checkpoint["state_dict"].items(), *optimizers])


def _diverged(trainer: L.Trainer, what: str) -> Diverged:
    return Diverged(f"{what} at step {trainer.global_step:,}, learning rate {learning_rate(trainer):.3g}")
