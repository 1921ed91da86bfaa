"""A request to stop ends work wherever it is, and nothing on the way takes it for a fault of its own."""

import os
import signal

import pytest
import torch

from timecat.cluster.stop import Stopped, stop_on_signal
from timecat.networks.weights import read_weights


def test_a_signal_that_comes_while_weights_are_read_is_no_fault_of_the_file(monkeypatch, tmp_path):
    path = tmp_path / "snapshot_8.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with stop_on_signal() as stop, pytest.raises(Stopped), stop.at_once():
        read_weights(path)
    assert stop.level == 2
