"""What the curves of a comparison are called: TensorBoard draws no axis titles, so a group's name tells the x axis.

Groups stand in the order of their names, and TensorBoard opens the first two.
"""

BY_FEATURES = "accuracy by features"  # top-1 of the probes
BY_IMAGES = "by images of a member"  # means over a cat's members
BY_EPOCHS = "heads by epochs"  # of the probes, on held-out images
BY_STEPS = "members by steps"  # each member alone
STUDY = "study"  # pictures of it
WRONG = "where heads are wrong"

# of the curves: the tag that members log, what it is called here, and what it is multiplied by
CURVES = (
    ("train/loss", "loss, training", 1.0),
    ("val/acc1", "accuracy, validation top-1 %", 100.0),
    ("val/loss", "loss, validation", 1.0),
    ("train/lr", "lr", 1.0),
    ("train/images_per_sec", "speed, images per second", 1.0),
)
CHARTS = ("train/loss", "val/acc1", "train/lr", "train/images_per_sec")  # that all members have a chart of


def top1(data: str) -> str:
    """Of a probe."""
    return f"{BY_FEATURES}/{data}, top-1 %"
