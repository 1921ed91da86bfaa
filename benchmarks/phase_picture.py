"""The phase picture: what four short members gain, against the length of the one long member, and what predicts it."""

from collections.abc import Sequence
from typing import Any

from timecat.figure import as_bytes, color_sequence, pyplot

TITLES = {"one": "over one long member", "short": "over one short member", "wide": "over one member of twice the width"}
PREDICTORS = {
    "train_acc1": "training top-1 % of the long member",
    "nc1": "NC1 of the long member (less is more collapsed)",
    "effective_rank": "effective rank of the long member",
}


def picture(cells: Sequence[dict[str, Any]], kind: str) -> bytes:
    """Above the gain against epochs, one panel for each rival; below the gain over one against each predictor.

    Args:
        kind: svg or png.
    """
    figure, panels = pyplot().subplots(2, 3, figsize=(12, 7.2), sharey="row", squeeze=False)
    groups = list(dict.fromkeys((cell["classes"], cell["width"]) for cell in cells))
    for (classes, width), colour in zip(groups, color_sequence(), strict=False):
        own = [cell for cell in cells if (cell["classes"], cell["width"]) == (classes, width)]
        label = f"{classes} classes, width {width}"
        for panel, other in zip(panels[0], TITLES, strict=True):
            gains = [cell["gain"][other] for cell in own]
            means = [gain["mean"] for gain in gains]
            bars = [
                [mean - gain["interval"][0] for mean, gain in zip(means, gains, strict=True)],
                [gain["interval"][1] - mean for mean, gain in zip(means, gains, strict=True)],
            ]
            panel.errorbar(
                [cell["epochs"] for cell in own], means, bars, marker="o", capsize=3, color=colour, label=label
            )
        for panel, predictor in zip(panels[1], PREDICTORS, strict=True):
            gains = [cell["gain"]["one"]["mean"] for cell in own]
            panel.plot([cell[predictor] for cell in own], gains, "o-", color=colour, linewidth=0.8)
    for panel, title in zip(panels[0], TITLES.values(), strict=True):
        panel.set_xscale("log")
        ticks = sorted({round(cell["epochs"]) for cell in cells})
        panel.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=7)
        panel.minorticks_off()
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("epochs of the long member")
    for panel, title in zip(panels[1], PREDICTORS.values(), strict=True):
        panel.set_xlabel(title)
    panels[1][1].set_xscale("log")
    panels[1][1].set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    panels[1][1].minorticks_off()
    for row in panels:
        for panel in row:
            panel.axhline(0, color="black", linewidth=0.8)
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("gain of four short members, points")
    panels[1][0].set_ylabel("gain over one long member, points")
    panels[0][0].legend(frameon=False, fontsize=8)
    repetitions = " to ".join(str(number) for number in sorted({cell["repetitions"] for cell in cells}))
    words = f"{repetitions} repetitions; bars: 95 %, {cells[0]['interval']}; classes that no member saw, linear probe"
    figure.text(0.5, 0.005, words, ha="center", fontsize=7.5, color="grey")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    return as_bytes(figure, kind)
