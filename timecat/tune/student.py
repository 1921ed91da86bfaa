"""The LightningModule that distils a cat into one network (arXiv 2212.07346).

The student has a head for each member, which learns image by image what that member answers; so its one representation
must hold what theirs hold. That is the paper's: a head for each, and softened softmaxes. Its public code names a file
with such a student's weights and has no script; chosen here are the temperature, T^2 times the Kullback-Leibler
divergence (Hinton et al. 2015, arXiv 1503.02531), the mean over members, no term of the labels, and that members see
the very image that the student sees (Beyer et al. 2022, arXiv 2106.05237).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timecat.config.tune import DistillLoss
from timecat.members.member import Member
from timecat.members.metrics import ClassifierMetrics
from timecat.networks.resnet import ScaledResNet, channels_last, resnet_from_state
from timecat.networks.weights import read_weights


class Student(Member):
    """A member whose `fc` is a head for each of K members of a cat, one after the other: (K x classes, num_features).

    Args:
        teachers: files with the members' weights, `fc` included, all of the same classes.
        temperature, loss: as `TuneConfig` has them.
        model: the keys of `timecat.config.member.MemberConfig`; num_classes are those of one head.
    """

    def __init__(self, teachers: Sequence[Path], temperature: float, loss: DistillLoss, **model: Any) -> None:
        classes = model["num_classes"]
        super().__init__(**{**model, "num_classes": len(teachers) * classes})
        self.shape = len(teachers), classes
        self.temperature: float = temperature
        self.kind: DistillLoss = loss
        self.metrics = ClassifierMetrics(classes)
        # in a tuple, where they are no part of the module: not in its checkpoints
        self.teachers = tuple(map(load_teacher, teachers))

    def on_fit_start(self) -> None:
        for teacher in self.teachers:
            teacher.to(self.device)

    def by_head(self, images: Tensor) -> Tensor:
        """Logits (b, K, classes) of normalised images (b, 3, h, w)."""
        return self(images).unflatten(1, self.shape)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = torch.stack([teacher(images) for teacher in self.teachers], 1)
        return distance(self.by_head(images), wanted, self.temperature, self.kind)

    def validation_step(self, batch: tuple[Tensor, ...], batch_index: int) -> None:
        """Of the heads' mean probability, as a deep ensemble has it."""
        images, labels, _, *groups = batch
        self.metrics.update(self.by_head(images).log_softmax(2).logsumexp(1), labels, *groups)


def load_teacher(path: Path) -> ScaledResNet:
    """A member with its classifier, frozen and in eval mode."""
    network = resnet_from_state(read_weights(path), str(path))
    channels_last(network)
    return network.eval().requires_grad_(False)


def distance(logits: Tensor, wanted: Tensor, temperature: float, kind: DistillLoss) -> Tensor:
    """How far a student is from its teachers: the mean over images and members.

    Args:
        logits, wanted: of student and members (b, K, classes).

    Returns:
        T^2 KL(softmax(wanted / T) || softmax(logits / T)), or the mean squared difference of logits; a scalar.
    """
    if kind == "mse":
        return nn.functional.mse_loss(logits, wanted)
    log_p, log_q = ((values.flatten(0, 1).float() / temperature).log_softmax(1) for values in (wanted, logits))
    return temperature**2 * nn.functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
