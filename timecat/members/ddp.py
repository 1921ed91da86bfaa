"""DistributedDataParallel as members need it."""

import atexit
import inspect
import os
import socket

import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.distributed import TCPStore
from torch.distributed.constants import default_pg_timeout
from torch.nn.parallel import DistributedDataParallel

from timecat.cluster.gloo import stay_on_loopback
from timecat.errors import UserError
from timecat.process import PARENT, in_torchrun

LOOPBACK = "127.0.0.1"
BACKLOG = 1024  # processes that may call at once


def leave_buffers_alone(strategy: Strategy) -> None:
    """Tell DDP, before it wraps the module, not to overwrite all ranks' running statistics by the first rank's.

    By default it does before every forward pass, and what the other ranks saw is lost. The ranks' statistics are
    averaged instead (see `batch_norm`). Gradients are views of DDP's buckets, which saves a copy of them.
    """
    if isinstance(strategy, DDPStrategy):
        renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters  # torch 2.15
        keep = "forward_sync_buffers" if renamed else "broadcast_buffers"
        strategy._ddp_kwargs = {"gradient_as_bucket_view": True, **strategy._ddp_kwargs, keep: False}


def keep_to_this_machine(trainer: Trainer) -> None:
    """Let the processes of a member that all run on this machine meet on the loopback interface alone.

    torch's TCPStore listens on every interface (torch 2.15, csrc/distributed/c10d/store/TCPStoreBackend.cpp), unless it
    is given a socket that listens already; gloo and NCCL take the interface that their variables name. A port is bound
    before the other processes are told of it, so that it is free, whatever $MASTER_PORT says. They die with this one.

    Torchrun's processes meet at its own store, which it opens as it likes.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy) or trainer.world_size == 1:
        return
    environment = strategy.cluster_environment
    if trainer.num_nodes > 1:
        return
    stay_on_loopback()
    if in_torchrun() or strategy._start_method != "popen":
        return
    os.environ["MASTER_ADDR"] = LOOPBACK
    listening = None
    if isinstance(environment, LightningEnvironment) and not environment.creates_processes_externally:
        listening = _listen(0)
        environment._main_port = listening.getsockname()[1]
        os.environ[PARENT] = str(os.getpid())
    lightnings = strategy.setup_distributed
    assert environment is not None

    def setup_distributed() -> None:
        if dist.is_initialized():
            return lightnings()
        strategy.set_world_ranks()
        backend = strategy._process_group_backend = strategy._get_process_group_backend()
        port, first = environment.main_port, strategy.global_rank == 0
        here = (listening or _listen(port)) if first else None
        timeout = strategy._timeout or default_pg_timeout
        store = TCPStore(
            LOOPBACK,
            port,
            trainer.world_size,
            first,
            timeout,
            multi_tenant=True,
            master_listen_fd=here.detach() if here else None,
        )
        dist.init_process_group(
            backend,
            store=store,
            timeout=timeout,
            rank=strategy.global_rank,
            world_size=trainer.world_size,
            device_id=strategy.root_device if strategy.root_device.type != "cpu" else None,
        )
        if backend == "nccl":
            atexit.register(dist.destroy_process_group)
        lightnings()  # which finds the group

    strategy.setup_distributed = setup_distributed


def _listen(port: int) -> socket.socket:
    """A socket that listens on the loopback interface, on a free port for 0.

    Raises:
        UserError: the port is taken.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
    except OSError as error:
        raise UserError(f"MASTER_PORT {port}: {error.strerror}; give another one") from None
    found.listen(BACKLOG)
    return found
