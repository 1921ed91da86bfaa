"""Heads trained together are what each would be alone, by SGD and at the optimum; and what they are worth."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from timecat.config.data import DataConfig
from timecat.config.member import MemberConfig
from timecat.errors import UserError
from timecat.extraction.matrix import FeatureMatrix
from timecat.heads import cpu_loop
from timecat.heads.lbfgs import Standardised, minimise
from timecat.heads.linear_probe import initial_weight, learning_rate
from timecat.heads.protocols import best
from timecat.heads.scores import interval, scores
from timecat.heads.sgd import Heads
from timecat.heads.sweep import columns, groups, head_bytes
from timecat.heads.update import compiled_update, update
from timecat.study.plan import Alike, Cat, MemberPlan, SeededCat, Snapshot

CPU = torch.device("cpu")


def alone(features, labels, *, classes, lr, decay, batches):
    """BatchNorm1d + Linear trained by torch's SGD on the given batches of rows."""
    norm, linear = nn.BatchNorm1d(features.shape[1]), nn.Linear(features.shape[1], classes)
    linear.weight.data = initial_weight(classes, features.shape[1], 5)
    linear.bias.data.zero_()
    groups = [{"params": norm.parameters()}, {"params": linear.parameters(), "weight_decay": decay}]
    optimizer = torch.optim.SGD(groups, lr, momentum=0.9, nesterov=True)
    for factor, rows in batches:
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        loss = nn.functional.cross_entropy(linear(norm(features[rows])), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    norm.eval()
    with torch.no_grad():
        return linear(norm(features))


@pytest.mark.parametrize("room", [1e9, 0.0], ids=["in memory", "from the file"])
@pytest.mark.parametrize("storage", [torch.float32, torch.bfloat16])
def test_heads_trained_together_equal_modules_trained_alone(storage, room):
    """Cats that share features, one of them in two pieces; each of its own learning rates and weight decays.

    On features stored in bfloat16 they are what float32 modules are on the same rounded numbers.
    """
    torch.manual_seed(0)
    stored, labels = (torch.rand(200, 12) * 3 + 1).to(storage), torch.randint(0, 4, (200,))
    matrix, features = FeatureMatrix([stored[:, :6], stored[:, 6:]], CPU, room), stored.float()
    cats = [[slice(0, 12)], [slice(0, 6)], [slice(8, 12), slice(2, 6)]]
    lrs = np.array([[0.05, 0.2, 0.05], [0.1, 0.1, 0.3], [0.05, 0.05, 0.1]])
    decays = np.array([[0.0, 1e-2, 0.3], [1e-3, 0.1, 0.0], [0.0, 1e-3, 1e-1]])
    heads = Heads(cats, lrs, decays, classes=4, seed=5, device=CPU)
    batches = [
        (learning_rate(1.0, epoch, 6), rows) for epoch in range(6) for rows in torch.randperm(200)[:150].split(50)
    ]
    for (factor, rows), values in zip(
        batches, matrix.batches(torch.cat([rows for _, rows in batches]), 50), strict=True
    ):
        heads.step(values, labels[rows], factor)
    (every,) = matrix.batches(torch.arange(200), 200)
    together = heads.logits(every)
    assert together.shape == (3, 3, 4, 200)
    for index, cat in enumerate(cats):
        own = torch.cat([features[:, part] for part in cat], 1)
        for cell in range(3):
            expected = alone(own, labels, classes=4, lr=lrs[index, cell], decay=decays[index, cell], batches=batches)
            torch.testing.assert_close(together[index, cell].T, expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0, 0], together[0, 2], rtol=0.01)


def snapshot(number, **model):
    return Snapshot(
        MemberPlan(number, f"member_{number}", number, MemberConfig(**model), DataConfig("train.beton"), (10,)), 10
    )


def cat(*snapshots):
    return SeededCat(Cat(f"cat{len(snapshots)}", (Alike(len(snapshots), 10),), 0), 0, snapshots)


def test_columns_hold_each_member_once():
    """A cat that is part of another one costs no column; members in any order are few slices."""
    a, b, c, d = (snapshot(i, depth=10, width=8) for i in range(4))
    snapshots, slices = columns([cat(a), cat(a, b, c), cat(c, d, a)])
    assert snapshots == [a, b, c, d]
    assert slices == [[slice(0, 64)], [slice(0, 192)], [slice(128, 256), slice(0, 64)]]


def test_heads_are_shared_out_on_passes_by_memory():
    members = [snapshot(i, depth=50) for i in range(5)]
    cats = [cat(*members[:n]) for n in (5, 4, 2, 1)]
    grid = [(0.01, decay) for decay in (1e-6, 1e-5, 1e-4)]
    passes = groups(cats, grid, 8142, 8.0)
    for group in passes:
        assert sum(head_bytes(cat.features, 8142) for cat in group.cats) * len(group.grid) <= 8e9
    heads = [(cat.name, setting) for group in passes for cat in group.cats for setting in group.grid]
    assert len(heads) == len(set(heads)) == 12
    assert [len(group.cats) for group in passes] == [2, 2]
    assert len(groups(cats, grid, 8142, 100.0)) == 1
    two = groups(cats[:1], grid, 8142, 3.0)  # two heads of the largest cat, then the third
    assert [group.grid for group in two] == [tuple(grid[:2]), tuple(grid[2:])]
    with pytest.raises(UserError, match=r"one head of cat5_0 .* probe\.memory_gb is 1; raise it"):
        groups(cats, grid, 8142, 1.0)


@pytest.mark.parametrize("room", [1e9, 0.0], ids=["in memory", "from the file"])
def test_the_optimum_is_that_of_scikit_learn(room):
    """The same objective and predictions as LogisticRegression on the same standardised features, for each C."""
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images.astype(np.float32))
    train, test = np.arange(0, 1200), np.arange(1200, 1797)
    matrix = FeatureMatrix([images[:, 40:], images[:, :40]], CPU, room)
    data = Standardised(matrix, [slice(24, 64), slice(0, 24)], torch.from_numpy(train))  # the order of the pixels
    scaler = StandardScaler().fit(images[train].numpy())
    kept = images[train].numpy().var(0) > 0  # a constant pixel has no scale
    optimum = None
    for decay in (1e-1, 1e-3):
        optimum = minimise(data, torch.from_numpy(labels[train]), 10, decay, optimum)
        theirs = LogisticRegression(C=1 / (decay * len(train)), tol=1e-6, max_iter=2000)
        theirs.fit(scaler.transform(images[train].numpy())[:, kept], labels[train])
        assert optimum.slope < 1e-4
        both = [
            (data.logits(optimum)(next(matrix.batches(torch.from_numpy(test), 800)))[0, 0].argmax(0).numpy()),
            theirs.predict(scaler.transform(images[test].numpy())[:, kept]),
        ]
        ours, others = (100 * float((found == labels[test]).mean()) for found in both)
        assert abs(ours - others) <= 0.3, (decay, ours, others)
        assert (both[0] == both[1]).mean() > 0.99
        torch.testing.assert_close(
            optimum.weight[:, torch.from_numpy(kept)], torch.from_numpy(theirs.coef_).float(), atol=0.02, rtol=0.02
        )


def test_scores_count_by_hand():
    labels = np.array([0, 0, 0, 0, 1, 1, 3])
    predicted = np.array([0, 0, 0, 1, 1, 0, 3])
    found = scores(predicted, predicted == labels, labels, 4)
    assert found["acc1"] == found["acc5"] == pytest.approx(500 / 7)
    assert found["per_class"] == [75.0, 50.0, None, 100.0]  # class 2 has no image, and counts nowhere
    assert found["mean_per_class"] == 75.0
    assert found["worst_class"] == {"class": 1, "acc1": 50.0}


def test_intervals_are_those_of_resampled_images():
    """Against a bootstrap that draws images one by one; pairing makes a difference's interval narrow."""
    rng = np.random.default_rng(1)
    base = (rng.random(500) < 0.8).astype(float)
    better = np.maximum(base, rng.random(500) < 0.2)
    for values in (base, better - base, (base + better) / 2):
        drawn = [100 * values[rng.integers(0, 500, 500)].mean() for _ in range(4000)]
        assert interval(values) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.35)
    low, high = interval(better - base)
    apart = interval(better)[1] - interval(base)[0]
    assert 0 < low < high < low + apart / 2
    assert interval(np.ones(9)) == (100.0, 100.0)


def test_of_equal_heads_the_later_epoch_and_the_stronger_decay_is_chosen():
    nan = np.nan
    assert best(np.array([[1.0, 5.0, 5.0], [5.0, 4.0, 5.0], [nan, nan, nan]]), "cat1_0") == (1, 2)
    with pytest.raises(UserError, match="every head of cat1_0 diverged"):
        best(np.full((2, 3), nan), "cat1_0")


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_normalised_as_torch_does(threads, monkeypatch):
    """Against float64, also where the mean is large; and the running statistics."""
    torch.manual_seed(0)
    features = torch.randn(50, 1300) * torch.rand(1300) * 5 + torch.linspace(-1000, 1000, 1300)
    mean, variance = torch.randn(1300), torch.rand(1300)
    exact = [mean.double(), variance.double()]
    expected = nn.functional.batch_norm(features.double(), *exact, training=True)
    monkeypatch.setattr(cpu_loop, "BY_THREADS", 0 if threads > 1 else 1 << 21)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = cpu_loop.normalise(features.clone(), mean, variance)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((mean.double(), variance.double()), tuple(exact), rtol=1e-5, atol=1e-5)


def plain_step(cats, weight, velocity, gradient, bias, affine, rates, decays, factor):
    """The update of each cat by torch.optim.SGD, and the affine part's gradient, in float64."""
    start, of_affine = 0, torch.zeros_like(affine)
    for index, width in enumerate(cats):
        own = slice(start, start + width)
        for head in range(len(weight)):
            w = nn.Parameter(weight[head, :, own].clone())
            rate, decay = float(rates[index, head]) * factor, float(decays[index, head])
            sgd = torch.optim.SGD([w], rate, momentum=0.9, nesterov=True, weight_decay=decay)
            sgd.state[w]["momentum_buffer"] = velocity[head, :, own].clone()
            w.grad = gradient[head, :, own] * affine[0, head, :, own] + bias[index, head] * affine[1, head, :, own]
            of_affine[0, head, 0, own] = (gradient[head, :, own] * w.detach()).sum(0)
            of_affine[1, head, 0, own] = (bias[index, head] * w.detach()).sum(0)
            sgd.step()
            weight[head, :, own], velocity[head, :, own] = w.detach(), sgd.state[w]["momentum_buffer"]
        start += width
    return of_affine


@pytest.mark.parametrize("way", ["loop", "loop of threads", "operations", "compiled", "cannot compile"])
def test_every_way_to_update_heads_is_that_of_torch_sgd(way, monkeypatch, capsys):
    """To float32's rounding, against float64; threads change no bit of it."""

    def broken(*given):
        raise RuntimeError("no C compiler")

    widths, classes = [300, 7], 5
    torch.manual_seed(0)
    tensors = [torch.randn(3, classes, 307) for _ in range(3)]
    bias, affine = torch.randn(2, 3, classes, 1), torch.randn(2, 3, 1, 307)
    rates, decays = torch.rand(2, 3), torch.rand(2, 3) / 10
    weight, velocity, gradient = (tensor.clone() for tensor in tensors)
    of_affine = torch.empty_like(affine)
    if way.startswith("loop"):
        assert cpu_loop.HAS_LOOP
        given = bias, affine, of_affine, rates, decays, 0.1, widths
        cpu_loop.update_all(weight, velocity, gradient, *given)
        if "threads" in way:
            before = weight.clone(), velocity.clone(), of_affine.clone()
            weight, velocity, gradient = (tensor.clone() for tensor in tensors)
            monkeypatch.setattr(cpu_loop, "BY_THREADS", 0)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
            cpu_loop.update_all(weight, velocity, gradient, *given)
            assert all(map(torch.equal, before, (weight, velocity, of_affine)))
    else:
        backend = {"compiled": "aot_eager", "cannot compile": broken}.get(way)
        step = compiled_update(backend) if backend else update
        for index, (own, rate) in enumerate(zip((slice(0, 300), slice(300, 307)), rates * -0.1, strict=True)):
            views = (tensor[..., own] for tensor in (weight, velocity, gradient))
            settings = rate[:, None, None], decays[index, :, None, None]
            of_affine[..., own] = step(*views, bias[index], affine[..., own], *settings)
        assert ("torch.compile failed" in capsys.readouterr().out) == (way == "cannot compile")
    exact = [tensor.double() for tensor in (*tensors, bias, affine)]
    of_exact = plain_step(widths, *exact, rates, decays, 0.1)
    for found, expected in ((weight, exact[0]), (velocity, exact[1]), (of_affine, of_exact)):
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert not torch.equal(weight, tensors[0])
