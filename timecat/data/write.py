"""`timecat write`: a data set becomes .beton files, one a split, that training and FFCV's own Loader read."""

import argparse
import errno
import json
import os
import shutil
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from timecat import __version__, files
from timecat.data.beton import MAX_SIDE, MIN_PAGE_SIZE, BetonWriter
from timecat.data.encode import Encoded, Settings, encode
from timecat.data.sources import BUILT_IN, Split, open_source
from timecat.errors import UserError

MAX_BROKEN = 100  # a pass stops at this many broken images


def write(
    source: str,
    out: str | Path,
    *,
    splits: Sequence[str] | None = None,
    max_side: int | None = None,
    storage: str = "auto",
    quality: int = 90,
    test_fraction: float | None = None,
    skip_broken: bool = False,
    workers: int | None = None,
    root: str | Path | None = None,
    download: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write the splits of a source as out/SPLIT.beton, each with out/SPLIT.json that tells what it was made from.

    A file's bytes are a function of the images and of max_side, storage, quality alone. A split that is there already,
    from the same images and settings, is left as it is; one made otherwise is never overwritten.

    Args:
        source, splits, test_fraction, root, download: as `open_source` takes them.
        max_side, storage, quality: as in `Settings`.
        skip_broken: leave broken images out, list them in the JSON and warn on stderr.
        workers: threads; by default as many as there are processors.
        progress: report on stderr and stdout.

    Returns:
        The paths of the .beton files, one a split.

    Raises:
        UserError: the source or an option is bad, an image is broken, the disk is too small, or a file is in the way.
    """
    out = Path(out)
    if max_side is not None and not 1 <= max_side <= MAX_SIDE:
        raise UserError(f"--max-side {max_side}: choose from 1 to {MAX_SIDE} pixels")
    if not 1 <= quality <= 100:
        raise UserError(f"--quality {quality}: choose from 1 to 100")
    if storage not in ("auto", "raw", "jpeg"):
        raise UserError(f"--storage {storage}: choose auto, raw or jpeg")
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise UserError(f"--workers {workers}: choose 1 or more")
    settings = Settings(max_side, storage, quality)
    found = open_source(source, splits, test_fraction, root, download)
    if source not in BUILT_IN and Path(source).is_dir():
        source = str(Path(source).resolve())
        if out.resolve().is_relative_to(source):
            raise UserError(f"{out}: lies inside the source; choose another OUT")
    origin = {"source": source, "max_side": max_side, "storage": storage, "quality": quality}

    def report(line: str) -> None:
        if progress:
            print(line, flush=True)

    todo = []
    for split in found:
        path = out / f"{split.name}.beton"
        if _is_current(path, origin | {"fingerprint": split.fingerprint}, skip_broken):
            report(f"{path.name} is up to date")
        else:
            todo.append((split, path))
    try:
        out.mkdir(parents=True, exist_ok=True)
        need, free = sum(_estimate(split, settings) for split, _ in todo), shutil.disk_usage(out).free
        if need > free:
            mend = "free some, choose another OUT or give a smaller --max-side"
            raise UserError(f"{out}: about {_size(need)} are needed and {_size(free)} are free; {mend}")
        for split, path in todo:
            start = time.monotonic()
            # The JSON before the .beton gets its name: a kill in between leaves a split that is written again.
            staged = path.with_name(f".{path.name}")
            record = _write_split(split, staged, settings, skip_broken, workers, progress and sys.stderr.isatty())
            files.write_json(path.with_suffix(".json"), origin | record)
            os.replace(staged, path)
            if record["skipped"]:
                names, count = ", ".join(record["skipped"][:3]), len(record["skipped"])
                print(f"warning: {path.name}: left out {count} broken images: {names}, ...", file=sys.stderr)
            rate = (record["images"] + len(record["skipped"])) / (time.monotonic() - start)
            what = f"{record['images']:,} images of {len(split.classes)} classes, {_size(record['bytes'])}"
            report(f"{path.name}: {what}, {rate:,.0f} images/s")
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise UserError(f"{out}: cannot be written ({reason}); mend that or choose another OUT") from None
    return [out / f"{split.name}.beton" for split in found]


def _is_current(path: Path, origin: dict, skip_broken: bool) -> bool:
    """Whether the file was made from this origin; raises where it was made otherwise, so that none is overwritten."""
    if not path.exists():
        return False
    mend = "remove it or choose another OUT"
    beside = path.with_suffix(".json")
    try:
        record = json.loads(beside.read_bytes())
        differing = [key for key, value in origin.items() if record[key] != value]
        size, skipped = record["bytes"], record["skipped"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is there, but no {beside.name} tells what it was made from; {mend}") from None
    if differing:
        raise UserError(f"{path}: was made with another {' and '.join(differing)}; {mend}")
    if path.stat().st_size != size:
        raise UserError(f"{path}: is not as long as {beside.name} records; {mend}")
    if skipped and not skip_broken:
        raise UserError(f"{path}: lacks {len(skipped)} broken images; give --skip-broken, or {mend}")
    return True


def _estimate(split: Split, settings: Settings) -> int:
    """About how many bytes a split takes, from the sizes of 32 of its images."""
    sizes = []
    for i in np.unique(np.linspace(0, len(split.labels) - 1, 32).astype(int)):
        try:
            item, own = split.item(int(i)), None
            if isinstance(item, Path):
                with Image.open(item) as image:
                    sides = image.size
                    own = item.stat().st_size if image.format == "JPEG" else None
            else:
                sides = item.shape[1::-1]
        except Exception:  # a broken image: the pass will name it
            continue
        width, height = settings.size(*sides)
        if settings.is_raw(width, height):
            sizes.append(width * height * 3)
        elif own is not None and (width, height) == sides:
            sizes.append(own)
        else:
            sizes.append(width * height * 0.4)  # bytes a pixel of JPEG
    return MIN_PAGE_SIZE + int(len(split.labels) * (np.mean(sizes or [0]) + 48))


def _encode_all(split: Split, settings: Settings, workers: int) -> Iterator[Encoded | str]:
    """Every image of a split in order, or in a broken one's place why; threads keep a few chunks ahead."""
    count = len(split.labels)
    chunk = 4 if split.files else 256

    def encode_chunk(start: int) -> list[Encoded | str]:
        results: list[Encoded | str] = []
        for i in range(start, min(start + chunk, count)):
            name: Path | str = f"{split.name} image {i}"
            try:
                item = split.item(i)
                name = item if isinstance(item, Path) else name
                results.append(encode(item, settings))
            except Exception as error:  # PIL's decoders raise of every kind
                results.append(f"{name} ({' '.join(str(error).split())[:200] or type(error).__name__})")
        return results

    pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
    try:
        ahead: deque = deque()
        for start in range(0, count, chunk):
            ahead.append(pool.submit(encode_chunk, start))
            if len(ahead) > 2 * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_split(
    split: Split, path: Path, settings: Settings, skip_broken: bool, workers: int, bar: bool
) -> dict[str, object]:
    """Write one .beton; returns what its JSON says beside the origin."""
    count = len(split.labels)
    broken: list[str] = []
    sides = np.zeros((count, 2), dtype=np.int64)
    kept_jpegs = 0
    with (
        warnings.catch_warnings(),
        BetonWriter(path, count) as writer,
        _progress(f"{split.name}.beton", count, bar) as advance,
        closing(_encode_all(split, settings, workers)) as images,
    ):
        warnings.simplefilter("ignore")  # PIL's remarks on odd metadata
        for i, image in enumerate(images):
            if isinstance(image, str):
                writer.drop(i)
                broken.append(image)
                if not skip_broken and len(broken) == MAX_BROKEN:
                    break
            else:
                writer.add(i, int(split.labels[i]), image.mode, image.height, image.width, image.data)
                sides[i] = image.height, image.width
                kept_jpegs += image.kept
            advance(1)
        if broken and not skip_broken:
            number = f"{len(broken)} or more" if len(broken) == MAX_BROKEN else str(len(broken))
            raise UserError(
                f"{split.name}: broken images, {number}: {', '.join(broken[:3])}; --skip-broken leaves them out"
            )
    good = sides[:, 0] > 0
    per_class = np.bincount(split.labels[good], minlength=len(split.classes))
    return {
        "split": split.name,
        "fingerprint": split.fingerprint,
        "images": int(good.sum()),
        "classes": list(split.classes),
        "per_class": {"min": int(per_class.min()), "max": int(per_class.max())},
        "kept_jpegs": kept_jpegs,
        "converted": int(good.sum()) - kept_jpegs,
        "skipped": broken,
        "height": {"min": int(sides[good, 0].min()), "max": int(sides[good, 0].max())},
        "width": {"min": int(sides[good, 1].min()), "max": int(sides[good, 1].max())},
        "bytes": path.stat().st_size,
        "sha256": files.sha256(path),
        "timecat": __version__,
    }


@contextmanager
def _progress(name: str, total: int, bar: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with images/s and the time left; gives what moves it."""
    if not bar:
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(name, total=total, rate="")
        start = last = time.monotonic()
        done = told = 0

        def advance(steps: int) -> None:
            nonlocal done, told, last
            done += steps
            now = time.monotonic()
            if now - last > 0.2:
                shown.update(task, advance=done - told, rate=f"{done / (now - start):,.0f} images/s")
                last, told = now, done

        yield advance


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


_DESCRIPTION = """\
Write a data set as .beton files, one a split: OUT/train.beton, OUT/test.beton, ..., and beside each a .json that
tells what it was made from. A split that is up to date is left as it is.

SOURCE is one of
  DIRECTORY         a directory of images for each class; or train, val, test (or valid, validation), each such
  fashion-mnist     Debian's package dataset-fashion-mnist
  digits            scikit-learn's 1,797 digits, 28x28
  torchvision:NAME  a classification data set of torchvision whose files lie in --root (--download fetches them)
"""

_EPILOG = """\
The smaller or the rawer the storage, the faster FFCV reads: raw bytes need no decoding, and a JPEG's decoding grows
with its pixels. Smaller storage changes the data, though, so check the accuracy at the size you choose. At 64 pixels
and below store raw (auto does): JPEG's error there is 2 to 3 of 255. JPEGs that need no change are kept byte for byte.

examples:
  timecat write digits data/digits
  timecat write photos/ data/photos --test-fraction 0.2
  timecat write imagenet/ data/imagenet --max-side 256 --splits train,val
  timecat write torchvision:CIFAR10 data/cifar10 --root downloads --download
"""


def main(argv: Sequence[str]) -> int:
    """The command `timecat write`; returns 0. Raises UserError on bad input and SystemExit(2) on bad options."""
    parser = argparse.ArgumentParser(
        "timecat write",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="what to write, see above")
    add("out", metavar="OUT", type=Path, help="the directory that the files go to")
    add("--splits", metavar="A,B", help="write these splits only, of train, val and test")
    add("--test-fraction", type=float, metavar="F", help="hold out this share of every class as the test split")
    add("--max-side", type=int, metavar="PIXELS", help="reduce the longest side to this (Lanczos); never enlarges")
    add("--storage", choices=("auto", "raw", "jpeg"), default="auto", help="auto: raw up to 64 pixels, else jpeg")
    add("--quality", type=int, default=90, metavar="Q", help="of the JPEGs made here, 1 to 100 (default: 90)")
    add("--skip-broken", action="store_true", help="leave broken images out and list them, rather than stop")
    add("--workers", type=int, metavar="N", help="threads (default: one a processor)")
    add("--root", type=Path, metavar="DIR", help="where torchvision's files lie")
    add("--download", action="store_true", help="let torchvision fetch what is missing in --root")
    options = vars(parser.parse_args(argv))
    if options["splits"] is not None:
        options["splits"] = [name.strip() for name in options["splits"].split(",")]
    write(options.pop("source"), options.pop("out"), **options)
    return 0
