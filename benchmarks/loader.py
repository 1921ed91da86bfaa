"""What an image costs to load: images/s and CPU-ms, ours against what else one would use.

    python -m benchmarks.loader                          # both sizes, one worker and all, under three minutes
    python -m benchmarks.loader --out loader.json        # written after each part, so that a cut run tells too

JPEGs of 500 x 375 pixels and about 110 kB, and of 341 x 256, crops of two photographs, are loaded as random resized
crops of 224 pixels. Each way (benchmarks/loader_ways.py) is a process of its own; they take turns, epoch by epoch.
CPU-ms are those of the process and its children without the training steps: unlike images/s they tell much the same on
a machine that others use too. A ratio is the median of the rounds' ratios, with the least and the greatest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.loader_ways import WAYS, importable
from benchmarks.photos import write_photos
from timecat.data.write.write import write
from timecat.process import cores
from timecat.terminal import print_table, say

SIZES = {"500x375": ((500, 375), 98, 1), "341x256": ((341, 256), 90, 2)}  # pixels, JPEG quality, times --images
OURS, PIL, STOCK = "timecat", "PIL", "ffcv.Loader"
Figures = dict[str, list[dict[str, float]]]  # of each way, those of each round


class Process:
    """A way, waiting for the next epoch that it is asked for."""

    def __init__(self, way: str, directory: Path, batch: int) -> None:
        command = [sys.executable, "-m", "benchmarks.loader_ways", way, str(directory), str(batch)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **WAYS[way][2]}
        self.way = way
        self.running = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def epoch(self, **asked: Any) -> dict[str, float]:
        assert self.running.stdin and self.running.stdout
        self.running.stdin.write(json.dumps(asked) + "\n")
        self.running.stdin.flush()
        answer = self.running.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.way}: its process ended; run python -m benchmarks.loader_ways to see why")
        return json.loads(answer)

    def close(self) -> None:
        self.running.kill()
        self.running.wait()


def measure(processes: list[Process], rounds: int, **asked: Any) -> Figures:
    """Every way in turn, in each round another one first."""
    figures: Figures = {process.way: [] for process in processes}
    for number in range(rounds):
        start = number % len(processes)
        for process in processes[start:] + processes[:start]:
            figures[process.way].append(process.epoch(**asked))
    return figures


def cpu_ms(round_: dict[str, float]) -> float:
    return 1000 * round_["cpu"] / round_["images"]


def ratio(figures: Figures, way: str) -> list[float]:
    """CPU-ms an image of a way over ours, round by round."""
    return [cpu_ms(theirs) / cpu_ms(ours) for theirs, ours in zip(figures[way], figures[OURS], strict=True)]


def show(title: str, figures: Figures) -> None:
    rows = []
    for way, rounds in figures.items():
        ms, over = [cpu_ms(each) for each in rounds], ratio(figures, way)
        rows.append(
            [
                way,
                f"{statistics.median(each['images'] / each['wall'] for each in rounds):,.0f}",
                f"{statistics.median(ms):.2f} ({min(ms):.2f}-{max(ms):.2f})",
                f"{statistics.median(over):.2f} ({min(over):.2f}-{max(over):.2f})",
                f"{100 * statistics.median(each['waited'] / each['wall'] for each in rounds):.0f} %",
            ]
        )
    print_table(title, ["way", "images/s", "CPU-ms an image", "over timecat", "waiting"], rows, ["way"])


def verdicts(size: str, parts: list[Figures]) -> None:
    """What must hold, of all rounds of a size."""
    figures = {way: [each for part in parts for each in part[way]] for way in parts[0]}
    wanted = [(PIL, 4.0 if size == "341x256" else 1.5), *([(STOCK, 0.98)] if size == "341x256" else [])]
    for way, least in wanted:
        if way in figures:
            over = ratio(figures, way)
            low, found, high = statistics.quantiles(over, n=4)
            held = "holds" if found >= least else "DOES NOT HOLD"  # which NaN does not
            spread = f"{len(over)} rounds, half of them {low:.2f} to {high:.2f}"
            say(f"{size}: {way} takes {found:.2f} times our CPU-ms ({spread}), at least {least} wanted: {held}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--images", type=int, default=192, help="of an epoch at 500 pixels; twice as many at 256")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=importable(), choices=importable())
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--out", type=Path, help="a JSON file of all rounds' figures")
    options = parser.parse_args()
    ways = list(dict.fromkeys([OURS, *options.ways]))
    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for size in options.sizes:
            pixels, quality, times = SIZES[size]
            write_photos(directory / size / "photos", times * options.images, pixels, quality)
            photos, beton = directory / size / "photos", directory / size / "beton"
            write(str(photos), beton, storage="jpeg", splits=["train"], progress=False)
            sizes = [path.stat().st_size for path in photos.rglob("*.jpg")]
            say(f"{size}: {len(sizes)} JPEGs of {statistics.mean(sizes) / 1e3:.0f} kB")
        processes = [Process(way, directory, options.batch) for way in ways]
        try:
            for size in options.sizes:
                for workers in sorted({1, cores()}):
                    for train in (False, True):
                        asked = {"size": size, "workers": workers, "train": train}
                        figures = measure(processes, options.rounds, **asked)
                        who = "1 worker" if workers == 1 else f"{workers} workers"
                        show(f"{size}, {who}, main thread {'trains' if train else 'idle'}", figures)
                        parts.append({**asked, "rounds": figures})
                        if options.out:
                            of = {"date": str(date.today()), "cores": cores(), "batch": options.batch, "parts": parts}
                            options.out.write_text(json.dumps(of, indent=1))
                verdicts(size, [part["rounds"] for part in parts if part["size"] == size])
        finally:
            for process in processes:
                process.close()


if __name__ == "__main__":
    main()
