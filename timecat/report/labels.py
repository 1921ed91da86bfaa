"""Labels beside the points of a panel, each where it covers no other label, point or bar."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

# how far from its point a label may stand, in points of 1/72 inch, and in which directions, the better ones first
DISTANCES = (7, 14, 24, 36, 50, 66)
DIRECTIONS = ((1, 0), (1, 0.7), (1, -0.7), (-1, 0), (-1, 0.7), (-1, -0.7), (0, 1), (0, -1), (1, 1.4), (1, -1.4))
LINE_FROM = 14  # distance from which on a line leads to the point
AROUND = 1.5  # a label
POINT = 4  # half of a marker's size


class Box(NamedTuple):
    """Left, bottom, right, top in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)


class Labelled(NamedTuple):
    """A point in the panel's data with the bar that stands through it."""

    x: float
    y: float
    low: float
    high: float
    label: str
    colour: Any


def place_labels(panel: Any, points: Sequence[Labelled], size: float = 8) -> None:
    """Write each point's label; the panel's lines, limits and place in the figure must be final."""
    figure = panel.figure
    scale = 72 / figure.dpi
    at = [panel.transData.transform((point.x, point.y)) * scale for point in points]
    ends = [[panel.transData.transform((point.x, y))[1] * scale for y in (point.low, point.high)] for point in points]
    taken = [Box(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in at]
    taken += [Box(x - 1, low, x + 1, high) for (x, _), (low, high) in zip(at, ends, strict=True)]
    for line in panel.get_lines():
        taken += _along(panel.transData.transform(line.get_xydata()) * scale)
    frame = Box(*(edge * scale for edge in panel.get_window_extent().extents))
    renderer = figure.canvas.get_renderer()
    for (x, y), point in zip(at, points, strict=True):
        text = panel.annotate(
            point.label, (point.x, point.y), (0, 0), textcoords="offset points", fontsize=size, color=point.colour
        )
        extent = text.get_window_extent(renderer)
        box, distance = _best(x, y, extent.width * scale, extent.height * scale, taken, frame)
        text.set_position((box.left - x, box.bottom - y))
        if distance >= LINE_FROM:
            near = min(max(x, box.left), box.right) - x, min(max(y, box.bottom), box.top) - y
            style = {"arrowstyle": "-", "color": point.colour, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 0}
            panel.annotate("", (point.x, point.y), near, textcoords="offset points", arrowprops=style)
        taken.append(box)


def _along(ends: Any) -> list[Box]:
    """Boxes of two points along a line through these (k, 2) points."""
    boxes = []
    for (x, y), (next_x, next_y) in pairwise(ends):
        count = int(max(abs(next_x - x), abs(next_y - y)) / 2) + 1
        middles = [(x + (next_x - x) * k / count, y + (next_y - y) * k / count) for k in range(count)]
        boxes += [Box(x - 1, y - 1, x + 1, y + 1) for x, y in middles]
    return boxes


def _best(x: float, y: float, width: float, height: float, taken: Sequence[Box], frame: Box) -> tuple[Box, float]:
    """The nearest place that covers nothing, else the one that covers least; and how far it is."""
    least, best = float("inf"), (Box(x, y, x + width, y + height), 0.0)
    for distance in DISTANCES:
        for dx, dy in DIRECTIONS:
            left = x + dx * distance - (0 if dx > 0 else width if dx < 0 else width / 2)
            bottom = y + dy * distance - height / 2
            box = Box(left, bottom, left + width, bottom + height)
            outside = width * height - box.overlap(frame)
            roomy = Box(left - AROUND, bottom - AROUND, box.right + AROUND, box.top + AROUND)
            cost = sum(roomy.overlap(other) for other in taken) + 10 * outside
            if cost < 0.5:
                return box, distance
            if cost < least:
                least, best = cost, (box, distance)
    return best
