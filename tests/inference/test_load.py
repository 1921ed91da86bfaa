"""A finished study's cats in one's own code: the features of files are those that the probe stored."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import timecat
from tests.support.photos import CLASSES, TEST, VIEWS
from timecat.cli import main
from timecat.data.write.write import write
from timecat.errors import UserError


@pytest.fixture(scope="module")
def stored(root):
    """By probe the features of the test images by cat2 in repetition 1."""
    names = ("member_2_4.npy", "member_3_4.npy")
    directory = root / "runs/s/features"
    return {view: np.concatenate([np.load(directory / view / "test" / name) for name in names], 1) for view in VIEWS}


@pytest.mark.parametrize("view", VIEWS)
def test_features_of_files_are_those_that_the_probe_stored(root, stored, view):
    cat = timecat.load(root / "runs/s", "cat2", data=view, repetition=1)
    found = timecat.features(cat, root / "photos/test", batch_size=5)
    assert found.files[:2] == ["flower/00.jpg", "flower/01.png"] and found.classes == CLASSES
    assert found.labels.tolist() == [0] * TEST + [1] * TEST
    assert (
        np.linalg.norm(found.features - stored[view], axis=1).max() < 1e-5 * np.linalg.norm(stored[view], axis=1).min()
    )


def test_what_is_no_image_is_refused(root):
    cat = timecat.load(root / "runs/s", "cat1")
    for image in (np.zeros((9, 9, 3), np.float32), np.zeros((3, 9, 9), np.uint8), np.zeros((0, 9, 3), np.uint8), None):
        with pytest.raises(UserError, match=r"^an image is .*; give a file, or uint8 \(h, w, 3\), RGB$"):
            timecat.features(cat, [image])
    with pytest.raises(UserError, match=r"^precision float8: choose one of auto, float32"):
        timecat.features(cat, [np.zeros((9, 9, 3), np.uint8)], precision="float8")


@pytest.mark.parametrize("view", VIEWS)
def test_its_transform_gives_a_png_the_pixels_of_training(root, view):
    """Of PNGs alone, unlike the stored ones' JPEGs of them, the pixels are exactly those of the loader."""
    (root / f"raw-{view}").mkdir()
    write(str(root / "photos"), root / f"raw-{view}", splits=["test"], storage="raw", max_side=100, progress=False)
    from timecat.data.datamodule import ImageData

    data = ImageData(
        root=str(root / f"raw-{view}"), train="test.beton", test="test.beton", eval_batch_size=12, **VIEWS[view]
    )
    ((images, *_),) = data.test_dataloader()
    cat = timecat.load(root / "runs/s", "cat1", data=view)
    files = sorted((root / "photos/test").glob("*/*.png"))
    own = torch.stack([cat.transform(Image.open(path)) for path in files])
    torch.testing.assert_close(own, data.normalise(images[1::2]), rtol=0, atol=0)


def test_a_tensor_is_seen_as_the_image(root):
    transform = timecat.load(root / "runs/s", "cat1").transform
    image = Image.open(root / "photos/test/roof/01.png").crop((0, 0, 70, 60))
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    torch.testing.assert_close(transform(tensor[None].repeat(2, 1, 1, 1))[1], transform(image), rtol=0, atol=0)
    with pytest.raises(TypeError, match=r"torch.float32: give a PIL image, or a uint8"):
        transform(tensor.float())


def test_halves_of_a_forward(root, stored):
    cat = timecat.load(root / "runs/s", "cat2", data="photos", repetition=1).train()
    images = torch.stack([cat.transform(Image.open(path)) for path in sorted((root / "photos/test/roof").glob("*"))])
    maps = cat.forward_features(images)
    assert maps.shape == (TEST, cat.num_features, 6, 6) and not maps.requires_grad
    torch.testing.assert_close(cat.forward_head(maps, pre_logits=True), cat.features(images))
    torch.testing.assert_close(cat.forward_head(maps), cat(images))
    assert cat.num_classes == 2 and cat.classes == CLASSES
    predictions = np.load(root / "runs/s/probe/photos/predictions.npz")["cat2_1"]
    given = cat.head(torch.from_numpy(stored["photos"])).argmax(1).numpy()
    np.testing.assert_array_equal(given, predictions)


def test_a_string_is_one_snapshot(root):
    assert timecat.FrozenCat(str(root / "runs/s/member_0/snapshot_4.pt")).num_features == 64


def test_it_is_a_step_of_a_pipeline(root):
    train, test = (sorted(map(str, (root / "photos" / split).glob("*/*"))) for split in ("train", "test"))
    labels = ["flower" in path for path in train]
    pipeline = make_pipeline(timecat.CatFeatures(str(root / "runs/s"), "cat2"), LogisticRegression(C=0.01))
    assert pipeline.fit(train, labels).score(test, ["flower" in path for path in test]) > 0.5


def test_arrays_on_disk_go_on_where_they_were_stopped(root, tmp_path, monkeypatch, stored):
    from timecat.inference import features_command

    monkeypatch.setattr(features_command, "PART", 4)
    asked = []
    outputs = features_command.outputs

    def counted(cat, paths, **settings):
        asked.append(len(paths))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return outputs(cat, paths, **settings)

    monkeypatch.setattr(features_command, "outputs", counted)
    command = ["features", f"{root}/runs/s:cat2:1", str(root / "photos/test"), str(tmp_path / "out"), "--data=photos"]
    assert main(command) == 130
    assert not (tmp_path / "out/features.npy").exists()
    (part,) = tmp_path.glob("out/.parts-*/0.npz")
    part.write_bytes(part.read_bytes()[:-9])
    assert main(command) == 0
    assert asked == [4, 4, 4, 4, 4]  # the third part, which was stopped, once more, and the first one, which was cut
    np.testing.assert_allclose(np.load(tmp_path / "out/features.npy"), stored["photos"], rtol=1e-4, atol=1e-6)
    assert np.load(tmp_path / "out/labels.npy").tolist() == [0] * TEST + [1] * TEST
    assert (tmp_path / "out/files.txt").read_text().split()[-1] == "roof/05.png"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("classes.txt", "features.json", "features.npy", "files.txt", "labels.npy")
    ]


def test_a_broken_image_is_named_or_left_out(root, tmp_path, capsys):
    for name, content in {"a.jpg": (root / "photos/test/roof/00.jpg").read_bytes(), "b.png": b"none"}.items():
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/c.jpg").write_bytes((root / "photos/test/roof/02.jpg").read_bytes()[:-700])
    command = ["features", f"{root}/runs/s:cat1", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith(f"timecat: {tmp_path}/in/b.png: broken (no image that Pillow knows)")
    assert main([*command, "--skip-broken"]) == 0
    assert "left out 2 broken images" in capsys.readouterr().err
    assert (tmp_path / "out/files.txt").read_text() == "a.jpg\n"
    assert len(np.load(tmp_path / "out/features.npy")) == 1 and not (tmp_path / "out/labels.npy").exists()
    assert len(json.loads((tmp_path / "out/features.json").read_text())["broken"]) == 2
    (tmp_path / "in/a.jpg").unlink()
    (tmp_path / "in/link.png").symlink_to("nowhere")
    assert main([*command[:3], str(tmp_path / "none"), "--skip-broken"]) == 2
    assert "/in: all its 3 images are broken, such as" in capsys.readouterr().err
    (tmp_path / "in/a.jpg").write_bytes((root / "photos/test/roof/04.jpg").read_bytes())
    assert main([*command, "--skip-broken"]) == 2
    assert "holds features of other images; choose another OUT" in capsys.readouterr().err


def test_names_that_are_no_text_are_kept_and_line_breaks_refused(root, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / os.fsdecode(b"in/\xff.jpg")).write_bytes((root / "photos/test/roof/00.jpg").read_bytes())
    command = ["features", f"{root}/runs/s:cat1", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(command) == 0
    assert (tmp_path / "out/files.txt").read_bytes() == b"\xff.jpg\n"
    (tmp_path / "in/a\nb.jpg").symlink_to(tmp_path / os.fsdecode(b"in/\xff.jpg"))
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "has a line break in its name" in said


def test_predict_gives_the_probes_predictions(root, capsys):
    assert main(["predict", f"{root}/runs/s:cat2:1", str(root / "photos/test"), "--data", "whole", "--top", "2"]) == 0
    shown = capsys.readouterr()
    header, *lines = shown.out.splitlines()
    assert header == "file,class,probability,class_2,probability_2"
    predictions = np.load(root / "runs/s/probe/whole/predictions.npz")
    assert [line.split(",")[1] for line in lines] == [CLASSES[k] for k in predictions["cat2_1"]]
    right = int((predictions["cat2_1"] == predictions["labels"]).sum())
    assert f"{right} of 12 are of their directory's class" in shown.err


def test_a_head_that_is_gone_or_damaged_is_made_again_as_told(root, capsys):
    predict = ["predict", f"{root}/runs/s:cat2:1", str(root / "photos/test"), "--data", "whole"]
    assert main(predict) == 0
    shown, path = capsys.readouterr().out, root / "runs/s/probe/whole/heads/cat2_1.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert main(predict) == 2
    assert "is not the head that the results tell of; remove it, `timecat probe` makes it" in capsys.readouterr().err
    path.unlink()
    assert main(predict) == 2
    assert "there is no head; with probe.logits true, `timecat probe` makes and keeps it" in capsys.readouterr().err
    assert main(["probe", "--config", str(root / "s.yaml"), "--data", "whole"]) == 0
    assert path.read_bytes() == whole
    capsys.readouterr()
    assert main(predict) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runs/s:cat9", "photos/test"], "runs/s: has no cat 'cat9'; did you mean cat2?"),
        (["runs/s:cat1:7", "photos/test"], "runs/s: cat1 has no repetition 7; choose from 0 to 1"),
        (["runs/s", "photos/test"], "runs/s: must be a study's directory and a cat, such as"),
        (["runs/none:cat1", "photos/test"], "runs/none: no study lies there"),
        (["runs/s:mean", "photos/test"], "runs/s: mean is a soup or a projection"),
        (["runs/s:cat1", "photos"], "photos: has the splits test, train; name the directory of one"),
        (["runs/s:cat1", "photos/test", "--device=cuda:99"], "device cuda:99: is not here; choose cpu"),
        (["runs/s:cat1", "photos/test", "--device=meta"], "device meta: is not here; choose cpu"),
        (["runs/s:cat1", "photos/test", "--batch-size=0"], "batch size 0: choose 1 or more"),
        (["runs/s:cat1", "data"], "data: holds no image that timecat knows"),
        (
            ["runs/s:cat1", "photos/test", "--batch-size=x"],
            "argument --batch-size: invalid int value: 'x'; see timecat",
        ),
        (["runs/s:cat1", "nowhere"], "nowhere: no such directory"),
        (
            ["runs/s:cat1", "photos/test", "--data", "photo"],
            "runs/s: no results of a probe 'photo'; did you mean photos?",
        ),
    ],
)
def test_what_cannot_be_is_a_line(root, monkeypatch, capsys, words, told):
    monkeypatch.chdir(root)
    assert main(["features", *words[:2], "out", *words[2:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"timecat: {told}") and said.count("\n") == 1
    assert not (root / "out").exists()


def test_weights_that_were_changed_are_refused(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    path = root / "runs/s/member_0/snapshot_4.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert main(["features", "runs/s:cat1", "photos/test", "out"]) == 2
        assert "is damaged, or another file than done.json beside it tells of" in capsys.readouterr().err
    finally:
        path.write_bytes(whole)


def test_the_package_itself_imports_nothing_heavy():
    program = "import sys, timecat; sys.exit(sorted({'torch', 'numpy', 'lightning'} & set(sys.modules)) or 0)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_probe_that_sees_images_otherwise_is_told(root, capsys):
    assert main(["plan", "--config", str(root / "s.yaml")]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "otherwise" in line]
    assert told == [
        "whole: its images are seen otherwise than the members' in training: another normalisation "
        "(data.normalisation), squash crop, not center (data.view), bicubic resize, not area (data.interpolation), 20 "
        "pixels, not 48 (data.resolution)"
    ]
