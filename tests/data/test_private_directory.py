"""What is loaded as code lies where nobody else could have put it."""

import stat

import pytest

from timecat.data.private_directory import private_directory


def test_a_new_one_is_this_users_alone_and_stays_the_same(tmp_path):
    path = private_directory(tmp_path / "timecat-0")
    assert path == tmp_path / "timecat-0" == private_directory(path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["open to others", "a link", "a file", "another user's"])
def test_what_somebody_else_may_have_made_is_not_taken(tmp_path, monkeypatch, what):
    wanted, theirs = tmp_path / "timecat-0", tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    if what == "a link":
        wanted.symlink_to(theirs)
    elif what == "a file":
        wanted.touch(0o600)
    else:
        wanted.mkdir(mode=0o700)
        wanted.chmod(0o777 if what == "open to others" else 0o700)
    if what == "another user's":
        monkeypatch.setattr("os.getuid", lambda: wanted.lstat().st_uid + 1)
    taken = private_directory(wanted)
    assert taken != wanted and taken.parent == tmp_path and not taken.is_symlink()
    assert stat.S_IMODE(taken.lstat().st_mode) == 0o700 and not list(theirs.iterdir())
