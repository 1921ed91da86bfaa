"""The ways to load images that `benchmarks.loader` compares, each in a process of its own that it asks for epochs.

An epoch gives batches of random resized crops of 224 pixels, flipped at random. A way is what its users would write.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Batches = Callable[[], Iterator[Any]]  # an epoch of (images, labels, ...)


def timecat(data: Path, workers: int, batch: int) -> Batches:
    """Our loader; uint8 (b, side, side, 3), normalised on the device. The kernel is what the environment names."""
    import numpy as np

    from timecat.data.beton import read_beton
    from timecat.data.loader import BetonLoader
    from timecat.data.views import TRAIN_VIEWS

    beton = read_beton(data / "beton/train.beton")
    loader = BetonLoader(
        beton,
        np.arange(len(beton)),
        view=TRAIN_VIEWS["imagenet"],
        resolution=SIDE,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        workers=workers,
    )
    return lambda: iter(loader)


def ffcv_loader(data: Path, workers: int, batch: int) -> Batches:
    """FFCV's own loader; uint8 (b, side, side, 3)."""
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor

    loader = Loader(
        str(data / "beton/train.beton"),
        batch_size=batch,
        num_workers=workers,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        pipelines={
            "image": [RandomResizedCropRGBImageDecoder((SIDE, SIDE)), RandomHorizontalFlip(), ToTensor()],
            "label": [IntDecoder(), ToTensor()],
        },
    )
    return lambda: iter(loader)


def pil(data: Path, workers: int, batch: int) -> Batches:
    """torchvision's ImageFolder in a DataLoader: Pillow, then float32 (b, 3, side, side), normalised."""
    from torchvision import transforms

    return _image_folder(data, workers, batch, [transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def pil_uint8(data: Path, workers: int, batch: int) -> Batches:
    """The same, but uint8 and not normalised: no work that others leave to the device."""
    from torchvision import transforms

    return _image_folder(data, workers, batch, [transforms.PILToTensor()])


def _image_folder(data: Path, workers: int, batch: int, last: list[Any], **options: Any) -> Batches:
    import torch
    from torchvision import datasets, transforms

    crop = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
    images = datasets.ImageFolder(str(data / "photos"), transforms.Compose([*crop, *last]), **options)
    loader = torch.utils.data.DataLoader(
        images, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True
    )
    return lambda: iter(loader)


def tensor_decode(data: Path, workers: int, batch: int) -> Batches:
    """torchvision's own JPEG decoder and transforms of tensors, uint8 (b, 3, side, side)."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    return _image_folder(data, workers, batch, [], loader=lambda path: decode_jpeg(read_file(path), ImageReadMode.RGB))


# name: what gives its batches, the module that it needs, what it wants in the environment. DALI, litdata, WebDataset,
# torchcodec may be added here: they are measured where they can be imported.
WAYS: dict[str, tuple[Callable[[Path, int, int], Batches], str, dict[str, str]]] = {
    "timecat": (timecat, "ffcv", {"TIMECAT_KERNEL": "ffcv"}),
    "timecat, cv2 kernel": (timecat, "simplejpeg", {"TIMECAT_KERNEL": "cv2"}),
    "ffcv.Loader": (ffcv_loader, "ffcv", {}),
    "tensor decode": (tensor_decode, "torchvision", {}),
    "PIL, uint8": (pil_uint8, "torchvision", {}),
    "PIL": (pil, "torchvision", {}),
}


def importable() -> list[str]:
    """The ways that this machine has what they need for."""
    return [name for name, (_, module, _) in WAYS.items() if find_spec(module) is not None]


def cpu_seconds() -> float:
    """Of this process and of the children that it has."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            for thread in Path(f"/proc/{child}/task").iterdir():
                total += int((thread / "schedstat").read_text().split()[0]) / 1e9
    return total


class Step:
    """A small network's training step; `seconds` are the CPU's of this thread in all steps."""

    def __init__(self) -> None:
        import torch
        from torch import nn

        self.seconds = 0.0
        convolutions = [nn.Conv2d(3, 16, 8, 8), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
        self.network = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.01)

    def __call__(self, images: Any, labels: Any) -> None:
        import torch
        from torch.nn.functional import cross_entropy

        started = time.thread_time()
        torch.set_num_threads(1)  # ffcv.Loader sets it
        images = images.permute(0, 3, 1, 2) if images.shape[-1] == 3 else images
        loss = cross_entropy(self.network(images.float()), labels.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.seconds += time.thread_time() - started


def epoch(batches: Batches, step: Step | None) -> dict[str, float]:
    """Images, wall seconds, those waited for batches, and the loader's CPU seconds: all but those of steps."""
    images, waited, before = 0, 0.0, step.seconds if step else 0.0
    cpu, started = cpu_seconds(), time.perf_counter()
    stream = iter(batches())
    while True:
        asked = time.perf_counter()
        batch = next(stream, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        images += len(batch[0])
        if step is not None:
            step(batch[0], batch[1])
    wall, used = time.perf_counter() - started, cpu_seconds() - cpu
    return {"images": images, "wall": wall, "waited": waited, "cpu": used - ((step.seconds if step else 0.0) - before)}


def serve(way: str, directory: Path, batch: int) -> None:
    """Answer each line {"size", "workers", "train"} on stdin with an epoch's figures; the first epoch warms up."""
    import torch

    torch.set_num_threads(1)
    made: dict[tuple[str, int], Batches] = {}
    step = Step()
    for line in sys.stdin:
        asked = json.loads(line)
        key = asked["size"], asked["workers"]
        if key not in made:
            made[key] = WAYS[way][0](directory / asked["size"], asked["workers"], batch)
            torch.set_num_threads(1)
            epoch(made[key], step)
        print(json.dumps(epoch(made[key], step if asked["train"] else None)), file=answers, flush=True)
    os._exit(0)  # some ways' threads and processes outlive their loaders


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
