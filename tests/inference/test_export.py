"""A cat outside of timecat gives what it gives inside: safetensors, torch.export's program, ONNX."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision

import timecat
from tests.support.photos import CLASSES
from timecat.cli import main


@pytest.fixture(scope="module")
def exported(root):
    out = root / "exported"
    words = ["export", f"{root}/runs/s:cat2:1", str(out), "--data=photos", "--format=safetensors,torch,onnx"]
    assert main([*words, "--license=cc-by-4.0"]) == 0
    return out


@pytest.fixture(scope="module")
def cat(root):
    return timecat.load(root / "runs/s", "cat2", data="photos", repetition=1)


@pytest.fixture(scope="module")
def images():
    return torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def test_safetensors_are_loaded_as_the_study_is(exported, cat, images):
    loaded = timecat.load(exported)
    torch.testing.assert_close(loaded.features(images), cat.features(images), rtol=0, atol=0)
    torch.testing.assert_close(loaded(images), cat(images), rtol=0, atol=0)
    assert loaded.classes == CLASSES and loaded.transform.preprocessing == cat.transform.preprocessing


def test_torchs_program_takes_any_batch(exported, cat, images):
    program = torch.export.load(exported / "cat.pt2").module()
    for batch in (images[:1], images):
        features, logits = program(batch)
        torch.testing.assert_close(features, cat.features(batch))
        torch.testing.assert_close(logits, cat(batch))


def test_onnx_takes_any_batch(exported, cat, images):
    session = onnxruntime.InferenceSession(exported / "cat.onnx")
    for batch in (images[:1], images):
        features, logits = session.run(["features", "logits"], {"images": batch.numpy()})
        np.testing.assert_allclose(features, cat.features(batch), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits, cat(batch), rtol=1e-4, atol=1e-4)


def test_the_card_says_what_it_is(root, exported):
    card = (exported / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "seeds: 2, 3" in card and "128 training images in all" in card
    config = json.loads((exported / "config.json").read_text())
    assert config["preprocessing"]["crop_pct"] == 0.875 and config["classes"] == list(CLASSES)
    assert main(["report", "--config", str(root / "s.yaml")]) == 0
    assert main(["export", f"{root}/runs/s:cat2", str(root / "scored")]) == 0
    report = json.loads((root / "runs/s/report.json").read_text())["cats"]["cat2"]["acc1"]["photos"]
    assert (
        f"| photos | 12 | {report['mean']:.1f} | {report['interval'][0]:.1f} to"
        in (root / "scored/README.md").read_text()
    )


def test_what_is_there_is_never_overwritten(root, exported, capsys):
    before = {path: path.read_bytes() for path in exported.iterdir()}
    assert main(["export", f"{root}/runs/s:cat1", str(exported)]) == 2
    assert "is there already; choose another OUT" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in exported.iterdir()}


def test_an_empty_working_directory_is_filled_and_stays(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", f"{root}/runs/s:cat1", "."]) == 0
    assert {path.name for path in Path(".").iterdir()} == {"member_0.safetensors", "config.json", "README.md"}


def test_what_is_stopped_or_refused_leaves_nothing(root, tmp_path, monkeypatch, capsys):
    command = ["export", f"{root}/runs/s:cat1", str(tmp_path / "out")]
    assert main([*command, "--license", "mit\ntags: x"]) == 2
    assert "--license 'mit\\ntags: x': give an identifier" in capsys.readouterr().err

    def stopped(_, out, __):
        (out / "member_0.safetensors").write_bytes(b"")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("timecat.inference.export_command.export", stopped)
        assert main(command) == 130
    assert not list(tmp_path.iterdir())
    assert main(command) == 0


def test_networks_from_elsewhere_are_exported_too(root, tmp_path):
    from tests.support.small_study import finish_members, write_study

    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v3_small(num_classes=2).eval()
    torch.save(network.state_dict(), tmp_path / "m.pth")
    elsewhere = {"weights": [str(tmp_path / "m.pth")], "backbone": "torchvision:mobilenet_v3_small", "features": 1024}
    cats = {"cat1": {"members": 1, "steps": 4}, "theirs": elsewhere}
    data = {"root": str(root / "data"), "view": "imagenet", "resolution": 48, "batch_size": 16}
    probes = [str(root / "photos.yaml")]
    config = write_study(tmp_path / "e.yaml", data, {"num_classes": 2, "stem": "small"}, cats, probes=probes)
    finish_members(config)
    assert main(["fit", "--config", config]) == 0 and main(["probe", "--config", config]) == 0
    assert main(["export", f"{tmp_path}/runs/e:theirs", str(tmp_path / "out"), "--data=photos"]) == 0
    images = torch.randn(2, 3, 48, 48)
    loaded, cat = timecat.load(tmp_path / "out"), timecat.load(tmp_path / "runs/e", "theirs", data="photos")
    torch.testing.assert_close(loaded(images), cat(images), rtol=0, atol=0)
    with pytest.raises(timecat.UserError, match="trained elsewhere"):
        timecat.load(tmp_path / "runs/e", "theirs")


def test_torch_hub_finds_it(exported, cat, images):
    from pathlib import Path

    loaded = torch.hub.load(str(Path(__file__).parents[2]), "cat", source="local", study=str(exported), verbose=False)
    torch.testing.assert_close(loaded(images), cat(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["member_1.safetensors", "head.safetensors"])
def test_a_flipped_byte_of_exported_weights_is_told(exported, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    content = bytearray((copy / name).read_bytes())
    content[-5] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(timecat.UserError, match=f"{name}: is damaged, or another file than was exported"):
        timecat.load(copy)
    (copy / name).unlink()
    with pytest.raises(timecat.UserError, match=f"{name}: no such file"):
        timecat.load(copy)
