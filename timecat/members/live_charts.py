"""TensorBoard's Custom Scalars tab while members train: all of them on four charts."""

from timecat.study.study import Study
from timecat.tensorboard_events import layout, write_run

CHARTS = {
    "loss, by steps": "^train/loss$",
    "validation top-1, by steps": "^val/acc1$",
    "learning rate, by steps": "^train/lr$",
    "images per second, by steps": "^train/images_per_sec$",
}


def write_live_charts(study: Study) -> None:
    """Once a study."""
    if not study.directory.layout.exists():
        write_run(study.directory.layout, [(0, layout({"members": CHARTS}))])
