"""What a training step asks of the device: graphs of one size each, and no answer that the program waits for."""

import torch
from torch._dynamo.testing import CompileCounter

from benchmarks.gpu.waits import Waits
from timecat.members.member import Member
from timecat.members.metrics import ClassifierMetrics, GroupAccuracy

MODEL = {"depth": 10, "width": 8, "stem": "small", "num_classes": 10, "optimizer": "sgd"}


def test_each_size_of_training_has_a_graph_and_evaluation_has_none(monkeypatch):
    counter, make = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **settings: make(forward, backend=counter, **settings))
    torch.compiler.reset()
    member = Member(**MODEL, compile=True)
    for side in (8, 16, 24, 16, 8):
        member.train()(torch.randn(4, 3, side, side))
        with torch.no_grad():
            member.eval()(torch.randn(4, 3, 32, 32))
    assert counter.frame_count == 3


def test_batches_of_validation_are_counted_without_waiting():
    metrics, logits = ClassifierMetrics(10), -torch.arange(10.0).expand(4, 10)
    metrics.by_group = GroupAccuracy(3)
    with Waits() as answers:
        metrics.update(logits, torch.tensor([0, 4, 5, 9]), torch.tensor([0, 1, 1, 1]))
    assert answers.count == 0
    assert (metrics.acc1.compute(), metrics.acc5.compute()) == (0.25, 0.5)
    torch.testing.assert_close(metrics.by_group.compute(), torch.tensor([1, 0, torch.nan]), equal_nan=True)
    metrics.update(torch.full((4, 10), torch.nan), torch.tensor([0, 4, 5, 9]), torch.tensor([0, 1, 1, 1]))
    assert metrics.acc5.compute() == 0.25  # nothing is right by what is no number
