"""The ranks as the engine sees them: each computes its shards, sums and steps its part of the vector, and gets all the rest.

The bits are those of one process, for any number of ranks. Each has contiguous leaves of the tree of sums, and sends the roots of
the subtrees that these fill; whoever sums a part of the vector puts all roots into the same tree.
"""

import contextlib
import itertools
import math
import operator
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import ranks
from ..contracts import Array, ModelLike
from ..engine.batches import Cut
from ..engine.runner import Sums
from ..engine.stages import Part
from ..engine.tree import Node, Tree, halves
from ..engine.vector import Gradient, Range
from ..optimizers.base import BLOCK, block_of_squares
from . import facts
from .faults import Faults
from .wire import Wire

Value = TypeVar("Value")

SAME_PROGRAM = (
    "Call minidl.distribution.initialize() first of all, and let all ranks run the same program on the same data."
)
SAME_CALLBACKS = (
    "What a callback changes or decides has to be the same on all ranks, and must not depend on a rank's own clock."
)


def leaves(n: int, size: int) -> list[Node]:
    """The leaves (start, stop) of each rank: one subtree each where size is a power of two, otherwise as equal as can be."""
    if size.bit_count() == 1:
        nodes = [(0, n)]
        while len(nodes) < size:
            nodes = [half for node in nodes for half in halves(node)]  # that of a single leaf is itself, and nothing
        return nodes
    edges = [-(-n * rank // size) for rank in range(size + 1)]
    return [(edges[rank], edges[rank + 1]) for rank in range(size)]


def subtrees(n: int, own: Node, node: Node | None = None) -> list[Node]:
    """The largest nodes of a tree with n leaves, the root's children or below, that lie within these leaves, in order."""
    start, stop = node or (0, n)
    if own[0] <= start and stop <= own[1] and (node is not None or n == 1):
        return [(start, stop)] if start < stop else []
    if stop <= own[0] or own[1] <= start or stop - start < 2:
        return []
    return [found for half in halves((start, stop)) for found in subtrees(n, own, half)]


class Ranks(ranks.Alone):
    """The ranks of a wire; see ranks.Alone for the methods. Only the thread that makes it may call them."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.rank, self.size = wire, wire.rank, wire.size
        self.faults = Faults(wire)
        self._thread = threading.get_ident()
        self._calls: list[str] = []  # those that we are within
        self._layers: list[list[Any]] = []  # of their models
        self._blocks: list[int] = []  # where the vector may be divided among the ranks; empty: anywhere
        self._later: tuple[Mapping[str, Array], Sequence[Range], list[int]] | None = None
        self._same: list[object] = []  # the Data that were compared
        self._halfway = False  # the gradients are sent, and not all parameters are back

    # ------------------------------------------------------------------------------------------------- calls and faults

    @contextlib.contextmanager
    def together(self, what: str, model: ModelLike, data: Sequence[object], **settings: object) -> Iterator[None]:
        if threading.get_ident() != self._thread:
            raise RuntimeError(f"{what} must be called in the thread that called minidl.distribution.initialize().")
        outer = self._blocks
        self._calls.append(what)
        self._layers.append([layer for _, layer in model.leaves()])
        self._blocks = blocks(model.params) if model.optimizer is not None and model.optimizer.clips_norms else []
        with self.faults.interrupts() if len(self._calls) == 1 else contextlib.nullcontext():
            try:
                self._gather_state(what)  # of a training within which this call is made
                of_model = {**facts.of_model(model), **facts.of_state(model)}
                self.faults.compare(what, {**settings, **facts.of_data(data), **of_model}, SAME_PROGRAM)
                self._same = [each.data for each in data if isinstance(each, Cut)]
                yield
                self._halfway = False
                self._gather_state(f"the end of {what}")
                self.faults.exchange(f"the end of {what}")  # which tells whether anybody got Ctrl-C
            except BaseException as error:
                if self._halfway:  # the others wait for parameters, and would not understand anything else
                    self.faults.end(error)
                self.faults.share(error)
                self.complete()  # the program may catch the error, and save the model
                raise
            finally:
                self._calls.pop()
                self._layers.pop()
                self._blocks = outer

    def check(self, data: object) -> None:
        if any(data is each for each in self._same):
            return
        self._same = [data]
        if len(set(self.faults.exchange("the next batch", facts.of_labels(data)))) > 1:
            raise RuntimeError(
                "the ranks were given different batches: what makes them has to make the same on all ranks. Seed its shuffling."
            )

    def agree(self, model: ModelLike) -> None:
        decided = {"model.stop_training": getattr(model, "stop_training", False)}
        self.faults.compare(
            f"the end of an epoch of {self._calls[-1]}", {**decided, **facts.of_model(model)}, SAME_CALLBACKS
        )

    def own(self, n: int) -> range:
        return range(*leaves(n, self.size)[self.rank])

    @contextlib.contextmanager
    def meeting(self, parts: Tree[Part] | None = None, values: Tree[Any] | None = None) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.faults.share(error)
            raise
        stopped = [] if parts is None else [(node, sums, self._place(learner)) for node, (sums, learner) in parts.sums]
        ended = [] if values is None else values.sums
        found = self.faults.exchange(f"a batch in {self._calls[-1]}", (stopped, ended))
        waiting = any(stopped for stopped, _ in found)
        for rank, (stopped, ended) in enumerate(found):
            if rank != self.rank and parts is not None:
                for node, sums, place in stopped:
                    parts.put_sum(node, Part(sums, None if place is None else self._layers[-1][place]))
            for node, value in ended:
                if isinstance(value, Sums) and not math.isfinite(value.loss):
                    self.faults.suspect(rank)
                if rank != self.rank and values is not None and not waiting:
                    values.put_sum(node, value)

    def _place(self, learner: object) -> int | None:
        """Which of the model's layers this is."""
        return next((i for i, layer in enumerate(self._layers[-1]) if layer is learner), None)

    def rows(self, out: Array, cuts: Sequence[tuple[int, int]]) -> None:
        counts = [sum(cuts[i][1] - cuts[i][0] for i in range(*own)) for own in leaves(len(cuts), self.size)]
        self.wire.gather(out.reshape(-1), [n * math.prod(out.shape[1:]) for n in counts])

    def once(self, function: Callable[[], Value]) -> Value:
        value: Any = None
        if not self._calls:
            return function() if self.rank == 0 else value
        failed: BaseException | None = None
        if self.rank == 0:
            try:
                value = function()
            except Exception as error:
                failed = error
        name = f"reading or writing a file in {self._calls[-1]}"
        value, raised = self.faults.exchange(name, (value, failed and self.faults.portable(failed)))[0]
        if raised is not None:
            raise self.faults.shared(failed or raised, 0)
        found: Value = value
        return found

    # ----------------------------------------------------------------------------------------------------------- vectors

    def scatter(
        self,
        tree: Tree[Gradient],
        ranges: Sequence[Range],
        blank: Callable[[], Gradient],
        release: Callable[[Sequence[Gradient]], object],
    ) -> list[Gradient]:
        self._halfway = True
        counts = self._counts(ranges)
        nodes = [subtrees(tree.n, own) for own in leaves(tree.n, self.size)]
        own = tree.roots
        spare = [*own, *(blank() for _ in range(2 - len(own)))]
        whole: Tree[Array] = Tree(tree.n, add)
        for i in range(max(map(len, nodes))):  # one round where each rank has a single subtree
            sent = _packed(own[i].vector, ranges) if i < len(own) else None
            given = self.wire.deal(sent, counts, [i < len(each) for each in nodes], spare[0].vector.dtype)
            for each, slice_ in zip(nodes, given, strict=True):
                if slice_ is not None:
                    whole.put_sum(each[i], slice_)
        parts = whole.roots
        for gradient, values in zip(spare, parts, strict=False):
            _unpack(values, gradient.vector, self.part(ranges))
        release(spare[len(parts) :])
        return spare[: len(parts)]

    def part(self, ranges: Sequence[Range]) -> list[Range]:
        counts = self._counts(ranges)
        first = sum(counts[: self.rank])
        found, place = [], 0  # place: of a range's start among all entries of the ranges
        for start, stop in ranges:
            low = max(first - place, 0)
            high = min(first + counts[self.rank] - place, stop - start)
            if low < high:
                found.append((start + low, start + high))
            place += stop - start
        return found

    def squares(self, gradients: Mapping[str, Array], ranges: Sequence[Range]) -> dict[str, float]:
        ends = np.cumsum(self._counts(ranges))
        owners = np.searchsorted(ends, blocks(gradients)[:-1], side="right")
        flat = [gradient.reshape(-1) for gradient in gradients.values()]
        pieces = [vector[start : start + BLOCK] for vector in flat for start in range(0, vector.size, BLOCK)]
        own = [
            block_of_squares(piece) if owner == self.rank else 0.0 for owner, piece in zip(owners, pieces, strict=True)
        ]
        found = np.array(own)
        self.wire.gather(found, [int((owners == rank).sum()) for rank in range(self.size)])
        squares, rest = {}, iter(found.tolist())
        for name, vector in zip(gradients, flat, strict=True):
            tree: Tree[float] = Tree(-(-vector.size // BLOCK), operator.add)
            for i in range(tree.n):
                tree.put(i, next(rest))
            squares[name] = sum(tree.roots)
        return squares

    def gather(self, vector: Array, ranges: Sequence[Range], later: Mapping[str, Array] | None = None) -> None:
        counts = self._counts(ranges)
        self._gather(vector, ranges, counts)
        if later is not None:
            self._later, self._halfway = (later, ranges, counts) if later else None, False

    def _gather(self, vector: Array, ranges: Sequence[Range], counts: list[int]) -> None:
        packed = _packed(vector, ranges)
        self.wire.gather(packed, counts)
        if len(ranges) > 1:  # otherwise it is the vector's own memory
            _unpack(packed, vector, ranges)

    def complete(self) -> None:
        self._gather_state("save")

    def _gather_state(self, what: str) -> None:
        """what: who needs it."""
        if self._later is None:
            return
        self.faults.exchange(what)
        (vectors, ranges, counts), self._later = self._later, None
        for vector in vectors.values():
            self._gather(vector, ranges, counts)

    def _counts(self, ranges: Sequence[Range]) -> list[int]:
        """How many entries each rank has to sum and step."""
        total, allowed = 0, []  # allowed: the edges of blocks, counted in entries of the ranges
        for start, stop in ranges:
            allowed += [total + edge - start for edge in self._blocks if start <= edge <= stop]
            total += stop - start
        edges = [total * rank // self.size for rank in range(self.size + 1)]
        if allowed:
            edges = [min(allowed, key=lambda place: abs(place - edge)) for edge in edges]
        return [stop - start for start, stop in itertools.pairwise(edges)]


def blocks(params: Mapping[str, Array]) -> list[int]:
    """The edges of the blocks of parameters that lie one after the other, over which their squares are summed."""
    edges: list[int] = []
    place = 0
    for value in params.values():
        edges += range(place, place + value.size, BLOCK)
        place += value.size
    return [*edges, place]


def add(left: Array, right: Array) -> Array:
    """left + right, in the memory of left."""
    left += right
    return left


def _packed(vector: Array, ranges: Sequence[Range]) -> Array:
    """The ranges of the vector one after the other: a view where there is one range, otherwise a copy."""
    parts = [vector[start:stop] for start, stop in ranges]
    return parts[0] if len(parts) == 1 else np.concatenate([vector[:0], *parts])


def _unpack(packed: Array, vector: Array, ranges: Sequence[Range]) -> None:
    """Copy to the ranges of the vector what ``_packed`` has put together."""
    place = 0
    for start, stop in ranges:
        vector[start:stop] = packed[place : place + stop - start]
        place += stop - start
