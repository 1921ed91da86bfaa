"""What must hold on a device: each check fails on a difference, and on NaN."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from benchmarks.gpu.failure import failure
from benchmarks.gpu.step import bare_step
from benchmarks.gpu.waits import no_waiting
from benchmarks.rounds import synchronize
from tests.support.processes import StopAfter
from tests.support.small_study import ONE_CYCLE, SCHEDULE_FREE, write_study
from timecat.cli import main
from timecat.config.member import MemberConfig
from timecat.data.write.write import write
from timecat.extraction.precision import float32_products
from timecat.heads.linear_probe import MOMENTUM, initial_weight
from timecat.heads.sgd import Heads
from timecat.members.checkpoint import Stopped
from timecat.members.optim import ScheduleFreeAdamW, make_optimizer
from timecat.members.train import train_member
from timecat.members.trainer import StudyCLI
from timecat.networks.batch_norm import average_over_ranks
from timecat.networks.resnet import channels_last, resnet
from timecat.study.study import Study

Check = Callable[[torch.device, Path], None]


def network_of(device: torch.device, dtype: torch.dtype = torch.float32, **more: Any) -> nn.Module:
    """A ResNet10 whose weights and statistics are the same on every device."""
    torch.manual_seed(0)
    network = resnet(10, 16, 10, "small", **more)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)  # pyright: ignore[reportOptionalMemberAccess]
    channels_last(network)
    return network.to(device, dtype)


def images_of(count: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 32, 32) and labels of ten classes, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 32, 32, generator=generator).to(memory_format=torch.channels_last)
    return images.to(device), torch.randint(10, (count,), generator=generator).to(device)


def features_agree_with_float64(device: torch.device, folder: Path) -> None:
    """Float32 within 1e-5 of the largest feature, TF32 within 5e-3, bfloat16 within 5e-2."""
    images, _ = images_of(64, device)
    network = network_of(device).eval()
    with torch.inference_mode():
        expected = network_of(torch.device("cpu"), torch.float64).eval().features(images.cpu().double())
        for name, most, half in (("float32", 1e-5, False), ("tf32", 5e-3, False), ("bfloat16", 5e-2, True)):
            with float32_products(tf32=name == "tf32"), torch.autocast(device.type, torch.bfloat16, enabled=half):
                found = network.features(images)
            error = float((found.cpu().double() - expected).abs().max() / expected.abs().max())
            assert error <= most, f"{name}: {error:.2g}"


def heads_agree_with_autograd(device: torch.device, folder: Path) -> None:
    """50 steps of two heads against BatchNorm1d + Linear in float64 on the CPU."""
    features = torch.randn(50, 32, 48, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(7, (50, 32), generator=torch.Generator().manual_seed(1))
    decays = np.array([[1e-3, 1e-1]])
    heads = Heads([[slice(0, 48)]], np.full((1, 2), 0.05), decays, classes=7, seed=0, device=device)
    with float32_products(tf32=False):
        for batch, truth in zip(features.to(device, copy=True), labels.to(device), strict=True):
            heads.step(batch, truth, 1.0)
    for setting, decay in enumerate(decays[0]):
        norm, linear = nn.BatchNorm1d(48).double(), nn.Linear(48, 7).double()
        linear.weight.data.copy_(initial_weight(7, 48, 0))
        linear.bias.data.zero_()
        groups = [{"params": norm.parameters()}, {"params": linear.parameters(), "weight_decay": decay}]
        optimizer = torch.optim.SGD(groups, 0.05, momentum=MOMENTUM, nesterov=True)
        for batch, truth in zip(features.double(), labels, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(linear(norm(batch)), truth).backward()
            optimizer.step()
        found = heads.weight[setting].cpu().double()
        assert_close(found, linear.weight.detach(), rtol=1e-3, atol=1e-4)


def fit(folder: Path, name: str, device: torch.device, model: dict[str, Any], steps: int, *options: str) -> Path:
    """Train one member on the digits; its directory."""
    digits = folder / "digits"
    if not digits.exists():
        write("digits", digits, progress=False)
    cats = {"cat1": {"members": 1, "steps": steps}}
    config = write_study(folder / f"{name}.yaml", {"root": str(digits)}, model, cats)
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    status = main(["fit", "--config", config, "--trainer.accelerator", accelerator, *options])
    assert status == 0, f"fit ended with {status}"
    return next((folder / "runs" / name).glob("member_0*"))


def a_stopped_member_goes_on(device: torch.device, folder: Path) -> None:
    """20 + 20 steps against 40: the same bits."""
    options = ["--trainer.deterministic", "true"]
    whole = fit(folder, "whole", device, ONE_CYCLE, 40, *options)
    config = write_study(
        folder / "halves.yaml", {"root": str(folder / "digits")}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 40}}
    )
    study = Study.read(
        [config], {"trainer.accelerator": "gpu" if device.type == "cuda" else "cpu", "trainer.deterministic": True}
    )
    try:
        train_member(study, study.member(0), StudyCLI(study), StopAfter(20))
        raise AssertionError("it did not stop")
    except Stopped:
        pass
    halves = fit(folder, "halves", device, ONE_CYCLE, 40, *options)
    first, second = (torch.load(path / "snapshot_40.pt", weights_only=True) for path in (whole, halves))
    assert_close(second, first, rtol=0, atol=0)


def a_step_may_be_accumulated(device: torch.device, folder: Path) -> None:
    """12 steps of 64 images: at once as ghost batches of 32, and as two batches of 32."""
    options = ["--data.batch_size", "64", "--trainer.precision", "64-true"]
    at_once = fit(folder, "ghosts", device, SCHEDULE_FREE, 12, *options, "--model.ghost_batch_size", "32")
    parts = fit(folder, "parts", device, SCHEDULE_FREE, 12, *options, "--data.device_batch_size", "32")
    first, second = (torch.load(path / "snapshot_12.pt", weights_only=True) for path in (at_once, parts))
    assert_close(second, first, rtol=1e-6, atol=1e-8)


def compilation_changes_nothing(device: torch.device, folder: Path) -> None:
    """Loss and gradients of a compiled forward pass in float32."""
    images, labels = images_of(32, device)
    found = []
    for compiled in (False, True):
        network = network_of(device).train()
        forward = torch.compile(network.forward, dynamic=False) if compiled else network.forward
        with float32_products(tf32=False):
            loss = nn.functional.cross_entropy(forward(images), labels)
            loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in network.parameters())])
    torch.compiler.reset()
    for ours, plain in zip(*reversed(found), strict=True):
        assert float((ours - plain).norm() / plain.norm()) < 1e-2


def one_process_is_a_group(device: torch.device, folder: Path) -> None:
    """DDP, averaged and, on CUDA, synchronised BatchNorm in a group of one process change nothing."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{folder}/one", rank=0, world_size=1)
    try:
        images, labels = images_of(32, device)
        found = []
        for way in ("alone", "group", *(["synchronised"] if device.type == "cuda" else [])):
            network: nn.Module = network_of(device).train()
            inner = network
            if way == "synchronised":
                inner = network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
            if way != "alone":
                network = DistributedDataParallel(network, broadcast_buffers=False)
            nn.functional.cross_entropy(network(images), labels).backward()
            average_over_ranks(inner)
            found.append({name: value.clone() for name, value in inner.state_dict().items()})
            found[-1] |= {f"{name}.grad": each.grad for name, each in inner.named_parameters()}
        for other in found[1:]:
            assert_close(other, found[0], rtol=1e-3, atol=1e-4)
    finally:
        dist.destroy_process_group()


def on_a_rank(rank: int, folder: str, kind: str) -> None:
    """Three steps on half of the images."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    device = torch.device(kind)
    dist.init_process_group("gloo", init_method=f"file://{folder}/two", rank=rank, world_size=2)
    network = network_of(device, torch.float64).train()
    parallel = DistributedDataParallel(network, broadcast_buffers=False)
    train(parallel, device, slice(32 * rank, 32 * rank + 32))
    average_over_ranks(network)
    torch.save({name: value.cpu() for name, value in network.state_dict().items()}, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def train(network: nn.Module, device: torch.device, rows: slice) -> None:
    """Three steps of SGD on these rows of 64 images."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for number in range(3):
        images, labels = images_of(64, device, number)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[rows].double()), labels[rows]).backward()
        optimizer.step()


def two_ranks_share_a_device(device: torch.device, folder: Path) -> None:
    """Two processes over gloo, each with half of every batch, against one with ghost batches, in float64."""
    torch.multiprocessing.spawn(on_a_rank, (str(folder), device.type), nprocs=2)
    network = network_of(device, torch.float64, ghost_batch_size=32).train()
    train(network, device, slice(None))
    expected = {name: value.cpu() for name, value in network.state_dict().items()}
    for rank in (0, 1):
        assert_close(torch.load(folder / f"rank{rank}.pt"), expected, rtol=1e-6, atol=1e-8)


def steps_do_not_wait(device: torch.device, folder: Path) -> None:
    """Neither a member's step by schedule-free nor the heads'."""
    network = network_of(device).train()
    optimizer = make_optimizer(MemberConfig(depth=10, width=16, num_classes=10), network, lr=1e-3)
    assert isinstance(optimizer, ScheduleFreeAdamW)
    optimizer.train()
    images, labels = images_of(32, device)
    step, _ = bare_step(device, images, labels, network, optimizer, third_step=True)
    heads = Heads([[slice(0, 48)]], np.full((1, 2), 0.05), np.full((1, 2), 1e-3), classes=10, seed=0, device=device)
    features = torch.randn(32, 48, device=device)
    for warm in (True, False):
        if warm:
            step(), heads.step(features, labels, 1.0)
            continue
        with no_waiting(device):
            for _ in range(3):
                step()
                heads.step(features, labels, 1.0)
    assert torch.isfinite(step())


def schedule_free_is_the_cpus(device: torch.device, folder: Path) -> None:
    """50 steps on the same gradients."""
    found = []
    for place in (device, torch.device("cpu")):
        parameter = nn.Parameter(torch.linspace(-1, 1, 1000).to(place))
        optimizer = ScheduleFreeAdamW([parameter], 0.01, betas=(0.9, 0.999), warmup_steps=5, foreach=True)
        optimizer.train()
        for number in range(50):
            parameter.grad = torch.sin(parameter.detach() * (1 + number % 3))
            optimizer.step()
        optimizer.eval()
        found.append(parameter.detach().cpu())
    assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def memory_stays_flat(device: torch.device, folder: Path) -> None:
    """200 steps allocate nothing that 50 did not."""
    network = network_of(device).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    step, _ = bare_step(device, *images_of(32, device), network, optimizer)

    def allocated() -> int:
        synchronize(device)
        if device.type == "cuda":
            return torch.cuda.memory_allocated(device)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    sizes = []
    for number in range(200):
        step()
        if number in (49, 199):
            sizes.append(allocated())
    assert sizes[1] - sizes[0] < 32e6, f"{(sizes[1] - sizes[0]) / 1e6:.0f} MB more"


def tests_marked_gpu_pass(device: torch.device, folder: Path) -> None:
    """`pytest -m gpu`; on a CPU they are skipped."""
    root = Path(__file__).parents[2]
    marked = [str(path) for path in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *marked]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-1500:] + ended.stderr[-1500:]


CHECKS: tuple[Check, ...] = (
    features_agree_with_float64,
    heads_agree_with_autograd,
    schedule_free_is_the_cpus,
    steps_do_not_wait,
    memory_stays_flat,
    compilation_changes_nothing,
    one_process_is_a_group,
    two_ranks_share_a_device,
    a_stopped_member_goes_on,
    a_step_may_be_accumulated,
    tests_marked_gpu_pass,
)


def checks(device: torch.device, small: bool) -> dict[str, Any]:
    """Each check: ok, or what failed; and its seconds."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for check in CHECKS:
            start = time.perf_counter()
            try:
                check(device, Path(name))
                what = {"found": "ok", "seconds": time.perf_counter() - start}
            except Exception as error:
                what = failure(error, time.perf_counter() - start)
            found[check.__name__.replace("_", " ")] = what
    return found
