"""Intervals, p-values and their correction, against other people's code and numbers worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from timecat.report.estimate import holm, intervals, p_values, unit_of


def test_holms_correction_by_hand():
    """Of four the least is multiplied by 4, the next by 3, and so on; none is below one that was smaller before."""
    raw = {"d": 0.02, "a": 0.01, "b": 0.04, "c": 0.03}
    assert holm(raw) == pytest.approx({"d": 0.06, "a": 0.04, "b": 0.06, "c": 0.06})
    assert list(holm(raw)) == list(raw)
    assert holm({"a": 0.6, "b": 0.7, "c": 1e-4}) == pytest.approx({"a": 1.0, "b": 1.0, "c": 3e-4})
    assert holm({"a": 0.03}) == {"a": 0.03} and holm({}) == {}


def test_over_seeds_it_is_students_paired_t():
    rng = np.random.default_rng(0)
    base, cat = (rng.random((5, 300)) < np.linspace(low, 0.7, 5)[:, None] for low in (0.5, 0.6))
    difference = cat * 1.0 - base
    expected = stats.ttest_rel(100 * cat.mean(1), 100 * base.mean(1))
    assert intervals(difference)["seeds"] == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert p_values(difference)["seeds"] == pytest.approx(expected.pvalue)
    low, high = intervals(np.array([[0.01], [0.02], [0.03], [0.04], [0.05]]))["seeds"] or (0, 0)
    assert (low, high) == pytest.approx((3 - 2.776 * 0.5**0.5, 3 + 2.776 * 0.5**0.5), abs=1e-3)  # a table's t of 4
    assert unit_of(5) == "seeds" and unit_of(4) == "images"


def test_over_images_one_repetition_is_mcnemars_exact_test():
    """23 images gained and 9 lost of 200: signs of 32 images, 23 of them plus."""
    difference = np.r_[np.ones(23), -np.ones(9), np.zeros(168)][None]
    found = p_values(difference)
    assert found["images"] == pytest.approx(stats.binomtest(23, 32).pvalue, abs=0.001) and found["seeds"] is None
    assert intervals(difference)["seeds"] is None
    low, high = intervals(difference)["images"]
    assert 0 < low < 7 < high
    several = np.stack([difference[0], np.roll(difference[0], 100)])  # halves of as many images, twice
    half = np.r_[np.ones(46), -np.ones(18)] / 2
    signs = np.random.default_rng(1).choice([-1, 1], (20_000, 64))
    assert p_values(several)["images"] == pytest.approx((np.abs(signs @ half) >= abs(half.sum())).mean(), abs=0.003)


@pytest.mark.filterwarnings("error")
def test_what_does_not_vary_is_no_fault():
    same = np.zeros((5, 20))
    assert p_values(same) == {"images": 1.0, "seeds": 1.0}
    assert intervals(same) == {"images": (0.0, 0.0), "seeds": (0.0, 0.0)}
    better = same + 0.25
    assert p_values(better)["seeds"] == 0.0 and p_values(better)["images"] < 1e-4
