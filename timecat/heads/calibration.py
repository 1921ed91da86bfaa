"""What a head's probabilities are worth: likelihood, calibration, and which predictions may be relied on."""

import numpy as np
import torch
from torchmetrics.classification import MulticlassCalibrationError

from timecat.study.scores import Calibration

BINS = 15  # of Guo et al. 2017
AT_ONCE = 1 << 23  # logits, 64 MiB of float64


def calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Scores of logits, float16 (n, classes), as they lie on disk; the softmax is in float64.

    Args:
        labels: int64 (n,), of the logits' columns.

    Returns:
        nll: mean negative log-likelihood of the label, in nats.
        ece: expected calibration error in percent: 15 bins of equal width, l1 (Guo et al. 2017, by torchmetrics).
        brier: mean squared distance of the probabilities from the label's one-hot vector, 0 to 2 (Brier 1950).
        selective: top-1 in percent on the 50, 80 and 90 % of the images whose largest probability is largest.
        aurc: area under the risk-coverage curve in percent: the mean, over n coverages, of the error of the k likeliest
            predictions (Geifman, Uziel and El-Yaniv 2019); images of equal confidence count with their mean error.
    """
    count, classes = logits.shape
    error = MulticlassCalibrationError(classes, n_bins=BINS, norm="l1", validate_args=False)
    nll, brier, confidence, wrong = 0.0, 0.0, [], []
    for rows in np.array_split(np.arange(count), -(-count * classes // AT_ONCE)):
        likelihoods = torch.from_numpy(logits[rows]).double().log_softmax(1)
        targets = torch.from_numpy(labels[rows])
        probabilities, of_label = likelihoods.exp(), likelihoods.gather(1, targets[:, None])[:, 0]
        nll -= float(of_label.sum())
        brier += float((probabilities.square().sum(1) - 2 * of_label.exp() + 1).sum())
        largest, best = probabilities.max(1)
        confidence.append(largest.numpy())
        wrong.append((best != targets).numpy())
        error.update(probabilities.float(), targets)
    risk = risk_by_coverage(np.concatenate(confidence), np.concatenate(wrong))
    return {
        "nll": nll / count,
        "ece": 100 * float(error.compute()),
        "brier": brier / count,
        "selective": {str(share): 100 - float(risk[-(-share * count // 100) - 1]) for share in (50, 80, 90)},
        "aurc": float(risk.mean()),
    }


def risk_by_coverage(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Error in percent of the 1, 2, ... n most confident predictions, float64 (n,).

    Args:
        confidence, wrong: float (n,) and bool (n,); equal confidences count with their mean error, in any order.
    """
    _, group, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=wrong) / counts
    return 100 * np.cumsum(np.repeat(means, counts)) / np.arange(1, len(wrong) + 1)
