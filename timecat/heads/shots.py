"""Which images a few-shot head is trained on: the first n a class of a shuffled order, so that they are nested."""

import numpy as np


class Shots:
    """A draw of images, a function of the seeds and of the labels alone.

    Args:
        labels: of the rows, int64 (n,).
        rows: to draw from, int64 (n,).
        seeds: of the draw.
    """

    def __init__(self, labels: np.ndarray, rows: np.ndarray, *seeds: int) -> None:
        rng = np.random.default_rng(seeds)
        self._of_class = [rng.permutation(rows[labels == number]) for number in np.unique(labels)]

    def first(self, count: int | None) -> np.ndarray:
        """The first `count` of each class, or all that there are where these are fewer, or where it is None; ascending,
        int64."""
        return np.sort(np.concatenate([rows[:count] for rows in self._of_class]))
