"""A data file that is changed in place is told, by what was kept when it was written."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from timecat.config.data import ComponentConfig, DataConfig
from timecat.data import checksums
from timecat.data.beton import HEADER, read_beton
from timecat.data.checksums import kept_in, verify
from timecat.data.index import ImageIndex
from timecat.data.write.write import write
from timecat.errors import UserError


@pytest.fixture
def digits_in_blocks(tmp_path, monkeypatch) -> Path:
    """train.beton of the digits, whose pixels are hashed by 1 MiB: 25 MB of zeros and pixels."""
    monkeypatch.setattr(checksums, "BLOCK", 1 << 20)
    return write("digits", tmp_path, splits=["train"], progress=False)[0]


def flip(path: Path, at: int, keep_time: bool = False) -> None:
    """Another bit in one byte, in place."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def one_line(found: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(found.value)
    return str(found.value)


def test_one_byte_of_pixels(digits_in_blocks):
    path, advanced = digits_in_blocks, []
    assert verify(path, advanced.append) == ([], True) and sum(advanced) == path.stat().st_size
    checksums.check(path)
    beton = read_beton(path)
    at = int(beton.offsets[700]) + 5
    flip(path, at)
    block = (at - json.loads(kept_in(path).read_text())["start"]) >> 20
    ((told,), known) = verify(path)
    assert known and told.startswith(f"changed: pixels block {block} (images ")
    first, last = (int(word) for word in told.rstrip(")").split("images ")[1].split(" to "))
    assert first <= 700 <= last and last - first < 500
    with pytest.raises(
        UserError, match=r"train\.beton: is not as it was written .*pixels block .*remove train.beton.sha"
    ):
        ImageIndex(DataConfig(train="train.beton", root=str(path.parent))).beton("train")
    with pytest.raises(UserError, match="pixels block"):
        write("digits", path.parent, splits=["train"], progress=False)
    flip(path, at)
    checksums.check(path)
    assert verify(path) == ([], True)


def test_one_label(digits_in_blocks):
    """Whatever the time of change says: the index is always compared."""
    path = digits_in_blocks
    flip(path, HEADER.itemsize + 2 * 1041 + 24 * 300 + 16, keep_time=True)
    assert verify(path) == (["changed: index"], True)
    for data in (
        DataConfig(train="train.beton", root=str(path.parent)),
        DataConfig(mixture={"a": ComponentConfig(1.0, "train.beton")}, root=str(path.parent)),
    ):
        with pytest.raises(UserError, match=r"train\.beton: is not as it was written \(changed: index\)") as found:
            ImageIndex(data).beton("train")
        one_line(found)


def test_pixels_are_looked_at_where_the_file_is_newer(digits_in_blocks, monkeypatch, capsys):
    path = digits_in_blocks
    at, now = int(read_beton(path).offsets[3]), path.stat().st_mtime_ns

    def set_times(of_file: int, of_hashes: int) -> None:
        os.utime(path, ns=(now, now + of_file * 10**9))
        os.utime(kept_in(path), ns=(now, now + of_hashes * 10**9))

    set_times(-20, -10)
    flip(path, at, keep_time=True)
    checksums.check(path)  # cheap: as a disk's own fault, this one is for `verify`
    assert verify(path).wrong
    flip(path, at)
    set_times(-10, -20)
    looked = []
    blocks_wrong = checksums._blocks_wrong
    monkeypatch.setattr(checksums, "_blocks_wrong", lambda *given: looked.append(given[2]) or blocks_wrong(*given))
    monkeypatch.setattr(checksums, "LOOKED_AT", 2)
    checksums.check(path)
    checksums.check(path)  # once
    assert len(looked) == 1 and looked[0][0] == 0 and len(looked[0]) == 2
    assert "2 of its" in capsys.readouterr().err


def test_a_file_of_another_writer_is_hashed_by_the_first_verify(digits_in_blocks):
    path = digits_in_blocks
    kept_in(path).unlink()
    flip(path, int(read_beton(path).offsets[3]))
    checksums.check(path)  # nothing is known
    assert verify(path) == (["changed: is not the file that train.json tells of"], True)  # of before there were blocks
    assert not kept_in(path).exists()
    path.with_suffix(".json").unlink()
    assert verify(path) == ([], False)
    assert verify(path) == ([], True)
    flip(path, int(read_beton(path).offsets[3]))
    assert "block" in verify(path).wrong[0]


@pytest.mark.parametrize("length", [0, 10, 30_000, -1])
def test_a_cut_file(digits_in_blocks, length):
    os.truncate(digits_in_blocks, length % digits_in_blocks.stat().st_size)
    (told,) = verify(digits_in_blocks).wrong
    assert told.startswith("changed: has ")
    digits_in_blocks.unlink()
    assert "No such file" in verify(digits_in_blocks).wrong[0]
    kept_in(digits_in_blocks).unlink()
    assert "no such file" in verify(digits_in_blocks).wrong[0]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "null", "\0", '{"bytes": 1}', '{"bytes": 9, "start": 1, "end": 5, "block": 0, "pixels": []}'],
)
def test_hashes_that_are_none(digits_in_blocks, content):
    kept_in(digits_in_blocks).write_text(content)
    with pytest.raises(UserError, match=r"train\.beton\.sha256\.json: is not what timecat wrote; remove it") as found:
        checksums.check(digits_in_blocks)
    one_line(found)
    assert "remove it" in verify(digits_in_blocks).wrong[0]


def test_contents_of_before_there_were_hashes_still_hold(digits_in_blocks, tmp_path):
    """And two files of one index, raw images of equal sizes, are two."""
    beton = read_beton(digits_in_blocks)
    with_hashes = checksums.content(beton)
    (tmp_path / "other").mkdir()
    other = Path(shutil.copy(digits_in_blocks, tmp_path / "other"))
    without = checksums.content(read_beton(other))
    assert without == beton.fingerprint() != with_hashes
    assert checksums.same_content(without, with_hashes) and checksums.same_content(with_hashes, without)
    flip(other, int(beton.offsets[9]))
    assert verify(other) == ([], False)
    changed = checksums.content(read_beton(other))
    assert not checksums.same_content(changed, with_hashes) and checksums.same_content(changed, without)
    assert not checksums.same_content("0" * 64, with_hashes) and not np.array_equal(changed, with_hashes)


def test_a_report_of_a_changed_file_says_so(digits_in_blocks, capsys):
    path = digits_in_blocks
    flip(path, int(read_beton(path).offsets[3]))
    checksums.warn_of([path, path.with_name("absent.beton")])
    told = capsys.readouterr().err
    assert (
        told.startswith(f"warning: {path}: is not as it was written (changed: pixels block") and told.count("\n") == 1
    )
