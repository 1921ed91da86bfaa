"""Whether a head tells images of other classes from those of its own, by how sure it is; by numpy alone."""

import numpy as np

AT_ONCE = 1 << 23  # logits, 64 MiB of float64
SCORES = ("softmax", "logit")


def sureness(logits: np.ndarray) -> dict[str, np.ndarray]:
    """Two scores of logits, float16 (n, classes), each float64 (n,) and larger where the head is surer.

    `softmax`: the logarithm of the largest probability (Hendrycks and Gimpel 2017), which has numbers for what is all
    but 1; `logit`: the largest logit (Hendrycks et al. 2022).
    """
    largest, others = logits.max(1).astype(np.float64), []
    for rows in np.array_split(np.arange(len(logits)), -(-logits.size // AT_ONCE)):
        below = np.exp(logits[rows].astype(np.float64) - largest[rows, None])
        below[np.arange(len(rows)), logits[rows].argmax(1)] = 0.0
        others.append(below.sum(1))
    return {"softmax": -np.log1p(np.concatenate(others)), "logit": largest}


def placements(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of n own images the share of the m others that are less sure; of each other one that of surer own ones.

    Equal ones count half. The mean of either is the area under the ROC curve (Mann and Whitney 1947).

    Args:
        own, other: scores, float (n,) and (m,).
    """

    def above(scores: np.ndarray, than: np.ndarray) -> np.ndarray:
        than = np.sort(than)
        return (np.searchsorted(than, scores, "left") + np.searchsorted(than, scores, "right")) / (2 * len(than))

    return above(own, other), 1 - above(other, own)


def auroc(own: np.ndarray, other: np.ndarray) -> float:
    """Area under the ROC curve in percent, of scores (n,) and (m,)."""
    return 100 * float(placements(own, other)[0].mean())


def delong(own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The central 95 % of an area in percent, or of a difference of areas on the same images (DeLong et al. 1988).

    Args:
        own, other: placements float (n,) and (m,), or their differences, image by image.
    """
    deviation = np.sqrt(own.var(ddof=1) / len(own) + other.var(ddof=1) / len(other))
    mean = own.mean()
    return 100 * float(mean - 1.96 * deviation), 100 * float(mean + 1.96 * deviation)
