"""The picture of a study's saturation: rank and accuracy against features, and what each member adds."""

from itertools import cycle
from typing import Any

from timecat.figure import as_bytes, color_sequence, pyplot
from timecat.study.saturation import Saturation


def picture(study: str, found: Saturation, kind: str) -> bytes:
    """Effective rank against features, ridge top-1 against effective rank, and the gain of each member added."""
    figure, panels = pyplot().subplots(1, 3, figsize=(13.2, 4.3))
    colours = cycle(color_sequence())
    for (name, cat), colour in zip(found["cats"].items(), colours, strict=False):
        per_member, curve = cat["features"] / cat["members"], cat["curve"]
        features = [per_member * point["members"] for point in curve] or [cat["features"]]
        ranks = [point["effective_rank"] for point in curve] or [cat["effective_rank"]]
        top1 = [point["acc1"] for point in curve] or [cat["acc1"]]
        intervals = [point["interval"] for point in curve] or [cat["interval"]]
        panels[0].plot(features, ranks, "o-", color=colour, label=name)
        panels[1].errorbar(ranks, top1, _bars(top1, intervals), fmt="o-", capsize=3, color=colour, label=name)
        gains = [(p["members"], p["gain"], p["gain_interval"]) for p in curve if p["gain"] is not None]
        if gains:
            members, values, ends = zip(*gains, strict=True)
            panels[2].errorbar(members, values, _bars(values, ends), fmt="o-", capsize=3, color=colour, label=name)
    panels[0].set(xlabel="features", ylabel="effective rank")
    panels[0].set_xscale("log")
    widths = sorted({cat["features"] for cat in found["cats"].values()})
    panels[0].set_xticks(widths, [f"{width:,}" for width in widths])
    panels[0].minorticks_off()
    panels[1].set(xlabel="effective rank", ylabel="ridge head, held-out top-1 %")
    panels[2].set(xlabel="members", ylabel="gain of the member added, points")
    panels[2].axhline(0, color="black", linewidth=0.8)
    if not panels[2].has_data() or len(panels[2].lines) == 1:
        panels[2].set_visible(False)
    else:
        panels[2].set_xticks(sorted({p["members"] for cat in found["cats"].values() for p in cat["curve"]})[1:])
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    repetitions = found["repetitions"]
    of = f"mean of {repetitions} repetitions" if repetitions > 1 else "one repetition"
    figure.suptitle(f"{study} on {found['data']}: how saturated are the features?", fontsize=11)
    caption = (
        f"{found['held_images']:,} held-out images, heads fitted on {found['fit_images']:,}; {of}, gains over orders "
        "too; bars: 95 %, bootstrap over the images; timecat bottleneck saturation CONFIG"
    )
    figure.text(0.5, 0.008, caption, ha="center", fontsize=8, color="grey")
    figure.tight_layout(rect=(0, 0.035, 1, 1))
    return as_bytes(figure, kind)


def _bars(values: Any, intervals: Any) -> list[list[float]]:
    ends = list(zip(values, intervals, strict=True))
    return [[value - low for value, (low, _) in ends], [high - value for value, (_, high) in ends]]
