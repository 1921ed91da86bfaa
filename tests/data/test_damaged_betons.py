"""Damaged .beton files, some of those of tests/fuzz; and headers of any numbers."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.damaged_betons import EXTREME, outcomes, write_whole
from timecat.data.beton import HEADER, count_images, read_beton
from timecat.errors import UserError


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    write_whole(directory)
    return directory


def test_damaged_betons_are_refused_or_read_the_same_twice(whole):
    pytest.importorskip("timecat.data.ffcv_kernel")
    counts, bad = outcomes(whole, 10_000, 10_060)
    assert not bad, "\n".join(bad)
    assert sum(counts.values()) == 60 and counts["refused"] > 15 and counts["broken"] > 3


def any_number(bits: int) -> st.SearchStrategy[int]:
    extreme = st.sampled_from(sorted({value % 2**bits for value in EXTREME}))
    return st.one_of(extreme, st.integers(0, 2**bits - 1), st.integers(0, 100))


NUMBERS = {"version": 16, "fields": 16, "page_size": 32, "samples": 64, "table": 64}


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.data(), min_size=1), st.booleans())
def test_headers_of_any_numbers(whole, drawn, from_the_end):
    """Whatever a header says, what is then believed lies within the file."""
    import numpy as np

    path = whole / "groups.beton"
    content = path.read_bytes()
    header = np.frombuffer(content, HEADER, 1).copy()
    for name, data in drawn.items():
        value = data.draw(any_number(NUMBERS[name]))
        if name == "table" and from_the_end:
            value = (len(content) - value) % 2**64
        header[name] = value
    with path.open("r+b") as file:
        try:
            os.pwrite(file.fileno(), header.tobytes(), 0)
            try:
                assert count_images(path) < len(content)
                beton = read_beton(path)
            except UserError as error:
                assert "\n" not in str(error) and str(path) in str(error)
                return
        finally:
            os.pwrite(file.fileno(), content[: HEADER.itemsize], 0)
    assert (beton.offsets >= 0).all() and (beton.sizes > 0).all()
    assert (beton.offsets + beton.sizes <= len(content)).all() and beton.labels.min() >= 0
