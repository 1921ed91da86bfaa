"""A training step: a bare loop by optimiser, third step, compilation and precision; with our loader; and `timecat fit`.

The rivals of `timecat fit` are those of benchmarks.step. All train on JPEGs of 500 x 375 pixels made here; a network of
ResNet50's size at 224 pixels, or a small one at 32.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.failure import failure
from benchmarks.photos import write_photos
from benchmarks.rounds import forget_peak, in_turns, peak_gigabytes, seconds, synchronize, timing
from benchmarks.step import fit_seconds, loop_seconds
from timecat.config.member import MemberConfig
from timecat.data.write.write import write
from timecat.members.optim import ScheduleFreeAdamW, make_optimizer
from timecat.members.trainer import StudyCLI
from timecat.networks.batch_norm import update_at
from timecat.networks.resnet import channels_last, resnet
from timecat.packaged import packaged
from timecat.study.plan import MemberPlan
from timecat.study.study import Study

Step = Callable[[], Tensor]
BF16 = torch.bfloat16
WAYS: dict[str, dict[str, Any]] = {
    "fused AdamW, bf16": {"optimizer": "adamw"},
    "SGD, bf16": {"optimizer": "sgd"},
    "schedule-free, bf16": {},
    "schedule-free, bf16, third step": {"third_step": True},
    "schedule-free, bf16, compiled": {"compiled": True},
    "schedule-free, bf16, third step, compiled": {"third_step": True, "compiled": True},
    "schedule-free, fp16": {"dtype": torch.float16},
    "schedule-free, TF32": {"dtype": torch.float32},
}


def bare_step(
    device: torch.device,
    images: Tensor,
    labels: Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    third_step: bool = False,
    compiled: bool = False,
    dtype: torch.dtype = BF16,
) -> tuple[Step, Step]:
    """One step on a batch that stays on the device, and its optimiser's share alone."""
    forward = torch.compile(network.forward, dynamic=False) if compiled else network.forward
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    number = 0

    def step() -> Tensor:
        nonlocal number
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            if third_step and number % 3 == 0 and isinstance(optimizer, ScheduleFreeAdamW):
                update_at(network, optimizer.averages(), images)
            loss = nn.functional.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        number += 1
        return loss

    def update() -> Tensor:
        optimizer.step()
        return labels

    return step, update


def bare_loops(device: torch.device, small: bool, batch: int) -> dict[str, Any]:
    """Each of WAYS: images/s, ms of a step and of its optimiser, peak GB; or why one failed, as without a compiler."""
    found = {}
    for name, way in WAYS.items():
        if device.type == "cpu" and (way.get("dtype") == torch.float16 or way.get("compiled")) and not small:
            continue
        try:
            found[name] = bare_loop(device, small, batch, **way)
        except Exception as error:
            found[name] = failure(error)
        torch.compiler.reset()
    return found


def bare_loop(
    device: torch.device, small: bool, batch: int, optimizer: str = "schedule_free_adamw", **options: Any
) -> dict[str, Any]:
    """One of WAYS."""
    depth, width, side, classes = (10, 8, 32, 10) if small else (50, 64, 224, 1000)
    torch.manual_seed(0)
    network = resnet(depth, width, classes, "small" if small else "imagenet")
    channels_last(network)
    network.to(device).train()
    if optimizer == "adamw":
        made: torch.optim.Optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    elif optimizer == "sgd":
        made = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, fused=True)
    else:
        config = MemberConfig(depth=depth, width=width, num_classes=classes, optimizer="schedule_free_adamw")
        made = make_optimizer(config, network, lr=1e-3)
        assert isinstance(made, ScheduleFreeAdamW)
        made.train()
    images = torch.randn(batch, 3, side, side, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,), device=device)
    forget_peak(device)
    step, update = bare_step(device, images, labels, network, made, **options)
    times, rounds = (3, 2) if small else (10, 3)
    found: dict[str, Any] = {
        "ms": timing([1e3 * seconds(step, device, times, 3 if r == 0 else 0) for r in range(rounds)]),
        "optimiser ms": timing([1e3 * seconds(update, device, times) for _ in range(rounds)]),
        "peak GB": peak_gigabytes(device),
    }
    assert torch.isfinite(step()), "the loss is not finite"
    return found | {"images/s": 1e3 * batch / found["ms"]["median"]}


def fit_against_loops(device: torch.device, small: bool, batch: int) -> dict[str, Any]:
    """`timecat fit`, the bare loop on our loader, and on one resident batch: images/s, and the two ratios of times."""
    config = str(packaged("configs/demo.yaml" if small else "configs/cat5.yaml"))
    steps, warmup, rounds = (24, 8, 2) if small else (60, 20, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", 4 * batch if small else 8192)
        photos = write(str(folder / "photos"), folder / "written", progress=False)[0]
        overrides = {
            "data.train": str(photos),
            "data.train_images": None,
            "data.val": None,
            "data.batch_size": batch,
            "trainer.accelerator": "gpu" if device.type == "cuda" else "cpu",
            "trainer.devices": 1,
            "study.unequal_because": "a benchmark",
        }
        study = Study.read([config], overrides)
        first = study.members[0]
        plan = MemberPlan(0, "bench", 0, replace(first.model, steps=steps), first.data, (steps,))
        cli = StudyCLI(study)
        ways = {
            "timecat fit": lambda: fit_seconds(cli, study, plan, folder, warmup),
            "bare loop": lambda: loop_seconds(cli, plan, warmup, resident=False),
            "resident batch": lambda: loop_seconds(cli, plan, warmup, resident=True),
        }
        found = in_turns(ways, rounds)
    synchronize(device)
    counted = batch * (steps - warmup)
    rates = {f"{name} images/s": timing([counted / value for value in values]) for name, values in found.items()}
    pairs = (("timecat fit", "bare loop"), ("bare loop", "resident batch"))
    ratios = {f"{a} / {b}": timing([x / y for x, y in zip(found[a], found[b], strict=True)]) for a, b in pairs}
    return rates | ratios


def step(device: torch.device, small: bool) -> dict[str, Any]:
    """Both, at each batch size."""
    sizes = (32,) if small else (256, 512)
    found: dict[str, Any] = {f"bare loop, batch {size}": bare_loops(device, small, size) for size in sizes}
    found[f"timecat fit, batch {sizes[0]}"] = fit_against_loops(device, small, sizes[0])
    return found
