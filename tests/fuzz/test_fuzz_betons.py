"""A thousand damaged .beton files: one line that names the file, or pixels that are the same at each reading."""

import pytest

from tests.support.damaged_betons import outcomes, write_whole

pytest.importorskip("timecat.data.ffcv_kernel")


@pytest.mark.fuzz
def test_a_thousand_damaged_betons(tmp_path):
    write_whole(tmp_path)
    counts, bad = outcomes(tmp_path, 0, 1000)
    print(f"1,000 damaged .beton files: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
    assert not bad, "\n".join(bad)
    assert sum(counts.values()) == 1000 and counts["refused"] > 200 and counts["broken"] > 50
