"""Lightning's own commands on one network, without a study."""

import logging

import numpy as np
import pytest
import torch
import yaml

from tests.support.small_study import ONE_CYCLE, change, write_probe, write_study
from timecat.cli import main
from timecat.data.datamodule import ImageData
from timecat.networks.cat import FrozenCat
from timecat.networks.resnet import resnet


@pytest.fixture
def rates(monkeypatch) -> list[tuple[float, int]]:
    """The optimiser's learning rate and the images' side at each training batch."""
    from timecat.members.member import Member

    seen = []
    monkeypatch.setattr(
        Member,
        "on_train_batch_start",
        lambda self, batch, index: seen.append((self.trainer.optimizers[0].param_groups[0]["lr"], batch[0].shape[-1])),
    )
    return seen


def test_the_scaled_learning_rate_arrives_at_the_optimiser(tmp_path, digits, rates, capsys):
    """lr is stated for a batch of 256 and the batch is 32: an eighth of it, in a study and without one."""
    model = {**ONE_CYCLE, "schedule": "constant", "lr": 0.4, "lr_batch_size": 256}
    sides = {"resolution": 64, "train_resolution": [32, 64]}
    data = {"root": str(digits), "padding": 2, **sides}
    config = write_study(tmp_path / "s.yaml", data, model, {"cat1": {"members": 1, "steps": 50}})
    assert main(["fit", config]) == 0
    assert "study s: training 1 of 1 members" in capsys.readouterr().out
    assert rates == [(pytest.approx(0.05), 32)] * 25 + [(pytest.approx(0.05), 64)] * 25

    rates.clear()
    alone = yaml.safe_load((tmp_path / "s.yaml").read_text())
    del alone["study"]
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(alone))
    lightning = ["--trainer.max_steps", "2", "--trainer.logger", "false", "--trainer.default_root_dir", str(tmp_path)]
    assert main(["fit", "--config", str(tmp_path / "alone.yaml"), "--data.steps", "50", *lightning]) == 0
    assert "training one network, without a study" in capsys.readouterr().out
    assert rates == [(pytest.approx(0.05), 32)] * 2


@pytest.mark.parametrize(
    ("keys", "status", "words"),
    [
        (["--data.batch_size=1"], 2, "BatchNorm cannot normalise"),
        (["--trainer.accelerator=hpu"], 2, "trainer: You selected an invalid accelerator name"),
        (["--trainer.strategy=none"], 2, "trainer: You selected an invalid strategy name"),
        (["--model.lr=1000", "--trainer.max_steps=30"], 1, "is not finite at step 30, learning rate 1e+03"),
    ],
)
def test_what_one_network_cannot_do_is_a_line(tmp_path, digits, capsys, keys, status, words):
    config = {
        "model": {"depth": 10, "width": 8, "num_classes": 10, "optimizer": "sgd", "schedule": "constant", "lr": 0.1},
        "data": {"root": str(digits), "train": "train.beton", "view": "small", "resolution": 28, "batch_size": 32},
        "trainer": {"accelerator": "cpu", "devices": 1, "logger": False, "default_root_dir": str(tmp_path)},
    }
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", str(tmp_path / "one.yaml"), *keys]) == status
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("timecat: ")]
    assert words in line and "--ckpt_path" not in line


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """What Lightning logs, as talkative as in a new process."""
    messages, logger = [], logging.getLogger("lightning.pytorch")
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    monkeypatch.setattr(logger, "handlers", [handler])
    logger.setLevel(logging.INFO)
    return messages


def test_predict_writes_features_beside_their_indices(tmp_path, digits, capsys, told):
    torch.manual_seed(0)
    torch.save(resnet(10, 8, 10).state_dict(), tmp_path / "a.pt")
    trainer = {"default_root_dir": str(tmp_path / "out"), "enable_progress_bar": False}
    model = {"snapshots": [str(tmp_path / "a.pt")]}
    config = write_probe(tmp_path / "p.yaml", {"root": str(digits)}, {"weight_decays": [1e-3]}, model, trainer)
    assert main(["predict", "--config", config]) == 0
    features, indices = np.load(tmp_path / "out" / "features.npy"), np.load(tmp_path / "out" / "indices.npy")
    assert (features.shape, features.dtype, indices.tolist()) == ((797, 64), np.float32, list(range(797)))
    assert "out/features.npy: 797 images x 64 features" in capsys.readouterr().out
    data = ImageData(test="test.beton", train="train.beton", root=str(digits), view="small", resolution=28)
    images, _, batch = next(iter(data.test_dataloader()))
    expected = FrozenCat([tmp_path / "a.pt"])(data.normalise(images))
    torch.testing.assert_close(torch.from_numpy(features[batch]), expected, rtol=1e-5, atol=1e-5)
    assert any("GPU available" in line for line in told) and not any(
        "litlogger" in line or "litmodels" in line for line in told
    )


def test_an_empty_trainer_section_is_lightnings_defaults(tmp_path, digits, capsys):
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, {"cat1": {"members": 1, "steps": 2}})
    content = yaml.safe_load((tmp_path / "s.yaml").read_text())
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**content, "trainer": None}))
    for command in ("plan", "status", "fit"):
        assert main([command, config]) == 0, capsys.readouterr().err
    change(config, "model", lr=0.2)  # and it counts as the same recipe as none
    assert main(["fit", config]) == 2
    assert "model.lr 0.1, the config says 0.2" in capsys.readouterr().err


def test_a_probe_that_ends_by_steps_learns_at_its_rate(tmp_path, digits, monkeypatch):
    """The schedule spans trainer.max_epochs, else the paper's 28, whatever else ends the training."""
    from timecat.heads.linear_probe import LinearProbe

    rates = []
    monkeypatch.setattr(
        LinearProbe,
        "on_train_batch_start",
        lambda self, *_: rates.append(self.trainer.optimizers[0].param_groups[0]["lr"]),
    )
    torch.save(resnet(10, 8, 10).state_dict(), tmp_path / "a.pt")
    trainer = {"max_steps": 2, "default_root_dir": str(tmp_path), "logger": False, "enable_progress_bar": False}
    model = {"snapshots": [str(tmp_path / "a.pt")]}
    config = write_probe(tmp_path / "p.yaml", {"root": str(digits)}, {"weight_decays": [1e-3]}, model, trainer)
    assert main(["fit", "--config", config]) == 0
    assert rates == [pytest.approx(0.1)] * 2
