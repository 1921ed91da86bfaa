"""The optimisers are what their sources say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from timecat.config.member import MemberConfig
from timecat.errors import UserError
from timecat.members.optim import ScheduleFreeAdamW, make_optimizer, make_schedule
from timecat.networks.resnet import resnet

PAPER = {"lr": 0.0025, "momentum": 0.9, "beta2": 0.9955159689799007, "weight_decay": 0.08121616522670176}


def transcription(gradient, start, steps, *, lr, momentum, beta2, weight_decay, warmup, eps=1e-8):
    """Version 2's equations in float64, with x, y and z apart; yields (x, y) after each step."""
    x, z, v = start.copy(), start.copy(), np.zeros_like(start)
    sum_of_weights = 0.0
    for k in range(steps):
        y = (1 - momentum) * z + momentum * x
        g = gradient(y, k)
        rate = lr * min(1.0, (k + 1) / warmup)
        v = beta2 * v + (1 - beta2) * g * g
        step = rate * np.sqrt(1 - beta2 ** (k + 1))
        z = z - step * (g / (np.sqrt(v) + eps) + weight_decay * y)
        sum_of_weights += rate**2
        share = rate**2 / sum_of_weights
        x = (1 - share) * x + share * z
        yield x, (1 - momentum) * z + momentum * x


def test_schedule_free_is_version_2_of_the_algoperf_entry():
    """200 steps in float32 against the equations in float64: x and y agree to less than 1e-6 of their norm."""
    rng = np.random.default_rng(0)
    target, scales, noise = rng.normal(size=50), 10 ** rng.uniform(-5, 3, 50), rng.normal(size=(200, 50))

    def gradient(y, k):
        return scales * (y - target + 0.3 * noise[k])

    start = rng.normal(size=50)
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float32))
    layer = nn.Module()
    layer.weight = weight
    optimizer = make_optimizer(MemberConfig(warmup_steps=20, **PAPER), layer, lr=PAPER["lr"])
    assert isinstance(optimizer, ScheduleFreeAdamW)
    optimizer.train()
    for k, (x, y) in enumerate(transcription(gradient, start, 200, warmup=20, **PAPER)):
        weight.grad = torch.tensor(gradient(weight.detach().double().numpy(), k), dtype=torch.float32)
        optimizer.step()
        average = optimizer.averages()[weight].double().numpy()
        assert np.linalg.norm(average - x) < 1e-6 * np.linalg.norm(x), k
        assert np.linalg.norm(weight.detach().double().numpy() - y) < 1e-6 * np.linalg.norm(y), k
    optimizer.eval()
    assert torch.equal(weight.detach(), torch.tensor(average, dtype=torch.float32))
    assert np.linalg.norm(x - start) > 0.1 * np.linalg.norm(start)  # it went somewhere


def test_weight_decay_spares_batch_norm_where_asked():
    network = resnet(10, 8, 3)
    config = MemberConfig(optimizer="sgd", norm_weight_decay=0.0, **PAPER)
    optimizer = make_optimizer(config, network, lr=config.lr)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    spared = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert spared == {
        f"{name}.{part}"
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    (group,) = make_optimizer(replace(config, norm_weight_decay=None), network, lr=config.lr).param_groups
    assert group["weight_decay"] == PAPER["weight_decay"]


def rates(name, steps, warmup=0):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 2.0)
    config = MemberConfig(optimizer="sgd", schedule=name, steps=steps, warmup_steps=warmup, pct_start=0.3)
    schedule = make_schedule(config, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_schedules_are_those_of_their_recipes():
    assert rates("step", 9) == pytest.approx([2.0] * 3 + [0.2] * 3 + [0.02] * 3)
    assert rates("linear", 6, warmup=2) == pytest.approx([1.0, 2.0, 2.0, 1.5, 1.0, 0.5])
    assert rates("constant", 4, warmup=2) == pytest.approx([1.0, 2.0, 2.0, 2.0])
    assert rates("cosine", 4) == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5])
    with pytest.raises(UserError, match="warmup_steps"):
        rates("linear", 4, warmup=4)
