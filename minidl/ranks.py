"""The processes that train a model together: by default this one alone. ``minidl.distribution`` puts several in its place.

This is all that the rest of the library knows of them: ``ranks.group``, and what ``Alone`` can do. Several processes make the
same calls; each computes some of a batch's shards, sums the gradients in a part of the vector, and steps that part.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .contracts import Array, ModelLike

if TYPE_CHECKING:
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

    def shards(
        self, cuts: Sequence[tuple[int, int]], tree: "Tree[Any] | None", out: Array | None, data: object
    ) -> contextlib.AbstractContextManager[Sequence[int]]:
        """The numbers of the shards that this process has to compute in the block. At its end the values of the others are
        in the tree, and their rows in out.

        cuts: the samples (start, stop) of every shard. data: of the batch. An error in one process is raised in all.
        """
        return contextlib.nullcontext(range(len(cuts)))

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
        print(text, flush=True)
