"""What an image costs to load: images/s and CPU-ms, ours against what else one would use.

    python -m benchmarks.loader                          # what comes with timecat, in three minutes on two quiet cores
    python -m benchmarks.loader --rivals all             # and DALI, litdata, WebDataset, torchcodec, SPDL, as installed
    python -m benchmarks.loader --out loader.json        # written after each part, so that a cut run tells too

JPEGs of 500 x 375 pixels and about 110 kB, and of 341 x 256, crops of two photographs, are loaded as random resized
crops of 224 pixels, flipped at random: uint8, but by PIL, which normalises to float32. Each way (see loader_ways.py) is
a process of its own; they take turns, epoch by epoch, while the main thread idles and while it trains a small ResNet.
CPU-ms are those of the process and its children without the training steps: unlike images/s they tell much the same on
a machine that others use too. Medians, with the quartiles in brackets; a ratio is taken round by round.
"""

import argparse
import json
import statistics
import tempfile
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.loader_process import Process, cpu_ms, started
from benchmarks.loader_ways import FEW, OURS, PIL, RIVALS, STOCK
from benchmarks.photos import write_photos
from benchmarks.rounds import in_turns, with_quartiles
from timecat.data.write.write import write
from timecat.process import cores
from timecat.terminal import print_table, say

SIZES = {"500x375": ((500, 375), 98, 1), "341x256": ((341, 256), 90, 2)}  # pixels, JPEG quality, times --images
RIVALS_HELP = f"all, or some of: {', '.join(RIVALS)}; by default {', '.join(FEW)}"
Round = dict[str, dict[str, float]]  # figures of an epoch that idles and of one that trains
Figures = dict[str, list[Round]]  # of each way


def round_of(process: Process, **asked: Any) -> Round:
    return {name: process.epoch(**asked, train=name == "trains") for name in ("idle", "trains")}


def over_ours(figures: Figures, way: str) -> list[float]:
    """CPU-ms an image of a way over ours, epoch by epoch."""
    rounds = zip(figures[way], figures[OURS], strict=True)
    return [cpu_ms(theirs[name]) / cpu_ms(ours[name]) for theirs, ours in rounds for name in theirs]


def rate(figures: dict[str, float]) -> float:
    return figures["images"] / figures["wall"]


def kept(rounds: list[Round]) -> list[float]:
    """The share of an idle main thread's rate, while it trains: until the last batch came, whose step is no loading."""
    return [each["idle"]["loaded"] / each["trains"]["loaded"] for each in rounds]


def show(title: str, figures: Figures) -> None:
    rows = []
    for way, rounds in figures.items():
        rows.append(
            [
                way,
                *(f"{statistics.median(rate(each[name]) for each in rounds):,.0f}" for name in ("idle", "trains")),
                f"{100 * statistics.median(kept(rounds)):.0f} %",
                with_quartiles([cpu_ms(one) for each in rounds for one in each.values()]),
                with_quartiles(over_ours(figures, way)) if way != OURS else "1",
            ]
        )
    header = ["way", "images/s", "training", "kept", "CPU-ms an image", f"over {OURS}"]
    print_table(title, header, rows, ["way"])


def verdicts(size: str, parts: list[Figures]) -> None:
    """What must hold, of all rounds of a size."""
    figures = {way: [each for part in parts for each in part[way]] for way in parts[0]}
    wanted = [(PIL, 4.0 if size == "341x256" else 1.5), *([(STOCK, 0.98)] if size == "341x256" else [])]
    for way, least in wanted:
        if way in figures:
            over = over_ours(figures, way)
            held = "holds" if statistics.median(over) >= least else "DOES NOT HOLD"  # which NaN does not
            found = f"{with_quartiles(over)} times our CPU-ms in {len(over)} epochs"
            say(f"{size}: {way} takes {found}, at least {least} wanted: {held}")
    if cores() > 1:
        found = with_quartiles(kept(parts[0][OURS]))
        say(f"{size}: while the main thread trains on a core of its own, 1 worker keeps {found} of its images/s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--images", type=int, default=256, help="of an epoch at 500 pixels; twice as many at 256")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", nargs="+", default=FEW, choices=[*RIVALS, "all"], metavar="NAME", help=RIVALS_HELP)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--out", type=Path, help="a JSON file of all rounds' figures")
    options = parser.parse_args()
    rivals = RIVALS if "all" in options.rivals else list(dict.fromkeys(options.rivals))
    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for size in options.sizes:
            pixels, quality, times = SIZES[size]
            photos, beton = directory / size / "photos", directory / size / "beton"
            write_photos(photos, times * options.images, pixels, quality)
            write(str(photos), beton, storage="jpeg", splits=["train"], progress=False)
            sizes = [path.stat().st_size for path in photos.rglob("*.jpg")]
            say(f"{size}: {len(sizes)} JPEGs of {statistics.mean(sizes) / 1e3:.0f} kB")
        processes, why_not = started([OURS, *rivals], directory, options.batch, options.sizes[0])
        for way, why in why_not.items():
            say(f"{way}: {why}")
        try:
            for size in options.sizes:
                for workers in sorted({1, cores()}):
                    asked = {"size": size, "workers": workers}
                    ways = {process.way: partial(round_of, process, **asked) for process in processes}
                    figures = in_turns(ways, options.rounds)
                    show(f"{size}, {workers} worker{'s' * (workers > 1)}", figures)
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
