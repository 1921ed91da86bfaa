"""The command `timecat init`: configs of a study and its probes for one's own folders."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from timecat.config.data import DataConfig
from timecat.config.names import check_name
from timecat.errors import UserError
from timecat.files import read_json
from timecat.init.choose import Choice, choose, default_images, images_in, steps_of
from timecat.init.configs import Budget, Named, probe_text, study_text
from timecat.init.look import Folder, look
from timecat.init.speed import guess, measure
from timecat.parser import Parser
from timecat.terminal import duration, say

_DESCRIPTION = """\
Look at a folder of images, a directory for each class, and write the configs
of a study on it: which network, view, batch and how many steps, and why. It
has splits of its own (train, and val or test) or none: then --test-fraction of
each class is the test set. Nothing that is there is overwritten.
"""
_EPILOG = """\
examples:
  timecat init photos/
  timecat init photos/ --probe flowers/ --probe birds/ --hours 8
"""


def main(argv: Sequence[str]) -> int:
    """Run it; 0. Raises UserError where a folder or a value makes no sense."""
    parser = Parser(
        "timecat init",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="the images that members are trained on")
    add("--probe", metavar="FOLDER", type=Path, action="append", default=[], help="other images to probe them on")
    add("--name", metavar="NAME", help="of the study and its files (the folder's)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--images", type=int, metavar="N", help="training images of each cat")
    budget.add_argument("--hours", type=float, metavar="H", help="of all trainings here: trains some steps to measure")
    add("--test-fraction", type=float, default=0.2, metavar="F", help="of each class, to test by (0.2)")
    add("--out", type=Path, default=Path("configs"), metavar="DIR", help="where the configs are written (configs)")
    options = parser.parse_args(argv)
    init(
        options.folder,
        options.probe,
        name=options.name,
        images=options.images,
        hours=options.hours,
        test_fraction=options.test_fraction,
        out=options.out,
    )
    return 0


def init(
    folder: Path,
    probes: Sequence[Path] = (),
    *,
    name: str | None = None,
    images: int | None = None,
    hours: float | None = None,
    test_fraction: float = 0.2,
    out: Path = Path("configs"),
) -> Path:
    """Write OUT/NAME.yaml and OUT/probe/….yaml, and say what was found; the study's path.

    Args:
        probes: other folders.
        images: training images of each cat; `hours` of all trainings on this machine, instead.
        test_fraction: of each class, of folders without splits.

    Raises:
        UserError: a folder or a value makes no sense, or a file is there already.
    """
    if not 0 < test_fraction < 1:
        raise UserError(f"--test-fraction {test_fraction}: choose a share between 0 and 1")
    if (images is not None and images < 1) or (hours is not None and not 0 < hours < 1e6):
        raise UserError(f"{'--hours' if images is None else '--images'}: must be above 0")
    if name is not None:
        check_name(name, "--name: the study")
    own = Named(name or name_of(folder), look(folder, test_fraction))
    named = [own]
    for path in probes:
        given, taken = name_of(path), [each.name for each in named]
        unique = next(each for each in (given, *(f"{given}-{k}" for k in range(2, 99))) if each not in taken)
        named.append(Named(unique, look(path, test_fraction)))
    study = out / f"{own.name}.yaml"
    paths = {each.name: out / "probe" / f"{each.name}.yaml" for each in named}
    for path in (study, *paths.values()):
        if path.exists():
            raise UserError(f"{path}: is there already; remove it, or choose another --name or --out")
    root = _root(named, out)
    for each in named:
        _say_found(each.folder)
    choice = choose(own.folder)
    choice, budget = _budget(own, choice, images, hours)
    related = [f"probe/{each.name}.yaml" for each in named]
    text = study_text(own, choice, budget, related, study, root)
    texts = {paths[each.name]: probe_text(each, own, choice, study, paths[each.name], root) for each in named}
    for path, content in {study: text, **texts}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    say(
        f"trains ResNet{choice.depth} of width {choice.width} at {choice.resolution} px (view {choice.view}), "
        f"{choice.images:,} images for each of cat1, cat2, cat4, cat5: {choice.epochs:,.0f} epochs"
    )
    say(f"time: {budget.time}")
    say(f"wrote {', '.join(map(str, (study, *texts)))}")
    say(f"next: timecat plan --config {study}")
    say(f"then: timecat run --config {study}")
    return study


def name_of(folder: Path) -> str:
    """What a folder is called in files' names: its own name in ASCII, as `Vögel im Park` becomes Vogel-im-Park."""
    plain = unicodedata.normalize("NFKD", folder.resolve().name.replace("ß", "ss"))
    words = re.findall(r"[A-Za-z0-9._]+", "".join(c for c in plain if not unicodedata.combining(c)))
    return "-".join(words).strip("._-")[:64] or "images"


def _root(named: Sequence[Named], out: Path) -> str | None:
    """Where .beton files go, where the default place of such files lies among the images.

    Raises:
        UserError: what lies there was made of other images, or this is a directory among the images.
    """
    for each in named:
        for place in (Path.cwd(), out.resolve()):
            if place.is_relative_to(each.folder.path):
                raise UserError(f"{place}: lies among the images of {each.folder.path}; work in another directory")
    default = DataConfig(train="").directory
    if any((default / each.name).resolve().is_relative_to(other.folder.path) for each in named for other in named):
        return str(Path.cwd() / "timecat-data")
    for each in named:
        beside = read_json(default / each.name / "train.json")
        if isinstance(beside, dict) and beside.get("source") != str(each.folder.path):
            raise UserError(f"{default / each.name}: holds other images; choose another --name, or remove it")
    return None


def _budget(own: Named, choice: Choice, images: int | None, hours: float | None) -> tuple[Choice, Budget]:
    """The choice with its steps."""
    classes, rate = len(own.folder.classes), None
    if hours is not None:
        say("measuring: a member trains for some steps here, half a minute or so")
        first = replace(choice, steps=steps_of(choice, default_images(choice), "--images"))
        keys: dict[str, Any] = yaml.safe_load(study_text(own, first, Budget("", None, False), [], Path(), None))
        rate = measure(own.folder, first, keys)
        given, key = images_in(choice, hours, rate), f"--hours {hours:g} at {rate:,.0f} images/s"
        why = f"By --hours {hours:g}, at {rate:,.0f} images/s."
    elif images is not None:
        given, key, why = images, "--images", "By --images."
    else:
        given, key = default_images(choice), "the budget"
        why = "Why so much: members win where training is long, and 100 epochs, or 1,600 steps of few images, are long."
    choice = replace(choice, steps=steps_of(choice, given, key))
    seconds = choice.all_images / rate if rate else guess(choice, classes)
    if rate:
        say(f"{rate:,.0f} images/s: {duration(seconds or 0)} of training in all")
    return choice, Budget(why, seconds, rate is not None)


def _say_found(folder: Folder) -> None:
    counts, classes = folder.per_class, folder.classes
    smallest = int(counts.argmin())
    splits = ", ".join(f"{count:,} {name}" for name, count in folder.images.items())
    each = f"{counts.min():,} of each class"
    if counts.min() != counts.max():
        each = f"{counts.min():,} ({classes[smallest]}) to {counts.max():,} of a class"
    say(f"{folder.path}: {len(classes):,} classes, {splits} images; {each}")
    low, high = folder.sides[folder.sides.prod(1).argmin()], folder.sides[folder.sides.prod(1).argmax()]
    sizes = f"{low[1]} x {low[0]}" + (f" to {high[1]} x {high[0]}" if (low != high).any() else "")
    say(
        f"  sizes: {sizes} px; half have a shorter side of {folder.shorter_side} or more ({folder.decoded:,} looked at)"
    )
    if folder.test_fraction:
        say(f"  no splits: {folder.test_fraction:g} of each class, {folder.test_images:,} images, are to test by")
    elif folder.test == "val":
        say("  no test split: val is to test by")
    if folder.broken:
        more = f" and {len(folder.broken) - 3:,} more" if len(folder.broken) > 3 else ""
        say(f"  broken, and left out when written: {', '.join(folder.broken[:3])}{more}")
