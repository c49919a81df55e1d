"""How the work is divided: the leaves of the tree, the subtrees that are sent, the parts of the vector, and the bytes."""

import operator

import launch
import numpy as np
import pytest

from minidl.engine.tree import Tree, halves

launch.skip_without_mpi()

from minidl.distribution.group import Ranks, blocks, leaves, subtrees  # noqa: E402  (it needs mpi4py)
from minidl.optimizers.base import BLOCK  # noqa: E402


def nodes(n):
    """All nodes of a tree with n leaves."""
    found, todo = set(), [(0, n)]
    while todo:
        node = todo.pop()
        found.add(node)
        if node[1] - node[0] > 1:
            todo += halves(node)
    return found


@pytest.mark.parametrize("size", range(2, 10))
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 8, 13, 64])
def test_each_leaf_is_one_ranks_and_the_roots_are_as_large_as_can_be(n, size):
    own = leaves(n, size)
    assert [leaf for node in own for leaf in range(*node)] == list(range(n))
    assert max(stop - start for start, stop in own) <= -(-n // size)
    for start, stop in own:
        roots = subtrees(n, (start, stop))
        assert [leaf for node in roots for leaf in range(*node)] == list(range(start, stop))
        within = {node for node in nodes(n) if start <= node[0] and node[1] <= stop}
        # no larger node lies within these leaves
        assert set(roots) == {a for a in within if not any(a != b and b[0] <= a[0] and a[1] <= b[1] for b in within)}


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_a_power_of_two_sends_one_root_a_rank(size):
    for n in range(2, 65):
        assert max(len(subtrees(n, own)) for own in leaves(n, size)) == 1


def test_the_sum_of_roots_has_the_bits_of_the_sum_of_leaves():
    values = np.random.default_rng(0).normal(size=37).astype(np.float32)
    alone = Tree(37, operator.add)
    for i, value in enumerate(values):
        alone.put(i, value)
    others = Tree(37, operator.add)
    for own in reversed(leaves(37, 5)):
        part = Tree(37, operator.add)
        for i in reversed(range(*own)):
            part.put(i, values[i])
        assert [node for node, _ in part.sums] == subtrees(37, own)
        for node, value in part.sums:
            others.put_sum(node, value)
    assert others.whole
    assert others.roots == alone.roots
    assert sum(values) != sum(alone.roots)  # the order decides about the last bits


class Wire:
    """Knows its rank, and sends nothing."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_parts_of_the_vector_cover_what_is_trained_once(size, clips):
    params = {"a": np.zeros(3 * BLOCK + 5), "b": np.zeros(7), "c": np.zeros((2, BLOCK)), "d": np.zeros(100)}
    ranges = [(0, 3 * BLOCK + 5), (3 * BLOCK + 12, 5 * BLOCK + 112)]  # b is frozen
    covered = np.zeros(5 * BLOCK + 112, int)
    sizes = []
    for rank in range(size):
        group = Ranks(Wire(rank, size))
        group._blocks = blocks(params) if clips else []
        own = group.part(ranges)
        sizes.append(sum(stop - start for start, stop in own))
        for start, stop in own:
            covered[start:stop] += 1
            assert not clips or {start, stop} <= set(blocks(params))
    expected = np.zeros(5 * BLOCK + 112, int)
    for start, stop in ranges:
        expected[start:stop] = 1
    np.testing.assert_array_equal(covered, expected)
    assert max(sizes) - min(sizes) <= (1 if not clips else 2 * BLOCK)


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_bytes_of_a_step_are_the_fewest_that_there_can_be(ranks):
    """2 · (n − 1)/n of the vector leave each rank: (n − 1)/n of its gradient, and its n-th of the parameters to n − 1 others."""
    code, output, errors = launch.finish(launch.start(ranks, "bytes_sent.py"))
    assert code == 0, errors
    size, header, sent = map(int, output.split())
    assert sent - header == pytest.approx(2 * (ranks - 1) / ranks * size, abs=16)
    assert header == (ranks - 1) * 1024
