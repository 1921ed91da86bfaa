"""What predictions on a test set are worth: accuracies, by class too, and intervals by bootstrap over the images."""

import numpy as np

from timecat.study.scores import Scores

DRAWS = 10_000


def scores(predicted: np.ndarray, in_top5: np.ndarray, labels: np.ndarray, classes: int) -> Scores:
    """Accuracies in percent.

    Args:
        predicted, labels: class numbers, int (n,).
        in_top5: whether the label is among the five most likely classes, bool (n,).
        classes: of the classifier.

    Returns:
        acc1, acc5; per_class, a list of `classes` accuracies, None for classes without a test image; mean_per_class, of
        the classes that have one; worst_class, its number and accuracy.
    """
    right = predicted == labels
    images = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[right], minlength=classes)
    seen = np.flatnonzero(images)
    rates = 100 * hits[seen] / images[seen]
    per_class: list[float | None] = [None] * classes
    for number, rate in zip(seen.tolist(), rates.tolist(), strict=True):
        per_class[number] = rate
    worst = int(rates.argmin())
    return {
        "acc1": 100 * float(right.mean()),
        "acc5": 100 * float(in_top5.mean()),
        "mean_per_class": float(rates.mean()),
        "worst_class": {"class": int(seen[worst]), "acc1": float(rates[worst])},
        "per_class": per_class,
    }


def interval(values: np.ndarray) -> tuple[float, float]:
    """The central 95 % of the mean of float (n,) values over bootstrap samples of them (Efron 1979), in percent.

    A sample of n values with replacement is a multinomial draw of how often each different value comes. For a
    difference give the differences image by image: it is then paired on the same images.
    """
    different, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(values), counts / len(values), size=DRAWS)
    low, high = np.quantile(100 * (drawn @ different) / len(values), (0.025, 0.975))
    return float(low), float(high)
