"""Damaged .beton files by seed, opened and read in processes of their own, which may die of them.

`python -m tests.support.damaged_betons DIRECTORY FIRST LAST` reads the files of these seeds; `outcomes` runs it.
"""

import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from timecat.data.beton import ALLOCATION, FIELD, HEADER, JPEG, RAW, read_beton, sample_type
from timecat.data.write.beton_writer import BetonWriter
from timecat.errors import UserError

SECONDS = 120  # an alarm ends a file that takes as long
MEMORY = 12 << 30  # address space: a size that is believed shows
EXTREME = (0, 1, 2, 3, 7, 24, 255, 256, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
WHOLE = ("JPEG", "raw", "groups")  # the files that are damaged


def write_whole(directory: Path) -> None:
    """JPEG.beton, raw.beton and groups.beton, which has both modes: 12 images of 20 to 60 pixels a side each."""
    rng = np.random.default_rng(0)
    for name in WHOLE:
        groups = rng.integers(0, 3, 12) if name == "groups" else None
        with BetonWriter(directory / f"{name}.beton", 12, groups=groups) as writer:
            for i in range(12):
                height, width = rng.integers(20, 61, 2).tolist()
                y, x = np.mgrid[0:height, 0:width]
                waves = [127 + 120 * np.sin((a * x + b * y) / 9) for a, b in rng.normal(size=(3, 2))]
                pixels, stream = np.stack(waves, 2).astype(np.uint8), BytesIO()
                Image.fromarray(pixels).save(stream, "JPEG", quality=90, progressive=i % 3 == 0, subsampling=i % 2)
                raw = name == "raw" or (name == "groups" and i % 2)
                stored = pixels.tobytes() if raw else stream.getvalue()
                writer.add(i, i % 4, RAW if raw else JPEG, height, width, stored)


def damage(content: bytearray, seed: int) -> str:
    """Damage a file's bytes in place, in one way of many; in words which."""
    rng = np.random.default_rng(seed)
    _, fields, _, samples, table = struct.unpack_from("<HHIQQ", content)
    metadata = HEADER.itemsize + fields * FIELD.itemsize
    row = sample_type(("image", "label", "group")[:fields]).itemsize
    data_start = next(i for i in range(8 << 20, len(content)) if content[i])

    def number(bits: int) -> int:
        if rng.random() < 0.5:
            return int(rng.choice(np.array(EXTREME, np.uint64))) % 2**bits
        return int(rng.integers(0, 2**63)) % 2 ** int(rng.integers(1, bits + 1))

    def put(at: int, kind: str) -> None:
        bits = 8 * struct.calcsize(kind)
        near = int.from_bytes(content[at : at + bits // 8], "little") + int(rng.integers(-3, 4))
        struct.pack_into(kind, content, at, (near if rng.random() < 0.3 else number(bits)) % 2**bits)

    def flip(low: int, high: int, count: int) -> None:
        for at in rng.integers(low, high, count):
            content[at] ^= 1 << int(rng.integers(8))

    way = int(rng.integers(10))
    if way == 0:
        at, kind = ((0, "<H"), (2, "<H"), (4, "<I"), (8, "<Q"), (16, "<Q"))[rng.integers(5)]
        put(at, kind)
        return f"header at {at}"
    if way == 1:
        flip(HEADER.itemsize, metadata, int(rng.integers(1, 9)))
        return "fields"
    if way in (2, 3):
        of = int(rng.integers(samples)) * row + metadata
        at, kind = ((0, "<B"), (1, "<H"), (3, "<H"), (5, "<Q"), *((16 + 8 * k, "<Q") for k in range(fields - 1)))[
            rng.integers(3 + fields)
        ]
        put(of + at, kind)
        return f"sample at {at}"
    if way == 4:
        of = table + int(rng.integers(samples)) * ALLOCATION.itemsize
        put(of + 8 * int(rng.integers(3)), "<Q")
        return "table"
    if way == 5:
        edges = (0, HEADER.itemsize, metadata, metadata + samples * row, 8 << 20, data_start, table, len(content))
        at = int(rng.choice(edges)) + int(rng.integers(-40, 40))
        del content[max(0, at) :]
        return "cut"
    if way == 6:
        start = int(rng.integers(0, len(content))) // 4096 * 4096
        if rng.random() < 0.8:
            start = int(rng.choice([0, data_start // 4096 * 4096, table // 4096 * 4096]))
        end = min(start + 4096, len(content))
        content[start:end] = bytes(end - start)
        return "a page of zeros"
    if way == 7:
        one, other = (metadata + int(k) * row for k in rng.choice(samples, 2, replace=False))
        part = slice(5, 13) if rng.random() < 0.5 else slice(1, 5)  # where an image lies, or its sides
        a, b = content[one:][part], content[other:][part]
        content[one + part.start : one + part.stop], content[other + part.start : other + part.stop] = b, a
        return "two samples exchanged"
    i = int(rng.integers(samples))
    start = struct.unpack_from("<Q", content, metadata + i * row + 5)[0]
    if way == 8:  # markers and tables of a JPEG
        flip(start, min(start + 620, table), int(rng.integers(1, 4)))
        return "the start of an image"
    flip(start, min(start + 1000, table), int(rng.integers(1, 30)))
    return "an image"


def read_twice(path: Path, seed: int) -> str:
    """What becomes of a file: `refused`, `broken` of an image that is named, or a hash of the labels and pixels.

    Raises:
        AssertionError: two passes, or two kernels, differ; an error is not one line that names the file.
    """
    from timecat.data import cv2_kernel, ffcv_kernel, loader, views

    def one_line(error: UserError) -> None:
        assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 400, str(error)

    try:
        beton = read_beton(path)
    except UserError as error:
        one_line(error)
        return "refused"
    found = []
    view = views.View("resized", flip=True) if seed % 2 else views.View("whole")
    for kernel in (ffcv_kernel, cv2_kernel, ffcv_kernel, cv2_kernel):
        loader.kernel = lambda kernel=kernel: kernel
        dirt = [np.full(1 << k, 17 * len(found) + 5, np.uint8) for k in range(6, 18) for _ in range(9)]
        del dirt  # memory that was not written to looks otherwise in each pass
        digest = hashlib.sha256()
        try:
            for batch in loader.BetonLoader(beton, np.arange(len(beton)), view=view, resolution=16, batch_size=5):
                for part in batch:
                    digest.update(part.numpy().tobytes())
            found.append(digest.hexdigest())
        except UserError as error:
            one_line(error)
            found.append("broken")
    assert found[0] == found[2] and found[1] == found[3], f"two passes differ: {found}"
    assert found[0] == found[1], f"two kernels differ: {found}"
    return found[0]


def outcomes(directory: Path, first: int, last: int) -> tuple[Counter[str], list[str]]:
    """How many files of the seeds from `first` to below `last` ended how; and a line for each that ended badly."""
    counts, bad = Counter[str](), []
    while first < last:
        given = [sys.executable, "-m", "tests.support.damaged_betons", str(directory), str(first), str(last)]
        done = subprocess.run(given, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        for line in told:
            if "outcome" in line:
                counts[line["outcome"]] += 1
                bad += [f"seed {line['seed']}: {line['error']}"] if "error" in line else []
        first = told[-1]["seed"] + 1 if told else last
        if done.returncode:
            error = f"seed {first - 1}: died with {done.returncode}: {done.stderr[-500:]}"
            if not told:
                raise AssertionError(error)
            counts["died"] += 1
            bad.append(error)
    return counts, bad


def _work(directory: Path, first: int, last: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    whole = {name: (directory / f"{name}.beton").read_bytes() for name in WHOLE}
    hashes = {name: [read_twice(directory / f"{name}.beton", k) for k in range(2)] for name in WHOLE}
    path = directory / f".damaged-{os.getpid()}.beton"
    for seed in range(first, last):
        print(json.dumps({"seed": seed}), flush=True)
        signal.alarm(SECONDS)
        name = WHOLE[seed % 3]
        content = bytearray(whole[name])
        way = damage(content, seed)
        path.write_bytes(content)
        told = {"seed": seed}
        try:
            outcome = read_twice(path, seed)
            kind = outcome if outcome in ("refused", "broken") else "other pixels or labels"
            told["outcome"] = "as whole" if outcome == hashes[name][seed % 2] else kind
        except Exception as error:
            told |= {"outcome": "wrong", "error": f"{name}, {way}: {type(error).__name__}: {error}"}
        print(json.dumps(told), flush=True)
        signal.alarm(0)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
