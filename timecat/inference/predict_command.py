"""`timecat predict CAT DIR`: the classes of one's own images, by the head that a probe chose."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from timecat import files
from timecat.cluster.stop import until_stopped
from timecat.data.write.broken import first_of
from timecat.errors import UserError
from timecat.inference.arguments import add_of_outputs, of_outputs, parser_of
from timecat.inference.extract import outputs
from timecat.inference.images import ImageFiles, list_images
from timecat.inference.load import load_by_name
from timecat.networks.cat import FrozenCat
from timecat.progress_bar import bar
from timecat.terminal import say

_DESCRIPTION = """\
Classify images by a cat of a finished study and the head that a probe of it
chose: read, cropped, resized and normalised as the probe's images were.

CAT is STUDY:CAT or STUDY:CAT:REPETITION, such as runs/demo:cat5.
DIR holds images, or a directory of images for each class; where these are
called as the probe's classes, the share that is right is told.

A line of CSV an image: file, class, probability, and the next classes in the
same way. With a config instead, timecat predict is Lightning's.
"""


def main(argv: Sequence[str]) -> int:
    """The command `timecat predict CAT DIR`; its exit status. Raises UserError on bad input."""
    parser = parser_of("predict", _DESCRIPTION, "runs/demo:cat5 photos/ --data digits --out photos.csv")
    add = parser.add_argument
    add("cat", metavar="CAT", help="who classifies, see above")
    add("images", metavar="DIR", type=Path, help="the images")
    add("--data", metavar="NAME", help="the probe whose head it is (needed where there are several)")
    add("--out", metavar="FILE", type=Path, help="where the CSV goes (default: the standard output)")
    add("--top", type=int, default=1, metavar="K", help="classes an image (default: 1)")
    add_of_outputs(parser)
    options = parser.parse_args(argv)
    cat, images = load_by_name(options.cat, options.data, head=True), list_images(options.images)
    if not 1 <= options.top <= cat.num_classes:
        raise UserError(f"--top {options.top}: choose from 1 to {cat.num_classes}, the number of classes")
    if options.out is not None and options.out.exists():
        raise UserError(f"{options.out}: is there already; remove it or choose another --out")
    return until_stopped(lambda stop: _predict(cat, images, options))


def _predict(cat: FrozenCat, images: ImageFiles, options: argparse.Namespace) -> None:
    assert cat.head is not None
    probabilities, wrong = [], []
    with bar(f"classes of {options.images}", len(images.names), "images") as advance:
        for features, whys in outputs(cat, images.paths(), **of_outputs(options)):
            with torch.inference_mode():
                probabilities.append(cat.head.cpu()(features).softmax(1))
            wrong += whys
            advance(len(whys))
    values, chosen = (each.numpy() for each in torch.cat(probabilities).topk(options.top))
    whole = [number for number, why in enumerate(wrong) if why is None]
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    several = [f"_{place}" if place > 1 else "" for place in range(1, options.top + 1)]
    lines.writerow(["file", *(f"{what}{place}" for place in several for what in ("class", "probability"))])
    for number, value, best in zip(whole, values, chosen, strict=True):
        pairs = ((cat.classes[k], f"{v:.4f}") for k, v in zip(best.tolist(), value.tolist(), strict=True))
        lines.writerow([images.names[number], *(word for pair in pairs for word in pair)])
    if options.out is None:
        sys.stdout.write(text.getvalue())
    else:
        files.write_bytes(options.out, text.getvalue().encode(errors="surrogateescape"))
        say(f"{options.out}: the classes of {len(whole):,} images")
    if broken := [why for why in wrong if why]:
        say(f"warning: left out {len(broken):,} broken images: {first_of(broken)}", error=True)
    _say_accuracy(cat, images, np.array(whole, np.int64), chosen[:, 0])


def _say_accuracy(cat: FrozenCat, images: ImageFiles, whole: np.ndarray, predicted: np.ndarray) -> None:
    """Where directories are called as classes are, say how many images are classified as what they lie in."""
    if not images.classes or not set(images.classes) <= set(cat.classes):
        return
    place = np.array([cat.classes.index(name) for name in images.classes])
    right = int((place[images.labels[whole]] == predicted).sum())
    share = 100 * right / len(whole) if len(whole) else 0.0
    say(f"{right:,} of {len(whole):,} are of their directory's class, {share:.1f} %", error=True)
