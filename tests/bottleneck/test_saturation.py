"""Measures of saturation against independent definitions, and both commands on a real study."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifier

from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.bottleneck.measures.cka import linear_cka
from timecat.bottleneck.measures.collapse import collapse_within_classes
from timecat.bottleneck.measures.effective_rank import effective_rank
from timecat.bottleneck.measures.explained import explained
from timecat.bottleneck.measures.ridge import STRENGTHS, RidgeHeads, chosen_rows
from timecat.cli import main

RNG = np.random.default_rng(0)


def normal(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape))


def test_effective_rank_counts_directions():
    orthonormal = torch.linalg.qr(normal(400, 20) - 0)[0]
    centred = torch.linalg.qr(orthonormal - orthonormal.mean(0))[0]
    assert effective_rank(centred) == pytest.approx(20)
    assert effective_rank(centred @ torch.diag(torch.tensor([1.0] * 4 + [0.0] * 16).double()) + 7) == pytest.approx(4)
    assert effective_rank(normal(200, 1) @ normal(1, 30)) == pytest.approx(1)
    few = normal(10, 300)
    assert effective_rank(few) == pytest.approx(effective_rank(few @ torch.linalg.qr(normal(300, 300))[0]))
    shares = np.array([0.7, 0.2, 0.1])
    assert effective_rank(centred[:, :3] * torch.from_numpy(np.sqrt(shares))) == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum())
    )


def test_cka_sees_through_rotation_and_scale_and_finds_nothing_in_noise():
    one = normal(3000, 12)
    assert linear_cka(one, 3 * one @ torch.linalg.qr(normal(12, 12))[0] + 5) == pytest.approx(1)
    assert linear_cka(one, normal(3000, 12)) < 0.02
    gram, other = one - one.mean(0), (half := one[:, :6]) - half.mean(0)
    k, m = (gram @ gram.T).numpy(), (other @ other.T).numpy()  # Kornblith et al., by HSIC of the Gram matrices
    assert linear_cka(one, half) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_collapse_is_papyans_nc1():
    labels = torch.arange(60) % 3
    assert collapse_within_classes(normal(3, 8)[labels], labels) == pytest.approx(0, abs=1e-9)
    features = normal(3, 8)[labels] + 0.3 * normal(60, 8)
    x, y = features.numpy(), labels.numpy()
    means = np.stack([x[y == c].mean(0) for c in range(3)])
    within = sum(np.outer(v, v) for v in x - means[y]) / 60
    between = sum(np.outer(v, v) for v in means - means.mean(0)) / 3
    assert collapse_within_classes(features, labels) == pytest.approx(np.trace(within @ np.linalg.pinv(between)) / 3)


def test_explained_is_the_r2_of_ridge_on_held_out_images():
    one, held = normal(500, 10), normal(300, 10)
    weights = normal(10, 4)
    assert explained(one, one @ weights, held, held @ weights).numpy() == pytest.approx(np.ones(4), abs=1e-3)
    noise = explained(one, normal(500, 4), held, normal(300, 4))
    assert (noise < 0.02).all() and (noise > -0.2).all()
    other, held_other = one @ weights + 2 * normal(500, 4), held @ weights + 2 * normal(300, 4)
    found = explained(one, other, held, held_other).numpy()
    mean, std = one.mean(0), one.std(0)
    candidates = []
    for strength in STRENGTHS:
        model = Ridge(alpha=strength * 500).fit(((one - mean) / std).numpy(), other.numpy())
        left = ((held_other.numpy() - model.predict(((held - mean) / std).numpy())) ** 2).sum(0)
        candidates.append(1 - left / ((held_other - held_other.mean(0)) ** 2).sum(0).numpy())
    assert min(np.abs(found - each).max() for each in candidates) < 1e-9
    constant = (
        torch.cat([other, torch.ones(500, 1).double()], 1),
        torch.cat([held_other, torch.ones(300, 1).double()], 1),
    )
    assert len(explained(one, constant[0], held, constant[1])) == 4


def test_ridge_heads_are_scikit_learns_on_any_columns():
    labels = torch.from_numpy(RNG.integers(0, 5, 700))
    features = normal(5, 12)[labels] + 1.5 * normal(700, 12)
    heads = RidgeHeads(features[:500], labels[:500], 5)
    for columns in (torch.arange(12), torch.tensor([1, 4, 7])):
        found = heads.predict(columns, features[500:]).numpy()
        mean, std = features[:500].mean(0), features[:500].std(0)
        scaled = ((features - mean) / std)[:, columns].numpy()
        inner, outer = (rows.numpy() for rows in chosen_rows(500, torch.device("cpu")))

        def fit(rows, strength, scaled=scaled):
            return RidgeClassifier(alpha=strength * len(rows)).fit(scaled[rows], labels.numpy()[rows])

        right = {s: (fit(inner, s).predict(scaled[outer]) == labels.numpy()[outer]).sum() for s in STRENGTHS}
        best = max(STRENGTHS, key=lambda s: (right[s], s))
        assert (found == fit(np.arange(500), best).predict(scaled[500:])).all()


@pytest.fixture(scope="module")
def study(tmp_path_factory, digits) -> tuple[str, Path]:
    """Two members of twenty steps, one of forty and a wider one, probed on digits."""
    folder = tmp_path_factory.mktemp("saturation")
    probe = write_probe(
        folder / "digits.yaml", {"root": str(digits)}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 4}
    )
    cats = {
        "cat1": {"members": 1, "steps": 40},
        "cat2": {"members": 2, "steps": 20},
        "wide": {"members": 1, "steps": 40, "model": {"width": 16}},
    }
    config = write_study(folder / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, probes=[probe])
    assert main(["run", config]) == 0
    return config, folder / "runs" / "s"


def test_saturation_is_told_and_shown_and_reads_no_test_image(study, monkeypatch, capsys):
    from timecat.extraction import extract

    config, directory = study
    computed, parts = extract.FeatureStore.extract, []

    def look(store, snapshots):
        parts.extend(store.parts)
        return computed(store, snapshots)

    monkeypatch.setattr(extract.FeatureStore, "extract", look)
    assert main(["bottleneck", "saturation", config]) == 0
    assert parts == ["train"]
    said = capsys.readouterr().out
    found = json.loads((directory / "probe" / "digits" / "saturation.json").read_text())
    assert list(found["cats"]) == ["cat1", "cat2", "wide", "cat1 to 128"]
    assert (found["held_images"], found["fit_images"]) == (199, 801)
    cat1, cat2 = found["cats"]["cat1"], found["cats"]["cat2"]
    assert (cat1["cka"], cat1["by_baseline"], cat1["curve"]) == (None, None, [])
    assert (
        0 < cat2["cka"] < 1
        and 0 < cat2["explained"] < 1
        and cat2["explained_quantiles"] == sorted(cat2["explained_quantiles"])
    )
    one, two = cat2["curve"]
    assert one["orders"] == two["orders"] == 2 and one["gain"] is None
    assert two["gain"] == pytest.approx(two["acc1"] - one["acc1"]) and two["acc1"] == pytest.approx(cat2["acc1"])
    assert one["effective_rank"] < two["effective_rank"] == pytest.approx(cat2["effective_rank"])
    assert f"{cat2['effective_rank']:.1f}" in said and "cat1 to 128" in said
    assert main(["report", config]) == 0
    assert "## How saturated: digits" in (directory / "report.md").read_text()
    assert json.loads((directory / "report.json").read_text())["saturation"]["digits"]["cats"]["cat2"] == cat2
    assert (directory / "probe" / "digits" / "saturation.png").is_file()
    assert main(["report", config, "--cats", "cat1,cat2"]) == 0  # it is of other cats
    assert "How saturated" not in (directory / "report.md").read_text()


def test_members_are_chosen_on_one_half_and_told_of_on_the_other(study, capsys):
    config, directory = study
    assert main(["bottleneck", "select", config, "--members", "3"]) == 0
    said = capsys.readouterr().out
    found = json.loads((directory / "probe" / "digits" / "selection.json").read_text())
    pool = ["member_0_40_40", "member_0_20_20", "member_1_20_20", "wide_0_40_40"]
    assert found["pool"] == [pool] and (found["choosing_images"], found["telling_images"]) == (99, 100)
    assert found["pool_images"] == (40 + 20 + 20 + 40) * 32 and found["heads"] == 4 + 3 + 2
    chosen = found["steps"][-1]["snapshots"][0]
    assert len(set(chosen)) == 3 and set(chosen) <= set(pool)
    for number, step in enumerate(found["steps"], 1):
        assert step["snapshots"][0] == chosen[:number]
        assert step["images"] == sum(32 * int(name.rsplit("_", 1)[1]) for name in chosen[:number])
    by, told = (found["steps"][0][key] for key in ("chosen_by", "acc1"))  # whole images of 99 and of 100
    assert (by * 99 / 100) % 1 == pytest.approx(0, abs=1e-6) and told % 1 == pytest.approx(0, abs=1e-6)
    assert list(found["cats"]) == ["cat1", "cat2", "wide"]
    assert "a choice costs the whole pool: 3,840 images of pretraining, and 9 ridge heads" in said
    assert f"chosen: {', '.join(chosen)}" in said


@pytest.mark.parametrize("part", ["saturation", "select"])
def test_a_data_set_that_is_not_there_is_told(study, capsys, part):
    assert main(["bottleneck", part, study[0], "--data", "digit"]) == 2
    assert "--data digit: no such probe in study s; there are digits" in capsys.readouterr().err
