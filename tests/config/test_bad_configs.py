"""A hundred inputs that make no sense, each one line that names the thing and comes at once; no torch is imported."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.hostile import ended
from tests.support.in_process import in_a_pipe
from tests.support.small_study import NETWORK, write_probe, write_study

SECTION: dict[str, Any] = {"optimizer": "sgd", "lr": 0.1}
CATS = {"cat1": {"members": 1, "steps": 4}, "cat2": {"members": 2, "steps": 2}}
INFINITE, NOT = float("inf"), float("nan")


@pytest.fixture
def here(tmp_path, digits, monkeypatch) -> Path:
    """The working directory, with s.yaml and its probe p.yaml."""
    monkeypatch.chdir(tmp_path)
    data = {"root": str(digits), "workers": 1}
    write_probe(Path("p.yaml"), {**data, "test": "test.beton"}, {"weight_decays": [1e-3]})
    write_study(Path("s.yaml"), data, SECTION, CATS, root="runs", probes=["p.yaml"])
    return tmp_path


def refused(words: list[str], *named: str) -> None:
    status, why, line = ended(words, (2,))
    assert not why, why
    assert status == 2 and all(name in line for name in named), line


def test_what_is_damaged_here_is_whole_before(here):
    assert in_a_pipe(["plan", "s.yaml"])[0] == 0


KEYS = [
    *(
        ("study.name", value)
        for value in ("..", "../up", "a/b", "a b", "a\nb", "-rf", "%j", "a'b", "", "é", "n" * 101, None)
    ),
    *(("study.name", value) for value in ([], {"a": 1})),
    *(("study.cats", value) for value in ({}, [], None, {"member": CATS["cat1"]}, {"study": CATS["cat1"]})),
    *(("study.cats", {name: CATS["cat1"]}) for name in ("a b", "a/b", "[/x]", "%a", "..", "made_of.json")),
    *(
        ("study.cats.cat1", value)
        for value in ([], "x", 1, {"members": 1}, {"steps": 4}, {"snapshots": []}, {"of": []})
    ),
    *(("study.cats.cat1.members", value) for value in (0, -1, 1.5, "x", None, [1], NOT, INFINITE, 2**63, 10**10, True)),
    *(("study.cats.cat1.steps", value) for value in (0, -1, 1.5, "x", [], NOT, INFINITE)),
    *(("study.repetitions", value) for value in (0, -1, 10**10, "many", None, NOT)),
    *(("study.seeds", value) for value in ([-1, 1, 2], [2**32, 1, 2], [0, 0, 0], "x", [None], [1])),
    *(("study.slots", value) for value in (0, -1, "x", 10**9)),
    *(
        ("study.probes", value)
        for value in ("p.yaml", [None], ["q.yaml"], [1], ["p.yaml", "p.yaml"], ["."], ["p p.yaml"])
    ),
    *(("seed_everything", value) for value in (-1, 2**32, "x", 1.5, True, [], NOT)),
    *(("model.num_classes", value) for value in (1, -1, 9, "x", 10**9)),
    *(("model.lr", value) for value in (NOT, INFINITE, -1, 1e6, "fast", None, [])),
    *(("model.weight_decay", value) for value in (NOT, INFINITE, -1, 1e6)),
    *(("model.momentum", value) for value in (NOT, INFINITE, 1, -0.1)),
    *(("model.pct_start", value) for value in (0, 1, 2, NOT)),
    *(("model.width", value) for value in (0, 12, 2**20, None, "wide")),
    *(("data.resolution", value) for value in (0, 1, 2, 3, 10**6, NOT)),
    *(("data.batch_size", value) for value in (0, -1, 900, 2**40, "x")),
    *(("data.holdout", value) for value in (-0.1, 1, NOT, "x")),
    *(("data.train", value) for value in (None, [], "a\x1bb")),
    *(("data.mixture", value) for value in ({}, [], {"a b": {"weight": 1}}, {"a": {"weight": INFINITE}}, {"a": None})),
    *(("trainer.devices", value) for value in (0, -2, "x", [], [0, 0], 1.5, "²", None)),
    *(("trainer.num_nodes", value) for value in (0, -1, "x", NOT)),
    *(("trainer.log_every_n_steps", value) for value in (0, -1, "x")),
    *(("trainer.val_check_interval", value) for value in (0, -1, 1.5, NOT, 26, 10**6)),
    *(("trainer.limit_train_batches", value) for value in (0, -1, 1.5, NOT)),
    *(("trainer.gradient_clip_val", value) for value in (-1, NOT, INFINITE, "x")),
    *(("trainer.max_epochs", value) for value in (-2, 3, "x")),
    *((section, value) for section in ("study", "model", "data", "trainer") for value in ([], "x", 7)),
]


@pytest.mark.parametrize(("key", "value"), KEYS, ids=lambda value: repr(value)[:40])
def test_a_value_that_makes_no_sense_is_named(here, key, value):
    config = yaml.safe_load(Path("s.yaml").read_text())
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    section[last] = value
    Path("s.yaml").write_text(yaml.safe_dump(config))
    refused(["plan", "s.yaml"], key.split(".")[0])


LAUGHS = "a: &0 [x]\n" + "".join(f"b{n}: &{n + 1} [{', '.join([f'*{n}'] * 9)}]\n" for n in range(12))
TEXTS = {
    "an alias of itself": ("a: &a [*a]\n", "alias"),
    "a merge of itself": ("model: &a\n  <<: *a\n", "alias"),
    "laughs": (LAUGHS, "values"),
    "brackets": (f"model: {'[' * 3000}{']' * 3000}\n", "in one another"),
    "an object": ("model: !!python/object/apply:os.system ['true']\n", "tag"),
    "bytes": ("model: !!binary aGVsbG8=\n", "tag"),
    "a list as a key": ("? [a, b]\n: c\n", "key"),
    "a key twice": ("model: {depth: 10, depth: 18}\n", "stands twice"),
    "a long number": (f"seed_everything: {'9' * 9000}\n", "digits"),
    "a long hexadecimal": (f"seed_everything: 0x{'f' * 9000}\n", "digits"),
    "a control character": ("model: \x07\n", "not YAML"),
    "two documents": ("--- {}\n--- {}\n", "not YAML"),
    "a huge file": ("# " + "x" * 300_000, "bytes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
def test_a_file_that_is_no_config_is_named(here, kind):
    text, named = TEXTS[kind]
    Path("s.yaml").write_text(text)
    refused(["plan", "s.yaml"], "s.yaml", named)


def test_what_is_no_file_is_named(here):
    import os

    os.mkfifo("pipe.yaml")
    Path("folder.yaml").mkdir()
    Path("latin.yaml").write_bytes(b"model: \xe9\n")
    for name in ("pipe.yaml", "folder.yaml", "latin.yaml", "/dev/zero", "none.yaml", "n" * 300 + ".yaml"):
        refused(["plan", "--config", name], name[:100])


def test_names_that_would_share_a_directory_are_refused(here):
    def with_cats(cats: dict[str, Any]) -> None:
        write_study(Path("s.yaml"), {"root": "x", "train_images": 1000}, SECTION, cats, unequal_because="names")

    of = [{"members": 1, "steps": 4}, {"members": 1, "steps": 4, "model": {"width": 16}}]
    of[0]["model"] = {"width": 24}
    with_cats({"base": {"of": of}, "base-0": {"members": 1, "steps": 4, "model": {"width": 32}}})
    refused(["plan", "s.yaml"], "base-0")
    horizon = {"model": {"width": 16, "schedule": "one_cycle"}}
    with_cats({"a": {"members": 2, "steps": 4, **horizon}, "a_1": {"members": 5, "steps": 9, "model": {"width": 24}}})
    refused(["plan", "s.yaml"], "a_1")
    (here / "other").mkdir()
    Path("other/p.yaml").write_text(Path("p.yaml").read_text())
    write_study(Path("s.yaml"), {}, SECTION, CATS, probes=["p.yaml", "other/p.yaml"])
    for command in ("plan", "status", "report", "probe", "fit", "launch", "knn"):
        refused([command, "s.yaml"], "p.yaml", "other/p.yaml")


def test_a_number_is_a_name_that_works(here):
    text = Path("s.yaml").read_text().replace("cat1:", "1:").replace("cat2:", "'2':")
    Path("s.yaml").write_text(text)
    status, out, err = in_a_pipe(["plan", "s.yaml", "--cats", "1", "--study.cats.1.steps", "4"])
    assert status == 0 and "\n 1 " in out.replace("│", " "), (out, err)


OPTIONS = [
    ["fit", "--slots", "-1"],
    ["fit", "--slots", "0"],
    ["fit", "--slots", "10000000000"],
    ["fit", "--member", "-1"],
    ["fit", "--member", "99"],
    ["fit", "--member", "x"],
    ["fit", "--devices-per-member", "-1"],
    ["plan", "--images-per-sec", "nan"],
    ["plan", "--images-per-sec", "-1"],
    ["plan", "--nodes", "-1"],
    ["plan", "--nodes", "²"],
    ["plan", "--devices", "1e9"],
    ["plan", "--devices", "9" * 5000],
    ["plan", "--cats", ""],
    ["plan", "--cats", "[/x]"],
    ["plan", "--model.lr", "nan"],
    ["plan", "--data..root", "x"],
    ["plan", "--study.cats.cat1", "7"],
    ["probe", "--data", "../.."],
    ["probe", "--protocol", "best"],
    ["report", "--by", "colour"],
    ["launch", "--throttle", "-1", "--dry-run"],
    ["knn", "--k", "-1"],
    ["knn", "--k", "0,5"],
    ["knn", "--temperature", "nan"],
    ["few-shot", "--shots", "0"],
    ["few-shot", "--draws", "-3"],
]  # fmt: skip


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_an_option_that_makes_no_sense_is_named(here, words):
    refused([words[0], "s.yaml", *words[1:]])


def test_two_machines_are_not_waited_for_on_one(here):
    """Lightning would wait for the other one for ever."""
    assert NETWORK["depth"] == 10
    refused(["fit", "s.yaml", "--trainer.num_nodes", "2"], "trainer.num_nodes", "timecat launch")
