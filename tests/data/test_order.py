"""An epoch's order: every row once, a function of seed and epoch alone, and in blocks where it is long."""

import numpy as np

from timecat.data.order import BLOCK, POOL, in_blocks, permuted


def test_few_images_are_permuted_as_ever():
    rows = np.arange(7, 7 + POOL)
    assert np.array_equal(in_blocks(rows, 3, 2), np.random.default_rng([3, 2]).permutation(rows))
    assert np.array_equal(in_blocks(rows, 3, 2), permuted(rows, 3, 2))


def test_many_images_are_read_in_blocks_and_shuffled_in_pools():
    """The rule of the documentation, written out another way; a pool is spread over the whole file."""
    rows = np.arange(2 * POOL + 1005) * 3 + 1
    order = in_blocks(rows, 3, 2)
    assert np.array_equal(np.sort(order), rows)
    assert np.array_equal(order, in_blocks(rows, 3, 2))
    assert not np.array_equal(order, in_blocks(rows, 3, 1)) and not np.array_equal(order, in_blocks(rows, 4, 2))
    rng = np.random.default_rng([3, 2])
    blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
    expected = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
    for start in range(0, len(rows), POOL):
        pool = expected[start : start + POOL]
        assert np.array_equal(order[start : start + POOL], rng.permutation(pool))
        runs = np.flatnonzero(np.diff(np.sort(pool)) != 3)
        assert len(runs) <= len(pool) / BLOCK + 2
    assert np.histogram(order[:POOL], 8)[0].min() > 0.9 * POOL / 8
    neighbours = np.abs(np.diff(order[:POOL].astype(np.int64))) <= 3 * BLOCK
    assert neighbours.mean() < 0.01  # of one block, side by side in a batch
