"""The ways to load images that `benchmarks.loader` compares: ours, FFCV's, torchvision's; others are in loader_rivals.

An epoch gives batches of random resized crops of 224 pixels, flipped at random. A way is what its users would write.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import loader_rivals
from benchmarks.loader_rivals import SIDE, Batches

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def timecat(data: Path, workers: int, batch: int, pin: bool) -> Batches:
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
        pin=pin,
    )
    return lambda: iter(loader)


def ffcv_loader(data: Path, workers: int, batch: int, pin: bool) -> Batches:
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


def pil(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """torchvision's ImageFolder in a DataLoader: Pillow, then float32 (b, 3, side, side), normalised."""
    from torchvision import transforms

    return loader_rivals.image_folder(
        data, workers, batch, pin, [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )


def pil_uint8(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """The same, but uint8 and not normalised: no work that others leave to the device."""
    from torchvision import transforms

    return loader_rivals.image_folder(data, workers, batch, pin, [transforms.PILToTensor()])


def tensor_decode(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """torchvision's own JPEG decoder and its second transforms, of tensors; uint8 (b, 3, side, side)."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    return loader_rivals.folder_of_tensors(
        data, workers, batch, pin, lambda path: decode_jpeg(read_file(path), ImageReadMode.RGB)
    )


def one_batch(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """No loading: the same uint8 batch again and again, which bounds what any loader gives a training step."""
    import torch

    count = sum(1 for _ in (data / "photos").rglob("*.jpg")) // batch
    images = torch.zeros((batch, SIDE, SIDE, 3), dtype=torch.uint8, pin_memory=pin)
    labels = torch.zeros(batch, dtype=torch.int64)

    def epoch() -> Iterator[Any]:
        return ((images, labels) for _ in range(count))

    return epoch


@dataclass(frozen=True)
class Way:
    """How images are loaded.

    Args:
        batches: of the folder that has photos/ and beton/train.beton, workers, batch size, and whether to page-lock.
        module: what it must be possible to import.
        install: what to give to pip.
        environment: variables that it wants.
    """

    batches: Callable[[Path, int, int, bool], Batches]
    module: str
    install: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module.split(".")[0]) is not None and find_spec(self.module) is not None


OURS, PIL, STOCK = "timecat", "PIL", "ffcv.Loader"
WAYS = {
    OURS: Way(timecat, "ffcv", "ffcv", {"TIMECAT_KERNEL": "ffcv"}),
    "timecat, cv2": Way(timecat, "simplejpeg", "simplejpeg", {"TIMECAT_KERNEL": "cv2"}),
    STOCK: Way(ffcv_loader, "ffcv", "ffcv"),
    "tensor decode": Way(tensor_decode, "torchvision", "torchvision"),
    "PIL, uint8": Way(pil_uint8, "torchvision", "torchvision"),
    PIL: Way(pil, "torchvision", "torchvision"),
    "torchcodec": Way(loader_rivals.torchcodec, "torchcodec", "torchcodec"),
    "WebDataset": Way(loader_rivals.webdataset, "webdataset", "webdataset"),
    "litdata": Way(loader_rivals.litdata, "litdata", "litdata"),
    "SPDL": Way(loader_rivals.spdl, "spdl.io", "spdl, and FFmpeg's libraries"),
    "DALI": Way(loader_rivals.dali, "nvidia.dali", "nvidia-dali-cuda130"),
    "one batch": Way(one_batch, "torch", "torch"),
}
RIVALS = [name for name in WAYS if name not in (OURS, "one batch")]
FEW = RIVALS[: RIVALS.index(PIL) + 1]  # what comes with timecat
