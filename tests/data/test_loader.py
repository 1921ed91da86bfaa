"""The loader's promises: what is seen is a function of (seed, epoch, sample) alone; resumable, correct, leak-free."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, normalize, resized_crop

from timecat.data import views
from timecat.data.beton import JPEG, RAW, read_beton
from timecat.data.datamodule import ImageData
from timecat.data.kernel import kernel
from timecat.data.loader import BATCHES_AHEAD, BetonLoader
from timecat.data.write.beton_writer import BetonWriter
from timecat.errors import UserError

SIDE = 48
IMAGENET = views.TRAIN_VIEWS["imagenet"]


def make(directory: Path, *, batch_size: int, name: str = "train", view: views.View = IMAGENET, **options):
    beton = read_beton(directory / f"{name}.beton")
    options = {"resolution": SIDE, "indices": np.arange(len(beton)), **options}
    return BetonLoader(beton, options.pop("indices"), view=view, batch_size=batch_size, **options)


def train(directory: Path, **options) -> BetonLoader:
    return make(directory, **{"shuffle": True, "drop_last": True, "seed": 3, **options})


def by_sample(*loaders: BetonLoader) -> dict[int, bytes]:
    """What the loaders' epochs show of each sample; each sample at most once."""
    seen = {}
    for loader in loaders:
        for images, labels, indices in loader:
            assert (labels.numpy() == loader.beton.labels[indices]).all()
            for image, index in zip(images, indices.tolist(), strict=True):
                assert index not in seen
                seen[index] = image.numpy().tobytes()
    return seen


def order(*loaders: BetonLoader) -> list[list[int]]:
    """The samples of each global batch, sorted."""
    return [sorted(torch.cat([part[2] for part in parts]).tolist()) for parts in zip(*loaders, strict=True)]


def write_raw(path: Path, images: list[np.ndarray], labels: list[int] | None = None) -> Path:
    with BetonWriter(path, len(images)) as writer:
        for i, image in enumerate(images):
            writer.add(i, labels[i] if labels else 0, RAW, *image.shape[:2], image.tobytes())
    return path


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(1, 256, (count, height, width, 3), dtype=np.uint8))


def area_resize(image: np.ndarray, side: int) -> np.ndarray:
    """Reduce (h, w, 3) to (side, side, 3): each output pixel is the mean of the area it covers. Not rounded."""

    def weights(n: int) -> np.ndarray:
        edges, pixels = np.linspace(0, n, side + 1)[:, None], np.arange(n)[None, :]
        overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
        return np.maximum(overlap, 0) * side / n

    rows, columns = weights(image.shape[0]), weights(image.shape[1])
    return np.einsum("ih,hwc,jw->ijc", rows, image.astype(float), columns, optimize=True)


def test_pixels_do_not_depend_on_batches_workers_or_ranks(jpegs):
    whole = train(jpegs, batch_size=16)
    reference = by_sample(whole)
    assert len(reference) == 48 and len(set(reference.values())) == 48
    others = {
        "2 workers": [train(jpegs, batch_size=16, workers=2)],
        "batches of 7": [train(jpegs, batch_size=7, workers=2)],
        "2 ranks": [train(jpegs, batch_size=8, rank=rank, world=2) for rank in range(2)],
    }
    for name, loaders in others.items():
        seen = by_sample(*loaders)
        assert len(seen) == (63 if name == "batches of 7" else 48), name
        assert {i: seen[i] for i in reference} == reference, name
    assert order(*others["2 ranks"]) == order(*others["2 workers"]) == order(whole)
    assert order(*others["batches of 7"]) != order(whole)


@pytest.mark.parametrize("view", [views.EVAL_VIEWS["imagenet"], views.View("shifted", padding=4)])
def test_the_same_bytes_every_time(jpegs, view):
    """Memory that compiled code frees too early shows here, in a few samples of a few passes."""
    passes = [by_sample(train(jpegs, batch_size=9, view=view, workers=1 + i % 2)) for i in range(12)]
    for sample in range(63):
        assert len({seen[sample] for seen in passes}) == 1, sample


@pytest.mark.parametrize("change", ["seed", "epoch"])
def test_another_seed_or_epoch_is_another_order_and_other_pixels(jpegs, change):
    one, other = train(jpegs, batch_size=16), train(jpegs, batch_size=16, seed=4 if change == "seed" else 3)
    if change == "epoch":
        other.set_epoch(1)
    assert order(one) != order(other)
    seen, seen_other = by_sample(one), by_sample(other)
    common = seen.keys() & seen_other.keys()
    assert len(common) > 30 and all(seen[i] != seen_other[i] for i in common)


@pytest.mark.parametrize("stop", [0, 1, 4, 8])
def test_resume(jpegs, stop):
    """At any batch of epoch 2, also from a loader that has itself been resumed."""
    reference = train(jpegs, batch_size=7)
    reference.set_epoch(2)
    wanted = list(reference)
    assert len(wanted) == 9

    stopped = train(jpegs, batch_size=7)
    stopped.set_epoch(2)
    reader = iter(stopped)
    for _ in range(stop):
        next(reader)
    state = stopped.state_dict()
    stopped.close()

    first = train(jpegs, batch_size=7)
    first.load_state_dict(state)
    assert first.state_dict() == state
    reader = iter(first)
    next(reader)
    again = train(jpegs, batch_size=7)
    again.load_state_dict(first.state_dict())
    first.close()

    resumed = train(jpegs, batch_size=7)
    resumed.load_state_dict(state)
    for loader, start in ((resumed, stop), (again, (stop + 1) % 9)):
        found = list(loader)
        assert len(found) == 9 - start, start
        for batch, other in zip(found, wanted[start:], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))
    resumed.set_epoch(3)
    assert len(list(resumed)) == 9  # the next epoch is whole


def test_resume_after_the_last_batch_starts_the_next_epoch(jpegs):
    done = train(jpegs, batch_size=16)
    assert len(list(done)) == 3
    resumed = train(jpegs, batch_size=16)
    resumed.load_state_dict(done.state_dict())
    for loader in (done, resumed):
        loader.set_epoch(1)
    assert by_sample(resumed) == by_sample(done) and len(by_sample(resumed)) == 48


@pytest.mark.parametrize("change", [{"seed": 4}, {"batch_size": 8}, {"rank": 0, "world": 2}])
def test_state_of_another_run_is_refused(jpegs, change):
    state = train(jpegs, batch_size=16).state_dict()
    key = "world" if "world" in change else next(iter(change))
    with pytest.raises(UserError, match=rf"train\.beton.* {key} "):
        train(jpegs, **{"batch_size": 16, **change}).load_state_dict(state)


@pytest.mark.parametrize("batch_size", [8, 16, 100])
def test_evaluation_on_two_ranks_sees_every_sample_once(jpegs, batch_size):
    ranks = [make(jpegs, batch_size=batch_size, view=views.EVAL_VIEWS["imagenet"], rank=r, world=2) for r in range(2)]
    alone = make(jpegs, batch_size=batch_size, view=views.EVAL_VIEWS["imagenet"])
    seen = [by_sample(rank) for rank in ranks]
    assert [len(part) for part in seen] == [32, 31]
    assert seen[0] | seen[1] == by_sample(alone)
    for rank in ranks:
        assert len(rank) == len(list(rank))
    assert [i for _, _, indices in alone for i in indices.tolist()] == list(range(63))


def test_raw_images_at_their_own_size_are_the_stored_bytes(digits):
    loader = make(digits, name="test", batch_size=100, view=views.EVAL_VIEWS["small"], resolution=28)
    seen = by_sample(loader)
    data = (digits / "test.beton").read_bytes()
    stored = [data[o : o + s] for o, s in zip(loader.beton.offsets, loader.beton.sizes, strict=True)]
    assert [seen[i] for i in range(797)] == stored


def central_crop(pixels: np.ndarray) -> np.ndarray:
    """224/256 of the shorter side."""
    height, width = pixels.shape[:2]
    side = round(min(height, width) * 224 / 256)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


@pytest.mark.parametrize(("height", "width", "side"), [(64, 96, 28), (96, 64, 14), (97, 75, 30)])
def test_evaluation_crops_the_centre_and_averages_areas(tmp_path, height, width, side):
    images = noise(4, height, width)
    write_raw(tmp_path / "train.beton", images)
    (found, _, _) = next(iter(make(tmp_path, batch_size=4, view=views.EVAL_VIEWS["imagenet"], resolution=side)))
    for image, pixels in zip(images, found.numpy(), strict=True):
        assert np.abs(area_resize(central_crop(image), side) - pixels).max() < 0.51  # it is rounded


def test_evaluation_of_jpegs(jpegs):
    """Pillow's decoding, cropped and resized, but for the decoders' differences of about one grey level."""
    loader = make(jpegs, batch_size=63, view=views.EVAL_VIEWS["imagenet"])
    data = (jpegs / "train.beton").read_bytes()
    (found, _, _) = next(iter(loader))
    assert (loader.beton.modes == JPEG).all()
    errors = []
    for i, pixels in enumerate(found.numpy().astype(float)):
        start, size = loader.beton.offsets[i], loader.beton.sizes[i]
        decoded = np.asarray(Image.open(BytesIO(data[start : start + size])))
        wanted = area_resize(central_crop(decoded), SIDE)
        assert np.abs(wanted - pixels).mean() < 1.5
        errors.append([np.abs(np.roll(wanted, by, axis=1) - pixels).mean() for by in (0, 1)])
    errors = np.mean(errors, axis=0)
    assert errors[0] < 1 and errors[1] > 5  # off by one pixel would show


def test_shift_and_flip(tmp_path):
    """As the drawn window of the zero-padded image; every shift from -4 to 4 comes, about equally often."""
    images = noise(600, 28, 28)
    write_raw(tmp_path / "train.beton", images)
    loader = train(tmp_path, batch_size=600, view=views.TRAIN_VIEWS["small"], resolution=28)
    (found, _, indices) = next(iter(loader))
    random = views.uniform(3, 0, np.arange(600), views.DRAWS)
    for pixels, index in zip(found.numpy(), indices.tolist(), strict=True):
        padded = np.pad(images[index], ((4, 4), (4, 4), (0, 0)))
        top, left = (random[index, 1:3] * 9).astype(int)
        window = padded[top : top + 28, left : left + 28]
        wanted = window[:, ::-1] if random[index, 0] < 0.5 else window
        assert np.array_equal(pixels, wanted), index
    rows = [(pixels.any((1, 2)).argmax(), pixels[::-1].any((1, 2)).argmax()) for pixels in found.numpy()]
    counts = np.bincount([4 + a - b for a, b in rows])  # black rows above, black rows below
    assert len(counts) == 9 and counts.min() > 40 and counts.max() < 100


@pytest.mark.parametrize(("height", "width"), [(56, 56), (150, 131)])
def test_shift_is_in_pixels_of_the_output(tmp_path, height, width):
    images = noise(20, height, width)
    write_raw(tmp_path / "train.beton", images)
    view = views.View("shifted", padding=3)
    (found, _, indices) = next(iter(train(tmp_path, batch_size=20, view=view, resolution=28)))
    random = views.uniform(3, 0, indices.numpy(), views.DRAWS)
    for pixels, index, row in zip(found.numpy(), indices.tolist(), random, strict=True):
        shift = (row[1:3] * 7).astype(int) - 3
        top, left = (round(float(by) * side / 28) + 20 for by, side in zip(shift, (height, width), strict=True))
        window = np.pad(images[index], ((20, 20), (20, 20), (0, 0)))[top : top + height, left : left + width]
        assert np.abs(area_resize(window, 28) - pixels).max() < 0.51


def resized(height, width, view: views.View = IMAGENET, n: int = 10_000) -> np.ndarray:
    random = views.uniform(0, 0, np.arange(n), views.DRAWS)
    return views.boxes(view, np.broadcast_to(height, n), np.broadcast_to(width, n), 224, random)


def test_random_crops_lie_inside_and_within_area_and_aspect():
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(1, 500, (2, 10_000))
    heights[:1000], widths[1000:2000] = 20, 20  # extreme aspects among them
    widths[:500] = heights[1000:1500] = 2000
    top, left, height, width, flip = resized(heights, widths).T
    assert (top >= 0).all() and (left >= 0).all() and (height >= 1).all() and (width >= 1).all()
    assert (top + height <= heights).all() and (left + width <= widths).all()
    assert 0.47 < flip.mean() < 0.53
    # Each side is rounded by up to half a pixel.
    area = heights * widths
    fits = ((height + 0.5) * (width + 0.5) >= 0.08 * area) & ((height - 0.5) * (width - 0.5) <= area)
    fits &= ((width - 0.5) / (height + 0.5) <= 4 / 3) & ((width + 0.5) / (height - 0.5) >= 3 / 4)
    central = (top == (heights - height) // 2) & (left == (widths - width) // 2)
    largest = central & (
        ((height == heights) & (width == np.rint(heights * 4 / 3)))
        | ((width == widths) & (height == np.rint(widths * 4 / 3)))
        | ((height == heights) & (width == widths))
    )
    assert (fits | largest).all()
    extreme = (np.maximum(heights, widths) > 18 * np.minimum(heights, widths)) & (np.minimum(heights, widths) > 8)
    assert extreme.sum() > 500 and largest[extreme].all()  # no box of 8 % fits
    usual = (heights > 50) & (widths > 50) & (np.abs(np.log(heights / widths)) < 0.5)
    assert usual.sum() > 2000 and fits[usual].all() and not largest[usual].any()


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.3, 0.6)])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (500, 150)])
def test_random_crops_are_distributed_as_torchvisions(height, width, scale):
    ours = resized(height, width, replace(IMAGENET, scale=scale))[:, :4]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, height, width, device="meta")
        theirs = np.array([RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(10_000)])

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        """Kolmogorov and Smirnov's: beyond 0.028 one time in a thousand if the distributions are equal."""
        grid = np.sort(np.concatenate([a, b]))
        a_below, b_below = (np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in (a, b))
        return np.abs(a_below - b_below).max()

    for name, quantity in {
        "top": lambda box: box[:, 0],
        "left": lambda box: box[:, 1],
        "area": lambda box: box[:, 2] * box[:, 3],
        "aspect": lambda box: np.round(box[:, 3] / box[:, 2], 2),
        "place": lambda box: np.round(box[:, 0] / np.maximum(height - box[:, 2], 1), 2),
    }.items():
        assert distance(quantity(ours), quantity(theirs)) < 0.028, name


def test_uniform_draws():
    n = 20_000
    draws = views.uniform(5, 2, np.arange(n), 6)
    assert draws.min() >= 0 and draws.max() < 1
    for column in draws.T:
        counts = np.histogram(column, 20, (0, 1))[0]
        assert ((counts - n / 20) ** 2 / (n / 20)).sum() < 43.8  # chi squared, 19 degrees of freedom, 0.1 %
    others = [views.uniform(seed, epoch, np.arange(n), 6) for seed, epoch in [(5, 3), (6, 2), (2, 5)]]
    pairs = [(draws[:, 0], other[:, 0]) for other in others]
    pairs += [(draws[:, i], draws[:, j]) for i in range(6) for j in range(i)]
    pairs += [(draws[1:, i], draws[:-1, i]) for i in range(6)]
    pairs += [(draws[1:, 0], others[0][:-1, 0]), (draws[:, 0], others[1][:, 1])]
    for a, b in pairs:
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)
    assert np.array_equal(views.uniform(5, 2, np.array([17, 3]), 4), draws[[17, 3], :4])


def in_time(call, seconds: float = 10):
    """The outcome of a call, which must come in this time."""
    outcome = []

    def body() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, "it hangs"
    return outcome[0]


def with_jpeg(jpegs: Path, directory: Path, damage) -> tuple[BetonLoader, bytes]:
    """A copy of the first ten JPEGs in which `damage` was done to the bytes of the seventh; and those bytes."""
    beton, data = read_beton(jpegs / "train.beton"), (jpegs / "train.beton").read_bytes()
    with BetonWriter(directory / "damaged.beton", 10) as writer:
        for i in range(10):
            jpeg = data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]]
            jpeg = damaged = damage(jpeg) if i == 7 else jpeg
            writer.add(i, 0, JPEG, beton.heights[i], beton.widths[i], jpeg)
            if i == 7:
                kept = damaged
    loader = make(directory, name="damaged", batch_size=4, view=views.EVAL_VIEWS["imagenet"], workers=2)
    return loader, kept


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda b: b[: len(b) // 2] + bytes(len(b) - len(b) // 2), id="zeros to the end"),
        pytest.param(lambda b: b[: len(b) // 2] + b"\xff\xd9" + b[len(b) // 2 + 2 :], id="end marker in the middle"),
        pytest.param(lambda b: b[: len(b) // 2] + b"\xff\xc4" + b[len(b) // 2 + 2 :], id="table marker in the middle"),
        pytest.param(lambda b: bytes(100) + b[100:], id="zeros at the start"),
        pytest.param(lambda b: b[: len(b) // 2], id="half of it"),
        pytest.param(lambda b: b[:-10], id="without its last bytes"),
    ],
)
def test_broken_jpeg_stops_training_by_name(jpegs, tmp_path, damage):
    loader, _ = with_jpeg(jpegs, tmp_path, damage)
    before = threading.active_count()
    reader = iter(loader)
    next(reader)
    error = in_time(lambda: list(reader))
    assert isinstance(error, UserError), "it passed"
    assert str(tmp_path / "damaged.beton") in str(error) and "image 7 " in str(error) and "\n" not in str(error)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("damage", "warns"),
    [
        pytest.param(lambda b: b + b"appended by a camera", False, id="appended"),
        pytest.param(lambda b: b[:-2] + b"\x12\x34\x56\x78" * 9 + b[-2:], True, id="before the end marker"),
        pytest.param(lambda b: (at := b.index(b"\xff\xda")) and b[:at] + b"\0\x11\x22" + b[at:], True, id="inside"),
    ],
)
def test_harmless_garbage_in_a_jpeg_is_not_refused(jpegs, tmp_path, damage, warns):
    libffcv = pytest.importorskip("ffcv.libffcv")
    loader, jpeg = with_jpeg(jpegs, tmp_path, damage)
    height, width = int(loader.beton.heights[7]), int(loader.beton.widths[7])
    source, out = np.frombuffer(jpeg, np.uint8), np.empty((height, width, 3), np.uint8)
    address = ctypes.c_void_p(out.ctypes.data)
    arguments = (height, width, address, height, width, 0, 0, 1, 1, False, False)
    assert (libffcv.ctypes_imdecode(source.ctypes.data, source.size, *arguments) != 0) is warns
    clean = np.frombuffer(by_sample(make(jpegs, batch_size=9, view=views.EVAL_VIEWS["imagenet"]))[7], np.uint8)
    found = np.frombuffer(in_time(lambda: by_sample(loader))[7], np.uint8)
    assert np.abs(found.astype(int) - clean).mean() < 1.5


@pytest.mark.parametrize(
    ("environment", "threads"),
    [({}, 6), ({"SLURM_STEP_ID": "0", "SLURM_CPUS_PER_TASK": "3"}, 3), ({"TORCHELASTIC_RUN_ID": "x"}, 2)],
)
def test_no_more_threads_than_cores_of_this_process(jpegs, monkeypatch, environment, threads):
    """Of six that the kernel gives: all, those of a SLURM task that is not bound, the share of one of torchrun's three.

    The number itself is tests/cluster/test_cores.py's.
    """
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert train(jpegs, batch_size=7, workers=100).workers == threads
    assert train(jpegs, batch_size=7, workers=1).workers == 1


@pytest.mark.parametrize("close", [False, True])
def test_epochs_left_early_leak_no_threads(jpegs, close):
    before = threading.active_count()
    loader = train(jpegs, batch_size=7, workers=2)
    readers = []
    for epoch in range(30):
        loader.set_epoch(epoch)
        if close:  # as Lightning leaves it at max_steps: somebody still holds the reader
            readers.append(iter(loader))
            next(readers[-1])
            assert threading.active_count() <= before + 1 + loader.workers
        else:
            for _ in loader:
                break
    if close:
        loader.close()
    assert threading.active_count() == before


def test_an_exception_while_loading_reaches_the_reader(jpegs, monkeypatch):
    loader = train(jpegs, batch_size=16)
    real, calls = views.boxes, []

    def fails_once(*arguments):
        calls.append(None)
        if len(calls) == 2:
            raise ZeroDivisionError("in the thread")
        return real(*arguments)

    monkeypatch.setattr(views, "boxes", fails_once)
    before = threading.active_count()
    reader = iter(loader)
    next(reader)
    error = in_time(lambda: next(reader))
    assert isinstance(error, ZeroDivisionError) and threading.active_count() == before


def test_batches_overlap_and_no_worker_waits_for_another(jpegs, monkeypatch):
    """One image takes for ever: the other worker goes on with the rest of its batch, and with batches begun ahead."""
    begun, seen, released = [], [], threading.Event()
    boxes, fill = views.boxes, kernel().fill

    def counted(*arguments):
        begun.append(None)
        return boxes(*arguments)

    def slow_at_first(file, offsets, *rest):
        if loader.beton.offsets[0] in offsets:
            released.wait(20)
        seen.extend(offsets.tolist())
        fill(file, offsets, *rest)

    monkeypatch.setattr("timecat.data.loader.PART", 1)  # an image a part
    monkeypatch.setattr(views, "boxes", counted)
    loader = make(jpegs, batch_size=6, view=views.EVAL_VIEWS["imagenet"], workers=2)
    whole = by_sample(loader)
    begun.clear()
    monkeypatch.setattr(loader, "_see_all", slow_at_first)
    reader = iter(loader)
    first = threading.Thread(target=lambda: next(reader))
    first.start()
    for _ in range(200):
        if len(seen) == 6 * (1 + BATCHES_AHEAD) - 1:
            break
        time.sleep(0.05)
    assert sorted(seen) == sorted(loader.beton.offsets[1 : 6 * (1 + BATCHES_AHEAD)].tolist())
    time.sleep(0.1)
    assert len(begun) == 1 + BATCHES_AHEAD  # no more memory than that
    released.set()
    first.join()
    assert loader.state_dict()["batches_done"] == 1
    rest = [image.numpy().tobytes() for images, _, _ in reader for image in images]
    assert rest == [whole[i] for i in range(6, 63)]


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_bytes_of_what_comes_are_asked_for_once(jpegs, monkeypatch, shuffle):
    """Before the first batch is done, those of all that are begun; neighbours at once, in pieces of ADVICE bytes."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, size, advice: asked.append((start, start + size)))
    for name, value in (("SMALL", 1), ("ADVICE", 30_000)):
        monkeypatch.setattr(f"timecat.data.loader.{name}", value)
    loader = make(jpegs, batch_size=5, shuffle=shuffle)
    reader = iter(loader)
    next(reader)
    samples, beton = loader.order()[: 5 * (1 + BATCHES_AHEAD)], loader.beton
    loader._pools[0].submit(int).result(10)  # what was to begin has begun
    loader.close()
    wanted = [np.arange(beton.offsets[i], beton.offsets[i] + beton.sizes[i]) for i in samples]
    found = np.concatenate([np.arange(*piece) for piece in asked])
    assert np.array_equal(np.sort(found), np.sort(np.concatenate(wanted)))
    assert max(end - start for start, end in asked) <= 30_000
    assert shuffle or len(asked) < 20  # of 25 images, in five batches


def test_nothing_starts_before_the_first_batch(jpegs):
    before = threading.active_count()
    loader = train(jpegs, batch_size=7)
    reader = iter(loader)
    assert threading.active_count() == before and loader.state_dict()["batches_done"] == 0
    next(reader)
    assert threading.active_count() > before
    loader.close()


def test_batches_are_not_overwritten(jpegs):
    loader = train(jpegs, batch_size=7)
    kept, copies = [], []
    for batch in loader:
        kept.append(batch)
        copies.append([part.clone() for part in batch])
    assert len(kept) == 9
    for batch, copy in zip(kept, copies, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, copy, strict=True))


def images(directory: Path, **options) -> ImageData:
    options = {"train": "train.beton", "view": "small", "resolution": 28, "root": str(directory), **options}
    return ImageData(**options)


def test_holdout_and_subset_are_stratified_and_the_same_for_every_seed(digits):
    labels = read_beton(digits / "train.beton").labels
    kept, held = images(digits, holdout=0.2).split()
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(1000))
    assert np.array_equal(np.bincount(labels[held]), np.rint(np.bincount(labels) * 0.2))
    for seed in (1, 17):
        again = images(digits, holdout=0.2, seed=seed).split()
        assert np.array_equal(again[0], kept) and np.array_equal(again[1], held)

    data = images(digits, subset=300, holdout=0.2, batch_size=50, eval_batch_size=50)
    kept, held = data.split()
    assert (
        len(np.unique(np.concatenate([kept, held]))) == len(kept) + len(held) and abs(len(kept) + len(held) - 300) < 6
    )
    used = np.bincount(labels[kept]) + np.bincount(labels[held])
    assert np.array_equal(used, np.rint(np.bincount(labels) * 0.3))
    assert set(by_sample(data.train_dataloader())) <= set(kept) and len(data.train_dataloader()) == len(kept) // 50
    assert set(by_sample(data.val_dataloader())) == set(held)
    assert images(digits).val_dataloader() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_images": 999}, ("train.beton", "1,000", "999", "data.train_images")),
        ({"num_classes": 9}, ("train.beton", "label 9", "9 classes", "model.num_classes")),
        ({"batch_size": 1001}, ("train.beton", "1,000", "1,001", "data.batch_size")),
        ({"train": "other.beton"}, ("other.beton", "no such file", "timecat write")),
        ({"holdout": 1.0}, ("train.beton", "1.0")),
    ],
)
def test_data_that_do_not_fit_are_named(digits, options, words):
    with pytest.raises(UserError) as error:
        images(digits, **options).train_dataloader()
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("view", "mean", "std"),
    [
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("small", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ],
)
def test_normalisation_is_torchvisions(digits, view, mean, std):
    pixels = torch.randint(0, 256, (5, 30, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, label = images(digits, view=view).on_after_batch_transfer((pixels, 7), 0)
    wanted = normalize(pixels.permute(0, 3, 1, 2) / 255, mean, std)
    assert label == 7 and found.shape == (5, 3, 30, 30) and found.dtype == torch.float32
    assert (found - wanted).abs().max() < 1e-5
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("view", ["eval", "train"])
def test_bicubic_is_torchvisions(digits, view):
    """Small images enlarged: a crop resized by Pillow's bicubic filter, as torchvision's RandomResizedCrop does."""
    data = images(
        digits, view="imagenet", interpolation="bicubic", scale=(0.8, 1.0), resolution=56, batch_size=50, workers=2
    )
    beton = data.beton("train")
    loader = data.train_dataloader() if view == "train" else data.eval_loader("train", np.arange(100))
    found, _, indices = next(iter(loader))
    loader.close()
    random = views.uniform(data.seed, 0, indices.numpy(), views.DRAWS)
    seen = data.train_view if view == "train" else data.eval_view
    drawn = views.boxes(seen, beton.heights[indices], beton.widths[indices], 56, random)
    file = np.memmap(beton.path, np.uint8, mode="r")
    for pixels, index, (top, left, height, width, flip) in zip(
        found.numpy(), indices.tolist(), drawn.tolist(), strict=True
    ):
        start = int(beton.offsets[index])
        stored = Image.fromarray(np.array(file[start : start + 28 * 28 * 3]).reshape(28, 28, 3))
        wanted = np.asarray(resized_crop(stored, top, left, height, width, [56, 56], InterpolationMode.BICUBIC))
        assert np.array_equal(pixels, wanted[:, ::-1] if flip else wanted)
    assert len(np.unique(drawn[:, 2])) > (3 if view == "train" else 0)


def test_the_side_grows_late_in_the_training(digits):
    """The public fast recipe's epochs: 160 px up to 11 of 16 and 65 of 88, 192 px from 13 and 76."""
    for epochs, start, end in ((16, 11, 13), (88, 65, 76)):
        data = images(digits, batch_size=100, train_resolution=(160, 192), ramp=(0.739, 0.864), steps=10 * epochs)
        sides = [data.train_side(epoch) for epoch in range(epochs)]
        assert sides == sorted(sides) and set(sides) == {160, 192}
        assert sides[: start + 1] == [160] * (start + 1) and sides[end:] == [192] * (epochs - end)
    data = images(digits, batch_size=100, train_resolution=(32, 96), ramp=(0, 0.75), steps=40)
    loader = data.train_dataloader()
    found = []
    for epoch in range(4):
        loader.set_epoch(epoch)
        found += [batch[0].shape[1] for batch in loader]
    assert found == [32] * 10 + [64] * 20 + [96] * 10
    assert next(iter(data.eval_loader("train", np.arange(10))))[0].shape[1] == 28
    with pytest.raises(UserError, match="train_resolution"):
        images(digits, train_resolution=(100, 192))


@pytest.mark.parametrize(
    ("batch", "most", "world", "accumulated"),
    [(1024, 256, 1, 4), (1024, 256, 4, 1), (1024, 256, 8, 1), (1024, 200, 2, 4), (96, 20, 1, 6), (96, None, 2, 1)],
)
def test_a_global_batch_is_shared_by_any_number_of_devices(digits, batch, most, world, accumulated):
    assert images(digits, batch_size=batch, device_batch_size=most).accumulated(world) == accumulated
    with pytest.raises(UserError, match="shared equally"):
        images(digits, batch_size=batch).accumulated(7)


def test_an_epoch_has_whole_steps_only(digits):
    """1,000 images in steps of 3 batches of 32: ten steps, none of fewer images."""
    loader = make(digits, batch_size=32, batches_per_step=3, drop_last=True)
    assert len(loader) == 30 and len(list(loader)) == 30


@pytest.mark.slow
def test_compiled_kernels_find_a_place_where_nothing_else_can_be_written(jpegs, tmp_path):
    """As in a container with a foreign user id: neither the package nor the home may be written to."""
    pytest.importorskip("ffcv")
    script = (
        "import os, sys\n"
        "os.access = lambda *_: False\n"
        "from timecat.data.datamodule import ImageData\n"
        "data = ImageData(train='train.beton', root=sys.argv[1], resolution=32, batch_size=8)\n"
        "next(iter(data.train_loader(0)))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", script, str(jpegs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / f"timecat-{os.getuid()}").rglob("*.nbi"))
