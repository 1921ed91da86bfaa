"""What the paper's protocol has of its own beside how it chooses: the images' normalisation, an epoch's last batch."""

from dataclasses import replace

from timecat.config.files import ProbeFile
from timecat.study.directory import Protocol

BEFORE = {"last_batch": False}  # settings that results of earlier versions do not tell


def keeps_last_batch(protocol: Protocol) -> bool:
    """Whether an epoch's last batch is trained on where it is not full: as torch's DataLoader gives it by default."""
    return protocol == "paper"


def as_seen_by(protocol: Protocol, probe: ProbeFile) -> ProbeFile:
    """The probe with the images as a protocol normalises them.

    The public code of arXiv 2506.18221 divides CIFAR by another standard deviation than CIFAR's: where the config says
    `data.normalisation: cifar`, `paper` has `cifar_public`. A preset's own normalisation, which members of small images
    were trained with, stays.
    """
    if protocol == "paper" and probe.data.normalisation == "cifar":
        return replace(probe, data=replace(probe.data, normalisation="cifar_public"))
    return probe
