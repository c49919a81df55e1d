"""A sum in one fixed binary tree: the same bits, whoever adds and in whatever order the terms arrive."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Node = tuple[int, int]  # its leaves: (start, stop)


def halves(node: Node) -> tuple[Node, Node]:
    """The two children of a node; an odd leaf goes to the left one."""
    middle = (node[0] + node[1] + 1) // 2
    return (node[0], middle), (middle, node[1])


class Tree(Generic[Value]):
    """Adds up the values of n leaves; two sums are added as soon as both children of a node have arrived.

    So, if the leaves arrive roughly in order, no more than about log₂ n sums are waiting at a time. add: (left, right) →
    their sum; it may change left. The final addition is not made: ``roots`` are its two terms.
    """

    def __init__(self, n: int, add: Callable[[Value, Value], Value]) -> None:
        self.n, self.add = n, add
        self._waiting: dict[Node, Value] = {}
        self._lock = threading.Lock()

    def put(self, leaf: int, value: Value) -> None:
        """Add the value of this leaf; may be called from any thread."""
        self.put_sum((leaf, leaf + 1), value)

    def put_sum(self, node: Node, value: Value) -> None:
        """Add the sum of all leaves of this node, which others have computed."""
        for parent in reversed(self._path(node)[1:]):  # from the node's parent up to a child of the root
            left, right = halves(parent)
            sibling = right if node == left else left
            with self._lock:
                if sibling not in self._waiting:
                    self._waiting[node] = value
                    return
                other = self._waiting.pop(sibling)
            value = self.add(value, other) if node == left else self.add(other, value)
            node = parent
        with self._lock:
            self._waiting[node] = value

    def _path(self, below: Node) -> list[Node]:
        """The nodes above a node, starting at the root."""
        path, node = [], (0, self.n)
        while node != below:
            path.append(node)
            left, right = halves(node)
            node = left if below[0] < left[1] else right
        return path

    @property
    def sums(self) -> list[tuple[Node, Value]]:
        """The largest nodes that are summed, with their sums, from left to right; where all leaves are there, see ``roots``."""
        return [(node, self._waiting[node]) for node in sorted(self._waiting)]

    @property
    def whole(self) -> bool:
        """Whether all leaves are there."""
        return sum(stop - start for start, stop in self._waiting) == self.n

    @property
    def roots(self) -> list[Value]:
        """[sum of the left half, sum of the right half]; [the value] if there is only one leaf."""
        return [value for _, value in self.sums]
