"""What is kept, and said, of a split's images once they are written."""

from collections.abc import Callable, Sequence

import numpy as np

from timecat.data.sources.images import Split, shown
from timecat.data.write.broken import Broken
from timecat.data.write.encode import Flag
from timecat.terminal import say


def say_odd(split: Split, name: str, flags: np.ndarray, background: str, report: Callable[[str], None]) -> None:
    """Count what was laid on the background, and warn of what shows nothing."""
    if transparent := int((flags & Flag.TRANSPARENT > 0).sum()):
        are = "image" if transparent == 1 else "images"
        report(f"{name}: {transparent:,} {are} with transparency: laid on {background}")
    constant = np.flatnonzero(flags & Flag.CONSTANT).tolist()
    if constant:
        names = [shown(str(split.item(i))) if split.files else f"image {i}" for i in constant[:3]]
        more = f" and {len(constant) - 3:,} more" if len(constant) > 3 else ""
        are = "image has" if len(constant) == 1 else "images have"
        say(f"warning: {name}: {len(constant):,} {are} one colour alone: {', '.join(names)}{more}", error=True)


def record_of(split: Split, rows: np.ndarray, broken: Sequence[Broken]) -> dict[str, object]:
    """What the JSON of a split says of its images."""
    good = rows["size"] > 0
    per_class = np.bincount(split.labels[good], minlength=len(split.classes))
    images, flags = int(good.sum()), rows["flags"][good]
    kept, transparent, constant = (
        int((flags & flag > 0).sum()) for flag in (Flag.KEPT, Flag.TRANSPARENT, Flag.CONSTANT)
    )
    sides = {side: {"min": int(rows[side][good].min()), "max": int(rows[side].max())} for side in ("height", "width")}
    return {
        "split": split.name,
        "fingerprint": split.fingerprint,
        "images": images,
        "classes": list(split.classes),
        **_groups_record(split, good),
        "per_class": {"min": int(per_class.min()), "max": int(per_class.max())},
        "kept_jpegs": kept,
        "converted": images - kept,
        "transparent": transparent,
        "constant": constant,
        "skipped": [str(each) for each in broken],
        **sides,
    }


def _groups_record(split: Split, good: np.ndarray) -> dict[str, object]:
    if split.groups is None:
        return {}
    counts = np.bincount(split.groups[good], minlength=len(split.group_names)).tolist()
    return {"groups": list(split.group_names), "images_of_groups": counts}
