"""A process for each way of loading, which is asked for epochs by lines of JSON: `Process` asks, `serve` answers.

Processes keep apart what the ways change in theirs (threads, compiled code, memory), and so can take turns.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from benchmarks.loader_ways import MEAN, OURS, STD, WAYS, Batches


class Process:
    """A way, waiting for the next epoch that it is asked for.

    Args:
        way: its name in WAYS.
        directory: with a folder for each size, that has photos/ and beton/.
        device: that is trained on: `cuda` trains ResNet50 on each batch, `cpu` a small one on an eighth of it.
    """

    def __init__(self, way: str, directory: Path, batch: int, device: str = "cpu") -> None:
        command = [sys.executable, "-m", "benchmarks.loader_process", way, str(directory), str(batch), device]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **WAYS[way].environment}
        self.way, self.said = way, TemporaryFile("w+")  # noqa: SIM115 (for as long as the process)
        self.running = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True
        )

    def epoch(self, **asked: Any) -> dict[str, float]:
        """Figures of an epoch: `size`, `workers` and `train` say which.

        Raises:
            RuntimeError: the process has ended; with the last line that it said.
        """
        assert self.running.stdin and self.running.stdout
        with suppress(BrokenPipeError):  # its end tells below
            self.running.stdin.write(json.dumps(asked) + "\n")
            self.running.stdin.flush()
        answer = self.running.stdout.readline()
        if not answer:
            self.said.seek(0)
            last = ([line for line in self.said.read().splitlines() if line.strip()] or ["it said nothing"])[-1]
            raise RuntimeError(f"it does not run here: {last.strip()[:300]}")
        return json.loads(answer)

    def close(self) -> None:
        self.running.kill()
        self.running.wait()
        for stream in (self.running.stdin, self.running.stdout, self.said):
            assert stream is not None
            with suppress(BrokenPipeError):  # what was asked of a process that had ended
                stream.close()


def started(
    ways: Iterable[str], directory: Path, batch: int, size: str, device: str = "cpu"
) -> tuple[list[Process], dict[str, str]]:
    """Processes of the ways that run here, warm for one worker, and why the others do not.

    Raises:
        RuntimeError: ours is none of them.
    """
    why = {way: f"not installed: pip install {WAYS[way].install}" for way in ways if not WAYS[way].is_installed}
    begun = [Process(way, directory, batch, device) for way in ways if way not in why]  # all at once
    processes = []
    for process in begun:
        try:
            process.epoch(size=size, workers=1, train=False)
            processes.append(process)
        except RuntimeError as error:
            process.close()
            if process.way == OURS:
                raise
            why[process.way] = str(error)
    return processes, why


def cpu_ms(figures: dict[str, float]) -> float:
    """CPU-ms an image."""
    return 1000 * figures["cpu"] / figures["images"]


def cpu_seconds() -> float:
    """Of this process and of the children that it has."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or child that ends meanwhile
            for child in (task / "children").read_text().split():
                for thread in Path(f"/proc/{child}/task").iterdir():
                    total += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return total


class Step:
    """A training step; `seconds` are the CPU's of this thread in all steps.

    On a CPU it takes less time than loading by one worker, so that it shows whether the loader keeps its rate: ResNet10
    of width 16, an eighth of the batch, at half the side. On CUDA it is ResNet50 in bfloat16 on all of it.
    """

    def __init__(self, device: str) -> None:
        import torch

        from timecat.networks.resnet import channels_last, resnet

        self.seconds, self.device, self.small = 0.0, torch.device(device), device == "cpu"
        torch.backends.cudnn.benchmark = True
        self.network = resnet(10, 16, 2) if self.small else resnet(50, 64, 1000)
        channels_last(self.network)
        self.network.to(self.device).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.01, momentum=0.9)
        self.mean, self.std = (255 * torch.tensor(each, device=self.device).view(3, 1, 1) for each in (MEAN, STD))

    def __call__(self, images: Any, labels: Any) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        started = time.thread_time()
        torch.set_num_threads(1)  # ffcv.Loader sets it
        images = images.permute(0, 3, 1, 2) if images.shape[-1] == 3 else images
        if self.small:
            images, labels = images[: len(images) // 8, :, ::2, ::2], labels[: len(labels) // 8]
        images, labels = (each.to(self.device, non_blocking=True) for each in (images, labels.flatten()))
        if images.dtype == torch.uint8:
            images = (images.float() - self.mean) / self.std
        with torch.autocast(self.device.type, torch.bfloat16, enabled=not self.small):
            loss = cross_entropy(self.network(images.contiguous(memory_format=torch.channels_last)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.seconds += time.thread_time() - started

    def finish(self) -> None:
        """Wait for the device."""
        import torch

        if not self.small:
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give the device's memory back to the processes of the other ways."""
        import torch

        if not self.small:
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()


def epoch(batches: Batches, step: Step | None) -> dict[str, float]:
    """Images; seconds of wall, until the last batch came, and waited for batches; the loader's CPU seconds: all but
    those of steps."""
    images, waited, loaded, before = 0, 0.0, 0.0, step.seconds if step else 0.0
    cpu, started = cpu_seconds(), time.perf_counter()
    stream = iter(batches())
    while True:
        asked = time.perf_counter()
        batch = next(stream, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        loaded = time.perf_counter() - started
        images += len(batch[0])
        if step is not None:
            step(batch[0], batch[1])
    if step is not None:
        step.finish()
    wall, used = time.perf_counter() - started, cpu_seconds() - cpu
    of_loader = used - ((step.seconds if step else 0.0) - before)
    return {"images": images, "wall": wall, "loaded": loaded, "waited": waited, "cpu": of_loader}


def serve(way: str, directory: Path, batch: int, device: str) -> None:
    """Answer each line {"size", "workers", "train"} on stdin with an epoch's figures; the first epoch warms up."""
    import torch

    torch.set_num_threads(1)
    made: dict[tuple[str, int], Batches] = {}
    step = Step(device)
    for line in sys.stdin:
        asked = json.loads(line)
        key = asked["size"], asked["workers"]
        if key not in made:
            made[key] = WAYS[way].batches(directory / asked["size"], asked["workers"], batch, device != "cpu")
            torch.set_num_threads(1)
            if not epoch(made[key], step)["images"]:
                sys.exit(f"{asked['size']} has no whole batch of {batch} for each of {asked['workers']} workers")
        found = epoch(made[key], step if asked["train"] else None)
        step.release()
        print(json.dumps(found), file=answers, flush=True)
    os._exit(0)  # some ways' threads and processes outlive their loaders


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed, by libraries and by processes that they start
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
