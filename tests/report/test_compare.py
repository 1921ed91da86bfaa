"""What TensorBoard compares: few runs, in the cats' order, with the members' means and the heads' scores."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main
from timecat.report.compare.confusion import classes_picture, confusion, confusion_picture
from timecat.report.compare.curves import MemberCurves, mean

CATS = {"long": {"members": 1, "steps": 24}, "alike": {"members": 2, "steps": 12}, "a_wide": {"wide": "alike"}}


def read(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory)).Reload()


@pytest.fixture(scope="module")
def study(tmp_path_factory, digits) -> Path:
    """The directory of a study of three cats, trained, probed and reported; s.yaml lies two above."""
    root = tmp_path_factory.mktemp("compare")
    probe = write_probe(
        root / "digits.yaml", {"root": str(digits)}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 3}
    )
    every = {"val_check_interval": 8, "check_val_every_n_epoch": None, "log_every_n_steps": 4}
    config = write_study(root / "s.yaml", {"root": str(digits)}, ONE_CYCLE, CATS, every, repetitions=2, probes=[probe])
    assert main(["run", config]) == 0
    return root / "runs" / "s"


def test_a_cats_curves_are_the_means_of_its_members_by_images(study):
    members = [read(study / f"member_{seed}_12") for seed in range(4)]
    cat = read(study / "compare" / "alike")
    losses = np.array([[event.value for event in events.Scalars("train/loss")] for events in members])
    shown = cat.Scalars("by images of a member/loss, training")
    assert [event.step for event in shown] == [4 * 32, 8 * 32, 12 * 32]
    assert [event.value for event in shown] == pytest.approx(losses.mean(0))
    accuracy = cat.Scalars("by images of a member/accuracy, validation top-1 %")
    assert [event.step for event in accuracy] == [8 * 32, 12 * 32]
    done = [json.loads((study / f"member_{seed}_12" / "done.json").read_text()) for seed in range(4)]
    assert accuracy[-1].value == pytest.approx(100 * np.mean([each["metrics"]["val/acc1"] for each in done]))
    third = cat.Scalars("members by steps/loss, training: member_3_12")
    assert [event.value for event in third] == pytest.approx(losses[3])


def test_the_tabs_have_hyperparameters_scores_texts_pictures_and_a_layout(study):
    report = json.loads((study / "report.json").read_text())
    whole = read(study / "compare" / "study")
    runs = {name: read(study / "compare" / name) for name in CATS}
    columns = metadata.parse_experiment_plugin_data(whole.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    (metric,) = [info.name.tag for info in columns.metric_infos]
    for name, events in runs.items():
        about = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        values = metadata.parse_session_start_info_plugin_data(about).hparams
        assert values["members"].number_value == report["cats"][name]["members"]
        assert values["million parameters"].number_value * 1e6 == pytest.approx(
            report["cats"][name]["costs"]["parameters"]
        )
        last = events.Scalars(metric)[-1]
        assert last.value == pytest.approx(report["cats"][name]["acc1"]["digits"]["mean"])
        assert last.step == report["cats"][name]["features"]
        assert events.Images("where heads are wrong/digits")
        assert len(events.Scalars("heads by epochs/digits, weight decay 0.001, lr 0.1")) == 3
    layout = Layout.FromString(whole.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = layout.category[0].chart
    tags = runs["alike"].Tags()["scalars"]
    for chart in charts:
        assert len([tag for tag in tags if re.match(chart.multiline.tag[0], tag)]) == 4
    assert len(charts) == 4
    assert set(whole.Tags()["images"]) > {"study/seen in training", "study/seen in evaluation: digits"}
    text = {tag: whole.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in ("config", "plan", "report")}
    assert "alike: {members: 2, steps: 12}" in text["config"] and "root:" in text["config"]
    assert "| alike | 2 x 12 | 768 |" in text["plan"] and "| member_3_12 |" in text["plan"]
    assert "± " in text["report"] and "](" not in text["report"]


def test_runs_begin_in_the_order_of_the_config_and_are_written_anew_where_something_changed(study):
    def begun() -> list[str]:
        runs = [path for path in (study / "compare").iterdir() if path.is_dir()]
        assert all(len(list(path.iterdir())) == 1 for path in runs)
        return [path.name for path in sorted(runs, key=lambda path: read(path).FirstEventTimestamp())]

    def times() -> list[int]:
        return sorted(path.stat().st_mtime_ns for path in (study / "compare").rglob("events.*"))

    config = str(study.parents[1] / "s.yaml")
    assert begun() == [*CATS, "study"]
    before = times()
    assert main(["report", config]) == 0
    assert times() == before
    with (study / "report.md").open("a") as file:
        file.write("A remark.\n")
    assert main(["report", config]) == 0
    assert begun() == [*CATS, "study"] and min(times()) > max(before)
    assert len(list(study.glob("*/events.*"))) == len(list(study.glob("*/done.json"))) + 1, "and the layout"


def test_means_go_as_far_as_all_members_that_train_so_long():
    long = MemberCurves("a", 6, {"x": {2: 1.0, 4: 2.0, 6: 3.0}})
    short = MemberCurves("b", 4, {"x": {2: 3.0, 4: 4.0}})
    begun = MemberCurves("c", 6, {"x": {2: 5.0}})
    assert mean([long, short], "x") == {2: 2.0, 4: 3.0, 6: 3.0}
    assert mean([long, short, begun], "x") == {2: 3.0}


def test_pictures_of_any_number_of_classes(monkeypatch):
    labels, wrong = np.array([0, 0, 1, 2]), [np.array([0, 1, 1, 2]), np.array([1, 1, 1, 0])]
    assert confusion(labels, wrong, 4).tolist() == [[25, 75, 0, 0], [0, 100, 0, 0], [50, 0, 50, 0], [0, 0, 0, 0]]
    drawn = []
    from timecat.report.compare import confusion as module

    monkeypatch.setattr(module, "_pairs", lambda panel, wrong, names: drawn.append(len(names)))
    for classes in (10, 100, 1000):
        names = [f"class {k}" for k in range(classes)]
        rates = {"cat1": np.linspace(0, 100, classes), "cat2": np.full(classes, 50.0)}
        assert confusion_picture("a", np.eye(classes), names).startswith(b"\x89PNG")
        assert classes_picture("a", rates, names).startswith(b"\x89PNG")
    assert drawn == [1000]
