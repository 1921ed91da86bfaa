"""What the device can do at most: copies, and matrix products at the shapes of a probe's heads."""

from typing import Any

import torch

from benchmarks.rounds import in_turns, seconds, timing

# features, classes, images: cat5 of ResNet50 on iNat18 and on ImageNet
SHAPES = {"iNat18": (10_240, 8_142, 256), "ImageNet": (10_240, 1_000, 256)}


def ceilings(device: torch.device, small: bool) -> dict[str, Any]:
    """TB/s of copies on the device, GB/s to it, TFLOP/s by precision and shape."""
    rounds = 3 if small else 5
    count = (1 << 22) if small else (1 << 28)  # of float32
    there, source = torch.empty(count, device=device), torch.ones(count, device=device)
    host = torch.ones(count // 4, pin_memory=device.type == "cuda")
    ways = {
        "copy TB/s": lambda: 8e-12 * count / seconds(lambda: there.copy_(source), device, 10),
        "to the device GB/s": lambda: 1e-9 * count / seconds(lambda: there[: count // 4].copy_(host, True), device, 10),
    }
    found: dict[str, Any] = {name: timing(values) for name, values in in_turns(ways, rounds).items()}
    for name, (features, classes, images) in SHAPES.items():
        if small:
            features, classes = features // 16, classes // 16
        for precision in ("bfloat16", "TF32", "float32"):
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            weight = torch.randn(classes, features, device=device, dtype=dtype)
            batch = torch.randn(features, images, device=device, dtype=dtype)
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
            flops = 2e-12 * features * classes * images
            values = [flops / seconds(lambda w=weight, b=batch: w @ b, device, 10) for _ in range(rounds)]
            torch.set_float32_matmul_precision(before)
            found[f"{name}, {features:,} x {classes:,} x {images}, {precision} TFLOP/s"] = timing(values)
    return found
