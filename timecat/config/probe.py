"""The `probe` and `model` sections of a probe's config: the heads of one data set."""

from dataclasses import dataclass, field
from typing import Literal

from timecat.config.types import Classes, NonNegativeFloat, PositiveFloat, PositiveRate, Rate, Views
from timecat.errors import UserError

Solver = Literal["sgd", "lbfgs"]
Storage = Literal["float16", "bfloat16", "float32"]
Precision = Literal["auto", "float32", "tf32", "bfloat16"]

EPOCHS = 28  # of a head in arXiv 2506.18221
MOST_VIEWS = 1000
BYTES: dict[Storage, int] = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class ProbeConfig:
    """For `timecat probe`, beside the keys that a probe on images has.

    Args:
        weight_decays: the grid from which one is chosen on held-out data.
        lrs: the grid of learning rates; model.lr alone where not given.
        solver: `sgd`, the paper's, or `lbfgs`: the optimum of the convex problem on standardised features, where weight
            decay w adds w/2 times the squared weights to the mean cross-entropy.
        refit: train again on all of the training set with what was chosen.
        views: augmented views of each training image, taken in turn by the epochs; 0 trains on the evaluation view.
        storage: type of the stored features.
        precision: type that the frozen backbones compute in: `float32` is IEEE's, `tf32` a CUDA device's products of 10
            bits, `auto` bfloat16 on CUDA and float32 on a CPU. Where it is not float32, heads by SGD multiply in TF32.
        compile: torch.compile the backbones; where not given, with `auto` on CUDA.
        logits: keep each chosen head, float32, and its logits of the test images, float16, so that a test set that is
            added later is read without training again. They take 4 x classes x features and 2 x classes x test images
            bytes a cat and repetition: for iNat18's 8,142 classes and 24,426 images 0.33 GB at 10,240 features, 0.4 GB.
        memory_gb: of the device, for heads and features; heads that do not fit train in several passes, features that
            do not fit are read from their files batch by batch. Where not given, 0.85 of what is free on a CUDA device,
            half of what is free on a CPU.
    """

    weight_decays: list[NonNegativeFloat] = field(default_factory=lambda: [1e-4])
    lrs: list[PositiveRate] | None = None
    solver: Solver = "sgd"
    refit: bool = True
    views: Views = 0
    storage: Storage = "float16"
    precision: Precision = "auto"
    compile: bool | None = None
    logits: bool = True
    memory_gb: PositiveFloat | None = None

    def __post_init__(self) -> None:
        if self.views > MOST_VIEWS:
            raise UserError(f"probe.views {self.views:,}: each is a pass over all images; take 0 to {MOST_VIEWS:,}")
        for key, values in (("weight_decays", self.weight_decays), ("lrs", self.lrs)):
            if values is not None and (not values or len(set(values)) < len(values)):
                raise UserError(f"probe.{key} is {values}; give different numbers, such as [1.e-4, 1.e-3]")
        if self.solver == "lbfgs":
            if min(self.weight_decays) <= 0:
                raise UserError(
                    f"probe.weight_decays {self.weight_decays}: give numbers above 0, as lbfgs has no optimum without "
                    "weight decay"
                )
            if self.views or self.lrs:
                raise UserError("probe.solver lbfgs has no learning rates and no augmented views: remove lrs, views")

    def grid(self, lr: float) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of each head of a cat, where the config's model.lr is `lr`."""
        return [(rate, decay) for rate in self.lrs or [lr] for decay in self.weight_decays]


@dataclass(frozen=True)
class HeadConfig:
    """A linear head on a frozen cat.

    Args:
        num_classes: classes of the probe's data; where not given (0), its training file tells, or its source.
        snapshots: the cat's members, for a probe on images: files, or patterns such as runs/s/member_*/snapshot_8.pt.
        lr: at the start; /10 at 8/28, 16/28 and 24/28 of the epochs.
        weight_decay: of the linear layer.
    """

    num_classes: Classes = 0
    snapshots: list[str] = field(default_factory=list)
    lr: PositiveRate = 0.01
    weight_decay: Rate = 1e-4
