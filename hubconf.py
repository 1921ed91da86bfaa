"""torch.hub's entry: `torch.hub.load(REPOSITORY, "cat", study="runs/demo", cat="cat5", source="local")`."""

from typing import Any

from torch import nn

dependencies = ["torch", "torchvision", "lightning", "jsonargparse", "safetensors", "simplejpeg", "cv2", "rich"]


def cat(study: str, cat: str | None = None, **settings: Any) -> nn.Module:
    """A frozen cat, as `timecat.load` gives it.

    Args:
        study: the directory of a study, or one that `timecat export` wrote.
        cat: its name in the study.
        settings: `data` and `repetition`, as `timecat.load` takes them.
    """
    from timecat import load

    return load(study, cat, **settings)
