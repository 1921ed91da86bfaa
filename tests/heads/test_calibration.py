"""Scores of logits as they lie on disk: those of torch and torchmetrics, and by hand; what does not fit is named."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from timecat.errors import UserError
from timecat.heads import calibration
from timecat.heads.kept_logits import as_float16, read_logits, write_logits


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    """Logits (300, 7) of a head that is right more often where it is sure; and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 300)
    logits = rng.normal(0, 2, (300, 7)).astype(np.float32)
    logits[np.arange(300), labels] += rng.exponential(2, 300).astype(np.float32)
    return logits, labels


def test_scores_are_those_of_torch(head, monkeypatch):
    """In one piece and in several."""
    logits, labels = as_float16(head[0], head[0].argmax(1)), head[1]
    exact, targets = torch.from_numpy(logits).float(), torch.from_numpy(labels)
    probabilities = exact.softmax(1)
    for at_once in (1 << 23, 100 * 7):
        monkeypatch.setattr(calibration, "AT_ONCE", at_once)
        found = calibration.calibration(logits, labels)
        assert found["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(exact, targets)), rel=1e-5)
        ece = multiclass_calibration_error(probabilities, targets, 7, n_bins=15, norm="l1")
        assert found["ece"] == pytest.approx(100 * float(ece), rel=1e-4)
        one_hot = torch.nn.functional.one_hot(targets, 7)
        assert found["brier"] == pytest.approx(float((probabilities - one_hot).square().sum(1).mean()), rel=1e-5)
        order = np.argsort(-probabilities.max(1).values.numpy(), kind="stable")
        right = (logits.argmax(1) == labels)[order]
        assert found["selective"] == pytest.approx({str(s): 100 * right[: 3 * s].mean() for s in (50, 80, 90)})
        assert found["aurc"] == pytest.approx(100 * np.mean([1 - right[:k].mean() for k in range(1, 301)]))


def test_equal_confidence_counts_with_its_mean_error():
    """In whichever order: one sure and right, then one of two wrong."""
    for wrong in ([False, True, False], [False, False, True]):
        risk = calibration.risk_by_coverage(np.array([0.9, 0.5, 0.5]), np.array(wrong))
        assert risk == pytest.approx([0, 25, 100 / 3])


def test_logits_on_disk_tell_the_predictions(head, tmp_path):
    """Though float16 has no room between the two largest, and none for numbers beyond its range."""
    logits, _ = head
    logits[0] = [1000.3, 1000.4, 1000.1, 0, 0, 0, 7e4]
    logits[1] = [1000.3, 1000.4, 1000.1, 0, 0, -1e6, 0]
    predicted = logits.argmax(1).astype(np.int32)
    assert logits[1].clip(-65504, 65504).astype(np.float16).argmax() != predicted[1]
    kept = as_float16(logits, predicted)
    assert kept.dtype == np.float16 and np.isfinite(kept).all() and (kept.argmax(1) == predicted).all()
    write_logits(tmp_path / "cat1_0.npy", kept)
    assert (np.load(tmp_path / "cat1_0.npy") == kept).all()
    assert (read_logits(tmp_path / "cat1_0.npy", predicted) == kept).all()
    predicted[200] = (predicted[200] + 1) % 7
    for wrong in (predicted, predicted[:-1]):
        with pytest.raises(UserError, match=r"cat1_0\.npy: does not hold the logits of the predictions"):
            read_logits(tmp_path / "cat1_0.npy", wrong)
    with pytest.raises(UserError, match=r"probe\.logits was false"):
        read_logits(tmp_path / "cat2_0.npy", predicted)
