"""What is trained on a folder: network, view, batch, steps; by the images' size and number. Pure arithmetic.

The recipe is the paper's, as configs/tiny/table1.yaml and configs/table1.yaml have it: schedule-free AdamW, whose runs
share snapshots. The budget is long, as members win on unseen data where one network is trained past what it needs: in
docs/results.md from some 27 epochs of one network on, and over a wide network from 54 on.
"""

from dataclasses import dataclass

from timecat.config.member import Depth, MemberConfig
from timecat.errors import UserError
from timecat.init.look import Folder
from timecat.study.costs import training_flops

EPOCHS = 100  # of cat1's member, by default
LEAST_STEPS = 1600  # of it, by default: cat5's members then have 320
DIVISOR = 20  # of steps: members of cat2, cat4 and cat5 have a half, a quarter and a fifth
SHARED = 1 + 1 / 2 + 2 / 4 + 1 / 5  # images of all runs over those of a cat: five seeds, snapshots shared
HOLDOUT = 0.1  # of the training images: what no member sees, and the own probe chooses by
SMALL = 64  # pixels of the shorter side: up to here images are seen whole
MANY = 200_000  # training images: from here on the paper's own network and batch


@dataclass(frozen=True)
class Choice:
    """What members are and how they are trained.

    Attributes:
        resolution: side of what the network sees, in pixels.
        max_side: of the stored images, in pixels; None keeps them.
        padding: of the view `small`, where its own is too much for the side.
        device_batch: images at once, where less than the batch.
        fitted: images that members train on.
        steps: of cat1's member.
    """

    view: str
    resolution: int
    max_side: int | None
    padding: int | None
    depth: Depth
    width: int
    lr: float
    batch: int
    device_batch: int | None
    fitted: int
    steps: int = 0

    @property
    def images(self) -> int:
        """Of each cat."""
        return self.steps * self.batch

    @property
    def all_images(self) -> int:
        """Of all runs together."""
        return round(self.images * SHARED)

    @property
    def epochs(self) -> float:
        """Of cat1's member."""
        return self.images / self.fitted

    def flops(self, classes: int) -> float:
        """Of all trainings, floating-point operations."""
        model = MemberConfig(depth=self.depth, width=self.width, num_classes=classes, batch_norm="third_step")
        return self.all_images * training_flops(model, self.resolution)


def choose(folder: Folder) -> Choice:
    """All but the budget."""
    side, fitted = folder.shorter_side, round(folder.train_images * (1 - HOLDOUT))
    batch = 128 if fitted < MANY else 1024
    while batch > 2 and batch > fitted // 4:
        batch //= 2
    if side <= SMALL:
        view, resolution, depth, width, lr = "small", side, 10, 16, 0.01
        if fitted >= 20_000:
            depth, width = 18, 32
    else:
        resolution = 64 if side < 112 else 128 if side < 192 else 224
        view, depth, width, lr = "imagenet", 18, 32, 0.005
        if fitted >= 20_000:
            width = 64
        if fitted >= MANY:
            depth, lr = 50, 0.0025
    most = {64: 128, 128: 256, 224: 500}.get(resolution) if view == "imagenet" else None
    return Choice(
        view,
        resolution,
        most if most and folder.longest_side > most else None,
        side // 8 if view == "small" and side < 32 else None,
        depth,
        width,
        lr,
        batch,
        256 if batch > 256 else None,
        fitted,
    )


def default_images(choice: Choice) -> int:
    """The budget of each cat, where nobody gives one."""
    return max(EPOCHS * choice.fitted, LEAST_STEPS * choice.batch)


def images_in(choice: Choice, hours: float, images_per_sec: float) -> int:
    """The budget of each cat, if all trainings together are to take so long."""
    return int(hours * 3600 * images_per_sec / SHARED)


def steps_of(choice: Choice, images: int, key: str) -> int:
    """Of cat1's member: the multiple of 20 nearest below so many images, so that all cats have the same.

    Raises:
        UserError: there is none.
    """
    steps = images // choice.batch // DIVISOR * DIVISOR
    if not steps:
        least = DIVISOR * choice.batch
        raise UserError(
            f"{key}: makes {images:,} images a cat, too few for one step each of the members of cat5 and of cat4; "
            f"{least:,} are the least"
        )
    return steps
