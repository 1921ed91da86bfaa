"""Pictures of where chosen heads are wrong on a data set: top-1 of each class, and what is taken for what.

They are small with large letters, as TensorBoard shows them 300 to 450 pixels wide.
"""

from typing import Any

import numpy as np

from timecat.figure import as_bytes, pyplot

NAMED = 20  # classes that have their names beside a picture
NUMBERED = 12  # that have numbers in the matrix
LARGEST = 200  # matrix; of more classes the pairs that are mistaken most
PAIRS = 12
SIZE, DPI = (4.4, 3.9), 110  # inches, pixels of one
# of the cats in their order: those that TensorBoard's Time Series tab gives them (its default palette)
COLOURS = ("#425066", "#12b5cb", "#e52592", "#f9ab00", "#9334e6", "#7cb342", "#e8710a")


def confusion(labels: np.ndarray, predicted: list[np.ndarray], classes: int) -> np.ndarray:
    """How often an image of class i is taken for class j, in percent of its images: float64 (classes, classes).

    Args:
        labels: int64 (n,).
        predicted: of each repetition, int (n,).
    """
    counts = np.zeros((classes, classes))
    for each in predicted:
        np.add.at(counts, (labels, each), 1)
    return 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)


def confusion_picture(title: str, matrix: np.ndarray, names: list[str]) -> bytes:
    """A PNG of what `confusion` gave, coloured by the mistakes; of many classes the worst pairs."""
    figure, panel = pyplot().subplots(figsize=SIZE)
    wrong = matrix - np.diag(matrix.diagonal())
    if len(matrix) <= LARGEST:
        _matrix(panel, matrix, wrong, names)
    else:
        _pairs(panel, wrong, names)
    panel.set_title(title, fontsize=10)
    figure.tight_layout(pad=0.4)
    return as_bytes(figure, "png", DPI)


def classes_picture(title: str, rates: dict[str, np.ndarray], names: list[str]) -> bytes:
    """A PNG: top-1 of each class by every cat, the classes in the order of the first one's, the best first.

    Args:
        rates: of each cat by name, in percent, float (classes,).
        names: of the classes.
    """
    figure, panel = pyplot().subplots(figsize=SIZE)
    order = np.argsort(-next(iter(rates.values())), kind="stable")
    few = len(names) <= NAMED
    for number, (cat, values) in enumerate(rates.items()):
        colour = COLOURS[number % len(COLOURS)]
        if few:
            panel.plot(values[order], range(len(order)), "o", color=colour, label=cat, markersize=5, alpha=0.8)
        else:
            panel.plot(np.arange(1, len(order) + 1), -np.sort(-values), color=colour, label=cat)
    if few:
        panel.set_yticks(range(len(order)), [names[k] for k in order], fontsize=9)
        panel.invert_yaxis()
        panel.set_xlabel("top-1 % of the class")
        panel.grid(alpha=0.3)
    else:
        panel.set(xlabel="classes, each cat's best first", ylabel="top-1 % of the class", ylim=(0, 100))
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_title(title, fontsize=10)
    panel.legend(
        frameon=False,
        fontsize=8,
        ncols=6,
        columnspacing=0.8,
        handletextpad=0.1,
        loc="lower center",
        bbox_to_anchor=(0.4, -0.3),
    )
    figure.tight_layout(pad=0.4)
    return as_bytes(figure, "png", DPI)


def _matrix(panel: Any, matrix: np.ndarray, wrong: np.ndarray, names: list[str]) -> None:
    most = max(float(wrong.max()), 1.0)
    panel.imshow(wrong, cmap="Reds", vmin=0, vmax=1.3 * most)
    if len(matrix) <= NAMED:
        panel.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8, rotation_mode="anchor")
        panel.set_yticks(range(len(names)), names, fontsize=8)
    if len(matrix) <= NUMBERED:
        for i, j in zip(*np.nonzero(matrix >= 0.5), strict=True):
            panel.text(j, i, f"{matrix[i, j]:.0f}", ha="center", va="center", fontsize=8)
    panel.set_xlabel("taken for, % of the class" + ("" if len(matrix) <= NUMBERED else f"; darkest {most:.0f}"))


def _pairs(panel: Any, wrong: np.ndarray, names: list[str]) -> None:
    worst = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    rows, columns = np.unravel_index(worst, wrong.shape)
    panel.barh(range(len(worst)), wrong[rows, columns], color="#d98880")
    words = [f"{names[i][:16]} → {names[j][:16]}" for i, j in zip(rows, columns, strict=True)]
    panel.set_yticks(range(len(worst)), words, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("taken for, % of the class")
    panel.spines[["top", "right"]].set_visible(False)
