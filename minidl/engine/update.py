"""The end of a training step, as pure functions of vectors: the last sum of the shards' gradients, and the optimizer's step."""

from collections.abc import Callable, Sequence

import numpy as np

from .. import ranks
from ..contracts import Array, Operations
from ..optimizers import Optimizer
from .vector import Gradient, Parameters, Range, Slots
from .workers import get_num_threads, quietly, run

PIECE = 2**18  # entries; where there are more, several threads share them: fewer take less time than waking a thread


def update(
    parameters: Parameters,
    gradients: Sequence[Gradient],
    ranges: Sequence[Range],
    optimizer: Optimizer,
    slots: Slots,
    ops: Operations,
) -> None:
    """One step of the optimizer.

    gradients: one, or two to be added; the first is changed. ranges: what is trained. Every entry is updated independently,
    so the bits do not depend on how threads and processes divide the work.
    """
    gradient, *others = (each.vector for each in gradients)
    params, state = parameters.vector, slots.vectors

    def add(piece: slice) -> None:
        for other in others:
            gradient[piece] += other[piece]

    def step(piece: slice) -> None:
        own = {slot: vector[piece] for slot, vector in state.items()}
        optimizer.update(params[piece], gradient[piece], own, rate, ops)

    def add_and_step(piece: slice) -> None:
        add(piece)
        step(piece)

    parts = pieces(ranks.group.part(ranges))
    if not optimizer.clips_norms and not _prepares_itself(optimizer):
        rate = optimizer.prepare({})
        _everywhere(add_and_step, parts)
    else:  # a gradient's norm is known only when all of it is summed
        _everywhere(add, parts)
        trained = _trained(gradients[0], parameters, ranges)
        with np.errstate(all="ignore"):
            rate = _prepare(optimizer, trained, gradient, ranges)
        _everywhere(step, parts)
    ranks.group.gather(params, ranges, later=state)


def pieces(ranges: Sequence[Range]) -> list[slice]:
    """The ranges, cut into pieces of at most a thread's share of all: one of as many as there are threads, or as there are PIECEs
    begun if those are fewer."""
    total = sum(stop - start for start, stop in ranges)
    size = PIECE if total <= PIECE else -(-total // min(get_num_threads(), -(-total // PIECE)))
    return [slice(i, min(i + size, stop)) for start, stop in ranges for i in range(start, stop, size)]


def _everywhere(job: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Do the job for all parts: in this thread where they are less than a PIECE together, else in several."""
    quiet = quietly(job)
    if sum(part.stop - part.start for part in parts) > PIECE:
        run(quiet, parts)
    else:
        for part in parts:
            quiet(part)


def _prepares_itself(optimizer: Optimizer) -> bool:
    """Whether it has a ``prepare`` of the user's own, which may read and change every entry of the gradients."""
    return type(optimizer).prepare is not Optimizer.prepare


def _prepare(optimizer: Optimizer, trained: dict[str, Array], gradient: Array, ranges: Sequence[Range]) -> float:
    """The step size, after the gradients of the trained parameters were clipped."""
    if not _prepares_itself(optimizer):
        return optimizer.prepare(trained, ranks.group.squares(trained, ranges))
    ranks.group.gather(gradient, ranges)
    return optimizer.prepare(trained)


def _trained(gradient: Gradient, parameters: Parameters, ranges: Sequence[Range]) -> dict[str, Array]:
    """The gradients of the trained parameters, by address."""
    return {
        address: gradient.named[address]
        for address, place in parameters.layout.places.items()
        if any(start <= place.start and place.stop <= stop for start, stop in ranges)
    }
