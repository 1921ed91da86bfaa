"""A cat's output on images that are no .beton: decoded by threads a few batches ahead, as the loader does."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor

from timecat.config.probe import Precision, ProbeConfig
from timecat.data.transform import EvalTransform
from timecat.errors import UserError
from timecat.extraction.precision import float32_products, resolved
from timecat.inference.images import list_images, read_image
from timecat.networks.backbone import Backbone
from timecat.networks.cat import FrozenCat
from timecat.networks.folded import folded
from timecat.process import cores

BATCHES_AHEAD = 3


class Features(NamedTuple):
    """Features of images.

    Attributes:
        features: float32 (n, num_features).
        files: the images' files, relative to the directory where one was named; empty where arrays were given.
        labels: int64 (n,), numbers into classes; empty where there are none.
        classes: names of the directory's subdirectories, where each image lies in one.
    """

    features: np.ndarray
    files: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


def features(
    cat: FrozenCat,
    images: str | Path | Sequence[str | Path | np.ndarray] | np.ndarray,
    *,
    device: str | None = None,
    batch_size: int = 64,
    precision: Precision = "auto",
    workers: int | None = None,
) -> Features:
    """Features of image files, or of arrays, by a cat that `timecat.load` gave: as `timecat probe` stores them.

    Args:
        images: a directory (see `timecat features --help`), files, or uint8 (h, w, 3) each, RGB.
        device: such as cuda:0; a GPU where there is one.
        batch_size: images at once.
        precision: as probe.precision has it; `auto` is bfloat16 on a GPU, float32 on a CPU.
        workers: threads that decode; by default one a core.

    Raises:
        UserError: no such directory, an image that is broken, or a cat without a transform.
    """
    listed = list_images(images) if isinstance(images, str | Path) else None
    several = listed.paths() if listed else list(cast(Sequence[str | Path | np.ndarray], images))
    found = [each for each, _ in outputs(cat, several, device, batch_size, precision, workers)]
    array = torch.cat(found).numpy() if found else np.empty((0, cat.num_features), np.float32)
    if listed:
        return Features(array, listed.names, listed.labels, listed.classes)
    names = [str(each) for each in several if isinstance(each, str | Path)]
    return Features(array, names, np.empty(0, np.int64), ())


@torch.inference_mode()
def outputs(
    cat: FrozenCat,
    images: Sequence[str | Path | np.ndarray],
    device: str | None,
    batch_size: int,
    precision: Precision,
    workers: int | None,
    skip_broken: bool = False,
) -> Iterator[tuple[Tensor, list[str | None]]]:
    """Batch by batch the features (b, num_features) float32 of whole images, on the CPU, and what is wrong with each
    image of the batch, None of a whole one.

    Raises:
        UserError: as `features`; of a broken image unless skip_broken.
    """
    if not isinstance(cat.transform, EvalTransform):
        raise UserError("the cat has no transform; load it by timecat.load, or say how its images were normalised")
    for name, count in (("batch size", batch_size), ("workers", workers or 1)):
        if count < 1:
            raise UserError(f"{name} {count}: choose 1 or more")
    if precision not in get_args(Precision):
        raise UserError(f"precision {precision}: choose one of {', '.join(get_args(Precision))}")
    transform, on = cat.transform, _device(device)
    config = resolved(ProbeConfig(precision=precision), [on])
    networks = [cast(Backbone, folded(member)) for member in cat.to(on).members]

    def read(image: str | Path | np.ndarray) -> np.ndarray | str:
        try:
            return read_image(image, transform)
        except UserError as error:
            if not skip_broken:
                raise
            return str(error)

    def compute(seen: list[np.ndarray]) -> Tensor:
        batch = transform.normalise(torch.from_numpy(np.stack(seen)).to(on))
        half = torch.autocast(torch.device(on).type, torch.bfloat16, enabled=config.precision == "bfloat16")
        with float32_products(tf32=config.precision == "tf32"), half:  # not while whoever asks has the batch
            return torch.cat([network.features(batch).float() for network in networks], 1).cpu()

    todo = iter(range(0, len(images), batch_size))
    ahead: deque[list[Future[np.ndarray | str]]] = deque()
    pool = ThreadPoolExecutor(workers or cores(), thread_name_prefix="images")
    try:
        while True:
            for start in islice(todo, BATCHES_AHEAD - len(ahead)):
                ahead.append([pool.submit(read, image) for image in images[start : start + batch_size]])
            if not ahead:
                return
            seen = [each.result() for each in ahead.popleft()]
            whole = [each for each in seen if not isinstance(each, str)]
            given = compute(whole) if whole else torch.empty(0, cat.num_features)
            yield given, [each if isinstance(each, str) else None for each in seen]
    finally:
        pool.shutdown(cancel_futures=True)


def _device(name: str | None) -> str:
    """The device of this name, or a GPU where there is one.

    Raises:
        UserError: there is no such device.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError):  # an unknown name, none of its number, meta, or a torch without CUDA
        raise UserError(f"device {name}: is not here; choose cpu, or a GPU such as cuda:0") from None
    return name
