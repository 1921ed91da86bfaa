"""Which unit the report's intervals are over, which differences it marks, and what it says of costs."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.support.fake_results import write_results
from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.cli import main
from timecat.config.member import MemberConfig
from timecat.figure import pyplot
from timecat.report.labels import Labelled, place_labels
from timecat.study import costs
from timecat.study.study import Study

IMAGES = 400
# images in 400 that a cat gets right beyond cat1's, by repetition
MORE = {
    "cat1": (0, 0, 0, 0, 0),
    "sure": (16, 20, 24, 20, 20),
    "unsure": (-80, 100, 150, -60, 30),
    "alike": (1, 0, 0, 0, 0),
}
MODEL = {**ONE_CYCLE, "depth": 10, "width": 8}


def reported(folder: Path, repetitions: int) -> tuple[str, Path, dict]:
    """Config, directory and report.json of a study whose results are made up."""
    probe = write_probe(folder / "digits.yaml", {}, {"weight_decays": [1e-3]}, trainer={"max_epochs": 4})
    cats = {name: {"members": 2 if name == "sure" else 1, "steps": 4 if name == "sure" else 8} for name in MORE}
    cats["unsure"]["model"] = {"width": 16}
    config = write_study(folder / "s.yaml", {}, MODEL, cats, probes=[probe], repetitions=repetitions)
    study = Study.read([config])
    base = [200 + 4 * repetition for repetition in range(repetitions)]
    right = {
        f"{name}_{r}": np.arange(IMAGES) < base[r] + more[r] for name, more in MORE.items() for r in range(repetitions)
    }
    write_results(study, {"digits": right})
    assert main(["report", config]) == 0
    directory = folder / "runs" / "s"
    return config, directory, json.loads((directory / "report.json").read_text())


def percent(name: str, repetitions: int) -> np.ndarray:
    return (200 + 4 * np.arange(repetitions) + MORE[name][:repetitions]) / 4


def test_from_five_repetitions_on_seeds_are_the_unit(tmp_path):
    config, directory, report = reported(tmp_path, 5)
    (data,) = report["data"]
    assert (data["unit"], data["repetitions"]) == ("seeds", 5)
    raw = {}
    for name in ("sure", "unsure", "alike"):
        value = report["cats"][name]["acc1"]["digits"]
        expected = stats.ttest_rel(percent(name, 5), percent("cat1", 5))
        assert value["difference"] == pytest.approx(np.mean(MORE[name]) / 4)
        assert value["difference_interval"] == value["difference_intervals"]["seeds"]
        assert value["difference_interval"] == pytest.approx(list(expected.confidence_interval(0.95)))
        alone = stats.ttest_1samp(percent(name, 5), 0).confidence_interval(0.95)
        assert value["interval"] == value["intervals"]["seeds"] == pytest.approx(list(alone))
        assert value["p_values"]["seeds"] == pytest.approx(expected.pvalue)
        raw[name] = expected.pvalue
    corrected = {name: report["cats"][name]["acc1"]["digits"]["p_corrected"] for name in MORE}
    assert raw["sure"] < raw["alike"] < raw["unsure"]
    assert corrected["sure"] == pytest.approx(3 * raw["sure"]) and corrected["cat1"] is None
    assert corrected["alike"] == corrected["unsure"] == pytest.approx(2 * raw["alike"])
    text = (directory / "report.md").read_text()
    assert "Student's t over 5 repetitions" in text and text.count("bootstrap") == 1  # of the first table's intervals
    assert "(+5.0)* |" in text and "(+7.0) |" in text  # the larger difference is within the spread of seeds
    for picture in ("report.svg", "report_costs.svg"):
        assert "bootstrap over" not in (directory / picture).read_text()
    assert "Student's t over 5 repetitions" in (directory / "report_costs.svg").read_text()
    assert main(["report", config, "--by", "class"]) == 0
    (found,) = json.loads((directory / "report_by_class.json").read_text())["data"]
    assert found["cats"]["sure"]["interval"] == report["cats"]["sure"]["acc1"]["digits"]["interval"]


def test_with_three_repetitions_images_are_the_unit_and_the_json_has_both(tmp_path):
    _, directory, report = reported(tmp_path, 3)
    assert report["data"][0]["unit"] == "images"
    for name in ("sure", "unsure"):
        value = report["cats"][name]["acc1"]["digits"]
        assert value["difference_interval"] == value["difference_intervals"]["images"]
        over_seeds = stats.ttest_rel(percent(name, 3), percent("cat1", 3))
        assert value["difference_intervals"]["seeds"] == pytest.approx(list(over_seeds.confidence_interval(0.95)))
        assert value["p_values"]["images"] < 1e-3 < value["p_values"]["seeds"] == pytest.approx(over_seeds.pvalue)
        assert value["p_corrected"] == pytest.approx(3 * value["p_values"]["images"], rel=0.4)
    text = (directory / "report.md").read_text()
    assert "bootstrap over the test images" in text and "Student" not in text
    assert "(+5.0)* |" in text and "(+14.2)* |" in text and "tells nothing of other seeds" in text
    assert "bars: 95 %, bootstrap over the test images" in (directory / "report_costs.svg").read_text()


def test_the_report_says_what_cats_cost(tmp_path, capsys):
    _, directory, report = reported(tmp_path, 1)
    said = capsys.readouterr().out
    model, wide = MemberConfig(**MODEL, num_classes=10), MemberConfig(**{**MODEL, "width": 16}, num_classes=10)
    found = report["cats"]["sure"]["costs"]
    assert found["parameters"] == 2 * costs.backbone_parameters(model)
    assert found["training_flops"] == 2 * 4 * 32 * costs.training_flops(model, 28)
    assert found["features"] == 128 and found["head_bytes"] == {"digits": 4 * (128 * 10 + 10 + 4 * 128)}
    assert found["inference_flops"] == {"digits": 2 * costs.backbone_flops(model, 28) + 2 * 128 * 10}
    ratio = costs.training_flops(wide, 28) / costs.training_flops(model, 28)
    (row,) = [line.split() for line in said.splitlines() if line.startswith(" unsure ") and "FLOP" in line]
    assert f"{ratio:.2f}" in row
    text = (directory / "report.md").read_text()
    assert "## Costs" in text and "![top-1 against costs](report_costs.png)" in text and "| 7.21 kB |" in text
    png = (directory / "report_costs.png").read_bytes()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "compare" / "study")).Reload()
    assert events.Images("study/report, top-1 against costs")[0].encoded_image_string == png
    svg = (directory / "report_costs.svg").read_text()
    assert svg.count(">sure</text>") == svg.count(">unsure</text>") == 2  # labels beside the points of both panels


def test_labels_cover_neither_each_other_nor_points():
    """Ten points closer together than a label is high."""
    figure, panel = pyplot().subplots(figsize=(4, 3))
    points = [Labelled(1 + 0.05 * k, 50 + 0.1 * k, 49, 52, f"cat{k}", "black") for k in range(10)]
    panel.plot([point.x for point in points], [point.y for point in points], "o")
    panel.set(xlim=(0, 3), ylim=(40, 60))
    figure.canvas.draw()
    place_labels(panel, points)
    boxes = [text.get_window_extent() for text in panel.texts if text.get_text()]
    assert len(boxes) == 10
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    at = [panel.transData.transform((point.x, point.y)) for point in points]
    assert not any(box.contains(*place) for box in boxes for place in at)
    pyplot().close(figure)
