"""BatchNorm's statistics belong to the averaged weights, on every rank."""

import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

from timecat.networks.batch_norm import average_over_ranks, keep_statistics, norms, part_of_step, recalibrate, update_at
from timecat.networks.resnet import resnet

STEPS = 300


@pytest.fixture(scope="module")
def trained(digits):
    """Two ResNets after the same steps, without a mend and with the third step; a low beta1 parts y and x."""
    from timecat.data.datamodule import ImageData  # here: the processes of another test need not wait for it
    from timecat.members.optim import ScheduleFreeAdamW

    data = ImageData(
        train="train.beton", root=str(digits), view="small", resolution=28, holdout=0.2, batch_size=64, padding=2
    )
    results = {}
    for mend in ("none", "third_step"):
        torch.manual_seed(0)
        network = resnet(10, 8, 10, zero_init_residual=True)
        optimizer = ScheduleFreeAdamW(network.parameters(), 0.03, betas=(0.5, 0.995), warmup_steps=5)
        optimizer.train()
        network.train()
        if mend == "third_step":
            keep_statistics(network)
        loader, step = data.train_loader(0), 0
        while step < STEPS:
            for images, labels, _ in loader:
                images = data.normalise(images)
                if mend == "third_step" and step % 3 == 0:
                    update_at(network, optimizer.averages(), images)
                loss = nn.functional.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
            loader.set_epoch(loader.epoch + 1)
        optimizer.eval()
        results[mend] = network.eval()
    return data, results


def accuracy(data, network):
    with torch.no_grad():
        hits = [(network(data.normalise(x)).argmax(1) == y).float() for x, y, _ in data.val_dataloader()]
    return float(torch.cat(hits).mean())


def test_validation_collapses_without_a_mend_and_holds_with_either(trained):
    data, networks = trained
    collapsed = accuracy(data, networks["none"])
    weights = {key: value.clone() for key, value in networks["none"].named_parameters()}
    recalibrated = copy.deepcopy(networks["none"])
    recalibrate(recalibrated, [data.normalise(images) for images, *_ in data.train_loader(0)])
    third = accuracy(data, networks["third_step"])
    print(f"no mend {collapsed:.3f}, recalibrated {accuracy(data, recalibrated):.3f}, third step {third:.3f}")
    assert collapsed < 0.7
    assert accuracy(data, recalibrated) > 0.93
    assert third > 0.93
    assert not recalibrated.training
    assert all(torch.equal(weights[key], value) for key, value in recalibrated.named_parameters())
    pairs = zip(networks["none"].parameters(), networks["third_step"].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "the mend changed the training"


def test_recalibrated_statistics_are_the_mean_over_the_batches():
    network = nn.Sequential(nn.BatchNorm2d(3))
    batches = [torch.randn(8, 3, 4, 4) * scale + scale for scale in (1.0, 2.0, 5.0)]
    network(batches[0] * 100)
    recalibrate(network, batches)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variance = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(network[0].running_mean, mean)
    torch.testing.assert_close(network[0].running_var, variance)
    assert network[0].momentum == 0.1


def test_the_parts_of_a_step_move_statistics_once_by_their_mean():
    norm = nn.BatchNorm2d(3)
    norm.running_mean += 7
    parts = [torch.randn(8, 3, 4, 4) * scale + scale for scale in (1.0, 2.0, 5.0)]
    for number, images in enumerate(parts):
        with part_of_step(norm, number, 3):
            norm(images).sum().backward()
    mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    variance = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    torch.testing.assert_close(norm.running_mean, 0.9 * 7 + 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * variance)
    assert (norm.momentum, int(norm.num_batches_tracked)) == (0.1, 1)


@pytest.mark.parametrize("ghosts", [None, 4])
def test_the_parts_of_a_step_share_one_compiled_graph(ghosts):
    from torch._dynamo.testing import CompileCounter

    network, counter = resnet(10, 8, 3, "small", ghost_batch_size=ghosts), CompileCounter()
    forward = torch.compile(network.forward, backend=counter)
    for number in range(6):
        with part_of_step(network, number % 3, 3):
            forward(torch.randn(8, 3, 8, 8)).sum().backward()
    assert counter.frame_count == 1


def on_a_rank(rank, world, folder):
    images = torch.from_numpy(np.random.default_rng(rank).normal(rank, 1 + rank, (8, 3, 32, 32))).float()
    torch.manual_seed(0)
    network = resnet(10, 8, 3)
    keep_statistics(network)
    alone = copy.deepcopy(network)
    update_at(alone, {}, images)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=world)
    update_at(network, {}, images)
    average_over_ranks(network)
    torch.distributed.destroy_process_group()
    found = {"group": network, "alone": alone}
    torch.save(
        {k: [(n.running_mean, n.running_var) for n in norms(v)] for k, v in found.items()}, f"{folder}/{rank}.pt"
    )


def test_all_ranks_end_with_the_mean_of_their_statistics(tmp_path):
    torch.multiprocessing.spawn(on_a_rank, (2, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for layer in range(len(ranks[0]["group"])):
        for kind in (0, 1):
            first, second = (rank["group"][layer][kind] for rank in ranks)
            alone = [rank["alone"][layer][kind] for rank in ranks]
            assert torch.equal(first, second)
            torch.testing.assert_close(first, (alone[0] + alone[1]) / 2)
            assert not torch.allclose(*alone)
