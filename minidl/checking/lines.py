"""Lines through an array, along one entry, a random direction, or all equal entries; and the outputs along them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..contracts import Array
from .subjects import Subject

NOISE = 16 * float(np.finfo(np.float64).eps)  # rounding of a difference, relative to what was subtracted

Try = tuple[tuple[int, ...], Array | None]  # an index, or the number of a direction and the direction


@dataclass
class Slope:
    """What differences at one step say: the slope, its possible rounding error, and the slopes to either side.

    All of them are NaN, which agrees with nothing, where the function is not finite at one of the two places.

    low, high: the bounds of what a gradient may be where outputs have kinks: of each output the smaller, or the larger, of
    its two slopes. They are wider than (left, right) where upstream weights some outputs positively and some negatively.
    """

    step: float
    numeric: float
    noise: float
    right: float
    left: float
    low: float
    high: float
    changed: bool

    @property
    def jump(self) -> float:
        return abs(self.right - self.left)

    @property
    def spread(self) -> float:
        """The jumps of all outputs, which in ``jump`` may cancel out."""
        return self.high - self.low


def _nowhere(step: float) -> Slope:
    return Slope(step, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, True)


@dataclass
class Line:
    """A line through one of the arrays, for every upstream: the outputs at each point are computed once.

    where: the entry, or the direction's number. direction: None for an entry.
    """

    subject: Subject
    middle: Array
    array: Array
    where: tuple[int, ...]
    direction: Array | None = None
    known: dict[float, tuple[float, Array, float, Array]] = field(default_factory=dict)

    def analytic(self, gradient: Array) -> float:
        """The slope along the line according to the gradient."""
        if self.direction is None:
            return float(gradient[self.where])
        return float((gradient * self.direction).sum())

    @property
    def wide(self) -> bool:
        """Whether an output may be at several kinks at once, so that its slopes to the sides are no bounds."""
        return self.subject.deep or self.direction is not None

    @property
    def weight(self) -> float:
        """How many numbers of the gradient are added up in the slope, each by how much it counts."""
        return 1.0 if self.direction is None else float(np.abs(self.direction).sum())

    def size(self, gradient: Array) -> float:
        """The size of the terms that the slope is made of: where they cancel, their rounding remains."""
        if self.direction is None:
            return float(np.abs(gradient).max())
        return float(np.abs(gradient * self.direction).sum())

    @property
    def length(self) -> float:
        """How far a step of 1 may go: as far as the numbers are large.

        Along a direction of length 1 the step is spread over all n entries, and may be longer; by the root of √n, halfway
        between moving each entry as far as if it were alone, and moving all of them together no farther than one.
        """
        if self.direction is None:
            return max(1.0, abs(float(self.array[self.where])))
        return max(1.0, float(np.abs(self.array).max())) * math.sqrt(math.sqrt(self.array.size))

    @property
    def place(self) -> float:
        """The size of the number that is moved; 0 along a direction."""
        return abs(float(self.array[self.where])) if self.direction is None else 0.0

    def moved(self, step: float) -> tuple[float, Array]:
        """How far the array was moved, as it was rounded, and the outputs there; the array is restored bit for bit."""
        index = self.where if self.direction is None else ...
        kept = self.array[index].copy()
        self.array[index] = kept + step * (1.0 if self.direction is None else self.direction)
        try:
            if self.direction is None:
                step = float(self.array[index] - kept)
            with np.errstate(all="ignore"):  # a step may leave the function's domain
                return step, self.subject.outputs_or_nan(self.middle)
        finally:
            self.array[index] = kept

    def slope(self, step: float, upstream: Array) -> Slope:
        """Central and one-sided differences."""
        if step not in self.known:
            self.known[step] = (*self.moved(step), *self.moved(-step))
        ahead, after, back, before = self.known[step]
        if after.shape != self.middle.shape or before.shape != self.middle.shape:
            return _nowhere(step)
        if not (np.isfinite(after).all() and np.isfinite(before).all()):
            return _nowhere(step)
        changed = (after != before) | (after != self.middle)
        with np.errstate(all="ignore"):

            def between(low: Array, high: Array, distance: float) -> float:
                return float((upstream * (high - low)).sum()) / distance if distance else math.nan

            # Its possible rounding error: in the outputs that changed, and in one whose change was rounded away.
            weighted = np.abs(upstream * self.middle)
            noise = NOISE * float(weighted[changed].sum() + weighted.max(initial=0.0) / 8) / step
            numeric = between(before, after, ahead - back)
            right, left = between(self.middle, after, ahead), between(before, self.middle, -back)
            sides = upstream * (after - self.middle) / ahead, upstream * (self.middle - before) / -back
            low, high = float(np.minimum(*sides).sum()), float(np.maximum(*sides).sum())
        return Slope(step, numeric, noise, right, left, low, high, bool(changed.any()))


# ------------------------------------------------------------------------------------------------------- what is tried


def entries(array: Array, gradients: list[Array], count: int | None, rng: np.random.Generator) -> Iterator[Try]:
    """Every index of the array, or ``count`` random ones, half of them where a gradient is not 0, if possible."""
    chosen = np.arange(array.size)
    if count is not None and count < array.size:
        live = np.flatnonzero(np.any([gradient.reshape(-1) != 0 for gradient in gradients], axis=0))
        some = rng.choice(live, min(live.size, (count + 1) // 2), replace=False)
        others = np.setdiff1d(chosen, some)
        chosen = np.sort(np.concatenate([some, rng.choice(others, count - some.size, replace=False)]))
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape)), None


def random_directions(array: Array, count: int, rng: np.random.Generator) -> Iterator[Try]:
    """Random directions of length 1; the "index" is the direction's number."""
    for number in range(count if array.size else 0):
        direction = rng.normal(size=array.shape)
        yield (number,), direction / np.linalg.norm(direction)


def ties(array: Array, samples: bool) -> Iterator[Try]:
    """The equal entries of each sample, or of the array, as a direction: moved together, they stay equal."""
    number = 0
    for sample in range(len(array)) if samples else [0]:
        part = array[sample] if samples else array
        for value in np.unique(part):
            direction = np.zeros(array.shape)
            (direction[sample] if samples else direction)[part == value] = 1.0
            yield (number,), direction
            number += 1
