"""Stages: where a layer needs a sum over the whole batch, every shard stops, and all go on with the total.

What may stop is a generator: it yields its own part of a sum, and is sent the sum of all parts. So a shard reads as if nothing
stopped it, and what never stops is not changed by those that do.
"""

import functools
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from ..contracts import Array, MeasuringLayer
from .tree import Tree
from .workers import run

Item = TypeVar("Item")
Value = TypeVar("Value")


class Part(NamedTuple):
    """A shard's part of a sum over the batch. learner: the layer whose state is to learn the total; None for backward's sums."""

    sums: Array
    learner: MeasuringLayer | None = None


Stages: TypeAlias = Generator[Part, Array, Value]
Measured: TypeAlias = list[tuple[MeasuringLayer, Array]]  # what was measured of a batch, in order


class Abandoned(Exception):
    """Raised in a shard that waits for a total when another one has ended and will never give its part."""


def quietly(job: Callable[[Item], Value]) -> Callable[[Item], Value]:
    """The same job without NumPy's warnings: values that are not finite are searched for and reported separately."""

    def call(item: Item) -> Value:
        with np.errstate(all="ignore"):
            return job(item)

    return call


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
    if n == 1:
        value, measured = quietly(alone)(job(0))
        return [value], measured
    shards, values, measured = [job(i) for i in range(n)], Tree[Value](n, add), []
    stopped, total = _go_on(shards, None, values)
    while len(stopped) == n:
        assert total is not None
        if (learner := stopped[0].learner) is not None:
            measured.append((learner, total))
        stopped, total = _go_on(shards, total, values)
    for i in stopped:  # all have ended, unless some have met numbers that are not finite
        try:
            shards[i].throw(Abandoned())
        except StopIteration as end:
            values.put(i, end.value)
    return values.roots, measured


def _go_on(
    shards: Sequence[Stages[Value]], total: Array | None, values: Tree[Value]
) -> tuple[dict[int, Part], Array | None]:
    """Send each shard the last total. The parts of those that stop once more, and their total; the values of the others are put
    into the tree."""
    stopped: dict[int, Part] = {}
    sums = Tree[Array](len(shards), np.add)

    def go_on(i: int) -> None:
        try:
            stopped[i] = shards[i].send(total)  # type: ignore[arg-type]  # the first thing that a generator is sent is None
        except StopIteration as end:
            values.put(i, end.value)
        else:
            sums.put(i, stopped[i].sums)

    run(quietly(go_on), range(len(shards)))
    return stopped, functools.reduce(np.add, sums.roots) if len(stopped) == len(shards) else None
