"""The report's first table and its heads' tables say what their numbers are, and what to try."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.fake_results import write_results
from tests.support.small_study import write_probe, write_study
from timecat.report.collect import collect
from timecat.report.edges import edge_notes, edges, marked
from timecat.report.heads_table import heads_section
from timecat.report.overview import overview
from timecat.report.picture import picture
from timecat.study.study import Study


@pytest.fixture
def study(tmp_path):
    """Two cats in three repetitions, probed on seven data sets."""
    probes = [write_probe(tmp_path / f"data{k}.yaml", {}, {"weight_decays": [1e-4, 1e-3]}) for k in range(7)]
    cats = {"cat1": {"members": 1, "steps": 100}, "cat2": {"members": 2, "steps": 50}}
    config = write_study(tmp_path / "s.yaml", {}, {}, cats, repetitions=3, probes=probes)
    study, rng = Study.read([config]), np.random.default_rng(0)
    names = [cat.name for cat in study.seeded_cats()]
    write_results(study, {f"data{k}": {name: rng.random(500) < 0.8 for name in names} for k in range(7)})
    return study


def test_the_first_table_has_the_spread_over_seeds_and_the_interval_over_images(study):
    content = collect(study, "heldout")
    section = overview(study, content, "report.png")
    value = content["cats"]["cat2"]["acc1"]["data3"]
    low, high = value["intervals"]["images"]
    cell = dict(zip(section.tables[0].header, section.tables[0].rows[1], strict=True))["data3"]
    assert cell.startswith(
        f"{value['mean']:.1f} ± {value['sd']:.1f} [{low:.1f}, {high:.1f}] ({value['difference']:+.1f})"
    )
    assert "3 repetitions with different seeds; [95 %] over the test images" in section.notes[0]


def test_a_winner_at_the_edge_is_marked_with_what_to_try(study):
    section = heads_section(study, collect(study, "heldout"), "data0")
    row = dict(zip(section.tables[0].header, section.tables[0].rows[0], strict=True))
    assert row["weight decay"] == "0.001'" and row["epochs"] == "4"
    assert section.notes == ["' weight decay 0.001 is the largest tried (all): try 0.01 too, probe.weight_decays"]


def test_edges_are_of_what_was_chosen_alone(study):
    (probe,) = study.probes_named("data1")
    assert edges(probe) == {"weight decay": (1e-4, 1e-3), "epochs": (28,)}
    assert marked([1e-4, 1e-4, 5e-4], (1e-4, 1e-3)) == "0.0001', 0.0001', 0.0005"
    cats = {"a": {"acc1": {"data1": {"lrs": [0.1], "weight_decays": [1e-4], "epochs": [28]}}, "head": "linear"}}
    assert edge_notes(probe, cats) == [
        "' weight decay 0.0001 is the smallest tried (all): try 1e-05 too, probe.weight_decays",
        "' epochs 28 is the last (all): try 56 too, trainer.max_epochs",
    ]


def test_many_data_sets_go_on_in_further_rows(study, monkeypatch):
    from timecat import figure

    asked = {}
    pyplot = figure.pyplot()

    def subplots(rows, columns, **settings):
        asked.update(rows=rows, columns=columns, size=settings["figsize"])
        return pyplot.subplots(rows, columns, **settings)

    monkeypatch.setattr("timecat.report.picture.pyplot", lambda: SimpleNamespace(subplots=subplots))
    svg = picture(study, collect(study, "heldout"), "svg").decode()
    assert (asked["rows"], asked["columns"]) == (3, 3) and asked["size"][0] < 15
    assert "3,200 pretraining images each" in svg and all(f"data{k}: 500 test images" in svg for k in range(7))
