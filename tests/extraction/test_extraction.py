"""What extraction is made of: folded BatchNorms, a writer, loaders one ahead, and what numbers it computes in."""

import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from timecat.config.probe import ProbeConfig
from timecat.errors import UserError
from timecat.extraction.ahead import one_ahead
from timecat.extraction.compiled import compiled
from timecat.extraction.file import FeatureFile
from timecat.extraction.matrix import FeatureMatrix
from timecat.extraction.precision import float32_products, may_be_tf32, resolved
from timecat.extraction.writer import Writer
from timecat.networks.folded import folded
from timecat.networks.resnet import resnet


@pytest.mark.parametrize(
    ("depth", "stem", "blurpool"), [(10, "small", False), (18, "imagenet", True), (50, "imagenet", False)]
)
def test_folded_batch_norms_give_the_same_features(depth, stem, blurpool):
    """Within 1e-5 of the largest in float32, with statistics and affine parts as of a trained network."""
    torch.manual_seed(0)
    network = resnet(depth, 16, 10, stem, blurpool=blurpool)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.3, 3)
            torch.nn.init.uniform_(module.weight, -0.5, 1.5)
            torch.nn.init.normal_(module.bias)
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    quick = folded(network)
    expected, found = network.features(images), quick.features(images)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5
    assert not torch.equal(found, expected)  # so the features' key tells it
    left = [module for module in quick.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not left and any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.fixture
def array(tmp_path) -> FeatureFile:
    file = FeatureFile(tmp_path / "a.npy", {"of": "this"}, 40, 3, "float32", 10)
    file.begin()
    return file


def test_shards_are_on_the_disk_after_the_writer(array):
    shards = torch.arange(120.0).reshape(4, 10, 3)
    with Writer(2) as writer:
        for number, features in enumerate(shards):
            writer.put(array, number, features)
    assert array.missing() == []
    array.finish()
    assert torch.equal(array.load(), shards.reshape(40, 3))


def test_a_shard_that_cannot_be_written_ends_the_work_with_its_own_error(array, monkeypatch):
    import os

    def full(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"), Writer(1) as writer:
        monkeypatch.setattr(os, "fsync", full)
        for number in range(4):
            writer.put(array, number, torch.zeros(10, 3))
            writer._waiting[-1].exception(10)  # it has failed
    assert writer._thread._shutdown
    assert array.missing() == [0, 1, 2, 3]  # bytes that may be there, but no line that says so


def test_an_interrupted_writer_leaves_whole_shards_only(array, monkeypatch):
    """What is being written is finished, what waits is dropped, and no thread is left."""
    held, begun, write = threading.Event(), threading.Event(), FeatureFile.write

    def slow(self, shard, features):
        begun.set()
        held.wait(10)
        write(self, shard, features)

    monkeypatch.setattr(FeatureFile, "write", slow)
    with pytest.raises(KeyboardInterrupt), Writer(4) as writer:
        for number in range(3):
            writer.put(array, number, torch.ones(10, 3))
        begun.wait(10)
        threading.Timer(0.2, held.set).start()
        raise KeyboardInterrupt
    assert array.missing() == [1, 2, 3]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("writer")]


class Loader:
    """As much of a BetonLoader as is asked."""

    def __init__(self, number, begun):
        self.number, self.begun, self.closed = number, begun, False

    def __iter__(self):
        self.begun.append(self.number)
        yield from ((self.number, batch) for batch in range(3))

    def close(self):
        self.closed = True


def test_the_next_loader_has_begun_before_one_ends():
    begun, seen = [], []
    loaders = [Loader(number, begun) for number in range(3)]
    every = one_ahead(loaders)
    for number, batches in enumerate(every):
        for batch in batches:
            seen.append(batch)
        while number < 2 and len(begun) < number + 2:  # a thread begins it
            pass
    assert seen == [(number, batch) for number in range(3) for batch in range(3)]
    begun.clear()
    every = one_ahead(loaders)
    next(every)
    every.close()
    assert all(loader.closed for loader in loaders) and 2 not in begun


def test_float32_means_what_is_asked_and_is_afterwards_as_before():
    def now():
        return (
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
            torch.get_float32_matmul_precision(),
        )

    before = now()
    try:
        torch.set_float32_matmul_precision("medium")
        for tf32 in (False, True):
            with float32_products(tf32=tf32):
                assert now() == (tf32, tf32, "high" if tf32 else "highest")
        with pytest.raises(ValueError), float32_products(tf32=False):
            raise ValueError
        assert now() == (True, True, "medium")
        assert float32_products(tf32=False)(now)()[:2] == (False, False)
    finally:
        torch.set_float32_matmul_precision(before[2])


def test_what_auto_is_here():
    config = ProbeConfig()
    here = resolved(config, ["cpu"])
    assert (here.precision, here.compile, may_be_tf32(here)) == ("float32", False, False)
    assert resolved(replace(config, compile=True), ["cpu"]).compile
    assert resolved(replace(config, precision="bfloat16"), ["cpu"]).precision == "bfloat16"
    with pytest.raises(UserError, match=r"probe\.precision tf32: only CUDA"):
        resolved(replace(config, precision="tf32"), ["cpu"])


def test_auto_on_a_device_that_computes_in_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    there = resolved(ProbeConfig(), ["cuda:0", "cuda:1"])
    assert (there.precision, there.compile, may_be_tf32(there)) == ("bfloat16", True, True)
    exact = resolved(ProbeConfig(precision="float32"), ["cuda:0"])
    assert (exact.precision, exact.compile, may_be_tf32(exact)) == ("float32", False, False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert resolved(ProbeConfig(), ["cuda:0"]).precision == "float32"


def test_what_cannot_be_compiled_is_run_as_it_stands(capsys):
    def broken(*given):
        raise RuntimeError("no C compiler")

    double = compiled(lambda x: 2 * x, "features", backend=broken)
    for _ in range(2):
        assert torch.equal(double(torch.ones(3)), torch.full((3,), 2.0))
    assert capsys.readouterr().out.count("features: torch.compile failed") == 1


def test_rows_are_read_ahead_pool_by_pool_in_the_order_of_the_file(monkeypatch):
    """Each row once, before a batch needs it, and no more than one pool beyond."""
    import timecat.extraction.matrix as module

    monkeypatch.setattr(module, "POOL", 100)
    features = torch.rand(1000, 8)
    matrix = FeatureMatrix([features[:, :3], features[:, 3:]], torch.device("cpu"), 0)
    read, used, original = [], 0, FeatureMatrix.read_ahead

    def read_ahead(self, rows):
        original(self, rows)
        read.append(rows)

    monkeypatch.setattr(FeatureMatrix, "read_ahead", read_ahead)
    order = torch.randperm(1000)
    with closing(matrix.batches(order, 30)) as batches:  # left early, it does not wait for what it would read
        next(batches)
        ends = time.monotonic() + 10
        while len(read) < 2 and time.monotonic() < ends:
            time.sleep(0.01)
        assert len(read) == 2  # the next pool, of which no batch was asked yet
    read.clear()
    for values in matrix.batches(order, 30):
        used += len(values)
        assert torch.equal(values, features[order[used - len(values) : used]])
        assert used <= 100 * len(read) <= used + 30 * 4 + 200
    assert torch.equal(torch.cat(read), order)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tf32_is_coarser_than_ieee_on_a_gpu():
    a, b = torch.randn(2, 512, 512, dtype=torch.float64)
    errors = {}
    for tf32 in (False, True):
        with float32_products(tf32=tf32):
            image = torch.nn.functional.conv2d(a[None, None].float().cuda(), b[None, None, :31, :31].float().cuda())
            product = a.float().cuda() @ b.float().cuda()
        exact = torch.nn.functional.conv2d(a[None, None], b[None, None, :31, :31])
        errors[tf32] = [float((product.cpu() - a @ b).abs().max()), float((image.cpu() - exact).abs().max())]
    assert max(errors[False]) < 1e-3 < min(errors[True]) < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_of_heads_do_not_wait_for_a_gpu():
    """Nor do batches of features that lie there."""
    from timecat.heads.sgd import Heads

    device = torch.device("cuda")
    matrix = FeatureMatrix([torch.rand(1000, 32)], device, 1e9)
    heads = Heads([[slice(0, 32)]], np.full((1, 2), 0.1), np.full((1, 2), 1e-3), classes=5, seed=0, device=device)
    labels = torch.randint(0, 5, (1000,), device=device).split(100)
    batches = matrix.batches(torch.randperm(1000), 100)
    heads.step(next(batches), labels[0], 1.0)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        for of_batch, features in zip(labels[1:], batches, strict=True):
            heads.step(features, of_batch, 1.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
