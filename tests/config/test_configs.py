"""The shipped configs: what they say they train, and one step of the paper's at full size."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from timecat.cli import main
from timecat.config.features import FeaturesFile
from timecat.config.files import ProbeFile
from timecat.config.tune import TuneFile
from timecat.data.views import eval_view, train_view
from timecat.errors import UserError
from timecat.networks.weights import read_weights
from timecat.study.study import Study
from timecat.tune.tuning import Tuning

STUDIES = sorted(str(p) for p in Path("configs").rglob("*.yaml") if p.parent.name not in ("probe", "features", "tune"))
FEATURES = sorted(str(path) for path in Path("configs").rglob("features/*.yaml"))
PROBES = sorted(str(path) for path in Path("configs").rglob("probe/*.yaml"))


@pytest.mark.parametrize("path", STUDIES)
def test_every_studys_members_are_what_the_config_says(path):
    """LightningCLI takes every key and makes the module of each kind of member."""
    from timecat.members.trainer import StudyCLI

    study = Study.read([path])
    cli = StudyCLI(study)
    kinds = {(plan.model.width, plan.steps): plan for plan in study.members}
    for plan in list(kinds.values())[:3]:
        member, data = cli.instantiate(plan)
        assert member.hparams == asdict(plan.model)
        assert (data.config.steps, data.seed) == (plan.steps, plan.seed)
        assert member.network.width == plan.model.width
        assert member.network.bn1.track_running_stats == (plan.model.batch_norm != "third_step")
        trainer = cli.trainer_of_member(callbacks=[], accelerator="cpu", precision="32-true", logger=False)
        assert trainer.check_val_every_n_epoch is None


@pytest.mark.parametrize("path", PROBES)
def test_every_probe_is_read_by_the_fast_path_and_by_lightning(path):
    probe, config = ProbeFile.read(path), yaml.safe_load(Path(path).read_text())
    assert probe.probe.weight_decays == config["probe"]["weight_decays"]
    assert probe.model.weight_decay in probe.probe.weight_decays
    assert config["data"]["test"] != config["data"]["train"]
    assert any(path in Study.read([study]).file.study.probes for study in STUDIES), "no study probes it"


@pytest.mark.parametrize("path", FEATURES)
def test_every_config_of_features_is_read(path):
    file = FeaturesFile.read([path])
    assert len(file.features.extractors) > 1 and file.features.baseline in file.features.extractors
    assert f"timecat probe {path}" in Path(path).read_text(), "its header has the command"


def test_the_paper_s_probes_have_the_paper_s_grids_and_views():
    probes = {Path(path).stem: ProbeFile.read(path) for path in PROBES if Path(path).parent.parent.name == "configs"}
    for name, classes, decays in (
        ("imagenet", 1000, [1e-4, 5e-4]),
        ("inat18", 8142, [1e-6, 1e-5, 1e-4]),
        ("cifar100", 100, [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]),
        ("cifar10", 10, [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]),
    ):
        probe = probes[name]
        assert (probe.model.num_classes, probe.trainer.max_epochs) == (classes, 28)
        assert probe.probe.grid(probe.model.lr) == [(0.01, decay) for decay in decays]
        cifar = name.startswith("cifar")
        view = train_view(probe.data)
        assert (view.crop, view.flip, view.scale) == ("resized", True, (0.8, 1.0) if cifar else (0.08, 1.0))
        assert eval_view(probe.data).interpolation == view.interpolation == ("bicubic" if cifar else "area")


@pytest.mark.parametrize(
    ("path", "key", "value", "arithmetic"),
    [
        ("table1", "study.cats.cat5.steps", 60_000, "5 x 60,000 steps x 1,024 = 307,200,000 images"),
        ("table1", "study.cats.cat2.members", 3, "3 x 200,000 steps x 1,024 = 614,400,000 images"),
        ("table1", "data.batch_size", 512, "2 x 200,000 steps x 512 = 204,800,000 images"),
        ("cat5", "study.cats.cat5.steps", 100_000, "5 x 100,000 steps x 1,024 = 512,000,000 images"),
        ("cat5", "data.batch_size", 2048, "5 x 80,000 steps x 2,048 = 819,200,000 images"),
        ("table1", "study.cats.cat1.members", 2, "2 x 450,000 steps x 1,024 = 921,600,000 images"),
        ("fast/cat5", "study.cats.cat1.steps", 200_160, "1 x 200,160 steps x 1,024 = 204,963,840 images"),
    ],
)
def test_one_value_that_breaks_equal_budgets_is_refused_with_the_arithmetic(path, key, value, arithmetic):
    with pytest.raises(UserError) as error:
        Study.read([f"configs/{path}.yaml"], {key: value})
    assert arithmetic in str(error.value), str(error.value)


def one_step(path, jpegs, tmp_path, accelerator, *more, member=0):
    (tmp_path / "imagenet").symlink_to(jpegs)
    arguments = [
        *("fit", "--config", path, "--study.root", str(tmp_path / "runs"), "--data.root", str(tmp_path)),
        *("--study.cats.cat5.steps", "1", "--study.images", "null", "--study.unequal_because", "a test"),
        *(
            "--data.val",
            "null",
            "--data.train_images",
            "63",
            "--trainer.accelerator",
            accelerator,
            "--member",
            str(member),
        ),
    ]
    assert main([*arguments, *more]) == 0
    (directory,) = (path.parent for path in (tmp_path / "runs").glob("*/*/done.json"))
    return directory


def test_one_step_of_the_papers_recipe_at_full_size(jpegs, tmp_path):
    """ResNet50 at 224 px on real JPEGs in bf16, two accumulated batches, BatchNorm's extra pass: as on a GPU."""
    batches = ("--data.batch_size", "16", "--data.device_batch_size", "8")
    directory = one_step("configs/cat5.yaml", jpegs, tmp_path, "cpu", *batches)
    done = json.loads((directory / "done.json").read_text())
    assert done["images"] == 16
    state = read_weights(directory / "snapshot_1.pt")
    torch.manual_seed(0)
    from timecat.networks.resnet import resnet

    fresh = resnet(50, 64, 1000).state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in fresh.items()}
    assert all(torch.isfinite(value).all() for value in state.values())
    for stage in (1, 2, 3, 4):  # the step moved what started at 0, and the statistics
        assert state[f"layer{stage}.0.bn3.weight"].abs().max() > 0
        assert not torch.equal(state[f"layer{stage}.0.bn1.running_mean"], fresh[f"layer{stage}.0.bn1.running_mean"])
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = json.loads((directory / "recipe.json").read_text())
    assert (recipe["trainer.precision"], recipe["model.init"], recipe["model.batch_norm"]) == (
        "bf16-mixed",
        "lecun",
        "third_step",
    )
    tags = EventAccumulator(str(directory)).Reload().Tags()["scalars"]
    assert "train/loss" in tags


def test_one_step_of_the_fast_recipe_at_full_size(jpegs, tmp_path, monkeypatch):
    """160 px, BlurPool, SGD at the scaled learning rate."""
    from timecat.members.member import Member

    seen = []

    def look(self, batch, batch_index):
        seen.append((batch[0].shape, self.trainer.optimizers[0].param_groups[0]["lr"]))

    monkeypatch.setattr(Member, "on_train_batch_start", look)
    batches = ("--data.batch_size", "8", "--data.device_batch_size", "8", "--model.warmup_steps", "0")
    directory = one_step("configs/fast/cat5.yaml", jpegs, tmp_path, "cpu", *batches, member=1)
    assert directory.name == "member_0_1"
    assert seen == [((8, 3, 160, 160), pytest.approx(1.7 * 8 / 4096))]
    state = read_weights(directory / "snapshot_1.pt")
    assert "layer2.0.conv2.blur" in state
    assert all(torch.isfinite(value).all() for value in state.values())


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("compiled", [pytest.param("false", marks=gpu), pytest.param("true", marks=gpu)])
def test_one_step_of_the_papers_recipe_on_a_gpu(jpegs, tmp_path, compiled):
    batches = ("--data.batch_size", "32", "--data.device_batch_size", "16", "--model.compile", compiled)
    directory = one_step("configs/cat5.yaml", jpegs, tmp_path, "gpu", *batches)
    assert all(torch.isfinite(value).all() for value in read_weights(directory / "snapshot_1.pt").values())


@pytest.mark.parametrize("path", [pytest.param("configs/cat5.yaml", marks=gpu)])
def test_no_step_waits_for_the_gpu_between_log_steps(jpegs, tmp_path, monkeypatch, path):
    """torch raises at any host synchronisation from the second step's beginning to the log step's end."""
    from timecat.members.member import Member

    steps = []

    def forbid(self, batch, batch_index):
        steps.append(batch_index)
        torch.cuda.set_sync_debug_mode("error" if 2 <= len(steps) < 6 else "default")

    monkeypatch.setattr(Member, "on_train_batch_start", forbid)
    batches = ("--data.batch_size", "16", "--study.cats.cat5.steps", "8", "--trainer.log_every_n_steps", "8")
    try:
        one_step(path, jpegs, tmp_path, "gpu", *batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 8


@pytest.mark.parametrize("path", sorted(str(path) for path in Path("configs/tune").glob("*.yaml")))
def test_every_tune_config_is_of_the_study_that_it_names(path):
    tuning = Tuning(TuneFile.read([path]))
    assert tuning.cat.members > 1 and tuning.steps * tuning.data.batch_size == tuning.tune.images
    images = sum(run.images for run in tuning.runs(0)) + tuning.refits * tuning.runs(0)[0].images
    text = Path(path).read_text()
    assert f"{images:,}" in text and f"timecat tune --config {path}" in text, "its header has the costs and the command"
