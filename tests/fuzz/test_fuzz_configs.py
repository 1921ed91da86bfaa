"""2,000 damaged configs: each command ends in what it is for, or in one line, within seconds."""

import pytest

from tests.support.hostile import bases, built, ended
from tests.support.mutated_configs import mutated

pytestmark = pytest.mark.fuzz
SEEDS, CASES = 40, 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_damaged_config_ends_in_one_line(seed, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names may lead anywhere, and trainings that are accepted are not to begin elsewhere
    all_of_them = bases(tmp_path, digits)
    path, base, words, study = all_of_them[seed % len(all_of_them)]
    wrong, accepted = [], 0
    for what, text in mutated(base, seed, CASES):
        path.write_bytes(text)
        status, why, _ = ended(words)
        accepted += status == 0
        if not why and status == 0 and study is not None:
            why = built(study, tmp_path)
        if why:
            wrong.append(f"{what}: {why}")
    print(f"seed {seed}: {CASES} cases of {path.name}, {accepted} accepted, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
