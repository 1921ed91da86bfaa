"""`timecat write`: a data set becomes .beton files, one a split, that training and FFCV's own Loader read."""

import errno
import json
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from timecat import __version__, files
from timecat.data import checksums
from timecat.data.beton import MAX_SIDE, MIN_PAGE_SIZE
from timecat.data.rgb import WHITE, color
from timecat.data.sources.groups import with_groups
from timecat.data.sources.images import Split, shown
from timecat.data.sources.inat2018 import INAT2018
from timecat.data.sources.open_source import directory_of, open_source
from timecat.data.write.broken import Broken, mend, say_broken
from timecat.data.write.encode import Encoded, Settings, TooLarge, encode
from timecat.data.write.partial import Partial, clear
from timecat.data.write.record import record_of, say_odd
from timecat.errors import UserError
from timecat.process import cores
from timecat.progress_bar import bar
from timecat.terminal import say

MAX_WORKERS = 1024
MAX_BROKEN = 100  # a pass stops at this many broken images
SAMPLES = 48  # images of a split that are encoded to estimate its size
STORAGES = ("auto", "raw", "jpeg", "mixed")


def write(
    source: str,
    out: str | Path,
    *,
    splits: Sequence[str] | None = None,
    max_side: int | None = None,
    storage: str = "auto",
    jpeg_share: float | None = None,
    quality: int = 90,
    background: str = WHITE,
    test_fraction: float | None = None,
    split_by: str | None = None,
    groups: str | None = None,
    skip_broken: bool = False,
    workers: int | None = None,
    root: str | Path | None = None,
    download: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Write the splits of a source as out/SPLIT.beton, each with out/SPLIT.json that tells what it was made from.

    A file's bytes are a function of the images and of max_side, storage, jpeg_share, quality, background alone. A split
    that is there already, from the same images and settings, is left as it is; one made otherwise is never overwritten.
    One that was interrupted goes on after the last image that is safely in it, from the same images and settings.

    Args:
        source, splits, test_fraction, split_by, root, download: as `open_source` takes them.
        groups: each image's group, as `with_groups` takes it.
        max_side, storage, jpeg_share, quality, background: as in `Settings`; any name that `color` knows.
        skip_broken: leave broken images out, list them in the JSON and warn on stderr.
        workers: threads; by default as many as there are processors.
        progress: report on stderr and stdout.

    Returns:
        The paths of the .beton files, one a split.

    Raises:
        UserError: the source or an option is bad, an image is broken, the disk is too small, a file is in the way, or
            another process writes one of the splits.
    """
    out = Path(out)
    settings = _settings(max_side, storage, jpeg_share, quality, background)
    workers = cores() if workers is None else workers
    if not 1 <= workers <= MAX_WORKERS:
        raise UserError(f"--workers {workers}: choose 1 to {MAX_WORKERS}")
    all_splits = open_source(source, splits, test_fraction, root, download, split_by)
    if groups is not None:
        all_splits = with_groups(all_splits, groups, source, root)
    if source.startswith(INAT2018):
        source = INAT2018 + str(Path(source.removeprefix(INAT2018)).resolve())
    elif (images := directory_of(source)) is not None:
        source = str(images.resolve())
        if out.resolve().is_relative_to(source):
            raise UserError(f"{out}: lies inside the source; choose another OUT")
    options = {name: value for name, value in asdict(settings).items() if name != "jpeg_share" or storage == "mixed"}
    origin = {"source": source, **options}

    def report(line: str) -> None:
        if progress:
            say(line)

    def is_current(split: Split) -> bool:
        path = out / f"{split.name}.beton"
        return _is_current(path, origin | {"fingerprint": split.fingerprint}, skip_broken)

    for remark in dict.fromkeys(remark for split in all_splits for remark in split.remarks):
        say(remark, error=True)
    todo = []
    for split in all_splits:
        if is_current(split):
            clear(out / f"{split.name}.beton")
            report(f"{split.name}.beton is up to date")
        else:
            todo.append(split)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings(), ExitStack() as held:
            warnings.simplefilter("ignore")  # PIL's remarks on odd metadata
            partials = [held.enter_context(_partial(split, out, settings)) for split in todo]
            if todo:
                report(_check_space(todo, partials, out, settings, workers))
            for split, partial in zip(todo, partials, strict=True):
                if not is_current(split):  # another process may have finished it before this one got hold of it
                    _write_split(split, partial, origin, skip_broken, workers, progress, report)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{out}: the disk is full; free some, then the same command goes on from here") from None
        reason = error.strerror or str(error)
        raise UserError(f"{out}: cannot be written ({reason}); mend that or choose another OUT") from None
    return [out / f"{split.name}.beton" for split in all_splits]


def _settings(max_side: int | None, storage: str, jpeg_share: float | None, quality: int, background: str) -> Settings:
    if max_side is not None and not 1 <= max_side <= MAX_SIDE:
        raise UserError(f"--max-side {max_side}: choose from 1 to {MAX_SIDE} pixels")
    if not 1 <= quality <= 100:
        raise UserError(f"--quality {quality}: choose from 1 to 100")
    if storage not in STORAGES:
        raise UserError(f"--storage {storage}: choose {', '.join(STORAGES[:-1])} or {STORAGES[-1]}")
    if storage == "mixed" and jpeg_share is None:
        raise UserError("--storage mixed: say which share of the images is JPEG, as in --jpeg-share 0.5")
    if storage != "mixed" and jpeg_share is not None:
        raise UserError(f"--jpeg-share {jpeg_share}: goes with --storage mixed alone; add that or leave it out")
    if jpeg_share is not None and not 0 < jpeg_share < 1:
        raise UserError(f"--jpeg-share {jpeg_share}: choose between 0 and 1; for none or all --storage raw or jpeg")
    return Settings(max_side, storage, quality, jpeg_share, color(background))


def _is_current(path: Path, origin: dict, skip_broken: bool) -> bool:
    """Whether the file was made from this origin; raises where it was made otherwise, so that none is overwritten."""
    if not path.exists():
        return False
    remedy = "remove it or choose another OUT"
    beside = path.with_suffix(".json")
    try:
        record = dict(json.loads(files.read_regular(beside)))
        record.setdefault("background", origin["background"])  # of before there was one: alpha was dropped
        differing = [key for key, value in origin.items() if record[key] != value]
        size, skipped = record["bytes"], len(record["skipped"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{path}: is there, but no {beside.name} tells what it was made from; {remedy}") from None
    if differing:
        raise UserError(f"{path}: was made with another {' and '.join(differing)}; {remedy}")
    if path.stat().st_size != size:
        raise UserError(f"{path}: is not as long as {beside.name} records; {remedy}")
    if skipped and not skip_broken:
        raise UserError(f"{path}: lacks {skipped} broken images; give --skip-broken, or {remedy}")
    checksums.check(path)
    return True


def _try(split: Split, settings: Settings, i: int) -> Encoded | Broken:
    """Image i as it is stored, or why it is broken."""
    name: Path | str = f"{split.name} image {i}"
    try:
        item = split.item(i)
        name = item if isinstance(item, Path) else name
        return encode(item, settings, i)
    except Exception as error:  # PIL's decoders raise of every kind
        reason = str(error) if not isinstance(error, OSError) else error.strerror or str(error)
        reason = " ".join(reason.split())[:200] or type(error).__name__
        return Broken(shown(name), reason, isinstance(error, TooLarge))


def _partial(split: Split, out: Path, settings: Settings) -> Partial:
    made_by = {"timecat": __version__, "pillow": PIL.__version__}  # of another Pillow the JPEGs may differ
    key = asdict(settings) | {"fingerprint": split.fingerprint, "page_size": MIN_PAGE_SIZE} | made_by
    return Partial(out / f"{split.name}.beton", key, split.labels, lambda i: _try(split, settings, i), split.groups)


def _check_space(
    splits: Sequence[Split], partials: Sequence[Partial], out: Path, settings: Settings, workers: int
) -> str:
    """The line that tells the size of what is written; raises where less is free than is still to come."""
    sizes = [_estimate(split, settings, workers) for split in splits]
    need = sum(size * (1 - p.done / len(p.rows)) for size, p in zip(sizes, partials, strict=True))
    free = shutil.disk_usage(out).free
    if need > free:
        remedy = "free some, choose another OUT or give a smaller --max-side"
        raise UserError(f"{out}: about {_size(need)} are needed and {_size(free)} are free; {remedy}")
    names, count = ", ".join(split.name for split in splits), sum(len(split.labels) for split in splits)
    return f"{names}: {count:,} images, about {_size(sum(sizes))} (sampled), {_size(free)} free"


def _estimate(split: Split, settings: Settings, workers: int) -> float:
    """About how many bytes a split takes, from 48 of its images, spread over it and really encoded."""
    share = settings.jpeg_share
    if share is not None:  # each as both: the average over which images are drawn
        settings = replace(settings, storage="jpeg", jpeg_share=None)
    chosen = np.unique(np.linspace(0, len(split.labels) - 1, SAMPLES).astype(int)).tolist()
    with ThreadPoolExecutor(workers) as pool:
        images = [image for image in pool.map(lambda i: _try(split, settings, i), chosen) if isinstance(image, Encoded)]
    raw = np.array([image.height * image.width * 3 for image in images] or [0])
    stored = np.array([len(image.data) for image in images] or [0])
    mean = float(np.mean(stored if share is None else share * stored + (1 - share) * raw))
    gaps = 1 + mean / 2 / MIN_PAGE_SIZE  # on average half an image is left free at the end of a page
    return MIN_PAGE_SIZE + len(split.labels) * (mean * gaps + 48)


def _encode_all(
    encode_one: Callable[[int], Encoded | Broken], start: int, count: int, chunk: int, workers: int
) -> Generator[Encoded | Broken, None, None]:
    """Images `start` to `count` in order, or in a broken one's place why; threads keep a few chunks ahead."""

    def encode_chunk(first: int) -> list[Encoded | Broken]:
        return [encode_one(i) for i in range(first, min(first + chunk, count))]

    pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
    try:
        ahead: deque = deque()
        for first in range(start, count, chunk):
            ahead.append(pool.submit(encode_chunk, first))
            if len(ahead) > 2 * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_split(
    split: Split,
    partial: Partial,
    origin: dict[str, object],
    skip_broken: bool,
    workers: int,
    progress: bool,
    report: Callable[[str], None],
) -> None:
    """Write what is missing of one .beton, and its JSON."""
    name, count, start = partial.path.name, len(split.labels), time.monotonic()
    before, broken = partial.done, partial.broken
    if before:
        report(f"{name}: going on after {before:,} of {count:,} images")
    with (
        bar(name, count, "images", before) if progress else nullcontext(lambda count: None) as advance,
        closing(_encode_all(partial.encode, before, count, 4 if split.files else 256, workers)) as images,
    ):
        for image in images:
            if not skip_broken and len(broken) >= MAX_BROKEN:
                break
            partial.add(image)
            advance(1)
    if broken and not skip_broken:
        say_broken(broken)
        raise UserError(mend(split.name, broken, len(broken) >= MAX_BROKEN))
    staged = partial.finish()
    size = staged.stat().st_size
    with bar(f"{name}: hashing", size, "bytes") if progress else nullcontext(lambda count: None) as advance:
        sha256, hashes = checksums.compute(staged, advance)
    content = {"bytes": size, "sha256": sha256, "timecat": __version__}
    record: dict[str, Any] = {**origin, **record_of(split, partial.rows, broken), **content}
    # These before the .beton gets its name: a kill in between leaves a split that is still to be finished.
    files.write_json(partial.path.with_suffix(".json"), record)
    checksums.write(partial.path, hashes)
    partial.publish()
    if broken:
        say(f"warning: {name}: left out, broken or too large, {len(broken):,} of {count:,} images", error=True)
        say_broken(broken)
    say_odd(split, name, partial.rows["flags"], str(origin["background"]), report)
    empty = [f"{g!r}" for g, n in zip(split.group_names, record.get("images_of_groups", ()), strict=False) if not n]
    if empty:
        say(f"{name}: no image of the group{'s' * (len(empty) > 1)} {', '.join(empty[:5])}", error=True)
    kinds = f"{len(split.classes)} classes" + (f" and {len(split.group_names)} groups" if split.group_names else "")
    what = f"{record['images']:,} images of {kinds}, {_size(record['bytes'])}"
    report(f"{name}: {what}, {(count - before) / (time.monotonic() - start):,.0f} images/s")


def _size(count: float) -> str:
    for scale, unit in ((1e12, "TB"), (1e9, "GB")):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count / 1e6:,.0f} MB"
