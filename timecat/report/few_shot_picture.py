"""The picture of few-shot heads: top-1 and the gain over the baseline against the number of images a class."""

from typing import Any

from timecat.figure import as_bytes, color_sequence, pyplot
from timecat.study.few_shot import ALL, FewShotSummary, Mean

ASIDE = 1.03  # from one cat to the next, so that bars do not cover each other


def picture(study: str, found: FewShotSummary, kind: str) -> bytes:
    """Two panels over a logarithmic axis; bars are 95 % intervals."""
    figure, panels = pyplot().subplots(1, 2, figsize=(10.4, 4.3))
    sizes = {size["shots"]: size for size in found["sizes"]}
    at = {
        count: size["train_images"] / found["classes"] if count == ALL else float(count)
        for count, size in sizes.items()
    }
    colours = color_sequence()
    for number, (name, points) in enumerate(found["cats"].items()):
        colour, marker = colours[number % len(colours)], "oDs^v<>PX*"[number // len(colours) % 10]
        shown = [count for count in at if count in points]
        aside = ASIDE ** (number - (len(found["cats"]) - 1) / 2)
        _line(panels[0], [at[n] * aside for n in shown], [points[n]["acc1"] for n in shown], colour, marker, name)
        gains = [(at[n] * aside, gain) for n in shown if (gain := points[n]["gain"]) is not None]
        if gains:
            _line(panels[1], [x for x, _ in gains], [gain for _, gain in gains], colour, marker, name)
    panels[0].set_ylabel("linear head, test top-1 %")
    panels[1].set_ylabel(f"gain over {found['baseline']}, points")
    panels[1].axhline(0, color="black", linewidth=0.8)
    for panel in panels:
        panel.set_xscale("log")
        panel.set_xticks(list(at.values()), [f"all\n{x:,.0f}" if n == ALL else n for n, x in at.items()])
        panel.minorticks_off()
        panel.set_xlabel("training images a class")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    panels[1].set_visible(any(point["gain"] for points in found["cats"].values() for point in points.values()))
    figure.suptitle(f"{study} on {found['data']}: what is a cat worth with few labels?", fontsize=11)
    draws, repetitions = (max(size[key] for size in found["sizes"]) for key in ("draws", "repetitions"))
    caption = (
        f"{found['test_images']:,} test images; bars: 95 %, Student's t over {draws} draws of the images x "
        f"{repetitions} repetition{'s' * (repetitions > 1)}; timecat few-shot CONFIG"
    )
    figure.text(0.5, 0.008, caption, ha="center", fontsize=8, color="grey")
    figure.tight_layout(rect=(0, 0.035, 1, 1))
    return as_bytes(figure, kind)


def _line(panel: Any, x: list[float], means: list[Mean], colour: Any, marker: str, name: str) -> None:
    values = [value["mean"] for value in means]
    half = [value["interval"][1] - value["mean"] if value["interval"] else 0.0 for value in means]
    panel.errorbar(x, values, half, fmt=f"{marker}-", capsize=3, markersize=5, color=colour, label=name)
