"""The tree of a sum: one bracketing for a number of leaves, whoever brings them in, and little that waits."""

import functools
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.engine.tree import Tree, halves


def written(left, right):
    return f"({left}+{right})"


def bracketed(names):
    """The whole sum, from the definition: the left half has the larger half of the leaves."""
    if len(names) == 1:
        return names[0]
    middle = math.ceil(len(names) / 2)
    return f"({bracketed(names[:middle])}+{bracketed(names[middle:])})"


@pytest.mark.parametrize(
    ("n", "roots"),
    [
        (1, ["0"]),
        (2, ["0", "1"]),
        (3, ["(0+1)", "2"]),
        (4, ["(0+1)", "(2+3)"]),
        (5, ["((0+1)+2)", "(3+4)"]),
        (7, ["((0+1)+(2+3))", "((4+5)+6)"]),
    ],
)
def test_by_hand(n, roots):
    tree = Tree(n, written)
    for leaf in range(n):
        tree.put(leaf, str(leaf))
    assert tree.roots == roots


def test_halves():
    assert halves((0, 2)) == ((0, 1), (1, 2))
    assert halves((3, 8)) == ((3, 6), (6, 8))


@given(st.integers(1, 70).flatmap(lambda n: st.permutations(range(n))))
def test_the_sum_does_not_depend_on_the_order_in_which_the_leaves_come(order):
    tree = Tree(len(order), written)
    for leaf in order:
        tree.put(leaf, str(leaf))
    assert len(tree.roots) == min(len(order), 2)
    assert functools.reduce(written, tree.roots) == bracketed([str(leaf) for leaf in range(len(order))])


@given(st.integers(1, 40).flatmap(lambda n: st.permutations(range(n))), st.integers(0, 2**32 - 1))
def test_so_rounded_sums_have_the_same_bits(order, seed):
    numbers = np.random.default_rng(seed).normal(size=len(order)).astype(np.float32)
    found = []
    for leaves in (range(len(order)), order):
        tree = Tree(len(order), np.add)
        for leaf in leaves:
            tree.put(leaf, numbers[leaf])
        found.append(functools.reduce(np.add, tree.roots).tobytes())
    assert found[0] == found[1]


@given(n=st.integers(1, 300), threads=st.integers(1, 4))
def test_few_sums_wait_where_the_leaves_come_roughly_in_order(n, threads):
    """In turns, each of so many threads one leaf ahead: never more than a sum for each level, and what the threads hold."""
    waiting = []
    tree = Tree(n, written)
    for start in range(0, n, threads):
        for leaf in reversed(range(start, min(start + threads, n))):
            tree.put(leaf, str(leaf))
            waiting.append(len(tree._waiting))
    assert max(waiting) <= math.ceil(math.log2(n)) + threads


def test_the_left_sum_may_be_used_for_the_result_and_nothing_else_is_changed():
    def into_left(left, right):
        left += right
        return left

    leaves = [np.array([2.0**i]) for i in range(6)]
    given = [leaf.copy() for leaf in leaves]
    tree = Tree(6, into_left)
    for i in (5, 0, 3, 1, 4, 2):
        tree.put(i, leaves[i])
    assert [float(root[0]) for root in tree.roots] == [7, 56]
    np.testing.assert_array_equal(leaves[1:3] + leaves[4:], given[1:3] + given[4:])  # all but the left ends, 0 and 3


@pytest.mark.parametrize("n", [2, 37, 64])
def test_many_threads_bring_their_leaves_at_once(n):
    for _ in range(5):
        tree, begin = Tree(n, written), threading.Barrier(4)

        def bring(first, tree=tree, begin=begin):
            begin.wait()
            for leaf in range(first, n, 4):
                tree.put(leaf, str(leaf))

        threads = [threading.Thread(target=bring, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert functools.reduce(written, tree.roots) == bracketed([str(leaf) for leaf in range(n)])


def test_an_addition_in_one_thread_holds_nobody_else_up():
    """Else the threads would add one after the other."""
    together = threading.Barrier(2)

    def slow(left, right):
        together.wait(30)  # breaks where the other addition cannot begin
        return left + right

    tree = Tree(8, slow)
    for leaf in (0, 4):
        tree.put(leaf, leaf)
    threads = [threading.Thread(target=tree.put, args=(leaf, leaf)) for leaf in (1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tree._waiting.values()) == [1, 9]


def test_a_sum_of_none_is_a_sum():
    """Where the values are not wanted, but what comes of making them is: every addition is made, and nothing is left waiting."""
    added = []
    tree = Tree(5, lambda left, right: added.append((left, right)))
    for leaf in range(5):
        tree.put(leaf, None)
    assert added == [(None, None)] * 3
    assert tree.whole
    assert tree.roots == [None, None]
