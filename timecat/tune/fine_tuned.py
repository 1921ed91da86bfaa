"""The LightningModule that fine-tunes a cat, or one member, with a linear head of its own."""

from typing import Any

import torch
from torch import Tensor

from timecat.data.datamodule import ImageData
from timecat.members.member import Member
from timecat.networks.cat_classifier import CatClassifier
from timecat.networks.resnet import channels_last


class FineTuned(Member):
    """A member whose network is a cat that is there already, and a new head.

    Dropout's draws are a function of (seed, step, batch of the step), so that a run that was stopped goes on with those
    that it would have had.

    Args:
        cat: what is trained.
        model: the keys of `timecat.config.member.MemberConfig`, of which those of the network count for nothing.
    """

    def __init__(self, cat: CatClassifier, **model: Any) -> None:
        super().__init__(**{**model, "depth": 10, "width": 8})
        self.network = cat
        if self.config.channels_last:
            channels_last(cat)

    def on_train_batch_start(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue] (Lightning's fit sets it)
        assert isinstance(data, ImageData)
        parts = self.trainer.accumulate_grad_batches
        number = self.trainer.global_step * parts + batch_index % parts
        torch.manual_seed(data.seed * 2**31 + number)

    def snapshot(self) -> dict[str, Tensor]:
        """The weights as `CatClassifier.plain_state` has them, contiguous, on the CPU."""
        self.evaluation_weights()
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.network.plain_state().items()}
        self.training_weights()
        return state
