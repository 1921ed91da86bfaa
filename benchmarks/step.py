"""What a step of `timecat fit` costs over a hand-written loop with the same model, batches and optimiser.

    python -m benchmarks.step                                   # the demo's size, on any machine
    python -m benchmarks.step --config configs/cat5.yaml --photos 8192 --data.batch_size 256 --model.compile true

Three ways take turns, round by round, in one process: Lightning with Time-Cat's callbacks as `timecat fit` runs them;
a bare PyTorch loop on the same loader; the same loop on one batch that stays on the device. It prints the median
images/s of each and two ratios of step times: fit / bare loop is Lightning's and Time-Cat's overhead, bare loop /
resident batch the time that the device waits for data. Any key of the config can be overridden. The data must be there,
or --photos N makes N JPEGs of 500 x 375 pixels, crops of two photographs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from benchmarks.photos import write_photos
from timecat.cluster.stop import Stop
from timecat.config.read import split_arguments
from timecat.data.write.write import write
from timecat.members.checkpoint import Checkpoint
from timecat.members.optim import ScheduleFreeAdamW, make_optimizer
from timecat.members.progress_callback import ProgressCallback
from timecat.members.trainer import StudyCLI
from timecat.networks.batch_norm import update_at
from timecat.study.directory import MemberDirectory
from timecat.study.plan import MemberPlan
from timecat.study.study import Study


class Clock(ProgressCallback):
    """Seconds between the ends of two steps: the `warmup`-th and the last."""

    def __init__(self, directory: MemberDirectory, plan: MemberPlan, batch_size: int, warmup: int) -> None:
        super().__init__(directory, plan, batch_size)
        self.warmup, self.step = warmup, 0

    def on_train_batch_end(self, trainer, member, *rest):
        super().on_train_batch_end(trainer, member, *rest)
        if trainer.global_step == self.step:  # a batch of an accumulated step
            return
        self.step = trainer.global_step
        if self.step == self.warmup:
            synchronize(member.device)
            self.started = time.perf_counter()
        elif self.step == self.plan.steps:
            synchronize(member.device)
            self.seconds = time.perf_counter() - self.started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fit_seconds(cli: StudyCLI, study: Study, plan: MemberPlan, path: Path, warmup: int) -> float:
    from lightning.pytorch.loggers import TensorBoardLogger

    member, data = cli.instantiate(plan)
    directory = MemberDirectory(path)
    clock = Clock(directory, plan, study.batch_size, warmup)
    never = replace(plan, snapshots=(plan.steps + 1,))  # measure steps, not snapshots
    trainer = cli.trainer_of_member(
        limit_val_batches=0,
        callbacks=[clock, Checkpoint(directory, never, 1e9, study.batch_size, Stop())],
        logger=TensorBoardLogger(path, version=""),
        max_steps=plan.steps,
        max_epochs=-1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.accumulate_grad_batches = data.accumulated(1)
    trainer.fit(member, datamodule=data)
    return clock.seconds


def loop_seconds(cli: StudyCLI, plan: MemberPlan, warmup: int, resident: bool) -> float:
    member, data = cli.instantiate(plan)
    trainer = cli.study.trainer
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = bool(trainer.other.get("benchmark"))
    member.to(device).train()
    optimizer = make_optimizer(member.config, member.network, lr=member.config.learning_rate(cli.study.batch_size))
    third_step = False
    if isinstance(optimizer, ScheduleFreeAdamW):
        third_step = member.config.batch_norm == "third_step"
        optimizer.train()
    half = "bf16" in str(trainer.precision)
    loader, accumulate = data.train_dataloader(), data.accumulated(1)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            for images, labels, _ in loader:
                images = data.normalise(images.to(device, non_blocking=True))
                yield images, labels.to(device, non_blocking=True)
            loader.set_epoch(loader.epoch + 1)

    stream = batches()
    resident_batch = next(stream)
    for step in range(plan.steps):
        if step == warmup:
            synchronize(device)
            started = time.perf_counter()
        optimizer.zero_grad()
        for images, labels in [resident_batch] * accumulate if resident else islice(stream, accumulate):
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                if third_step and step % 3 == 0:
                    update_at(member.network, optimizer.averages(), images)
                loss = member.train_loss(member(images), labels)
            (loss / accumulate).backward()
        optimizer.step()
    synchronize(device)
    seconds = time.perf_counter() - started
    loader.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--steps", type=int, default=200, help="of each round, warm-up included")
    parser.add_argument("--warmup", type=int, default=20, help="steps before the clock starts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=int, help="train on so many JPEGs made here, not on the config's data")
    options, rest = parser.parse_known_args()
    overrides = split_arguments(rest)[1] | {"study.unequal_because": "a benchmark"}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if options.photos:
            write_photos(directory / "photos", options.photos)
            written = write(str(directory / "photos"), directory / "written", progress=False)[0]
            overrides |= {"data.train": str(written), "data.train_images": None, "data.val": None}
        study = Study.read([options.config], overrides)
        first = study.members[0]
        model = replace(first.model, steps=options.steps)
        plan = MemberPlan(0, "bench", first.seed, model, first.data, (options.steps,))
        cli = StudyCLI(study)
        ways = {"timecat fit": [], "bare loop": [], "bare loop, one resident batch": []}
        for _ in range(options.rounds):
            ways["timecat fit"].append(fit_seconds(cli, study, plan, directory, options.warmup))
            ways["bare loop"].append(loop_seconds(cli, plan, options.warmup, resident=False))
            ways["bare loop, one resident batch"].append(loop_seconds(cli, plan, options.warmup, resident=True))
    counted = options.steps - options.warmup
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{options.config}, batch {study.batch_size}, {options.rounds} rounds of {counted} steps, {device}")
    for name, seconds in ways.items():
        print(f"{name:32s} {study.batch_size * counted / statistics.median(seconds):10,.1f} images/s")
    for one, other, what in (
        ("timecat fit", "bare loop", "overhead"),
        ("bare loop", "bare loop, one resident batch", "waiting for data"),
    ):
        ratios = [a / b for a, b in zip(ways[one], ways[other], strict=True)]
        spread = f"from {min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{one} / {other}: {statistics.median(ratios):.3f} ({spread}): {what}")


if __name__ == "__main__":
    main()
