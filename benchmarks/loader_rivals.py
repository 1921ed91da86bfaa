"""Loaders of others that `benchmarks.loader` measures where they are installed, each with the files that it wants.

None shares code with ours. Each gives uint8 batches of random resized crops, flipped at random; what it reads is made
on the first call, beside the photos, with the JPEGs' bytes as they are. Where a library leaves decoding to its user
(WebDataset, litdata), it is torchvision's JPEG decoder and second transforms, of tensors.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIDE = 224
SHARDS = 16  # of a WebDataset: as many workers at most have work

Batches = Callable[[], Iterator[Any]]  # an epoch of (images, labels, ...)


def crop_and_flip() -> list[Any]:
    """torchvision's second transforms, which resize uint8 tensors as they are."""
    from torchvision.transforms import v2

    return [v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip()]


def image_folder(data: Path, workers: int, batch: int, pin: bool, last: list[Any]) -> Batches:
    """torchvision's ImageFolder of Pillow's images, cropped and flipped, and what follows that."""
    from torchvision import datasets, transforms

    crop = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
    return _loaded(datasets.ImageFolder(str(data / "photos"), transforms.Compose([*crop, *last])), workers, batch, pin)


def folder_of_tensors(data: Path, workers: int, batch: int, pin: bool, decode: Callable[[str], Any]) -> Batches:
    """The same of tensors, uint8 (3, height, width), that `decode` makes of a path."""
    from torchvision import datasets
    from torchvision.transforms import v2

    images = datasets.ImageFolder(str(data / "photos"), v2.Compose(crop_and_flip()), loader=decode)
    return _loaded(images, workers, batch, pin)


def _loaded(images: Any, workers: int, batch: int, pin: bool) -> Batches:
    from torch.utils.data import DataLoader

    loader = DataLoader(
        images, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True, pin_memory=pin
    )
    return lambda: iter(loader)


def torchcodec(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """torchcodec's JPEG decoder in ImageFolder and DataLoader."""
    from torchcodec.decoders import decode_jpeg

    return folder_of_tensors(data, workers, batch, pin, decode_jpeg)


def _photos(data: Path) -> list[tuple[str, int]]:
    """Paths and labels, as ImageFolder gives them."""
    from torchvision.datasets import ImageFolder

    return ImageFolder(str(data / "photos")).samples


def _seen(pair: Any) -> tuple[Any, int]:
    """Decode and crop a JPEG's bytes; in the worker, whose transforms are made once."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    global _transforms
    if _transforms is None:
        _transforms = crop_and_flip()
    jpeg, label = pair
    image = decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8), ImageReadMode.RGB)
    for transform in _transforms:
        image = transform(image)
    return image, int(label)


_transforms: list[Any] | None = None


def webdataset(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """Shards of tar files, batches made in the workers; each worker leaves out what fills no batch."""
    import random

    import webdataset as wds

    shards = data / "webdataset"
    if not shards.exists():
        shards.mkdir()
        photos = _photos(data)
        random.Random(0).shuffle(photos)
        for shard in range(SHARDS):
            with wds.TarWriter(str(shards / f"{shard:02}.tar")) as writer:
                for i, (path, label) in enumerate(photos[shard::SHARDS]):
                    writer.write({"__key__": f"{shard:02}{i:06}", "jpg": Path(path).read_bytes(), "cls": label})
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    images = wds.WebDataset(urls, shardshuffle=len(urls), empty_check=False).shuffle(1000).to_tuple("jpg", "cls")
    batched = images.map(_seen).batched(batch, partial=False)
    loader = wds.WebLoader(batched, batch_size=None, num_workers=workers, persistent_workers=True, pin_memory=pin)
    return lambda: iter(loader)


def _stored(sample: tuple[str, int]) -> dict[str, Any]:
    return {"image": Path(sample[0]).read_bytes(), "label": sample[1]}


def _seen_of_dict(sample: dict[str, Any]) -> tuple[Any, int]:
    return _seen((sample["image"], sample["label"]))


def litdata(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """Chunks of 16 MB, StreamingDataset and StreamingDataLoader."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    chunks = data / "litdata"
    if not chunks.exists():
        optimize(_stored, _photos(data), str(chunks), chunk_bytes="16MB", num_workers=1, verbose=False)
    images = StreamingDataset(str(chunks), shuffle=True, drop_last=True, transform=_seen_of_dict)
    loader = StreamingDataLoader(
        images,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=pin,
    )
    return lambda: iter(loader)


def spdl(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """Threads that decode, crop and scale by FFmpeg's filters; uint8 (b, side, side, 3)."""
    import random

    import spdl.io
    import torch
    from spdl.pipeline import PipelineBuilder
    from torchvision.transforms import RandomResizedCrop

    photos = _photos(data)

    def decode(sample: tuple[str, int]) -> tuple[Any, int]:
        packets = spdl.io.demux_image(sample[0])
        whole = torch.empty((3, packets.height, packets.width), device="meta")
        top, left, height, width = RandomResizedCrop.get_params(whole, [0.08, 1.0], [3 / 4, 4 / 3])
        flip = "hflip," if random.random() < 0.5 else ""
        crop = f"crop=w={width}:h={height}:x={left}:y={top},scale=w={SIDE}:h={SIDE}:flags=bilinear"
        return spdl.io.decode_packets(packets, filter_desc=f"{crop},{flip}format=pix_fmts=rgb24"), sample[1]

    def collate(samples: list[tuple[Any, int]]) -> tuple[Any, Any]:
        storage = spdl.io.cpu_storage(batch * SIDE * SIDE * 3, pinned=True) if pin else None
        frames = spdl.io.convert_frames([frame for frame, _ in samples], storage=storage)
        return spdl.io.to_torch(frames), torch.tensor([label for _, label in samples])

    def epoch() -> Iterator[Any]:
        order = random.sample(photos, len(photos))
        builder = PipelineBuilder().add_source(order).pipe(decode, concurrency=workers)
        pipeline = builder.aggregate(batch, drop_last=True).pipe(collate).add_sink(4).build(num_threads=workers)
        with pipeline.auto_stop():
            yield from pipeline

    return epoch


def dali(data: Path, workers: int, batch: int, pin: bool) -> Batches:
    """NVIDIA's pipeline on the CPU, its decoder of random crops included; uint8 (b, side, side, 3)."""
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy

    @pipeline_def(batch_size=batch, num_threads=workers, device_id=0 if pin else None, prefetch_queue_depth=2)
    def pipeline() -> Any:
        jpegs, labels = fn.readers.file(file_root=str(data / "photos"), random_shuffle=True, name="reader")
        images = fn.decoders.image_random_crop(
            jpegs, random_aspect_ratio=[3 / 4, 4 / 3], random_area=[0.08, 1.0], output_type=types.RGB
        )
        images = fn.resize(images, size=(SIDE, SIDE), antialias=True)
        return fn.flip(images, horizontal=fn.random.coin_flip()), labels

    loader = DALIGenericIterator(
        pipeline(), ["images", "labels"], reader_name="reader", auto_reset=True, last_batch_policy=LastBatchPolicy.DROP
    )
    return lambda: ((one["images"], one["labels"].flatten().long()) for (one,) in loader)
