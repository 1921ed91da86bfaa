"""What a step of `timecat fit` costs over a hand-written loop with the same model, batches and optimiser.

    python -m benchmarks.step [--config configs/demo.yaml] [--steps 200] [--rounds 5]

Three ways take turns, round by round, in one process: Lightning with Time-Cat's callbacks as `timecat fit` runs them;
a bare PyTorch loop on the same loader; the same loop on one batch that stays on the device. It prints the median
images/s of each and the ratios of the step times. The data must be there (`timecat run` or `timecat write`).
"""

import argparse
import statistics
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

import torch

from timecat.checkpoint import Checkpoint
from timecat.config import read_config
from timecat.lightning_cli import StudyCLI
from timecat.progress_callback import ProgressCallback
from timecat.study import Run, Study


class Clock(ProgressCallback):
    """Seconds between the first and the last batch end, after `warmup` steps."""

    warmup = 20

    def on_train_batch_end(self, trainer, member, *rest):
        super().on_train_batch_end(trainer, member, *rest)
        if trainer.global_step == self.warmup:
            synchronize(member.device)
            self.started = time.perf_counter()
        elif trainer.global_step == self.run.steps:
            synchronize(member.device)
            self.seconds = time.perf_counter() - self.started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fit_seconds(cli: StudyCLI, study: Study, run: Run, directory: Path) -> float:
    from lightning.pytorch.loggers import TensorBoardLogger

    member, data, settings = cli.instantiate(run)
    clock = Clock(directory, run, study.batch_size)
    never = Run(run.index, run.name, run.seed, run.model, (run.steps + 1,))  # measure steps, not snapshots
    trainer = cli.trainer(
        {**settings, "limit_val_batches": 0},
        callbacks=[clock, Checkpoint(directory, never, 1e9, study.batch_size, threading.Event())],
        logger=TensorBoardLogger(directory, version=""),
        max_steps=run.steps,
        max_epochs=-1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(member, datamodule=data)
    return clock.seconds


def loop_seconds(cli: StudyCLI, run: Run, resident: bool) -> float:
    member, data, _ = cli.instantiate(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = member.network.to(device).train()
    hparams = member.hparams
    optimizer = torch.optim.SGD(
        network.parameters(), hparams.lr, momentum=hparams.momentum, weight_decay=hparams.weight_decay, nesterov=True
    )
    loader = data.train_dataloader()

    def batches():
        while True:
            yield from loader
            loader.set_epoch(loader.epoch + 1)

    stream = batches()
    kept = next(stream)
    kept = (data.normalise(kept[0].to(device)), kept[1].to(device))
    for step, batch in enumerate(islice(stream, run.steps)):
        if step == Clock.warmup:
            synchronize(device)
            started = time.perf_counter()
        if resident:
            images, labels = kept
        else:
            images, labels = batch[0].to(device, non_blocking=True), batch[1].to(device, non_blocking=True)
            images = data.normalise(images)
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    synchronize(device)
    loader.close()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    study = Study(read_config([options.config]))
    run = Run(0, "bench", study.runs[0].seed, {}, (options.steps,))
    cli = StudyCLI(["--config", options.config])
    ways = {"timecat fit": [], "bare loop": [], "bare loop, one resident batch": []}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(options.rounds):
            ways["timecat fit"].append(fit_seconds(cli, study, run, Path(directory)))
            ways["bare loop"].append(loop_seconds(cli, run, resident=False))
            ways["bare loop, one resident batch"].append(loop_seconds(cli, run, resident=True))
    counted = options.steps - Clock.warmup
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.config}, batch {study.batch_size}, {options.rounds} rounds of {counted} steps, {device}")
    for name, seconds in ways.items():
        print(f"{name:32s} {study.batch_size * counted / statistics.median(seconds):10,.0f} images/s")
    for other in ("bare loop", "bare loop, one resident batch"):
        ratios = [a / b for a, b in zip(ways["timecat fit"], ways[other], strict=True)]
        print(f"timecat fit / {other}: {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
