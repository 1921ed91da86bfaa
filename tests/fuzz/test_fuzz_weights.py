"""Damaged files of weights, many of each format: refused in a line, or read as finite numbers."""

import json
import subprocess
import sys

import pytest

from tests.support.damaged_weights import FORMATS, try_damaged

MEMORY = 6 * 2**30  # bytes of address space that the reading process may take, torch's libraries included
MANY = """if True:
    import json, resource, sys
    from pathlib import Path
    from tests.support.damaged_weights import try_damaged
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]),) * 2)
    print(json.dumps(try_damaged(Path(sys.argv[1]), sys.argv[2], range(1000, 1000 + int(sys.argv[4])))))
"""


@pytest.mark.parametrize("format_", FORMATS)
def test_a_few(tmp_path, format_):
    counts = try_damaged(tmp_path, format_, range(150))
    assert counts["refused"] > 50


@pytest.mark.fuzz
@pytest.mark.parametrize("format_", FORMATS)
def test_many_within_bounded_memory(tmp_path, format_):
    program = [sys.executable, "-c", MANY, str(tmp_path), format_, str(MEMORY), "500"]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    counts = json.loads(ended.stdout.splitlines()[-1])
    assert sum(counts.values()) == 500 and counts["refused"] > 100
    print(f"{format_}: {counts}")
