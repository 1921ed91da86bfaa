"""`timecat features`: a directory of images becomes arrays of features, part by part, so that a stop costs little."""

import argparse
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from timecat import files
from timecat.cluster.stop import until_stopped
from timecat.data.transform import EvalTransform
from timecat.data.write.broken import first_of
from timecat.errors import UserError
from timecat.inference.arguments import add_of_outputs, of_outputs, parser_of
from timecat.inference.extract import outputs
from timecat.inference.images import ImageFiles, list_images
from timecat.inference.load import load_by_name
from timecat.networks.cat import FrozenCat
from timecat.progress_bar import bar
from timecat.study.arrays import read_npz
from timecat.terminal import say

AS_BYTES = "surrogateescape"  # names of files need not be text
PART = 4096  # images; what a stop may cost
_DESCRIPTION = """\
Compute the features of your own images by a cat of a finished study: read,
cropped, resized and normalised as its members' images were.

CAT is STUDY:CAT or STUDY:CAT:REPETITION, such as runs/demo:cat5.
DIR holds images, or a directory of images for each class.
OUT gets
  features.npy   (n, features), a row for each image
  files.txt      the images' names below DIR, a line for each row
  labels.npy     int64 (n,), and classes.txt, where DIR has classes
  features.json  what they were made of
Stopped in the middle, the same command goes on. OUT's arrays are what a config
with a features section takes: docs/features.md.
"""


def main(argv: Sequence[str]) -> int:
    """The command `timecat features`; returns 0. Raises UserError on bad input."""
    parser = parser_of("features", _DESCRIPTION, "runs/demo:cat5 photos/ features/photos")
    add = parser.add_argument
    add("cat", metavar="CAT", help="whose features, see above")
    add("images", metavar="DIR", type=Path, help="the images")
    add("out", metavar="OUT", type=Path, help="the directory that the arrays go to")
    add("--data", metavar="NAME", help="see images as this probe did, not as the members in training")
    add_of_outputs(parser)
    add("--storage", choices=("float32", "float16"), default="float32", help="type of the array (default: float32)")
    options = parser.parse_args(argv)
    cat, images = load_by_name(options.cat, options.data), list_images(options.images)
    return until_stopped(lambda stop: write_features(cat, images, options))


def write_features(cat: FrozenCat, images: ImageFiles, options: argparse.Namespace) -> None:
    """Compute what is missing below `options.out`.

    Raises:
        UserError: an image is broken, or all are; other features lie there; a name has a line break.
    """
    out, paths, transform = options.out, images.paths(), cast(EvalTransform, cat.transform)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is in the way: a file where a directory must be; choose another OUT")
    for name in images.names:
        if "\n" in name or "\r" in name:
            raise UserError(f"{images.root}: {name!r} has a line break in its name, and files.txt lines; rename it")
    made_of = {
        "cat": options.cat,
        "weights": _hash(*(tensor.numpy().tobytes() for tensor in cat.members.state_dict().values())),
        "preprocessing": transform.preprocessing.as_json(),
        "images": _hash(*(f"{name} {_state(images.root / name)}".encode(errors=AS_BYTES) for name in images.names)),
        "precision": options.precision,
        "storage": options.storage,
    }
    parts = out / f".parts-{_hash(json.dumps(made_of).encode())[:16]}"
    if (out / "features.npy").exists():
        before = (files.read_json(out / "features.json") or {}).get("made_of", {})
        if differing := [key for key in made_of if before.get(key) != made_of[key]]:
            raise UserError(f"{out}: holds features of other {' and '.join(differing)}; choose another OUT")
        shutil.rmtree(parts, ignore_errors=True)  # of one that was killed at its end
        say(f"{out}: up to date")
        return
    places = {start: parts / f"{start}.npz" for start in range(0, len(paths), PART)}
    for part in places.values():
        _remove_damaged(part)
    done = sum(len(paths[start : start + PART]) for start, part in places.items() if part.exists())
    with bar(f"features of {options.images}", len(paths), "images", done) as advance:
        for start, part in places.items():
            if not part.exists():
                _compute(cat, paths[start : start + PART], part, options, advance)
    rows, broken = _join(out, list(places.values()), images, made_of)
    shutil.rmtree(parts)
    if broken:
        say(f"warning: left out {len(broken):,} broken images: {first_of(broken)}", error=True)
    of_classes = f", {len(images.classes)} classes" if images.classes else ""
    say(f"{out}/features.npy: {rows:,} images{of_classes}, {cat.num_features:,} features each, {options.storage}")


def _compute(
    cat: FrozenCat, paths: list[Path], part: Path, options: argparse.Namespace, advance: Callable[[int], None]
) -> None:
    """Write features and, image by image, what is wrong with it, of one part."""
    found, wrong = [], []
    for features, whys in outputs(cat, paths, **of_outputs(options)):
        found.append(features.numpy().astype(options.storage))
        wrong += [why or "" for why in whys]
        advance(len(whys))
    buffer = io.BytesIO()
    np.savez(buffer, features=np.concatenate(found), wrong=np.array(wrong))
    files.write_bytes(part, buffer.getvalue())


def _join(out: Path, parts: list[Path], images: ImageFiles, made_of: dict[str, Any]) -> tuple[int, list[str]]:
    """Write the arrays of all parts, features.npy last; how many rows they have, and what is wrong with the images left
    out."""
    wrong = np.concatenate([np.load(part)["wrong"] for part in parts])
    broken = [why for why in wrong.tolist() if why]
    whole, width = np.flatnonzero(wrong == ""), np.load(parts[0])["features"].shape[1]
    if not len(whole):
        raise UserError(f"{images.root}: all its {len(wrong):,} images are broken, such as {broken[0]}")

    def write(file: BinaryIO) -> None:
        header = {"descr": np.dtype(made_of["storage"]).str, "fortran_order": False, "shape": (len(whole), width)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.load(part)["features"].tobytes())

    files.write_bytes(out / "files.txt", "".join(f"{images.names[i]}\n" for i in whole).encode(errors=AS_BYTES))
    if images.classes:
        files.write_with(out / "labels.npy", lambda file: np.save(file, images.labels[whole]))
        files.write_bytes(out / "classes.txt", "".join(f"{name}\n" for name in images.classes).encode(errors=AS_BYTES))
    files.write_json(out / "features.json", {"made_of": made_of, "broken": broken})
    files.write_with(out / "features.npy", write)
    return len(whole), broken


def _state(path: Path) -> tuple[float, ...]:
    """Length and time of change of a file; nothing of a link to none, which is broken as an image too."""
    try:
        return path.stat()[6:9:2]
    except OSError:
        return ()


def _remove_damaged(part: Path) -> None:
    try:
        read_npz(part)
    except UserError:
        part.unlink()


def _hash(*content: bytes) -> str:
    digest = hashlib.sha256()
    for each in content:
        digest.update(each)
    return digest.hexdigest()
