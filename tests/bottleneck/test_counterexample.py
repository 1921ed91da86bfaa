"""One feature starves two of the four tasks, two features none: exactly, for sparse learners and for networks."""

import json

import numpy as np
import pytest
import torch

from timecat.bottleneck.counterexample import kept, networks, sparse
from timecat.bottleneck.counterexample.mixture import (
    LABELS,
    PHI,
    POINTS,
    TASKS,
    exact,
    labelings,
    least_risk,
    point_weights,
)
from timecat.cli import main

COMMAND = ["bottleneck", "counterexample"]


def mixtures(number: int) -> np.ndarray:
    """Weights (number, 4), from even ones to ones where a single task is nearly all."""
    generator = np.random.default_rng(0)
    return np.stack([generator.dirichlet(np.full(4, generator.choice([0.3, 1, 10]))) for _ in range(number)])


def test_exact_risks_equal_their_closed_forms():
    for weights in mixtures(200):
        risks, largest = exact(weights), weights.argmax()
        assert risks.keeps == (("phi1",) if largest < 2 else ("phi2",))
        assert risks.mixture["both"] == pytest.approx((1 - weights.max()) / 3, abs=1e-12)
        assert risks.mixture["phi1"] == pytest.approx((1 - weights[:2].max()) / 3, abs=1e-12)
        assert risks.mixture["phi2"] == pytest.approx((1 - weights[2:].max()) / 3, abs=1e-12)
        starved = np.array([0, 0, 1, 1]) if largest < 2 else np.array([1, 1, 0, 0])
        np.testing.assert_allclose(risks.gap(risks.keeps[0]), starved / 3, atol=1e-12)
        np.testing.assert_allclose(risks.gap("both"), 0, atol=1e-12)
        np.testing.assert_allclose(risks.direct, 0, atol=1e-12)


def test_both_features_allow_every_labeling_but_the_two_that_separate_the_mixture():
    found = {tuple(one) for one in labelings(PHI)}
    assert len(found) == 14 and tuple(LABELS) not in found and tuple(-LABELS) not in found


def test_ties_keep_either_feature():
    assert exact(np.full(4, 0.25)).keeps == exact(np.array([0.4, 0.1, 0.4, 0.1])).keeps == ("phi1", "phi2")
    assert exact(np.array([0.4, 0.4, 0.1, 0.1])).keeps == ("phi1",)
    assert sparse.path("hinge", np.array([0.4, 0.1, 0.4, 0.1]))[0].keeps == "phi1 or phi2"


def test_the_classifiers_that_are_best_on_the_mixture_lean_towards_the_kept_feature():
    """Any combination of the features as one: it is as good only if it solves the two tasks of the kept one."""
    generator = np.random.default_rng(1)
    for weights in mixtures(50):
        for coefficients in generator.normal(size=(10, 2)):
            feature = (PHI @ coefficients)[:, None]
            solved = [least_risk(feature, task) < 1e-12 for task in TASKS]
            first = abs(coefficients[0]) > abs(coefficients[1])
            assert solved == ([True, True, False, False] if first else [False, False, True, True])
            if least_risk(feature, point_weights(weights)) <= exact(weights).mixture["both"] + 1e-12:
                assert first == (weights.argmax() < 2)


def test_margins_say_what_enumeration_says():
    generator = np.random.default_rng(2)
    for width in (1, 2):
        for features in generator.integers(-2, 3, (200, 4, width)).astype(float):
            errs = [least_risk(features, task) for task in TASKS]
            np.testing.assert_allclose(errs, np.where(kept.solves(features, 1e-9), 0, 1 / 3), atol=1e-12)


def test_the_hinge_keeps_one_feature_below_its_limit_and_none_above():
    for weights in mixtures(20):
        p = point_weights(weights)
        limit, expected = sparse.hinge_limit(p), exact(weights).keeps[0]
        for share in (0.0, 0.5, 0.99):
            assert {sparse.name(one) for one in sparse.hinge(p, share * limit)} == {expected}
        assert {sparse.name(one) for one in sparse.hinge(p, 1.01 * limit)} == {"none"}


def test_the_logistic_learner_is_at_its_optimum_and_keeps_both_then_one_then_none():
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    p, penalties = point_weights(weights), np.array([0.0, 0.01, 0.03, 0.0377, 0.038])
    found = sparse.logistic(p, penalties)[:, 0]
    assert [sparse.name(one) for one in found] == ["both", "both", "phi1", "phi1", "none"]
    slopes = (-LABELS * p / (1 + np.exp(found @ sparse.DESIGN.T * LABELS))) @ sparse.DESIGN
    np.testing.assert_allclose(slopes[:, 2], 0, atol=1e-9)
    for slope, one, penalty in zip(slopes, found, penalties, strict=True):
        active = one[:2] != 0
        np.testing.assert_allclose(slope[:2][active], -penalty * np.sign(one[:2][active]), atol=1e-9)
        assert (np.abs(slope[:2]) <= penalty + 1e-9).all()


def test_networks_trained_together_equal_one_trained_alone_by_torch(monkeypatch):
    monkeypatch.setattr(networks, "BLOCK", 2)
    distributions, width, seed, index = np.vstack([TASKS[:2], point_weights(np.full(4, 0.25))]), 2, 3, 2
    together = networks.train(distributions, width, 5, (20, 40), 0.02, lambda steps: None)
    generator = np.random.default_rng([seed, index, width])
    hidden, head = torch.nn.Linear(2, width).double(), torch.nn.Linear(width, 1).double()
    hidden.weight.data = torch.tensor(generator.normal(0, 2**-0.5, (2, width)).T)
    head.weight.data = torch.tensor(generator.normal(0, width**-0.5, width)[None])
    hidden.bias.data.zero_()
    head.bias.data.zero_()
    x, y = torch.tensor(POINTS), torch.tensor(LABELS)
    optimizer = torch.optim.SGD(
        [*hidden.parameters(), *head.parameters()], networks.LR, networks.MOMENTUM, weight_decay=0.02
    )
    for step, counts in enumerate(generator.multinomial(networks.BATCH, distributions[index], size=40), 1):
        images = torch.arange(4).repeat_interleave(torch.tensor(counts))
        loss = torch.nn.functional.softplus(-y[images] * head(hidden(x[images]).tanh())[:, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in together:
            frozen = together[step]
            np.testing.assert_allclose(frozen.features[index, seed], hidden(x).tanh().detach(), atol=1e-10)
            np.testing.assert_allclose(frozen.scores[index, seed], head(hidden(x).tanh()).detach()[:, 0], atol=1e-10)


def test_cats_are_of_neighbouring_seeds():
    features = np.arange(5 * 4 * 1, dtype=float).reshape(5, 4, 1)
    cats = kept.concatenate(features, 2)
    assert cats.shape == (2, 4, 2)
    np.testing.assert_array_equal(cats[1], np.concatenate([features[2], features[3]], 1))


def test_the_interval_of_a_share():
    np.testing.assert_allclose(kept.wilson(5, 10), (0.2366, 0.7634), atol=1e-4)
    np.testing.assert_allclose(kept.wilson(0, 10), (0, 0.2775), atol=1e-4)


def test_the_command_writes_the_same_files_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--weights", "4", "3", "2", "1", "--seeds", "40", "--steps", "400"]
    assert main([*COMMAND, *options]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("weights 4 3 2 1 sum to 10: taken as 0.4 0.3 0.2 0.1\n")
    assert main([*COMMAND, *options, "--out", "again"]) == 0
    assert capsys.readouterr().out.replace("again", "runs/counterexample") == shown
    for name in ("counterexample.json", "counterexample.png", "counterexample.svg"):
        content = (tmp_path / "runs" / "counterexample" / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes() and name.rsplit(".", 1)[0] in shown
    for line in shown.splitlines():
        table = line.startswith(" ")
        assert not table or len(line) <= 80, line
    content = json.loads((tmp_path / "again" / "counterexample.json").read_text())
    np.testing.assert_allclose(content["exact"]["gap"]["phi1"], [0, 0, 1 / 3, 1 / 3], atol=1e-12)
    cats = {(one["name"], one["width"], one["networks"], one["steps"]): one for one in content["networks"]["cats"]}
    assert sum(cats["cat", 1, 1, 400]["risk"]) > 2 / 3 - 1e-12  # one unit solves no more than two tasks
    assert sum(cats["cat", 1, 4, 100]["risk"]) < sum(cats["cat", 1, 2, 200]["risk"]) < 1 / 2
    assert cats["cat", 1, 4, 100]["number"] == 10


def test_a_single_seed_has_no_cats(tmp_path, capsys):
    weights = ["--weights", "0.25", "0.25", "0.25", "0.25"]
    assert main([*COMMAND, *weights, "--seeds", "1", "--steps", "4", "--out", str(tmp_path)]) == 0
    assert "sum to" not in (shown := capsys.readouterr().out) and "cat of" not in shown
    assert "none, phi1 or phi2" in shown and "phi1 or phi2 alone is as good as both features (a tie" in shown
    assert max(len(line) for line in shown.splitlines() if line.startswith(" ")) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "1", "2", "3"], "four"),
        (["--weights", "1", "2", "3", "-1"], "'-1'"),
        (["--weights", "1", "2", "3", "nan"], "'nan'"),
        (["--weights", "1", "2", "3", "inf"], "'inf'"),
        (["--weights", "0", "0", "0", "0"], "all 0"),
        (["--seeds", "0"], "--seeds"),
        (["--steps", "3"], "--steps"),
        (["--weight-decay", "2"], "from 0 to 1"),
        (["--out", "file"], "--out file"),
        (["--wieghts", "1"], "--wieghts"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main([*COMMAND, *options]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("timecat: ") and shown.err.count("\n") == 1
    assert words in shown.err and not (tmp_path / "runs").exists()


def test_help_fits_a_terminal(capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*COMMAND, "--help"])
    shown = capsys.readouterr().out
    assert "example: timecat bottleneck counterexample" in shown
    assert max(map(len, shown.splitlines())) <= 80
