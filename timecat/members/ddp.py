"""DistributedDataParallel as members need it."""

import inspect

from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.nn.parallel import DistributedDataParallel


def leave_buffers_alone(strategy: Strategy) -> None:
    """Tell DDP, before it wraps the module, not to overwrite all ranks' running statistics by the first rank's.

    By default it does before every forward pass, and what the other ranks saw is lost. The ranks' statistics are
    averaged instead (see `batch_norm`). Gradients are views of DDP's buckets, which saves a copy of them.
    """
    if isinstance(strategy, DDPStrategy):
        renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # torch 2.15
        keep = "forward_sync_buffers" if renamed else "broadcast_buffers"
        strategy._ddp_kwargs = {"gradient_as_bucket_view": True, **strategy._ddp_kwargs, keep: False}
