"""`timecat fit` on a study: train its unfinished members, one after the other or one per GPU."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from timecat import files, progress
from timecat.data.beton import count_images
from timecat.data.root import data_root
from timecat.errors import UserError
from timecat.study import Run, Study

RECIPE = "recipe.json"
FILE = "data.train's content"  # a key of the recipe that only the file itself can tell
WITHOUT_EFFECT = {
    "workers",
    "root",
    "source",
    "val",
    "test",
    "eval_batch_size",
    "train_images",
}  # data keys, on weights
STOPPED = 130  # what a shell reports of a program that Ctrl-C ended


def fit(study: Study, arguments: list[str], *, member: int | None, slots: int | None, slot: int | None = None) -> int:
    """Train every unfinished member of the study, or the one that is named.

    Args:
        arguments: the command line after `timecat fit`, for LightningCLI and for the processes of other slots.
        member: index in the plan.
        slots: members trained at once; by default one per visible GPU, and one on a CPU.
        slot: set in a process that another `fit` started.

    Returns:
        The exit status: 0 where all are finished, 130 where the training was asked to stop, 1 where a member failed.
    """
    runs = sorted(study.runs, key=lambda run: work(study, run), reverse=True) if member is None else [study.run(member)]
    if slot is not None:
        _die_with_parent()
    check_data(study)
    unfinished = [run for run in runs if not progress.is_finished(study.directory / run.name, run)]
    for run in runs:
        check_recipe(study, run)
    if not unfinished:
        print(f"{study.directory}: nothing to train, {len(runs)} of {len(runs)} members are finished")
        return 0
    save_plan(study)
    slots = slots or default_slots(study)
    if slot is not None or member is not None or min(slots, len(unfinished)) <= 1:
        with live_table(study, enabled=slot is None):
            return _train_here(study, unfinished, arguments, slots)
    return _train_in_slots(study, runs, arguments, slots)


def work(study: Study, run: Run) -> int:
    """A rough measure of a run's cost, quadratic in width; the longest go first, so that slots end together."""
    width = {**(study.config.get("model") or {}), **run.model}.get("width", 64)
    return run.steps * width**2


def default_slots(study: Study) -> int:
    """study.slots, else as many members as this machine's GPUs can train at once; 1 without a GPU."""
    if study.slots is not None:
        return study.slots
    trainer = study.config.get("trainer") or {}
    if trainer.get("accelerator", "auto") not in ("auto", "gpu", "cuda") or not Path("/dev/nvidia0").exists():
        return 1
    import torch

    return max(1, torch.cuda.device_count() // devices_per_member(study))


def devices_per_member(study: Study) -> int:
    devices = (study.config.get("trainer") or {}).get("devices", 1)
    return devices if isinstance(devices, int) and devices > 0 else 1


def check_data(study: Study) -> None:
    """Refuse a study whose files are missing or damaged, before anything is started."""
    data = study.config.get("data") or {}
    if not data.get("train"):
        raise UserError("data.train is missing; name the .beton file to train on")
    for split in ("train", "val"):
        if data.get(split):
            count_images(data_root(data.get("root")) / data[split])


def save_plan(study: Study) -> None:
    if files.read_json(study.directory / "study.json") != study.resolved():
        files.write_json(study.directory / "study.json", study.resolved())


def recipe(study: Study, run: Run) -> dict[str, Any]:
    """Everything of the config that a member's weights are a function of, flat, by dotted key."""
    given = study.config.get("data") or {}
    data = {k: v for k, v in given.items() if k not in WITHOUT_EFFECT}
    trainer = study.config.get("trainer") or {}
    sections = {
        "model": {**(study.config.get("model") or {}), **run.model},
        "data": data,
        "trainer": {
            k: trainer[k] for k in ("precision", "accumulate_grad_batches", "gradient_clip_val") if k in trainer
        },
    }
    flat = {f"{section}.{key}": value for section, keys in sections.items() for key, value in sorted(keys.items())}
    return {"seed": run.seed, **({"steps": run.steps} if study.horizon else {}), **flat}


def trained_with(directory: Path) -> dict[str, Any]:
    """The recipe of what lies in a member's directory; empty where nothing was trained there."""
    if not (directory / "last.ckpt").exists() and not any(directory.glob("snapshot_*.pt")):
        return {}
    return files.read_json(directory / RECIPE) or {}


def check_recipe(study: Study, run: Run) -> None:
    """Refuse to go on with, or to count as finished, what another recipe trained.

    Raises:
        UserError: naming the first key that differs.
    """
    directory = study.directory / run.name
    before, now = trained_with(directory), recipe(study, run)
    before.pop(FILE, None)
    if not before or before == now:
        return
    key = next(key for key in [*before, *now] if before.get(key) != now.get(key))
    raise UserError(
        f"{directory} was trained with {key} {before.get(key)!r}, the config says {now.get(key)!r}; "
        "choose another study.name, or put the config back"
    )


@contextmanager
def live_table(study: Study, enabled: bool) -> Iterator[None]:
    """Show the members' progress from disk while the body runs, where somebody looks at a terminal."""
    console = Console(stderr=True)
    if not enabled or not console.is_terminal:
        yield
        return
    ended = threading.Event()
    with Live(progress.members_table(study, shorten=True), console=console, auto_refresh=False) as live:

        def refresh() -> None:
            while not ended.wait(0.5):
                live.update(progress.members_table(study, shorten=True), refresh=True)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            live.update(progress.members_table(study, shorten=True), refresh=True)


def say_finished(study: Study, run: Run) -> None:
    """A line per member where nobody looks at the live table."""
    if Console(stderr=True).is_terminal or not is_first_rank():
        return
    state = progress.state_of(study, run)
    print(
        f"member {run.index} of {len(study.runs)} ({run.name}): {run.steps:,} steps, "
        f"{state['images_per_sec'] or 0:,.0f} images/s, loss {state['loss'] or 0:.3f}",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process as usual."""
    stop = threading.Event()

    def handler(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            signal.signal(number, handler)
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                signal.signal(number, before[number])


def _train_here(study: Study, runs: list[Run], arguments: list[str], slots: int) -> int:
    """Train the runs one after the other in this process; those that another process trains are left to it."""
    # Each member computes with its share of the cores even when it is alone: sums depend on the number of threads.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // slots)))
    from timecat.checkpoint import Stopped
    from timecat.lightning_cli import StudyCLI

    cli = StudyCLI(arguments)
    left_to_others = []
    with stop_on_signal() as stop:
        for run in runs:
            directory = study.directory / run.name
            held = progress.lock(directory) if is_first_rank() else -1
            if held is None:
                left_to_others.append(run)
                continue
            try:
                if progress.is_finished(directory, run):  # by another slot, since we looked
                    continue
                train_member(study, run, cli, stop)
                say_finished(study, run)
            except Stopped as stopped:
                print(f"timecat: {run.name} {stopped}; the same command goes on from there", file=sys.stderr)
                return STOPPED
            finally:
                if held != -1:
                    os.close(held)
    for run in left_to_others:
        print(f"timecat: {run.name} is being trained by another process", file=sys.stderr)
    return 0


def is_first_rank() -> bool:
    """Whether this process speaks for its member, where several train it by DDP."""
    rank = next((os.environ[key] for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if key in os.environ), "0")
    return rank == "0"


def train_member(study: Study, run: Run, cli: Any, stop: threading.Event) -> None:
    """Train one member to its last step, from its checkpoint where there is one."""
    import lightning as L
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger

    from timecat.checkpoint import CHECKPOINT, Checkpoint
    from timecat.progress_callback import ProgressCallback

    directory = study.directory / run.name
    L.seed_everything(run.seed, verbose=False)
    member, data, trainer_settings = cli.instantiate(run)
    content = data.beton("train").fingerprint()
    if trained_with(directory).get(FILE, content) != content:
        raise UserError(
            f"{data.files['train']}: is not the file that {directory} was trained on; choose another study.name"
        )
    files.write_json(directory / RECIPE, {**recipe(study, run), FILE: content})
    checkpoint = directory / CHECKPOINT
    resume = str(checkpoint) if checkpoint.exists() else None
    step = torch.load(resume, mmap=True, weights_only=True)["global_step"] if resume else None
    logger = TensorBoardLogger(study.directory, name=run.name, version="", purge_step=step, default_hp_metric=False)
    callbacks = [
        ProgressCallback(directory, run, study.batch_size),
        Checkpoint(directory, run, study.checkpoint_minutes, study.batch_size, stop),
    ]
    trainer = cli.trainer(
        trainer_settings,
        max_steps=run.steps,
        max_epochs=-1,
        logger=logger,
        default_root_dir=str(directory),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    data.setup("fit")
    trainer.fit(member, datamodule=data, ckpt_path=resume)
    if is_first_rank() and not progress.is_finished(directory, run):
        raise UserError(
            f"{directory}: its checkpoint is past a step at which the plan wants a snapshot "
            f"({', '.join(f'{step:,}' for step in run.snapshots)}); choose another study.name"
        )


def _train_in_slots(study: Study, runs: list[Run], arguments: list[str], slots: int) -> int:
    """Start a process per slot; each takes the next member that nobody trains. A failure stops only its own slot."""
    workers = []
    given = (study.config.get("data") or {}).get("workers") is not None
    share = [] if given else [f"--data.workers={max(1, len(os.sched_getaffinity(0)) // slots)}"]
    (study.directory / "logs").mkdir(parents=True, exist_ok=True)
    with stop_on_signal() as stop, live_table(study, enabled=True):
        for slot in range(slots):
            log = study.directory / "logs" / f"slot_{slot}.log"
            with log.open("ab") as file:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "timecat", "fit", *arguments, *share, "--slot", str(slot)],
                        env=_slot_environment(study, slot, slots),
                        stdout=file,
                        stderr=file,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                )
        waiting = [run for run in runs if not progress.is_finished(study.directory / run.name, run)]
        while True:
            ended = all(worker.poll() is not None for worker in workers)
            for run in [run for run in waiting if progress.is_finished(study.directory / run.name, run)]:
                waiting.remove(run)
                say_finished(study, run)
            if ended:
                break
            if stop.is_set():
                for worker in workers:
                    if worker.poll() is None:
                        worker.send_signal(signal.SIGINT)
                stop.clear()
            time.sleep(0.2)
    failed = [slot for slot, worker in enumerate(workers) if worker.returncode not in (0, STOPPED)]
    for slot in failed:
        log = study.directory / "logs" / f"slot_{slot}.log"
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        if workers[slot].returncode == 2:  # bad input, and the same for every slot
            raise UserError(last.removeprefix("timecat: "))
        print(f"timecat: slot {slot} failed: {last} (log: {log})", file=sys.stderr)
    if failed:
        return 1
    if waiting:
        print(
            f"timecat: stopped with {len(waiting)} members to go; the same command goes on from there", file=sys.stderr
        )
        return STOPPED
    return 0


def _slot_environment(study: Study, slot: int, slots: int) -> dict[str, str]:
    """Its own GPUs and port, no trace of SLURM, and its share of the cores."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "PMI", "MASTER_"))}
    per_member = devices_per_member(study)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(slots * per_member)]
    environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[slot * per_member : (slot + 1) * per_member])
    environment["TIMECAT_PARENT"] = str(os.getpid())
    environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // slots)))
    return environment


def _die_with_parent() -> None:
    """A killed `fit` takes its slots along (Linux's PR_SET_PDEATHSIG), also if it died before this call."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(os.environ.get("TIMECAT_PARENT", os.getppid())):
        sys.exit(STOPPED)
