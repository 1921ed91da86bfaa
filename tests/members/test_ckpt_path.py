"""--ckpt_path of what is no checkpoint of this training: one line before Lightning begins."""

from pathlib import Path

import pytest
import torch

from tests.support.hostile import ended
from tests.support.small_study import ONE_CYCLE, write_probe, write_study
from timecat.errors import UserError
from timecat.members.ckpt_path import check_checkpoint

WEIGHT = torch.zeros(2, 2)
STATE = {"conv.weight": WEIGHT}
GOOD = {"state_dict": STATE, "optimizer_states": [{}], "lr_schedulers": [], "loops": {}, "epoch": 0, "global_step": 1}
WRONG = {
    "no file": (None, "no such file"),
    "text": (b"weights", "cannot be read"),
    "weights alone": (STATE, "no state_dict"),
    "a list": ([1], "no state_dict"),
    "a word": ({**GOOD, "state_dict": {"a": "b"}}, "a is no tensor"),
    "meta": ({**GOOD, "state_dict": {"a": torch.zeros(2, device="meta")}}, "a has no values"),
    "sparse": ({**GOOD, "state_dict": {"a": WEIGHT.to_sparse()}}, "sparse"),
    "complex": ({**GOOD, "state_dict": {"a": torch.zeros(2, dtype=torch.complex64)}}, "complex64"),
    "infinite": ({**GOOD, "state_dict": {"a": torch.tensor([float("nan")])}}, "a is not finite"),
    "no optimiser": ({**GOOD, "optimizer_states": []}, "no optimizer_states"),
    "an odd optimiser": ({**GOOD, "optimizer_states": 7}, "no optimizer_states"),
    "no loops": ({key: value for key, value in GOOD.items() if key != "loops"}, "no loops"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_foreign_checkpoint_is_one_line(kind, tmp_path):
    content, named = WRONG[kind]
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=named):
        check_checkpoint(str(path), trains=True)


def test_a_checkpoint_of_lightnings_is_taken(tmp_path):
    torch.save(GOOD, tmp_path / "x.ckpt")
    for given in (None, "best", tmp_path / "x.ckpt"):
        check_checkpoint(given, trains=True)


def test_the_commands_look_before_they_begin(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"root": str(digits), "workers": 1, "test": "test.beton"}
    write_study(Path("s.yaml"), data, ONE_CYCLE, {"cat1": {"members": 1, "steps": 4}})
    write_probe(Path("p.yaml"), data, {"weight_decays": [1e-3]}, {"snapshots": ["none.pt"]})
    for words in (["test", "--config", "s.yaml"], ["validate", "--config", "p.yaml"], ["fit", "--config", "p.yaml"]):
        for given in (["--ckpt_path", "none.ckpt"], ["--ckpt_path=s.yaml"]):
            status, why, line = ended([*words, *given], (2,))
            assert not why and status == 2 and "--ckpt_path" in line, (why, line)
    for words in (["test", "p.yaml"], ["validate", "s.yaml"], ["predict", "s.yaml"]):
        status, why, line = ended(words, (2,))
        assert not why and "--ckpt_path is missing, without which" in line, (why, line)
