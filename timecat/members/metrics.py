"""What is measured of a classifier: cross-entropy, top-1 and top-5, by group too, exact over all processes."""

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from timecat.data.datamodule import ImageData


class ClassifierMetrics(nn.Module):
    """Mean loss and shares (0 to 1) of the samples seen since the last log; top-5 of fewer than 5 classes is of all.

    Attributes:
        group_names: of the images' groups, or of a mixture's components; top-1 is then told for each.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # without what makes each batch wait for the device: torchmetrics' checks, and its top-5 by one-hot vectors
        self.loss, self.acc5 = MeanMetric(nan_strategy="disable"), MeanMetric(nan_strategy="disable")
        self.acc1 = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.group_names: tuple[str, ...] = ()
        self.by_group: GroupAccuracy | None = None

    def tell_groups(self, trainer: L.Trainer, stage: str) -> None:
        """Tell top-1 by group from now on, where what the trainer is to evaluate on has groups."""
        data = getattr(trainer, "datamodule", None)
        split = {"fit": "val", "validate": "val", "test": "test"}.get(stage)
        names = data.group_names_of(split) if isinstance(data, ImageData) and split else ()
        self.group_names = names
        self.by_group = GroupAccuracy(len(names)).to(self.acc1.device) if names else None

    def update(self, logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Count logits (b, num_classes), int64 labels (b,), and group numbers (b,) where images have groups."""
        self.loss.update(nn.functional.cross_entropy(logits, labels, reduction="none"))
        self.acc1.update(logits, labels)
        before = ~(logits <= logits.gather(1, labels[:, None]))  # NaN stands before all
        self.acc5.update((before.sum(1) < 5).float())
        if self.by_group is not None and groups is not None:
            self.by_group.update(logits, labels, groups)

    def log(self, module: L.LightningModule, stage: str) -> None:
        """Log <stage>/loss, <stage>/acc1, <stage>/acc5 and <stage>/acc1/<group>, and start again.

        In training they stand at the steps done, as the training loss does; Lightning's own count is one less, and
        comes with an `epoch` that would have a card of its own.
        """
        if module.trainer.state.fn == "fit":
            module.log("step", float(module.trainer.global_step))
        for name, metric in (("loss", self.loss), ("acc1", self.acc1), ("acc5", self.acc5)):
            module.log(f"{stage}/{name}", metric.compute(), prog_bar=name == "acc1")
            metric.reset()
        if self.by_group is not None:
            for name, value in zip(self.group_names, self.by_group.compute().reshape(-1), strict=True):
                if not value.isnan():
                    module.log(f"{stage}/acc1/{name}", value)
            self.by_group.reset()


class GroupAccuracy(Metric):
    """Top-1 by group, 0 to 1: exact over all processes, NaN where no image of the group was seen."""

    right: Tensor
    seen: Tensor

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(groups, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(groups, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, groups: Tensor) -> None:
        """Count logits (b, num_classes), int64 labels (b,) and group numbers (b,)."""
        self.right.index_add_(0, groups, (logits.argmax(1) == labels).long())
        self.seen.index_add_(0, groups, torch.ones_like(groups))

    def compute(self) -> Tensor:
        return self.right / self.seen
