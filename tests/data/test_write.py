"""`timecat write` on real files, read back by FFCV's own Loader and by read_beton."""

import errno
import json
import os
import platform
import signal
import struct
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import timecat.data.write.partial as partial_module
import timecat.data.write.write as write_module
from tests.support.stock_loader import read_by_ffcv
from timecat.data.beton import JPEG, RAW, count_images, read_beton
from timecat.data.sources.open_source import open_source
from timecat.data.write.beton_writer import BetonWriter
from timecat.data.write.command import main
from timecat.data.write.partial import Partial
from timecat.data.write.write import write
from timecat.errors import UserError

W, H = 120, 80
ALPHA = Image.linear_gradient("L").resize((W, H))
METADATA = 24 + 2 * 1041  # where the samples' metadata starts


def picture(seed: int, width: int = W, height: int = H) -> Image.Image:
    """A smooth picture of its own: a colour ramp whose directions and ends depend on the seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    corners = rng.permutation(np.linspace(0, 250, 12)).reshape(4, 3)
    ramp = (1 - y) * ((1 - x) * corners[0] + x * corners[1]) + y * ((1 - x) * corners[2] + x * corners[3])
    return Image.fromarray(ramp.round().astype(np.uint8))


def palette(seed: int) -> Image.Image:
    return picture(seed).quantize(64, dither=Image.Dither.NONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes of every kind of file that is to come out as an upright RGB image of W x H."""
    root = tmp_path_factory.mktemp("folder")
    a, b = root / "a", root / "b" / "deeper"
    a.mkdir()
    b.mkdir(parents=True)
    picture(0).save(a / "0-rgb.jpg", quality=95)
    picture(1).convert("L").save(a / "1-grey.JPG", quality=95)
    picture(2).convert("CMYK").save(a / "2-cmyk.jpeg", quality=95)
    palette(3).save(a / "3-palette.png")
    rgba = picture(4)
    rgba.putalpha(ALPHA)
    rgba.save(b / "4-rgba.png")
    deep = np.asarray(picture(5).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(b / "5-deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(6).transpose(Image.Transpose.ROTATE_90).save(b / "6-turned.jpg", quality=95, exif=exif)
    picture(7, 4 * W, 4 * H).save(b / "7-big.jpg", quality=95)
    (a / ".hidden.jpg").write_bytes(b"no image")
    (a / "notes.txt").write_text("no image")
    return root


def expected(index: int) -> np.ndarray:
    image = palette(index) if index == 3 else picture(index)
    if index == 4:
        alpha = np.asarray(ALPHA)[..., None] / 255
        return (np.asarray(image) * alpha + 255 * (1 - alpha)).round().astype(int)
    return np.asarray((image.convert("L") if index in (1, 5) else image).convert("RGB")).astype(int)


def assert_close(found: np.ndarray, index: int) -> None:
    error = np.abs(found.astype(int) - expected(index))
    assert error.mean() < 4, (index, error.mean())  # another picture, or this one turned or with channels swapped: > 20
    assert np.quantile(error, 0.99) < 16, (index, np.quantile(error, 0.99))


def one_line(error: pytest.ExceptionInfo, *words: object) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert str(word) in text, (word, text)


def fails(*words: object):
    class Check:
        def __enter__(self):
            self.context = pytest.raises(UserError)
            self.info = self.context.__enter__()

        def __exit__(self, *error):
            done = self.context.__exit__(*error)
            one_line(self.info, *words)
            return done

    return Check()


def tree(root: Path, **images: int) -> Path:
    """root/CLASS/0.jpg, ... for the number of images of each class."""
    for k, (name, count) in enumerate(images.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(100 * k + i).save(root / name / f"{i:03}.jpg")
    return root


def test_pictures_differ():
    """The closeness that the tests below ask for tells each picture from each other, and from itself turned."""
    arrays = [expected(i) for i in range(8)]
    for i in range(8):
        for j in range(i):
            assert np.abs(arrays[i] - arrays[j]).mean() > 10
        assert np.abs(arrays[i] - arrays[i][::-1, ::-1]).mean() > 10
    assert np.abs(arrays[6] - arrays[6][..., ::-1]).mean() > 10


def test_stock_writer_is_read(tmp_path):
    pytest.importorskip("ffcv")
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    images = [np.asarray(picture(i, 40 + i, 30)) for i in range(20)]
    for order in (("image", "label"), ("label", "image")):
        path = tmp_path / f"{order[0]}.beton"
        field = RGBImageField(write_mode="proportion", compress_probability=0.5, jpeg_quality=95)
        fields = {name: {"image": field, "label": IntField()}[name] for name in order}
        samples = [tuple({"image": image, "label": 7 - k % 8}[n] for n in order) for k, image in enumerate(images)]
        DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(samples, chunksize=3)
        beton = read_beton(path)
        assert len(beton) == count_images(path) == 20 and beton.num_classes == 8
        assert beton.labels.tolist() == [7 - k % 8 for k in range(20)]
        assert set(beton.modes.tolist()) == {JPEG, RAW}
        assert (beton.heights == 30).all() and beton.widths.tolist() == list(range(40, 60))
        data = path.read_bytes()
        for k, image in enumerate(images):
            stored = data[beton.offsets[k] : beton.offsets[k] + beton.sizes[k]]
            if beton.modes[k] == RAW:
                assert stored == image.tobytes()
            else:
                assert np.abs(np.asarray(Image.open(BytesIO(stored))).astype(int) - image).mean() < 3


def test_stock_loader_reads_every_kind(folder, tmp_path):
    pytest.importorskip("ffcv")
    for storage, kept in (("auto", 1), ("raw", 0)):
        (path,) = write(str(folder), tmp_path / storage, max_side=W, storage=storage, progress=False)
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["images"] == 8 and record["kept_jpegs"] == kept and record["converted"] == 8 - kept
        assert record["classes"] == ["a", "b"] and record["per_class"] == {"min": 4, "max": 4}
        assert record["width"] == {"min": W, "max": W} and record["height"] == {"min": H, "max": H}
        assert record["bytes"] == path.stat().st_size
        beton = read_beton(path)
        assert beton.labels.tolist() == [0] * 4 + [1] * 4
        assert (beton.modes == (RAW if storage == "raw" else JPEG)).all()
        for os_cache in (True, False):
            ((images, labels),) = read_by_ffcv(path, 8, os_cache=os_cache)
            assert labels.flatten().tolist() == [0] * 4 + [1] * 4
            for index in range(8):
                assert_close(images[index].numpy(), index)


def test_stock_loader_reads_grown_pages(tmp_path):
    """Images larger than the first page size: the pages grow, and no image crosses a boundary of the larger ones."""
    pytest.importorskip("ffcv")
    arrays = np.random.default_rng(0).integers(0, 256, (4, 1500, 2000, 3), dtype=np.uint8)  # 9 MB each
    arrays[0] = 77
    stream = BytesIO()
    Image.fromarray(arrays[0]).save(stream, "JPEG")
    path = tmp_path / "x.beton"
    with BetonWriter(path, 4) as writer:
        writer.add(0, 0, JPEG, 1500, 2000, stream.getvalue())
        assert writer.page_size == 8 << 20
        for i in (3, 1, 2):
            writer.add(i, i, RAW, 1500, 2000, arrays[i].tobytes())
        assert writer.page_size == 16 << 20
    beton = read_beton(path)
    assert (beton.offsets >> 24 == (beton.offsets + beton.sizes - 1) >> 24).all()
    for os_cache in (False, True):
        ((images, labels),) = read_by_ffcv(path, 4, os_cache=os_cache)
        assert labels.flatten().tolist() == [0, 1, 2, 3]
        assert (np.abs(images.numpy().astype(int) - arrays).max(axis=(1, 2, 3)) <= [1, 0, 0, 0]).all()


def test_kept_jpegs_are_bit_identical(folder, tmp_path):
    (path,) = write(str(folder), tmp_path, progress=False)
    beton, data = read_beton(path), path.read_bytes()
    kept = {0: "a/0-rgb.jpg", 7: "b/deeper/7-big.jpg"}
    for i in range(8):
        stored = data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]]
        source = next(folder.rglob(f"{i}-*"))
        assert (stored == source.read_bytes()) == (i in kept), source
        if i != 7:
            assert_close(np.asarray(Image.open(BytesIO(stored))), i)
    assert json.loads((tmp_path / "train.json").read_text())["kept_jpegs"] == 2


def test_small_images_are_raw_and_exact(tmp_path):
    source = tmp_path / "in"
    for name, width in (("edge", 64), ("over", 65)):
        (source / name).mkdir(parents=True)
        picture(1, width, 20).save(source / name / "x.png")
    (path,) = write(str(source), tmp_path / "out", progress=False)
    beton = read_beton(path)
    assert beton.modes.tolist() == [RAW, JPEG]
    stored = np.fromfile(path, dtype=np.uint8)[beton.offsets[0] :][: 64 * 20 * 3]
    assert (stored.reshape(20, 64, 3) == np.asarray(picture(1, 64, 20))).all()


def test_reduces_but_never_enlarges(tmp_path):
    source = tmp_path / "in"
    for name, size in (("small", (30, 90)), ("tall", (100, 301)), ("thread", (2000, 3))):
        (source / name).mkdir(parents=True)
        picture(1, *size).save(source / name / "x.png")
    (path,) = write(str(source), tmp_path / "out", max_side=100, progress=False)
    beton = read_beton(path)
    assert list(zip(beton.widths.tolist(), beton.heights.tolist(), strict=True)) == [(30, 90), (33, 100), (100, 1)]


def test_second_call_does_nothing(folder, tmp_path, capsys):
    assert main([str(folder), str(tmp_path), "--max-side", "64"]) == 0
    first = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in tmp_path.iterdir()}
    assert sorted(first) == ["train.beton", "train.beton.sha256.json", "train.json"]
    assert "train.beton: 8 images of 2 classes" in capsys.readouterr().out
    assert main([str(folder), str(tmp_path), "--max-side", "64"]) == 0
    assert capsys.readouterr().out == "train.beton is up to date\n"
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in tmp_path.iterdir()} == first

    for change, word in (
        ({"max_side": 63}, "max_side"),
        ({"storage": "jpeg"}, "storage"),
        ({"quality": 91}, "quality"),
    ):
        with fails("train.beton", word, "choose another OUT"):
            write(str(folder), tmp_path, **({"max_side": 64} | change))
    with fails("another source"):
        write("digits", tmp_path, splits=["train"], max_side=64)
    os.truncate(tmp_path / "train.beton", 100)
    with fails("train.beton", "not as long"):
        write(str(folder), tmp_path, max_side=64)
    (tmp_path / "train.json").unlink()
    with fails("train.beton", "no train.json"):
        write(str(folder), tmp_path, max_side=64)


def test_changed_source_is_refused(tmp_path):
    source = tree(tmp_path / "in", a=2, b=2)
    write(str(source), tmp_path / "out", progress=False)
    picture(50).save(source / "a" / "000.jpg")
    with fails("another fingerprint"):
        write(str(source), tmp_path / "out", progress=False)


def test_broken_images_are_named(tmp_path, capsys):
    source = tree(tmp_path / "in", a=3, b=3)
    cut = source / "a" / "001.jpg"
    cut.write_bytes(cut.read_bytes()[:-300])
    (source / "b" / "000.jpg").write_bytes(b"")
    with fails("2 images are broken", cut, "--skip-broken"):
        write(str(source), tmp_path / "out", progress=False)
    listed = capsys.readouterr().err.splitlines()
    assert len(listed) == 2 and listed[0].startswith("1 x ") and listed[0].endswith(f": {cut}")
    assert listed[1] == f"1 x no image that Pillow knows: {source / 'b' / '000.jpg'}"
    assert list((tmp_path / "out").glob("[!.]*")) == []
    (path,) = write(str(source), tmp_path / "out", skip_broken=True)
    output = capsys.readouterr()
    assert "left out, broken or too large, 2 of 6 images" in output.err and "going on after 6 of 6 images" in output.out
    beton, record = read_beton(path), json.loads((tmp_path / "out" / "train.json").read_text())
    assert beton.labels.tolist() == [0, 0, 1, 1] and count_images(path) == record["images"] == 4
    assert [name.split(" (")[0] for name in record["skipped"]] == [str(cut), str(source / "b" / "000.jpg")]
    assert record["per_class"] == {"min": 2, "max": 2}
    data = path.read_bytes()
    for i, name in enumerate(("a/000.jpg", "a/002.jpg", "b/001.jpg", "b/002.jpg")):
        assert data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]] == (source / name).read_bytes()
    with fails("--skip-broken"):
        write(str(source), tmp_path / "out", progress=False)


def test_stops_at_a_hundred_broken(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    for i in range(130):
        (tmp_path / "in" / "a" / f"{i:03}.png").write_bytes(b"no image")
    with fails("100 or more", "000.png"):
        write(str(tmp_path / "in"), tmp_path / "out", progress=False)
    with fails("no image is left"):
        write(str(tmp_path / "in"), tmp_path / "out", skip_broken=True, progress=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_same_bytes_for_any_workers(tmp_path):
    source, hashes = str(tree(tmp_path / "in", a=30, b=31)), set()
    for workers in (1, 2, 5):
        out = tmp_path / str(workers)
        write(source, out, max_side=100, workers=workers, progress=False)
        hashes.add(json.loads((out / "train.json").read_text())["sha256"])
    assert len(hashes) == 1
    write(source, tmp_path / "other", max_side=100, quality=91, progress=False)
    assert json.loads((tmp_path / "other" / "train.json").read_text())["sha256"] not in hashes


def test_digits_twice(tmp_path):
    records = []
    for name in ("one", "two"):
        paths = write("digits", tmp_path / name, progress=False)
        assert [(p.name, count_images(p)) for p in paths] == [("train.beton", 1000), ("test.beton", 797)]
        records.append([json.loads(p.with_suffix(".json").read_text()) for p in paths])
    assert records[0] == records[1]
    beton = read_beton(tmp_path / "one" / "train.beton")
    assert beton.num_classes == 10 and (beton.modes == RAW).all() and (beton.sizes == 28 * 28 * 3).all()
    split = open_source("digits")[0]
    assert split.labels.tolist() == beton.labels.tolist()
    data = np.fromfile(beton.path, dtype=np.uint8)
    for i in (0, 500, 999):
        assert (data[beton.offsets[i] :][: 28 * 28 * 3].reshape(28, 28, 3) == split.item(i)).all()


def test_splits_of_a_directory(tmp_path):
    root = tmp_path / "in"
    tree(root / "train", cat=2, dog=3)
    tree(root / "validation", dog=1)
    tree(root / "test", cat=1, dog=1)
    found = {split.name: split for split in open_source(str(root))}
    assert list(found) == ["train", "val", "test"]
    assert {split.classes for split in found.values()} == {("cat", "dog")}
    assert found["val"].labels.tolist() == [1] and found["train"].labels.tolist() == [0, 0, 1, 1, 1]
    assert [p.name for p in write(str(root), tmp_path / "out", splits=["test"], progress=False)] == ["test.beton"]
    with fails("'val'", "train"):
        open_source(str(root / "train"), splits=["val"])
    with fails("'extra'", "train, val, test"):
        open_source(str(root), splits=["extra"])
    with fails("--test-fraction"):
        open_source(str(root), test_fraction=0.5)
    tree(root / "extra", x=1)
    with fails("extra", "--splits train,val,test"):
        open_source(str(root))
    tree(root / "val", cat=1)
    with fails("validation", "val"):
        open_source(str(root))


def test_test_fraction(tmp_path):
    root = tree(tmp_path / "in", a=10, b=5)
    train, test = open_source(str(root), test_fraction=0.2)
    assert (train.name, test.name) == ("train", "test")
    assert np.bincount(train.labels).tolist() == [8, 4] and np.bincount(test.labels).tolist() == [2, 1]
    files = [{str(split.item(i)) for i in range(len(split.labels))} for split in (train, test)]
    assert not files[0] & files[1] and len(files[0] | files[1]) == 15
    assert all(split.item(i).parent.name == "ab"[split.labels[i]] for split in (train, test) for i in range(3))
    assert train.fingerprint != test.fingerprint


def bad_directories(root: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Sources that lack something -> what the error must name."""
    tree(root / "gap", a=1, empty=0)
    tree(root / "flat", a=1)
    picture(0).save(root / "flat" / "stray.jpg")
    tree(root / "more" / "train", a=1)
    tree(root / "more" / "test", a=1, other=1)
    tree(root / "headless" / "test", a=1)
    (root / "nothing").mkdir()
    tree(root / "odd", a=1)
    os.mkfifo(root / "odd" / "a" / "pipe.jpg")
    (root / "file.txt").write_text("text")
    return {
        "gap": (root / "gap", ("empty", "without an image")),
        "flat": (root / "flat", ("stray.jpg", "no class directory")),
        "more": (root / "more", ("other", "train split lacks")),
        "headless": (root / "headless", ("no train",)),
        "nothing": (root / "nothing", ("no images",)),
        "file": (root / "file.txt", ("no such directory",)),
        "odd": (root / "odd", ("pipe.jpg", "regular file")),
        "absent": (root / "absent", ("no such directory",)),
    }


@pytest.mark.parametrize("case", ["gap", "flat", "more", "headless", "nothing", "file", "odd", "absent"])
def test_bad_directories(tmp_path, case):
    source, words = bad_directories(tmp_path)[case]
    with fails(tmp_path, *words):
        write(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_link_back_up_ends(tmp_path):
    root = tree(tmp_path / "in", a=2)
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root)
    assert len(open_source(str(root))[0].labels) == 2


def test_bad_options(tmp_path, monkeypatch):
    root = tree(tmp_path / "in", a=2)
    for option in ({"max_side": 0}, {"quality": 101}, {"workers": 0}, {"storage": "png"}):
        (name,) = option
        with fails("--" + name.replace("_", "-"), "choose"):
            write(str(root), tmp_path / "out", **option)
    with fails("inside the source"):
        write(str(root), root / "out")
    with fails("CIFAR10", "did you mean"):
        write("torchvision:CIFAR1O", tmp_path / "out")
    with fails("--root"):
        write("torchvision:CIFAR10", tmp_path / "out")
    with fails("--download"):
        write("torchvision:CIFAR10", tmp_path / "out", root=tmp_path)
    (tmp_path / "taken").write_text("")
    with fails("taken", "cannot be written"):
        write(str(root), tmp_path / "taken")
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(write_module.shutil, "disk_usage", lambda path: usage)
    with fails("8 MB are needed and 1 MB are free"):
        write(str(root), tmp_path / "out")


def test_torchvision_source(tmp_path, monkeypatch):
    """CIFAR-10's own file layout, with ten images a batch."""
    import pickle

    rng = np.random.default_rng(0)
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    pixels = rng.integers(0, 256, (6, 10, 3, 32, 32), dtype=np.uint8)
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {"data": pixels[k].reshape(10, -1), "labels": [(i + k) % 10 for i in range(10)]}
        (base / name).write_bytes(pickle.dumps(content))
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "_load_meta", lambda self: setattr(self, "classes", list("abcdefghij")))
    train, test = write("torchvision:CIFAR10", tmp_path / "out", root=tmp_path, progress=False)
    beton, data = read_beton(train), np.fromfile(train, dtype=np.uint8)
    assert len(beton) == 50 and len(read_beton(test)) == 10
    assert beton.labels.tolist() == [(i + k) % 10 for k in range(5) for i in range(10)]
    for i in (0, 13, 49):
        image = data[beton.offsets[i] :][:3072].reshape(32, 32, 3)
        assert (image == pixels[i // 10, i % 10].transpose(1, 2, 0)).all()


def test_torchvision_files_are_kept(tmp_path):
    """A torchvision data set that reads files gives the files, not their pixels."""
    root = tree(tmp_path / "in", a=2, b=3)
    (path,) = write("torchvision:ImageFolder", tmp_path / "out", root=root, progress=False)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["kept_jpegs"] == 5 and record["classes"] == ["a", "b"]
    assert read_beton(path).labels.tolist() == [0, 0, 1, 1, 1]


@pytest.fixture(scope="module")
def beton_bytes(tmp_path_factory) -> tuple[bytes, int]:
    """A file of three raw images of 2 x 5 pixels, and where its table starts."""
    path = tmp_path_factory.mktemp("beton") / "x.beton"
    with BetonWriter(path, 3) as writer:
        for i in range(3):
            writer.add(i, i, RAW, 2, 5, bytes(range(30)))
    data = path.read_bytes()
    assert read_beton(path).labels.tolist() == [0, 1, 2]
    return data, struct.unpack_from("<Q", data, 16)[0]


@pytest.mark.parametrize("where", [0, 1, 10, 24, 1000, METADATA + 30, 4 << 20, (8 << 20) + 20, -73, -72, -24, -1])
def test_cut_short(beton_bytes, tmp_path, where):
    path = tmp_path / "cut.beton"
    path.write_bytes(beton_bytes[0][:where])
    for read in (read_beton, count_images):
        with fails(path, "cut short", "timecat write"):
            read(path)


PATCHES = {  # what is wrong -> (where, bytes, what the error says)
    "version": (0, struct.pack("<H", 1), "not a .beton"),
    "fields": (2, struct.pack("<H", 3), "fields"),
    "page": (4, struct.pack("<I", 12345), "not a .beton"),
    "empty": (8, struct.pack("<Q", 0), "no samples"),
    "count": (8, struct.pack("<Q", 2**63), "cut short"),
    "fewer": (8, struct.pack("<Q", 2), "damaged"),
    "interrupted": (16, struct.pack("<Q", 0), "interrupted"),
    "table": (16, struct.pack("<Q", 2**64 - 1), "cut short"),
    "type": (24, bytes([0]), "its fields"),
    "mode": (METADATA, bytes([2]), "neither JPEG nor raw"),
    "width": (METADATA + 1, struct.pack("<H", 0), "empty image"),
    "height": (METADATA + 3, struct.pack("<H", 3), "another size"),
    "pointer": (METADATA + 5, struct.pack("<Q", 9 << 20), "not in the table"),
    "label": (METADATA + 24 + 16, struct.pack("<q", -1), "sample 1 has a negative label"),
    "size": (-8, struct.pack("<Q", 31), "outside"),
    "wrap": (-8, struct.pack("<Q", 2**64 - 1), "outside"),
    "early": (-16, struct.pack("<Q", 24), "outside"),
    "overlap": (-16, struct.pack("<Q", (8 << 20) + 31), "overlap"),
}


@pytest.mark.parametrize("case", PATCHES)
def test_damaged(beton_bytes, tmp_path, case):
    where, patch, word = PATCHES[case]
    data = bytearray(beton_bytes[0])
    where %= len(data)
    data[where : where + len(patch)] = patch
    path = tmp_path / "bad.beton"
    path.write_bytes(data)
    with fails(path, word, "timecat write"):
        read_beton(path)


def test_not_a_beton(tmp_path, beton_bytes):
    (tmp_path / "text").write_text("a line of text that is longer than a header\n")
    (tmp_path / "long").write_bytes(beton_bytes[0] + b"x")
    os.mkfifo(tmp_path / "pipe")
    for name, word in (("text", "not a .beton"), ("absent", "no such file"), (".", "regular"), ("pipe", "regular"),
                       ("long", "damaged")):  # fmt: skip
        for read in (read_beton, count_images):
            with fails(word, "timecat write"):
                read(tmp_path / name)


def test_any_order_of_indices(tmp_path):
    with BetonWriter(tmp_path / "x.beton", 4) as writer:
        writer.drop(1)
        for i in (3, 0, 2):
            writer.add(i, 10 + i, RAW, 1, 1 + i, bytes([i]) * 3 * (1 + i))
    beton, data = read_beton(tmp_path / "x.beton"), (tmp_path / "x.beton").read_bytes()
    assert beton.labels.tolist() == [10, 12, 13] and beton.widths.tolist() == [1, 3, 4]
    stored = [data[o : o + n] for o, n in zip(beton.offsets, beton.sizes, strict=True)]
    assert stored == [bytes(3), bytes([2]) * 9, bytes([3]) * 12]


def test_padding_is_zero(tmp_path):
    """The metadata's padding bytes are zeros, not what the memory held before; else the hash differs by chance."""
    n = 2000
    for _ in range(20):
        dirt = [np.full(n * 24, 255, dtype=np.uint8) for _ in range(4)]
        with BetonWriter(tmp_path / "x.beton", n) as writer:
            for i in range(n):
                writer.add(i, i, RAW, 1, 1, b"abc")
            del dirt
        rows = np.fromfile(tmp_path / "x.beton", dtype=np.uint8, count=n * 24, offset=METADATA).reshape(n, 24)
        assert not rows[:, 13:16].any()


def test_writer_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.beton"
    with pytest.raises(KeyboardInterrupt), BetonWriter(path, 2) as writer:
        writer.add(0, 0, RAW, 1, 1, b"abc")
        assert os.listdir(tmp_path) == [f".x.beton.tmp-{platform.node()}-{os.getpid()}"]
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="1 samples were neither"), BetonWriter(path, 2) as writer:
        writer.add(0, 0, RAW, 1, 1, b"abc")
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def long_split(tmp_path_factory) -> tuple[Path, list[str], Path]:
    """(source, options, what an uninterrupted write makes): seven pages, one image for which they grow, two broken."""
    root = tmp_path_factory.mktemp("long")
    source = root / "in"
    for k in range(2):
        (source / str(k)).mkdir(parents=True)
        for i in range(100):
            path = source / str(k) / f"{i:03}.jpg"
            if i < 10:
                picture(10 * k + i, 300, 280).save(path, quality=95)
            else:
                os.link(source / str(k) / f"{i % 10:03}.jpg", path)
    picture(99, 2000, 1500).save(source / "1" / "043.png")  # 9 MB raw; by its index it is not drawn to be JPEG
    for name in ("0/050.jpg", "1/030.jpg"):
        (source / name).unlink()
        (source / name).write_bytes(b"no image")
    options = ["--storage", "mixed", "--jpeg-share", "0.3", "--skip-broken", "--workers", "2"]
    assert main([str(source), str(root / "out"), *options]) == 0
    record = json.loads((root / "out" / "train.json").read_text())
    assert (record["images"], len(record["skipped"]), record["width"]["max"]) == (199, 2, 2000)
    assert record["bytes"] > 40e6 and struct.unpack_from("<I", (root / "out/train.beton").read_bytes(), 4) == (
        16 << 20,
    )
    return source, options, root / "out"


def assert_same(out: Path, clean: Path) -> None:
    assert sorted(os.listdir(out)) == ["train.beton", "train.beton.sha256.json", "train.json"]
    for name in os.listdir(out):
        assert (out / name).read_bytes() == (clean / name).read_bytes(), name


def went_on_after(capsys) -> int:
    lines = [line for line in capsys.readouterr().out.splitlines() if "going on after" in line]
    return int(lines[0].split()[4]) if lines else 0


def rows_in(out: Path) -> int:
    """How many images the journal holds: after a line of text batches of 16 bytes and 10 an image."""
    path, rows = out / ".train.beton.journal", 0
    content = path.read_bytes() if path.exists() else b""
    at = content.find(b"\n") + 1
    while at and len(content) >= at + 16:
        count = struct.unpack_from("<I", content, at)[0]
        at += 16 + 10 * count
        rows += count * (at <= len(content))
    return rows


def interrupt(monkeypatch, arguments: list[str], after: int) -> None:
    """Run until so many images are in, a batch in the journal for every fifteen, then Ctrl-C."""
    add = Partial.add

    def stop(self, image):
        if self.done == after:
            raise KeyboardInterrupt
        if self.done % 15 == 0:
            self._settle()
        add(self, image)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Partial, "add", stop)
        main(arguments)


SLOW = """
import sys, time
import timecat.data.write.partial as partial, timecat.data.write.write as module
from timecat.cli import main
encode, add = module.encode, partial.Partial.add
module.encode = lambda *given: time.sleep(0.005) or encode(*given)
partial.Partial.add = lambda self, image: time.sleep(600 * (self.done == 198)) or add(self, image)  # never at its end
partial.SECONDS = 0
sys.exit(main(["write", *sys.argv[1:]]))
"""


def test_killed_again_and_again(long_split, tmp_path, capsys):
    source, options, clean = long_split
    arguments = [str(source), str(tmp_path), *options]
    seen, moments = 0, np.sort(np.random.default_rng(0).integers(5, 195, 3))
    for moment, kill in zip(moments.tolist(), (signal.SIGKILL, signal.SIGINT, signal.SIGKILL), strict=True):
        process = subprocess.Popen([sys.executable, "-c", SLOW, *arguments], text=True, stdout=-1, stderr=-1)
        deadline = time.monotonic() + 120
        while rows_in(tmp_path) < moment:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(kill)
        output, error = process.communicate(timeout=60)
        assert process.returncode == (130 if kill == signal.SIGINT else -signal.SIGKILL), error
        assert ("going on after" in output) == bool(seen) and (not seen or f"after {seen} of 201" in output)
        assert "Traceback" not in error and not (tmp_path / "train.beton").exists()
        seen = rows_in(tmp_path)
        assert moment <= seen < 201
    assert main(arguments) == 0
    assert went_on_after(capsys) == seen
    assert_same(tmp_path, clean)


def cut(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size + size if size < 0 else size)


def patch_byte(path: Path, where: int) -> None:
    content = bytearray(path.read_bytes())
    content[where] ^= 255
    path.write_bytes(content)


def append(path: Path, junk: bytes) -> None:
    with path.open("ab") as file:
        file.write(junk)


DAMAGE = {  # what befalls (journal, partial file) -> how many of the 150 images are taken up
    "nothing": (lambda journal, data: None, {150}),
    "torn": (lambda journal, data: cut(journal, -7), {135}),
    "unwritten": (lambda journal, data: append(journal, bytes(5000)), {150}),
    "flipped": (lambda journal, data: patch_byte(journal, -3), {135}),
    "no journal": (lambda journal, data: cut(journal, 0), {0}),
    "short": (lambda journal, data: cut(data, 20 << 20), range(15, 136)),
    "no data": (lambda journal, data: data.unlink(), {0}),
    "junk": (lambda journal, data: append(data, b"x" * (40 << 20)), {150}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_partial(long_split, tmp_path, capsys, monkeypatch, case):
    source, options, clean = long_split
    arguments = [str(source), str(tmp_path), *options]
    interrupt(monkeypatch, arguments, 150)
    damage, taken = DAMAGE[case]
    damage(tmp_path / ".train.beton.journal", tmp_path / ".train.beton.partial")
    capsys.readouterr()
    assert main(arguments) == 0
    assert went_on_after(capsys) in taken
    assert_same(tmp_path, clean)


def test_killed_after_the_last_image(long_split, tmp_path, capsys, monkeypatch):
    """While the file is hashed, before and after it gets its name."""
    source, options, clean = long_split
    arguments = [str(source), str(tmp_path), *options]
    stale = ["..train.beton.tmp-7", ".train.json.tmp-7", ".train.beton", ".train.beton.partial", ".train.beton.journal"]
    for name in stale:
        (tmp_path / name).write_text("left by a kill")
    for module, name in ((write_module.checksums, "compute"), (partial_module.os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, name, lambda *path: (_ for _ in ()).throw(KeyboardInterrupt))
            main(arguments)
        assert not (tmp_path / "train.beton").exists()
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "after 201 of 201" in told and ", 0 images/s" in told
    assert_same(tmp_path, clean)
    for name in stale:
        (tmp_path / name).write_text("left by a kill")
    assert main(arguments) == 0
    assert_same(tmp_path, clean)


def test_partial_of_other_images_or_settings(tmp_path, capsys, monkeypatch):
    source = tree(tmp_path / "in", a=20)
    for change in (["--quality", "91"], ["--max-side", "50"], ["--storage", "raw"], None):
        out = tmp_path / f"out {change}"
        interrupt(monkeypatch, [str(source), str(out)], 10)
        if change is None:
            picture(77).save(source / "a" / "003.jpg")
        for directory in (out, tmp_path / f"clean {change}"):
            assert main([str(source), str(directory), *(change or ())]) == 0
        assert went_on_after(capsys) == 0
        assert_same(out, tmp_path / f"clean {change}")


def test_broken_for_a_while(tmp_path, capsys, monkeypatch):
    """An image that could not be read before the interruption and can be now is not left out."""
    source = tree(tmp_path / "in", a=20)
    encode = write_module.encode

    def fail(item, settings, index):
        if index == 5:
            raise OSError("Input/output error")
        return encode(item, settings, index)

    arguments = [str(source), str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(write_module, "encode", fail)
        interrupt(monkeypatch, [*arguments, "--skip-broken"], 10)
        with fails("1 image is broken", "005.jpg", "Input/output"):
            main(arguments)
        assert went_on_after(capsys) == 10
    assert main(arguments) == 0
    write(str(source), tmp_path / "clean", progress=False)
    assert_same(tmp_path / "out", tmp_path / "clean")


FULL = """
import resource, sys
from timecat.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
sys.exit(main(["write", *sys.argv[1:]]))
"""


def test_full_disk(long_split, tmp_path, capsys, monkeypatch):
    source, options, clean = long_split
    arguments = [str(source), str(tmp_path), *options]
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], text=True, capture_output=True)
    assert done.returncode == 2 and done.stderr.startswith("timecat: ") and done.stderr.count("\n") == 1, done.stderr
    add = Partial.add

    def full(self, image):
        if self.done == 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, image)

    with monkeypatch.context() as patch, fails(tmp_path, "the disk is full", "goes on"):
        patch.setattr(Partial, "add", full)
        main(arguments)
    capsys.readouterr()
    assert main(arguments) == 0
    assert went_on_after(capsys) == 100
    assert_same(tmp_path, clean)


def test_two_at_once(tmp_path, monkeypatch):
    """The second of two writers is told off and does no harm to the first."""
    source, tried = tree(tmp_path / "in", a=20), []
    add = Partial.add

    def meet(self, image):
        if self.done == 10 and not tried:
            tried.append(True)
            with fails("train.beton", "another process writes it"):
                write(str(source), tmp_path / "out", progress=False)
        add(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "add", meet)
        write(str(source), tmp_path / "out", progress=False)
    write(str(source), tmp_path / "clean", progress=False)
    assert tried
    assert_same(tmp_path / "out", tmp_path / "clean")

    def late(*given):
        if not tried:
            tried.append(True)
            write(str(source), tmp_path / "late", quality=91, progress=False)
        return opened(*given)

    tried.clear()
    opened = write_module._partial
    monkeypatch.setattr(write_module, "_partial", late)
    with fails("another quality"):
        write(str(source), tmp_path / "late", progress=False)


def test_size_is_told_before(long_split, tmp_path, capsys, monkeypatch):
    source, options, clean = long_split
    size = (clean / "train.beton").stat().st_size
    arguments = [str(source), str(tmp_path), *options]
    usage = type("Usage", (), {"free": size // 2})
    monkeypatch.setattr(write_module.shutil, "disk_usage", lambda path: usage)
    with fails("are needed", "are free", "--max-side"):
        main(arguments)
    assert os.listdir(tmp_path) == []
    usage.free = 10**13
    interrupt(monkeypatch, arguments, 150)
    told = capsys.readouterr().out
    assert "train: 201 images, about " in told and " MB (sampled), 10.0 TB free\n" in told
    usage.free = size // 2
    assert main(arguments) == 0  # three quarters are there
    even = tmp_path / "in" / "a"
    even.mkdir(parents=True)
    for path in source.glob("0/0[0-4]*.jpg"):
        os.link(path, even / path.name)
    usage.free = 10**13
    capsys.readouterr()
    (path,) = write(str(even.parent), tmp_path / "even", storage="mixed", jpeg_share=0.3)
    told = float(capsys.readouterr().out.split("about ")[1].split()[0]) * 1e6
    assert abs(told / path.stat().st_size - 1) < 0.1


def test_mixed_storage(tmp_path):
    pytest.importorskip("ffcv")
    source = tmp_path / "in"
    for k in range(4):
        (source / str(k)).mkdir(parents=True)
        for i in range(150):
            picture(10 * k + i % 10, 40, 30).save(source / str(k) / f"{i:03}.png")
    chosen = {}
    for share in (0.3, 0.7):
        (path,) = write(str(source), tmp_path / str(share), storage="mixed", jpeg_share=share, progress=False)
        beton = read_beton(path)
        chosen[share] = set(np.flatnonzero(beton.modes == JPEG).tolist())
        for k in range(4):  # six standard deviations of 150 draws
            assert abs((beton.modes[beton.labels == k] == JPEG).mean() - share) < 0.22
        assert json.loads(path.with_suffix(".json").read_text())["jpeg_share"] == share
        ((images, _),) = read_by_ffcv(path, 600)
        for i in range(600):
            truth = np.asarray(picture(10 * (i // 150) + i % 10, 40, 30)).astype(int)
            error = np.abs(images[i].numpy() - truth).max()
            assert (0 < error < 40) if i in chosen[share] else error == 0, (i, error)
    assert chosen[0.3] < chosen[0.7]
    assert abs(len({i for i in chosen[0.3] if i % 2}) / len(chosen[0.3]) - 0.5) < 0.15
    with fails("another jpeg_share"):
        write(str(source), tmp_path / "0.3", storage="mixed", jpeg_share=0.7)
    for bad, words in (
        ({"storage": "mixed"}, ("--storage mixed", "--jpeg-share 0.5")),
        ({"jpeg_share": 0.5}, ("--jpeg-share 0.5", "--storage mixed")),
        *(({"storage": "mixed", "jpeg_share": x}, ("between 0 and 1",)) for x in (0.0, 1.0, -1.0, float("nan"))),
    ):
        with fails(*words):
            write(str(source), tmp_path / "bad", **bad)


def inat(root: Path, **splits: list[tuple[int, str]]) -> Path:
    """SPLIT2018.json and the images it names, given as (annotated class, file_name)."""
    for name, images in splits.items():
        for i, (_, file) in enumerate(images):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            picture(i + 10 * len(name)).save(root / file)
        content = {
            "images": [{"id": 7 * i, "file_name": file} for i, (_, file) in enumerate(images)],
            "annotations": [{"id": i, "image_id": 7 * i, "category_id": k} for i, (k, _) in enumerate(images)],
        }
        (root / f"{name}2018.json").write_text(json.dumps(content))
    return root


def test_inat2018(tmp_path, monkeypatch):
    train = [
        (10, "train_val2018/Plantae/10/b.jpg"),
        (2, "train_val2018/Aves/2/a.jpg"),
        (0, "train_val2018/Aves/0/c.jpg"),
    ]
    val = [(2, "train_val2018/Aves/2/d.jpg")]
    root = inat(tmp_path / "in", train=train, val=val)
    monkeypatch.chdir(tmp_path)
    paths = write("inat2018:in", tmp_path / "out", max_side=60, progress=False)
    assert [path.name for path in paths] == ["train.beton", "val.beton"]
    for path, images in zip(paths, (train, val), strict=True):
        beton, record = read_beton(path), json.loads(path.with_suffix(".json").read_text())
        assert beton.labels.tolist() == [k for k, _ in images] and (beton.widths == 60).all()
        assert record["classes"] == [str(k) for k in range(11)] and record["source"] == f"inat2018:{root}"
    (path,) = write(f"inat2018:{root}", tmp_path / "whole", splits=["val"], progress=False)
    assert path.name == "val.beton" and (root / val[0][1]).read_bytes() in path.read_bytes()
    assert open_source(f"inat2018:{root}", splits=["val"])[0].classes == tuple(str(k) for k in range(11))
    with fails("'test'", "train, val"):
        open_source(f"inat2018:{root}", splits=["test"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val": [(3, "v/2/a.jpg")]}, ("val2018.json", "v/2/a.jpg", "class 3")),
        ({"val": [(9, "v/9/a.jpg")]}, ("v/9/a.jpg", "train2018.json lacks")),
        ({"train": [(8142, "v/8142/a.jpg")]}, ("train2018.json", "v/8142/a.jpg", "0 to 8141")),
        ({"train": [(1, "v/Aves/a.jpg")]}, ("v/Aves/a.jpg", "CLASS/FILE")),
        ({"train": [(1, "1/../1/a.jpg")]}, ("1/../1/a.jpg", "CLASS/FILE")),
        ({"train": [(1, "a.jpg")]}, ("'a.jpg'", "CLASS/FILE")),
        ({"train": []}, ("train2018.json", "no images")),
        ("train2018.json", ("train2018.json", "No such file", "inat2018:DIR")),
        ("val2018.json", ("val2018.json", "No such file", "--splits train")),
        ("t/2/a.jpg", ("t/2/a.jpg", "No such file", "extract")),
    ],
)
def test_inat2018_that_is_wrong(tmp_path, change, words):
    splits = {"train": [(0, "t/0/a.jpg"), (2, "t/2/a.jpg")], "val": [(2, "v/2/a.jpg")]}
    root = inat(tmp_path, **splits | (change if isinstance(change, dict) else {}))
    if isinstance(change, str):
        (root / change).unlink()
    with fails(*words):
        open_source(f"inat2018:{root}")
    for content in ("[]", '{"images": [3]}', '{"images": [{"id": 1}]}', '{"images": 1}', "{"):
        (root / "train2018.json").write_text(content)
        with fails("train2018.json", "no list of images"):
            open_source(f"inat2018:{root}")
