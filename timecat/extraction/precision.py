"""What frozen networks and heads compute in: what probe.precision `auto` is here, and whether products may be TF32.

PyTorch by itself lets cuDNN's convolutions be TF32, with 10 bits of a number instead of 23, and matrix products not;
and whoever runs before may have changed either. So whatever multiplies float32 says here which of the two it means.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from timecat.config.probe import ProbeConfig
from timecat.errors import UserError


def resolved(config: ProbeConfig, devices: Sequence[str]) -> ProbeConfig:
    """The config with the precision and the compilation that `auto` is on these devices.

    `auto` is bfloat16, compiled, on CUDA devices that compute in it, and float32 elsewhere.

    Raises:
        UserError: TF32 is asked of a CPU.
    """
    cuda = all(device.startswith("cuda") for device in devices)
    if config.precision == "tf32" and not cuda:
        raise UserError("probe.precision tf32: only CUDA devices have it; choose float32, or auto")
    precision, compile_ = config.precision, bool(config.compile)
    if precision == "auto":
        precision = "bfloat16" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        compile_ = precision == "bfloat16" if config.compile is None else compile_
    return replace(config, precision=precision, compile=compile_)


def may_be_tf32(config: ProbeConfig) -> bool:
    """Whether heads by SGD may multiply in TF32: where their features were not computed in IEEE float32 either."""
    return config.precision in ("tf32", "bfloat16")


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Products and convolutions of float32 on CUDA in TF32, or else in IEEE float32; afterwards as before.

    As a decorator it holds for a function's calls. On a CPU float32 is always IEEE's.
    """
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")  # which a CPU looks at too
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
