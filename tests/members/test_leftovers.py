"""What a killed training leaves lies beside what it was to become, and goes at the next start of that member."""

import tempfile

from tests.support.small_study import ONE_CYCLE, write_study
from timecat.cli import main


def test_checkpoints_need_no_other_disk_and_leftovers_go(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    cats = {"cat1": {"members": 1, "steps": 4}}
    config = write_study(tmp_path / "s.yaml", {"root": str(digits)}, ONE_CYCLE, cats, checkpoint_minutes=0)
    directory = tmp_path / "runs" / "s" / "member_0_4"
    directory.mkdir(parents=True)
    for name in (".snapshot_4.pt.tmp-node-1", ".last.ckpt.tmp", "..last.ckpt.tmp.tmp-node-1", ".done.json.tmp-node-1"):
        (directory / name).write_bytes(b"half of it")
    (directory / ".mine").touch()
    assert main(["fit", "--config", config]) == 0
    assert [path.name for path in directory.glob(".*")] == [".mine"]
    assert {path.name for path in directory.glob("*.ckpt")} == {"last.ckpt", "previous.ckpt"}
