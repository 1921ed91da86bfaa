"""Members that are stopped, killed, trained in slots or by two processes end as they should."""

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tests.support.processes import StopAfter, command, snapshots, wait_until
from tests.support.small_study import ONE_CYCLE, SCHEDULE_FREE, write_study
from timecat.cli import main
from timecat.members.train import train_member
from timecat.study import progress
from timecat.study.study import Study

EVERY_20_STEPS = {"val_check_interval": 20, "check_val_every_n_epoch": None}


def write_config(path: Path, digits: Path, model: dict, cats: dict, **study) -> str:
    return write_study(path, {"root": str(digits), "padding": 2}, model, cats, EVERY_20_STEPS, **study)


@pytest.mark.parametrize("model", [ONE_CYCLE, SCHEDULE_FREE], ids=["one_cycle", "schedule_free"])
def test_a_stopped_member_goes_on_to_the_same_bits(tmp_path, digits, model):
    from timecat.members.checkpoint import Stopped
    from timecat.members.trainer import StudyCLI

    results = []
    for name, stops in (("whole", []), ("stopped", [3, 21, 9])):  # also in the second epoch, around a validation
        config = write_config(tmp_path / f"{name}.yaml", digits, model, {"cat1": {"members": 1, "steps": 60}})
        study = Study.read([config])
        cli = StudyCLI(study)
        (plan,) = study.members
        reached = []
        for steps in stops:
            with pytest.raises(Stopped):
                train_member(study, plan, cli, StopAfter(steps))
            reached.append(progress.member_state(study, plan).step)
        assert reached == sorted(set(reached))
        assert not progress.is_finished(study, plan)
        train_member(study, plan, cli, StopAfter(10**9))
        assert progress.is_finished(study, plan)
        results.append(snapshots(study.directory.path))
    assert list(results[0]) == list(results[1])
    assert results[0] == results[1]


def test_schedule_free_snapshots_hold_the_average_with_statistics_of_its_own(tmp_path, digits):
    """The snapshot is as good as the validation says; with the statistics of the training weights it is not."""
    from timecat.data.datamodule import ImageData
    from timecat.networks.resnet import resnet_from_state
    from timecat.networks.weights import read_weights

    config = write_config(tmp_path / "s.yaml", digits, SCHEDULE_FREE, {"cat1": {"members": 1, "steps": 60}})
    assert main(["fit", "--config", config]) == 0
    directory = tmp_path / "runs" / "s" / "member_0"
    data = ImageData(**{**asdict(Study.read([config]).data), "num_classes": 10})
    network = resnet_from_state(read_weights(directory / "snapshot_60.pt"), "s").eval()
    right = seen = 0
    with torch.no_grad():
        for images, labels, _ in data.val_dataloader():
            right += int((network(data.normalise(images)).argmax(1) == labels).sum())
            seen += len(labels)
    said = json.loads((directory / "done.json").read_text())["metrics"]["val/acc1"]
    assert seen == len(data.split()[1])
    assert right / seen == pytest.approx(said, abs=0.011)  # two images: the marker's comes from channels_last kernels
    assert right / seen > 0.5
    last = torch.load(directory / "last.ckpt", weights_only=True)["state_dict"]
    trained = {key.removeprefix("network."): value for key, value in last.items() if key.startswith("network.")}
    kept = network.state_dict()
    assert any(not torch.equal(trained[key], kept[key]) for key in kept if key.endswith("conv1.weight"))


def test_members_differ_by_weights_and_order_and_one_alone_is_the_same(tmp_path, digits):
    cats = {"cat1": {"members": 1, "steps": 8}, "cat2": {"members": 2, "steps": 4}}
    together = write_config(tmp_path / "together.yaml", digits, ONE_CYCLE, cats)
    assert main(["fit", "--config", together]) == 0
    alone = write_config(tmp_path / "alone.yaml", digits, ONE_CYCLE, cats)
    assert main(["fit", "--config", alone, "--member", "1"]) == 0
    runs = tmp_path / "runs"
    assert [path.name for path in (runs / "alone").glob("*_*")] == ["member_0_4"]
    kept = "member_0_4/snapshot_4.pt"
    assert snapshots(runs / "alone") == {kept: snapshots(runs / "together")[kept]}
    first, second = (snapshots(runs / "together")[f"member_{seed}_4/snapshot_4.pt"] for seed in (0, 1))
    assert first != second


def test_an_array_task_trains_its_member_and_a_finished_study_nothing(tmp_path, digits, monkeypatch, capsys):
    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat2": {"members": 2, "steps": 4}})
    for task in ("1", "0"):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
        assert main(["fit", "--config", config]) == 0
        assert (tmp_path / "runs" / "s" / f"member_{task}_4" / "done.json").exists()
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert main(["fit", "--config", config]) == 0
    assert "2 of 2 members are finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}


def test_tensorboard_holds_each_members_loss_accuracy_and_throughput(tmp_path, digits):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat1": {"members": 1, "steps": 20}})
    assert main(["fit", "--config", config]) == 0
    events = EventAccumulator(str(tmp_path / "runs" / "s" / "member_0_20")).Reload()
    wanted = {"train/loss", "train/lr", "train/images", "train/images_per_sec", "val/loss", "val/acc1", "val/acc5"}
    assert wanted <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/images")] == list(range(2, 21, 2))
    assert events.Scalars("train/images")[-1].value == 20 * 32
    assert 0 < events.Scalars("val/acc1")[-1].value <= 1


@pytest.mark.slow
def test_two_slots_and_a_kill_at_any_moment_end_with_the_same_bits(tmp_path, digits):
    """SIGKILL to a `fit` with two slots at seeded moments; what is left goes on, and nobody is left behind."""
    cats = {"cat1": {"members": 1, "steps": 1200}, "cat2": {"members": 2, "steps": 600}}
    results = []
    for name, kills in (("whole", 0), ("killed", 2)):
        config = write_config(tmp_path / f"{name}.yaml", digits, ONE_CYCLE, cats, slots=2, checkpoint_minutes=0.01)
        runs = tmp_path / "runs" / name
        moments = random.Random(7)
        for _ in range(kills):
            process = subprocess.Popen(command("fit", "--config", config), stderr=subprocess.PIPE)
            wait_until(lambda runs=runs: list(runs.glob("*/progress.json")), 120)
            time.sleep(moments.uniform(0.3, 1.5))  # their training takes several times as long
            assert process.poll() is None, "it ended before the kill: no test"
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_until(lambda runs=runs: not any(progress.is_locked(path) for path in runs.glob("*/lock")), 20)
            assert not all((path.parent / "done.json").exists() for path in runs.glob("*/lock"))
            for path in runs.glob("*/progress.json"):
                path.unlink()
        done = subprocess.run(command("fit", "--config", config), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert {path.parent.name for path in runs.glob("*/done.json")} == {
            "member_0_1200",
            "member_0_600",
            "member_1_600",
        }
        results.append(snapshots(runs))
    assert results[0] == results[1]


SHARES = {
    "accumulated": ["--data.device_batch_size", "64"],
    "two ranks": ["--data.device_batch_size", "64", "--trainer.devices", "2", "--trainer.strategy", "ddp"],
    "one batch": ["--model.ghost_batch_size", "64"],
}
RECIPES = {
    "third step": {**SCHEDULE_FREE, "lr": 0.01, "batch_norm": "third_step"},
    "recalibrate": SCHEDULE_FREE,
    "sgd": ONE_CYCLE,
}


SLOW = [pytest.param(recipe, marks=pytest.mark.slow) for recipe in ("recalibrate", "third step")]


@pytest.mark.parametrize("recipe", ["sgd", *SLOW])
def test_a_member_is_the_same_however_its_steps_are_shared(tmp_path, digits, rooms, recipe):
    """20 steps of 256 images: as 4 batches of 64, as 2 on each of two ranks, and at once as 4 ghost batches.

    By sgd on a mixture, the others on one file. In float64, where nothing but the sharing can tell them apart:
    float32's rounding grows, to 0.03 of the loss.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    mixture = {"digits": {"weight": 0.7}, "rooms": {"weight": 0.3, "train": str(rooms / "train.beton")}}
    for share, options in SHARES.items():
        name = share.replace(" ", "_")
        cats = {"cat1": {"members": 1, "steps": 20}}
        # a checkpoint at every step averages the ranks' statistics there, which would hide their loss in between
        each_step = {"checkpoint_minutes": 0} if recipe == "sgd" else {}
        config = write_config(tmp_path / f"{name}.yaml", digits, RECIPES[recipe], cats, **each_step)
        more = ["--data.batch_size", "256", "--trainer.precision", "64-true", "--trainer.log_every_n_steps", "1"]
        more += [f"--data.mixture={json.dumps(mixture)}"] if recipe == "sgd" else []
        fit = ["fit", "--config", config, "--member", "0", *more, *options]
        if share == "two ranks":
            environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "MASTER_PORT")}
            ended = subprocess.run(command(*fit), env=environment, capture_output=True, text=True, timeout=240)
            assert ended.returncode == 0, ended.stderr
        else:
            assert main(fit) == 0
        directory = next((tmp_path / "runs" / name).glob("member_0*"))
        events = EventAccumulator(str(directory)).Reload()
        assert events.Scalars("train/images")[-1].value == 20 * 256
        checkpoint = torch.load(directory / "last.ckpt", weights_only=True)
        found[share] = {
            "losses": [event.value for event in events.Scalars("train/loss")],
            "validation": events.Scalars("val/loss")[-1].value,
            "checkpoint": checkpoint["state_dict"],
            "moments of the gradients": checkpoint["optimizer_states"][0]["state"],
            "snapshot": torch.load(directory / "snapshot_20.pt", weights_only=True),
        }
        assert len(found[share]["losses"]) == 20
        if recipe == "sgd":
            found[share]["rooms"] = events.Scalars("val/acc1/rooms")[-1].value
        if each_step:
            previous = torch.load(directory / "previous.ckpt", weights_only=True)
            found[share]["checkpoint after 19 steps"] = previous["state_dict"]
    for share in ("two ranks", "one batch"):
        torch.testing.assert_close(found[share], found["accumulated"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("devices", [1, 2])
def test_ghost_batches_that_do_not_fit_are_refused(tmp_path, digits, devices, capsys):
    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    ghosts = ["--model.ghost_batch_size", str(24 // devices), "--trainer.devices", str(devices)]
    for name in ("plan", "fit"):
        if (name, devices) != ("fit", 2):  # which would start another process
            assert main([name, "--config", config, *ghosts]) == 2
            said = capsys.readouterr().err
            assert f"model.ghost_batch_size {24 // devices} does not divide the {32 // devices} images" in said
    assert main(["plan", "--config", config, "--model.ghost_batch_size", "8", "--trainer.sync_batchnorm", "true"]) == 2
    assert "model.ghost_batch_size contradicts trainer.sync_batchnorm" in capsys.readouterr().err


def test_a_slots_process_lets_go_of_each_member(tmp_path, digits):
    """What a process maps of the training file is what its one member reads, not what all members before it did."""
    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat6": {"members": 6, "steps": 4}})
    (tmp_path / "runs" / "s" / "logs").mkdir(parents=True)
    file, maps = str(digits / "train.beton"), []
    with subprocess.Popen(
        command("fit", "--config", config, "--serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        for member in range(6):
            process.stdin.write(f"{member}\n".encode())
            assert process.stdout.readline() == b"0\n"
            maps.append(Path(f"/proc/{process.pid}/maps").read_text().count(file))
        process.stdin.close()
    assert process.returncode == 0
    assert maps == [maps[0]] * 6 and maps[0] <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_member_trains_on_a_gpu(tmp_path, digits):
    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat1": {"members": 1, "steps": 60}})
    assert main(["fit", "--config", config, "--trainer.accelerator", "gpu", "--trainer.precision", "bf16-mixed"]) == 0
    metrics = json.loads((tmp_path / "runs" / "s" / "member_0_60" / "done.json").read_text())["metrics"]
    assert metrics["val/acc1"] > 0.5


def test_a_run_without_horizon_is_extended_but_not_cut(tmp_path, digits, capsys):
    """A longer plan goes on from the shorter one's end and equals one long run; a missed snapshot is told."""
    model = {**ONE_CYCLE, "schedule": "constant"}
    config = write_config(tmp_path / "s.yaml", digits, model, {"cat1": {"members": 1, "steps": 10}})
    long = write_config(tmp_path / "long.yaml", digits, model, {"cat1": {"members": 1, "steps": 30}})
    assert main(["fit", "--config", config]) == main(["fit", "--config", long]) == 0
    assert main(["fit", "--config", config, "--study.cats.cat1.steps", "30"]) == 0
    runs = tmp_path / "runs"
    name = "member_0/snapshot_30.pt"
    assert snapshots(runs / "s")[name] == snapshots(runs / "long")[name]
    capsys.readouterr()
    assert main(["fit", "--config", config, "--study.cats.cat1.steps", "20"]) == 2
    assert "past a step" in capsys.readouterr().err


def test_a_member_that_another_process_trains_is_left_to_it(tmp_path, digits, capsys):
    config = write_config(tmp_path / "s.yaml", digits, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    directory = tmp_path / "runs" / "s" / "member_0_4"
    held = progress.lock(directory / "lock")
    assert held is not None
    assert progress.is_locked(directory / "lock")
    assert main(["fit", "--config", config]) == 1
    assert "member_0_4 is being trained by another process" in capsys.readouterr().err
    assert not (directory / "done.json").exists()
    os.close(held)
    assert main(["fit", "--config", config]) == 0
