"""What real collections of images bring: transparency, copies, one colour, sizes and kinds that no file takes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from timecat.cli import main
from timecat.config.data import DataConfig
from timecat.config.probe import ProbeConfig
from timecat.data import checksums
from timecat.data.beton import RAW, read_beton
from timecat.data.preprocessing import Preprocessing, preprocessing_of
from timecat.data.rgb import color
from timecat.data.sources.copies import copies, merged
from timecat.data.sources.open_source import open_source
from timecat.data.split import split_together, stratified_split
from timecat.data.transform import EvalTransform
from timecat.data.write import encode as encode_module
from timecat.data.write.write import write
from timecat.errors import UserError
from timecat.inference.images import list_images, read_image

SIDE = 24


def noise(seed: int, side: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def transparent(mode: str) -> Image.Image:
    """Red above, nothing below, where the pixels are black beneath the alpha."""
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[: SIDE // 2] = 255, 0, 0, 255
    image = Image.fromarray(rgba)
    if mode == "P":
        image = image.quantize(8)
    if mode == "LA":
        image = image.convert("LA")
    if mode == "key":  # one colour of an RGB file is called transparent
        image = image.convert("RGB")
        image.info["transparency"] = (0, 0, 0)
    return image


def tree(root: Path, **images: int) -> Path:
    for k, (name, count) in enumerate(images.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            noise(1000 * k + i).save(root / name / f"{i:03}.png")
    return root


def stored(path: Path, i: int) -> np.ndarray:
    beton = read_beton(path)
    assert beton.modes[i] == RAW
    data = np.fromfile(path, np.uint8)[beton.offsets[i] :][: beton.sizes[i]]
    return data.reshape(beton.heights[i], beton.widths[i], 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "key"])
def test_transparent_images_are_laid_on_the_background(tmp_path, capsys, mode):
    """And an image of one's own is seen as the stored one, by either way of inference."""
    root = tree(tmp_path / "in", a=1)
    path = root / "a" / "001.png"
    image = transparent(mode)
    image.save(path, **({"transparency": (0, 0, 0)} if mode == "key" else {}))
    for background, shown in (("white", 255), ("black", 0), ("1,2,3", [1, 2, 3])):
        (written,) = write(str(root), tmp_path / f"out {background}", background=background)
        pixels = stored(written, 1)
        assert (pixels[SIDE // 2 :] == shown).all() and pixels[0, 0, 0] > 60 and (pixels[0] == pixels[0, 0]).all()
        assert f"train.beton: 1 image with transparency: laid on {color(background)}" in capsys.readouterr().out
        record = json.loads(written.with_suffix(".json").read_text())
        assert record["transparent"] == 1 and record["background"] == color(background)
        preprocessing = Preprocessing((3, SIDE, SIDE), "squash", 1.0, background=record["background"])
        transform = EvalTransform(preprocessing)
        assert np.array_equal(read_image(path, transform), pixels)
        assert np.array_equal(transform._pixels(Image.open(path)), pixels)
        assert Preprocessing.of_json(preprocessing.as_json()) == preprocessing
    with pytest.raises(UserError, match="another background"):
        write(str(root), tmp_path / "out white", background="black")


def test_a_background_is_a_colour(tmp_path):
    assert [color(name) for name in ("white", "255,255,255", "#fff", "0,0,0", "red")] == [
        *["white"] * 3,
        "black",
        "#ff0000",
    ]
    for bad in ("", "blanc", "1,2", "1,2,256", "-1,0,0", "1,2,x", "rgba(1,2,3,4)", "1,2,3,4"):
        with pytest.raises(UserError, match=r"--background .*: no such colour; take white"):
            write("digits", tmp_path, background=bad)


def test_a_file_of_before_there_was_a_background_is_up_to_date(tmp_path, capsys):
    root = str(tree(tmp_path / "in", a=2))
    (path,) = write(root, tmp_path / "out", progress=False)
    record = json.loads(path.with_suffix(".json").read_text())
    del record["background"]
    path.with_suffix(".json").write_text(json.dumps(record))
    assert main(["write", root, str(tmp_path / "out")]) == 0
    assert "up to date" in capsys.readouterr().out


def test_images_of_one_colour_are_told(tmp_path, capsys):
    root = tree(tmp_path / "in", a=3)
    for name in ("8.png", "9.jpg"):
        Image.new("RGB", (80, 90), (9, 8, 7)).save(root / "a" / name)
    almost = np.full((80, 80, 3), 7, np.uint8)
    almost[41, 33] = 8
    Image.fromarray(almost).save(root / "a" / "almost.png")
    write(str(root), tmp_path / "out")
    told = capsys.readouterr().err
    assert f"train.beton: 2 images have one colour alone: {root}/a/8.png, {root}/a/9.jpg\n" in told


def test_copies_stay_on_one_side(tmp_path, capsys):
    root = tree(tmp_path / "in", a=30, b=30)
    for i in range(8):
        (root / "a" / f"copy {i}.png").write_bytes((root / "a" / f"{i:03}.png").read_bytes())
    (root / "b" / "of a.png").write_bytes((root / "a" / "001.png").read_bytes())
    (root / "b" / "link.png").symlink_to(root / "b" / "003.png")
    big = noise(7, 200)  # past the first look at a file's start
    for k in range(3):
        big.putpixel((150, 20), (k // 2, 0, 0))  # rows are stored from the bottom
        big.save(root / "b" / f"big {k}.bmp")
    train, test = open_source(str(root), test_fraction=0.3)
    contents = [{split.item(i).read_bytes() for i in range(len(split.labels))} for split in (train, test)]
    assert not contents[0] & contents[1]
    assert np.bincount(test.labels).tolist() == [round(0.3 * 38), round(0.3 * 35)]
    assert len(contents[1]) == len(test.labels)
    write(str(root), tmp_path / "out", test_fraction=0.3)
    assert (
        f"{root}: 11 images are copies of others: kept on one side; 1 of them under another class\n"
        in capsys.readouterr().err
    )


def test_a_split_without_copies_is_what_it_was(tmp_path):
    root = tree(tmp_path / "in", a=9, b=5)
    train, test = open_source(str(root), test_fraction=0.4)
    kept, held = stratified_split(np.repeat([0, 1], [9, 5]), 0.4, 0, "")
    names = [sorted(root.glob("*/*.png"))[i] for i in (*kept, *held)]
    assert [split.item(i) for split in (train, test) for i in range(len(split.labels))] == names
    assert train.remarks == ()


def test_copies_that_are_all_there_is(tmp_path):
    """Where each image is there twice, pairs are held out; a class of one image and its copies cannot be split."""
    labels, together = np.repeat([0, 1], [20, 10]), np.arange(30) // 2
    kept, held = split_together(labels, together, 0.3, 0, "x")
    assert not set(together[kept]) & set(together[held]) and np.bincount(labels[held]).tolist() == [6, 2]
    assert sorted([*kept, *held]) == list(range(30))
    with pytest.raises(UserError, match=r"x: all images of class 1 \(dog\) belong together, so none can be held out"):
        split_together(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 3]), 0.3, 0, "x", ("cat", "dog"))
    with pytest.raises(UserError, match=r"class 1 \(dog\) has one image"):
        split_together(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 3]), 0.3, 0, "x", ("cat", "dog"))


def test_what_belongs_together_is_split_together(tmp_path):
    """A patient's images, of either class, and copies between patients."""
    root = tmp_path / "in"
    for k, name in enumerate(("ill", "well")):
        for patient in range(20):
            (root / name / f"p{patient}").mkdir(parents=True)
            for i in range(3):
                noise(1000 * k + 10 * patient + i).save(root / name / f"p{patient}" / f"{i}.png")
    (root / "ill" / "p3" / "copy.png").write_bytes((root / "ill" / "p4" / "0.png").read_bytes())
    train, test = open_source(str(root), test_fraction=0.25, split_by="folder:1")
    patients = [{split.item(i).parent.name for i in range(len(split.labels))} for split in (train, test)]
    assert not patients[0] & patients[1] and ({"p3", "p4"} <= patients[0] or {"p3", "p4"} <= patients[1])
    assert len(patients[1]) == 5 and np.bincount(test.labels).tolist() == [15, 15]
    with pytest.raises(UserError, match=r"--split-by folder:1: goes with --test-fraction"):
        write(str(root), tmp_path / "out", split_by="folder:1")
    with pytest.raises(UserError, match=r"--split-by folder:7: .* has no such directory"):
        write(str(root), tmp_path / "out", test_fraction=0.2, split_by="folder:7")
    assert merged(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist() == [0, 0, 0, 1]


def test_copies_of_arrays(tmp_path):
    split = open_source("digits")[1]
    images = np.stack([split.item(i) for i in range(len(split.labels))])
    together = copies(split)
    assert len(np.unique(together)) == len(np.unique(images.reshape(len(images), -1), axis=0))


def test_images_that_are_too_large_are_told_apart_from_broken_ones(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    monkeypatch.setattr(encode_module, "MOST_DECODED", 20_000)
    root = tree(tmp_path / "in", a=3)
    noise(5, 100).save(root / "a" / "large.png")
    with pytest.raises(UserError, match=r"1 image is too large, such as .*large.png .*--max-side \d+ takes them"):
        write(str(root), tmp_path / "out", progress=False)
    (root / "a" / "cut.png").write_bytes((root / "a" / "000.png").read_bytes()[:500])
    noise(5, 200).save(root / "a" / "vast.jpg")
    with pytest.raises(
        UserError, match=r"3 images are broken, such as .*--max-side \d+ takes the 2 that are too large"
    ):
        write(str(root), tmp_path / "out", progress=False)
    capsys.readouterr()
    with pytest.raises(UserError, match="2 images are broken"):  # beyond what is decoded at all
        write(str(root), tmp_path / "reduced", max_side=20, progress=False)
    assert len(capsys.readouterr().err.splitlines()) == 2
    (path,) = write(str(root), tmp_path / "reduced", max_side=20, skip_broken=True, progress=False)
    assert read_beton(path).heights.tolist() == [20] * 4 and Image.MAX_IMAGE_PIXELS == 3000


def test_broken_images_are_listed_by_reason_within_a_terminal(tmp_path, capsys, monkeypatch):
    root = tree(tmp_path / "in", a=12)
    for i in range(9):
        path = root / "a" / f"{i:03}.png"
        path.write_bytes(path.read_bytes()[: 300 + 20 * i] if i < 5 else b"no image")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes stderr for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(UserError, match="9 images are broken"):
        write(str(root), tmp_path / "out", progress=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if " x " in line]
    assert [line[:2] for line in lines] == ["5 ", "4 "] and "no image that Pillow knows" in lines[1]
    assert all(len(line) <= 80 for line in lines)


def test_kinds_that_are_not_read_are_told(tmp_path, capsys):
    root = tree(tmp_path / "in", a=2, b=1)
    for name in ("a/x.HEIC", "a/y.avif", "b/z.heic", "b/notes.txt"):
        (root / name).write_bytes(b"something")
    write(str(root), tmp_path / "out", progress=False)
    told = capsys.readouterr().err
    assert f"warning: {root}: 3 images are left out, of kinds that are not read (.avif, .heic): a/x.HEIC" in told
    assert "convert them" in told and "notes" not in told
    assert len(list_images(root).names) == 3 and "3 images are left out" in capsys.readouterr().err
    (root / "c").mkdir()
    (root / "c" / "only.heic").write_bytes(b"something")
    with pytest.raises(UserError, match=r"c: 1 image is left out.*convert them"):
        write(str(root), tmp_path / "other", progress=False)
    with pytest.raises(UserError, match=r"c: 1 image is left out.*convert them"):
        list_images(root / "c")


def test_a_class_of_one_image_is_named_before_anything_is_written(tmp_path):
    root = tree(tmp_path / "in", cat=5, dog=1)
    with pytest.raises(UserError, match=r"class 1 \(dog\) has one image"):
        write(str(root), tmp_path / "out", test_fraction=0.2)
    assert not (tmp_path / "out").exists()


def test_pipes_hang_nobody(tmp_path):
    """One that is there from the start, and one that takes a file's place."""
    root = tree(tmp_path / "in", a=2)
    os.mkfifo(root / "a" / "pipe.jpg")
    transform = EvalTransform(Preprocessing((3, SIDE, SIDE)))
    with pytest.raises(UserError, match=r"pipe.jpg: broken \(.*not a regular file\)"):
        read_image(root / "a" / "pipe.jpg", transform)
    with pytest.raises(UserError, match=r"pipe.jpg: not a regular file"):
        write(str(root), tmp_path / "out", progress=False)
    with pytest.raises(OSError, match="not a regular file"):
        encode_module.read_regular(Path("/dev/zero"))


def test_sources_that_shrink_and_vanish(tmp_path, monkeypatch):
    """Between the listing and the reading: broken images that are named, and nothing written."""
    root = tree(tmp_path / "in", a=6)

    def before_reading(path, length=-1):
        if Path(path).name == "001.png":
            Path(path).unlink(missing_ok=True)
        if Path(path).name == "002.png" and Path(path).stat().st_size > 100:
            os.truncate(path, 100)
        return read(path, length)

    read = encode_module.read_regular
    monkeypatch.setattr(encode_module, "read_regular", before_reading)
    with pytest.raises(UserError, match=r"2 images are broken, such as .*001.png \(No such file"):
        write(str(root), tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").glob("*.beton"))


@pytest.mark.parametrize(
    "options",
    [
        ["--max-side", "1000000000"],
        ["--max-side", "-3"],
        ["--workers", "1000000"],
        ["--quality", "0"],
        ["--test-fraction", "nan"],
        ["--test-fraction", "1e999"],
        ["--background", "\n"],
        ["--splits", ","],
    ],
)
def test_odd_values_are_a_line(tmp_path, capsys, options):
    root = tree(tmp_path / "in", a=2)
    assert main(["write", str(root), str(tmp_path / "out"), *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith("timecat: ") and told.count("\n") == 1 and len(told) < 300


def test_a_million_views_are_a_line():
    with pytest.raises(UserError, match=r"probe\.views 1,000,000: .*take 0 to 1,000"):
        ProbeConfig(views=1_000_000)


def test_odd_names_are_a_line(tmp_path, capsys):
    """Names with newlines, of no text, too long, or with a zero byte; of images, sources and data files."""
    root = tree(tmp_path / "in", a=2)
    for name in (b"new\nline.png", b"\xff\xfe.png"):
        Path(os.fsdecode(os.fsencode(root / "a") + b"/" + name)).write_bytes(b"no image")
    assert main(["write", str(root), str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "new\\nline.png" in told[0] and told[1].startswith("timecat: train: 2 images are broken")
    for name in ("x" * 300, "x\0y", "\n"):
        assert main(["write", name, str(tmp_path / "out")]) == 2
        for read in (read_beton, checksums.verify, checksums.check):
            try:
                wrong = read(tmp_path / f"{name}.beton")
            except UserError as error:
                assert str(tmp_path) in str(error)
                continue
            assert wrong is None or len(wrong.wrong) == 1
    capsys.readouterr()


@pytest.mark.parametrize("content", ["[]", "{}", "5", "null", "[" * 100_000, '{"bytes": 1, "skipped": 3}', "\0"])
def test_a_json_that_is_none_is_a_line(tmp_path, capsys, content):
    root = str(tree(tmp_path / "in", a=2))
    (path,) = write(root, tmp_path / "out", progress=False)
    path.with_suffix(".json").write_text(content)
    assert main(["write", root, str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"timecat: {path}: is there, but no train.json tells") and told.count("\n") == 1
    groups = tmp_path / "groups.json"
    groups.write_text(content)
    assert main(["write", root, str(tmp_path / "other"), "--groups", str(groups)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pipe_of_groups_hangs_nobody(tmp_path, capsys):
    os.mkfifo(tmp_path / "groups.csv")
    arguments = ["write", str(tree(tmp_path / "in", a=2)), str(tmp_path / "out"), "--groups", f"{tmp_path}/groups.csv"]
    assert main(arguments) == 2
    assert "groups.csv: cannot be read (not a regular file)" in capsys.readouterr().err


def test_how_images_were_stored_is_checked(tmp_path):
    (path,) = write(str(tree(tmp_path / "in", a=2)), tmp_path / "out", progress=False)
    record = json.loads(path.with_suffix(".json").read_text())
    for key, value in {"max_side": "ten", "storage": 5, "quality": None, "background": [1]}.items():
        path.with_suffix(".json").write_text(json.dumps({**record, key: value}))
        with pytest.raises(UserError, match=rf"train\.json: {key} .* is not what timecat wrote"):
            preprocessing_of(DataConfig(train="train.beton", root=str(path.parent)))
