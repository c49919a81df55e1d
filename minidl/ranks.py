"""The processes that train a model together: by default this one alone. ``minidl.distribution`` puts several in its place.

This is all that the rest of the library knows of them: ``ranks.group``, and what ``Alone`` can do. Several processes make the
same calls; each computes some of a batch's shards, sums the gradients in a part of the vector, and steps that part.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .contracts import Array, ModelLike

if TYPE_CHECKING:
    from .engine.stages import Part
    from .engine.tree import Tree
    from .engine.vector import Gradient, Range

Value = TypeVar("Value")


class Alone:
    """One process, which has nobody to exchange anything with. Attributes: rank: its number, from 0. size: how many there are."""

    rank = 0
    size = 1

    def together(
        self, what: str, model: ModelLike, data: Sequence[object], **facts: object
    ) -> contextlib.AbstractContextManager[None]:
        """The block of one call, e.g. of ``fit``, that all processes make. data: its Data or Batches. facts: name → what has to
        be the same in all processes. An error in one of them ends the block in all."""
        return contextlib.nullcontext()

    def check(self, data: object) -> None:
        """Raise RuntimeError where the processes were given different Data for a batch."""

    def agree(self, model: ModelLike) -> None:
        """Raise RuntimeError where, after an epoch, the processes' models are not the same: a callback has changed one alone."""

    def own(self, n: int) -> Sequence[int]:
        """Which of a batch's n shards this process has to compute."""
        return range(n)

    def meeting(
        self, parts: "Tree[Part] | None" = None, values: "Tree[Any] | None" = None
    ) -> contextlib.AbstractContextManager[None]:
        """The block in which each process computes its shards. At its end the trees have the sums of all processes: that of the
        parts, and, if all shards have ended and none has left a part, that of the values. An error in one is raised in all."""
        return contextlib.nullcontext()

    def rows(self, out: Array, cuts: Sequence[tuple[int, int]]) -> None:
        """Fill in the rows that other processes have computed. cuts: the rows (start, stop) of every shard."""

    def scatter(
        self,
        tree: "Tree[Gradient]",
        ranges: "Sequence[Range]",
        blank: "Callable[[], Gradient]",
        release: "Callable[[Sequence[Gradient]], object]",
    ) -> "list[Gradient]":
        """The last one or two gradients to be added, from the tree with this process's shards: whole in ``part(ranges)``.

        blank, release: get a gradient of any content; give one back.
        """
        return tree.roots

    def part(self, ranges: "Sequence[Range]") -> "Sequence[Range]":
        """What this process has to step of these ranges of the vector."""
        return ranges

    def squares(self, gradients: Mapping[str, Array], ranges: "Sequence[Range]") -> Mapping[str, float] | None:
        """Σ gradient² of each, where only ``part(ranges)`` of them is here, in the order of sums of ``Optimizer.prepare``; None
        where all of them are here."""
        return None

    def gather(self, vector: Array, ranges: "Sequence[Range]", later: Mapping[str, Array] | None = None) -> None:
        """Bring each process's part of the vector to all others. later: vectors that ``complete`` will have to gather."""

    def complete(self) -> None:
        """Gather the optimizer's state, of which each process has had a part."""

    def once(self, function: Callable[[], Value]) -> Value:
        """Call the function in rank 0 alone. All get what it returns or raises; outside of ``together``, the others get None."""
        return function()


group = Alone()


def say(text: str) -> None:
    """Print, in rank 0 alone."""
    if group.rank == 0:
        print(text)
