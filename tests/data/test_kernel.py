"""Two kernels, the same pixels and the same verdicts; and all of timecat where FFCV is not there."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.processes import snapshots
from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main
from timecat.data import cv2_kernel, views
from timecat.data.beton import JPEG, RAW, read_beton
from timecat.data.kernel import decode, decoded, is_harmless, kernel
from timecat.data.loader import BetonLoader
from timecat.data.write.beton_writer import BetonWriter
from timecat.errors import UserError

ffcv_kernel = pytest.importorskip("timecat.data.ffcv_kernel")
VIEWS = {
    "resized": views.View("resized", flip=True),
    "resized, small": views.View("resized", flip=True, scale=(0.001, 0.05)),
    "shifted": views.View("shifted", flip=True, padding=6),
    "center": views.View("center"),
    "whole": views.View("whole"),
    "bicubic": views.View("resized", flip=True, interpolation="bicubic"),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """72 crops of photographs, sides of 60 to 300 pixels: raw, and JPEGs of all kinds that cameras write."""
    from sklearn.datasets import load_sample_image

    photo, rng = load_sample_image("china.jpg"), np.random.default_rng(0)
    path = tmp_path_factory.mktemp("mixed") / "train.beton"
    with BetonWriter(path, 72) as writer:
        for i in range(72):
            height, width = rng.integers(60, 301, 2).tolist()
            top, left = rng.integers(0, photo.shape[0] - height), rng.integers(0, photo.shape[1] - width)
            pixels, stream = photo[top : top + height, left : left + width], BytesIO()
            Image.fromarray(pixels).save(
                stream, "JPEG", quality=(30, 75, 90, 100)[i % 4], subsampling=i % 3, progressive=i % 2 == 0
            )
            writer.add(
                i,
                0,
                *((RAW, height, width, pixels.tobytes()) if i % 4 == 3 else (JPEG, height, width, stream.getvalue())),
            )
    return path


@pytest.mark.parametrize("side", [17, 96, 224])
@pytest.mark.parametrize("view", VIEWS)
def test_both_kernels_give_the_same_pixels(mixed, monkeypatch, view, side):
    beton, seen = read_beton(mixed), []
    for module in (ffcv_kernel, cv2_kernel):
        monkeypatch.setattr("timecat.data.loader.kernel", lambda module=module: module)
        loader = BetonLoader(beton, np.arange(72), view=VIEWS[view], resolution=side, batch_size=72, seed=5, workers=2)
        ((images, _, _),) = loader
        seen.append(images.numpy())
    assert seen[0].std() > 30
    assert np.array_equal(*seen)


DAMAGES = {
    "whole": lambda b, middle: b,
    "half of it": lambda b, middle: b[:middle],
    "without its last bytes": lambda b, middle: b[:-10],
    "zeros to the end": lambda b, middle: b[:middle] + bytes(len(b) - middle),
    "zeros at the start": lambda b, middle: bytes(100) + b[100:],
    "end marker in the middle": lambda b, middle: b[:middle] + b"\xff\xd9" + b[middle + 2 :],
    "appended": lambda b, middle: b + b"appended by a camera",
    "garbage in the header": lambda b, middle: (at := b.index(b"\xff\xdb")) and b[:at] + b"\x12\x34" * 9 + b[at:],
    "a later JFIF": lambda b, middle: b[:11] + b"\x07" + b[12:],
    "garbage before the end marker": lambda b, middle: b[:-2] + b"\x12\x34\x56\x78" * 9 + b[-2:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_both_kernels_tell_the_same_jpegs_from_broken_ones(mixed, damage):
    beton, data = read_beton(mixed), mixed.read_bytes()
    for i in (0, 2, 5):  # the last is not progressive: one that is may end anywhere
        jpeg = data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]]
        jpeg = np.frombuffer(DAMAGES[damage](jpeg, len(jpeg) // 2), np.uint8)
        jpeg.setflags(write=False)
        height, width = int(beton.heights[i]), int(beton.widths[i])
        rows = [np.array([each]) for each in (0, len(jpeg), JPEG, height, width)]
        found = []
        for module in (ffcv_kernel, cv2_kernel):
            out, failed = np.zeros((1, 16, 16, 3), np.uint8), np.zeros(1, np.int64)
            module.fill(jpeg, *rows, np.array([[0, 0, height, width, 0]]), out, failed)
            found.append((bool(failed[0]), out.tobytes()))
        assert found[0] == found[1]
        pixels, complaint = decode(jpeg, height, width)
        broken = bool(complaint) and not is_harmless(complaint)
        harmless = "whole", "appended", "garbage before the end marker", "garbage in the header", "a later JFIF"
        assert broken == (damage not in harmless), complaint
        if not broken:
            whole = np.frombuffer(data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]], np.uint8)
            assert np.array_equal(pixels, decoded(whole, height, width))


@pytest.mark.parametrize("module", [ffcv_kernel, cv2_kernel])
@pytest.mark.parametrize(("rows", "columns"), [(-1, 0), (1, 0), (0, 1), (40, -3), (60000, 60000)])
def test_a_jpeg_of_other_sides_than_the_index_says_is_broken(mixed, tmp_path, monkeypatch, module, rows, columns):
    """A larger one was memory below its last row, another at each reading; or 10 GB of it."""
    beton, data = read_beton(mixed), mixed.read_bytes()
    jpeg = data[beton.offsets[0] : beton.offsets[0] + beton.sizes[0]]
    with BetonWriter(tmp_path / "wrong.beton", 2) as writer:
        writer.add(0, 0, JPEG, beton.heights[0], beton.widths[0], jpeg)
        writer.add(1, 0, JPEG, beton.heights[0] + rows, beton.widths[0] + columns, jpeg)
    monkeypatch.setattr("timecat.data.loader.kernel", lambda: module)
    wrong = read_beton(tmp_path / "wrong.beton")
    with pytest.raises(UserError, match=r"wrong.beton: image 1 is broken \(it has \d+ x \d+ pixels, its index says"):
        list(BetonLoader(wrong, np.arange(2), view=VIEWS["whole"], resolution=16, batch_size=2))


def test_a_jpeg_without_its_tables_is_not_decoded_by_those_of_the_one_before(mixed):
    """FFCV's decoder is one for all images of a thread, and keeps tables."""
    beton, data = read_beton(mixed), mixed.read_bytes()
    jpegs = [data[beton.offsets[i] : beton.offsets[i] + beton.sizes[i]] for i in (1, 5)]  # both are not progressive
    for marker in (b"\xff\xdb", b"\xff\xc4"):
        lost = jpegs[1].replace(marker, b"\xff\xe9")  # an application's own: skipped
        file = np.frombuffer(jpegs[0] + lost, np.uint8)
        heights, widths = beton.heights[[1, 5]], beton.widths[[1, 5]]
        sizes, boxes = np.array([len(jpegs[0]), len(lost)]), np.zeros((2, 5), np.int64)
        boxes[:, 2], boxes[:, 3] = heights, widths
        out, failed = np.zeros((2, 16, 16, 3), np.uint8), np.zeros(2, np.int64)
        modes, offsets = np.array([JPEG, JPEG]), np.array([0, len(jpegs[0])])
        ffcv_kernel.fill(file, offsets, sizes, modes, heights, widths, boxes, out, failed)
        assert failed.tolist() == [0, 1], marker


@pytest.mark.parametrize(("named", "found"), [("", ffcv_kernel), ("ffcv", ffcv_kernel), ("cv2", cv2_kernel)])
def test_the_environment_names_a_kernel(monkeypatch, capsys, named, found):
    monkeypatch.setenv("TIMECAT_KERNEL", named)
    assert kernel.__wrapped__() is found and capsys.readouterr().out == ""
    monkeypatch.setenv("TIMECAT_KERNEL", "dali")
    with pytest.raises(UserError, match=r"TIMECAT_KERNEL=dali.*ffcv or cv2"):
        kernel.__wrapped__()


def test_without_ffcv_everything_works_and_gives_the_same_weights(tmp_path, monkeypatch):
    """Written, trained and probed by a process that can import neither FFCV nor numba; said in one line."""
    configs = {}
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        data = {"root": str(tmp_path / "data"), "train": "train.beton"}
        probe = write_probe(tmp_path / name / "digits.yaml", data, {"weight_decays": [1e-3]}, trainer={"max_epochs": 2})
        cats = {"cat1": {"members": 1, "steps": 4}}
        configs[name] = write_study(tmp_path / name / "study.yaml", data, ONE_CYCLE, cats, probes=[probe])
    commands = [
        ["write", "digits", str(tmp_path / "data"), "--storage", "jpeg"],
        ["fit", "--config", configs["without"], "--member", "0"],
        ["probe", "--config", configs["without"]],
    ]
    script = (
        "import sys\n"
        "sys.modules['ffcv'] = sys.modules['numba'] = None\n"
        "from timecat.cli import main\n"
        f"sys.exit(max(main(command) for command in {commands}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ffcv ")]
    assert len(lines) == 1 and "simplejpeg and cv2" in lines[0], done.stdout
    assert "acc1" in (tmp_path / "without/runs/study/probe/digits/results.json").read_text()
    assert main(["fit", "--config", configs["with"], "--member", "0"]) == 0
    found = [snapshots(tmp_path / name / "runs") for name in configs]
    assert len(found[0]) == 1 and found[0] == found[1]
