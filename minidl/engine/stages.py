"""Stages: where a layer needs a sum over the whole batch, every shard stops, and all go on with the total.

What may stop is a generator: it yields its own part of a sum, and is sent the sum of all parts. So a shard reads as if nothing
stopped it, and what never stops is not changed by those that do.
"""

import functools
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, TypeAlias, TypeVar

from .. import ranks
from ..contracts import Array, MeasuringLayer
from .tree import Tree
from .workers import quietly, run

Value = TypeVar("Value")


class Part(NamedTuple):
    """A shard's part of a sum over the batch. learner: the layer whose state is to learn the total; None for backward's sums."""

    sums: Array
    learner: MeasuringLayer | None = None

    def plus(self, other: "Part") -> "Part":
        """The parts of both."""
        return Part(self.sums + other.sums, self.learner)


Stages: TypeAlias = Generator[Part, Array, Value]
Measured: TypeAlias = list[tuple[MeasuringLayer, Array]]  # what was measured of a batch, in order


class Abandoned(Exception):
    """Raised in a shard that waits for a total when another one has ended and will never give its part."""


def alone(stages: Stages[Value]) -> tuple[Value, Measured]:
    """Run what is the whole batch to its end: its own sums are the total. Returns its value, and what was measured."""
    measured: Measured = []
    total: Array | None = None
    while True:
        try:
            part = stages.send(total)  # type: ignore[arg-type]  # as below
        except StopIteration as end:
            return end.value, measured
        total = part.sums
        if part.learner is not None:
            measured.append((part.learner, total))


def summed(
    job: Callable[[int], Stages[Value]], n: int, add: Callable[[Value, Value], Value]
) -> tuple[list[Value], Measured]:
    """Run job(0), …, job(n − 1), and add up their values in a tree, except for the last addition: its two terms, or the only
    value. And what was measured."""
    if n == 1 and ranks.group.size == 1:
        value, measured = quietly(alone)(job(0))
        return [value], measured
    shards, values, measured = {i: job(i) for i in ranks.group.own(n)}, Tree[Value](n, add), []
    total: Array | None = None
    while (part := _go_on(shards, total, values)) is not None:
        total = part.sums
        if part.learner is not None:
            measured.append((part.learner, total))
    return values.roots, measured


def _go_on(shards: Mapping[int, Stages[Value]], total: Array | None, values: Tree[Value]) -> Part | None:
    """Send each shard the last total. Returns the sum of the parts if all stop once more; otherwise all shards end, and their
    values are in the tree."""
    stopped: list[int] = []
    parts = Tree[Part](values.n, Part.plus)

    def go_on(i: int) -> None:
        try:
            part = shards[i].send(total)  # type: ignore[arg-type]  # the first thing that a generator is sent is None
        except StopIteration as end:
            values.put(i, end.value)
        else:
            stopped.append(i)
            parts.put(i, part)

    with ranks.group.meeting(parts, values):
        run(quietly(go_on), list(shards))
    if parts.whole:
        return functools.reduce(Part.plus, parts.roots)
    if parts.sums:  # some have met numbers that are not finite, and the others wait in vain
        with ranks.group.meeting(Tree[Part](values.n, Part.plus), values):
            for i in stopped:
                try:
                    shards[i].throw(Abandoned())
                except StopIteration as end:
                    values.put(i, end.value)
    return None
