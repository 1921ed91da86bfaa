"""What is measured of a classifier: cross-entropy, top-1 and top-5, exact over all processes."""

import lightning as L
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy


class ClassifierMetrics(nn.Module):
    """Mean loss and shares (0 to 1) of the samples seen since the last log; top-5 of fewer than 5 classes is of all."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.acc1 = MulticlassAccuracy(num_classes, average="micro")
        self.acc5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count logits (b, num_classes) and int64 labels (b,)."""
        self.loss.update(nn.functional.cross_entropy(logits, labels, reduction="none"))
        self.acc1.update(logits, labels)
        self.acc5.update(logits, labels)

    def log(self, module: L.LightningModule, stage: str) -> None:
        """Log <stage>/loss, <stage>/acc1 and <stage>/acc5, and start again."""
        for name, metric in (("loss", self.loss), ("acc1", self.acc1), ("acc5", self.acc5)):
            module.log(f"{stage}/{name}", metric.compute(), prog_bar=name == "acc1")
            metric.reset()
