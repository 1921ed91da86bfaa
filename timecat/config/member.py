"""The `model` section of a study's config: what a member is and how it is trained."""

from dataclasses import dataclass
from typing import Literal

from timecat.config.types import Batch, BelowOne, Classes, NonNegativeInt, OpenUnitInterval, PositiveInt, Rate, Width
from timecat.errors import UserError

Depth = Literal[10, 18, 34, 50, 101, 152]
Stem = Literal["imagenet", "small"]
Init = Literal["torchvision", "lecun"]
Optimizer = Literal["schedule_free_adamw", "sgd"]
Schedule = Literal["constant", "step", "linear", "cosine", "one_cycle"]
BatchNormStatistics = Literal["recalibrate", "third_step"]

SCHEDULES_WITHOUT_HORIZON = ("constant",)
LAYERS: dict[Depth, tuple[int, ...]] = {  # blocks of each stage, by depth
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECKS_FROM = 50  # depth: shallower networks have basic blocks
WIDTHS = range(8, 1025, 8)  # that are tried where a width is looked for
EXPANSION = 4  # of a bottleneck's last convolution


@dataclass(frozen=True)
class MemberConfig:
    """A member: a ResNet, its optimiser and schedule.

    Args:
        depth: torchvision's ResNet of so many layers.
        width: channels of the first stage; 64 is the original.
        stem: `imagenet` for 224 px, `small` (3x3, stride 1, no pooling) for about 32 px.
        num_classes: classes of the training set; where not given (0), its file tells, or its source.
        init: `torchvision`, or `lecun` as Flax initialises.
        zero_init_residual: the last BatchNorm of each block starts at 0.
        blurpool: blur before strided convolutions.
        optimizer: `schedule_free_adamw` (version 2 of the AlgoPerf entry) or `sgd`.
        lr: learning rate.
        lr_batch_size: the global batch that lr is stated for; it is then scaled linearly to data.batch_size (Goyal et
            al. 2017, arXiv 1706.02677). Without it lr is taken as it stands, whatever the batch.
        momentum: of sgd, or beta1 of AdamW.
        nesterov: of sgd.
        beta2: of AdamW.
        weight_decay: as the optimiser applies it, to all parameters.
        norm_weight_decay: of BatchNorm's weights and biases instead, such as 0.
        schedule: `constant` has no horizon, so snapshots of one run are members of several lengths.
        warmup_steps: steps of linear warm-up.
        pct_start: share of the steps in which `one_cycle` rises.
        label_smoothing: of the training loss.
        batch_norm: where schedule-free's averaged weights get their BatchNorm statistics from. `recalibrate`: anew from
            `batch_norm_batches` training batches before each evaluation and snapshot. `third_step`: from one more
            forward pass at every third step, a ninth of the training's cost, as in the AlgoPerf entry.
        batch_norm_batches: of `recalibrate`, each as large as a step's; each costs a forward pass.
        ghost_batch_size: images that BatchNorm normalises together in training (Hoffer et al. 2017, arXiv 1705.08741),
            so that a member is the same on any number of devices; without it, all that a device takes at once.
        test_flip: evaluate the mean logits of an image and its mirror image.
        channels_last: memory format of the network.
        compile: torch.compile the forward pass of training; costs a minute for each size of images.
        steps: the horizon; set by the study.
    """

    depth: Depth = 50
    width: Width = 64
    stem: Stem = "imagenet"
    num_classes: Classes = 0
    init: Init = "torchvision"
    zero_init_residual: bool = False
    blurpool: bool = False
    optimizer: Optimizer = "schedule_free_adamw"
    lr: Rate = 0.0025
    lr_batch_size: Batch | None = None
    momentum: BelowOne = 0.9
    nesterov: bool = False
    beta2: BelowOne = 0.999
    weight_decay: Rate = 0.0
    norm_weight_decay: Rate | None = None
    schedule: Schedule = "constant"
    warmup_steps: NonNegativeInt = 0
    pct_start: OpenUnitInterval = 0.3
    label_smoothing: BelowOne = 0.0
    batch_norm: BatchNormStatistics = "recalibrate"
    batch_norm_batches: PositiveInt = 50
    ghost_batch_size: Batch | None = None
    test_flip: bool = False
    channels_last: bool = True
    compile: bool = False
    steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.width % WIDTHS.step:
            raise UserError(f"model.width {self.width} must be a multiple of {WIDTHS.step} (64 is the original)")
        if self.optimizer == "schedule_free_adamw":
            if self.schedule != "constant":
                raise UserError(f"model.schedule {self.schedule} contradicts schedule_free_adamw; use constant, or sgd")
            if not (self.momentum > 0 and self.lr > 0):
                raise UserError("model: schedule_free_adamw needs momentum and lr above 0; mend them")
        elif self.nesterov and not self.momentum:
            raise UserError("model.nesterov of sgd needs model.momentum above 0; mend one of them")
        if self.has_horizon and self.steps is not None and self.warmup_steps >= self.steps:
            raise UserError(
                f"model.warmup_steps {self.warmup_steps:,} leave nothing of {self.steps:,} steps; choose fewer"
            )

    @property
    def has_horizon(self) -> bool:
        """Whether the schedule is laid out for one length, so that a run's earlier states are no shorter members."""
        return self.schedule not in SCHEDULES_WITHOUT_HORIZON

    @property
    def num_features(self) -> int:
        """Penultimate features."""
        return 8 * self.width * (EXPANSION if self.depth >= BOTTLENECKS_FROM else 1)

    @property
    def has_third_step(self) -> bool:
        """Whether every third step takes one more forward pass, for BatchNorm's statistics."""
        return self.optimizer == "schedule_free_adamw" and self.batch_norm == "third_step"

    def learning_rate(self, batch_size: int) -> float:
        """lr at this global batch."""
        return self.lr * batch_size / self.lr_batch_size if self.lr_batch_size else self.lr
