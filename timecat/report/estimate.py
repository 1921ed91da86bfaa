"""How sure a mean over repetitions and test images is: 95 % intervals, p-values, and Holm's correction of many.

There are two units. Over images: the same networks on other test images of the kind. Over seeds: other networks by the
same recipe on the same test images. Seeds are the unit of what is shown where there are enough repetitions of them.
"""

from collections.abc import Mapping

import numpy as np

from timecat.heads.scores import interval
from timecat.study.reported import Intervals, PValues, Unit

SEEDS_FROM = 5  # repetitions, from which on seeds are the unit
LEVEL = 0.05  # of a significant difference
DRAWS = 100_000  # of signs; Holm multiplies the least p-value that they can give, 1e-5, by the number of cats


def unit_of(repetitions: int) -> Unit:
    """The unit of what is shown."""
    return "seeds" if repetitions >= SEEDS_FROM else "images"


def shown(found: Intervals, unit: Unit) -> tuple[float, float]:
    """The interval over the unit; over images where it is of one repetition."""
    return found[unit] or found["images"]


def words(unit: Unit, repetitions: int, images: str = "test images") -> str:
    """What a 95 % interval that is shown is made by."""
    return f"bootstrap over the {images}" if unit == "images" else f"Student's t over {repetitions} repetitions"


def intervals(values: np.ndarray) -> Intervals:
    """95 % intervals of the mean of float (repetitions, n) values, in percent: bootstrap over images, Student's t over
    repetitions.

    For a difference give the differences, repetition by repetition and image by image: it is then paired.
    """
    return {"images": interval(values.mean(0)), "seeds": student_interval(100 * values.mean(1))}


def p_values(differences: np.ndarray) -> PValues:
    """Two-sided p-values of the mean of float (repetitions, n) differences being 0.

    Over images: their signs are flipped at random, the mean over repetitions being an image's difference (Fisher 1935;
    of one repetition it is McNemar's exact test). Over seeds: Student's paired t.
    """
    return {"images": _sign_flips(differences.mean(0)), "seeds": _student_p(differences.mean(1))}


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number: what is at most alpha is significant, with a chance of at most alpha that
    any of them is so by accident (Holm 1979, Scandinavian Journal of Statistics 6)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p}


def student_interval(values: np.ndarray) -> tuple[float, float] | None:
    """95 % of the mean of float (n,) values by Student's t; None of a single one."""
    from scipy.special import stdtrit  # the quantile of Student's t

    if len(values) < 2:
        return None
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def _student_p(values: np.ndarray) -> float | None:
    from scipy.special import stdtr  # the distribution function of Student's t

    if len(values) < 2:
        return None
    mean, error = abs(values.mean()), values.std(ddof=1) / len(values) ** 0.5
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(len(values) - 1, -mean / error))


def _sign_flips(values: np.ndarray) -> float:
    """Images of one absolute value have a binomial number of pluses."""
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    rng, drawn = np.random.default_rng(0), np.zeros(DRAWS)
    for size, count in zip(sizes, counts, strict=True):
        drawn += size * (2.0 * rng.binomial(count, 0.5, DRAWS) - count)
    least = abs(values.sum()) * (1 - 1e-9)  # sums that are equal may be rounded differently
    return float((1 + (np.abs(drawn) >= least).sum()) / (1 + DRAWS))
