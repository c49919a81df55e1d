"""The slopes: differences at several steps, and what they say of a gradient: proved, failed, at a kink, or too small."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..contracts import Array
from .subjects import Subject

NOISE = 16 * float(np.finfo(np.float64).eps)  # rounding of a difference, relative to what was subtracted
PRECISE = 1e-3  # a slope that differences determine no better than this, relative to itself, is too small to judge
FACTORS = [10.0**power for power in range(4, -7, -1)]  # the other steps, as multiples of the first one, that are tried


@dataclass
class Slope:
    """What one pair of differences says: the slope, how far rounding may be off, and the slopes to either side.

    All of them are NaN, which agrees with nothing, where the function is not finite at one of the two places.

    low, high: the bounds of what a gradient may be where outputs have kinks: of each output the smaller, or the larger, of
    its two slopes. They are wider than (left, right) where upstream weighs some outputs positive and some negative.
    """

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


@dataclass
class Line:
    """A line through one of the arrays: along one entry, or along a direction. where: that entry, or the direction's number."""

    subject: Subject
    middle: Array
    array: Array
    gradient: Array
    where: tuple[int, ...]
    direction: Array | None = None

    @property
    def analytic(self) -> float:
        """The slope along the line, as the gradient has it."""
        if self.direction is None:
            return float(self.gradient[self.where])
        return float((self.gradient * self.direction).sum())

    def length(self) -> float:
        """How far a step of 1 may go: as far as the numbers are large.

        Along a direction of length 1 the step is spread over all n entries, and may be longer; by the root of √n, halfway
        between moving each entry as far as if it were alone, and moving all of them together no farther than one.
        """
        if self.direction is None:
            return max(1.0, abs(float(self.array[self.where])))
        return max(1.0, float(np.abs(self.array).max())) * math.sqrt(math.sqrt(self.array.size))

    def moved(self, step: float) -> tuple[float, Array]:
        """How far the array was moved, as it was rounded, and the outputs there; the array is put back to the bit."""
        index = self.where if self.direction is None else ...
        kept = self.array[index].copy()
        self.array[index] = kept + step * (1.0 if self.direction is None else self.direction)
        try:
            if self.direction is None:
                step = float(self.array[index] - kept)
            with np.errstate(all="ignore"):  # a step may lead out of where the function is defined
                return step, np.array(self.subject.evaluate(), np.float64)
        finally:
            self.array[index] = kept

    def slope(self, step: float) -> Slope:
        """Central and one-sided differences."""
        (ahead, after), (back, before) = self.moved(step), self.moved(-step)
        upstream, changed = self.subject.upstream, (after != before) | (after != self.middle)
        if not (np.isfinite(after).all() and np.isfinite(before).all()):
            return Slope(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, True)
        with np.errstate(all="ignore"):

            def between(low: Array, high: Array, distance: float) -> float:
                return float((upstream * (high - low)).sum()) / distance if distance else math.nan

            # What rounding can make of it: in the outputs that changed, and in one whose change was rounded away.
            weighted = np.abs(upstream * self.middle)
            noise = NOISE * float(weighted[changed].sum() + weighted.max(initial=0.0) / 8) / step
            numeric = between(before, after, ahead - back)
            right, left = between(self.middle, after, ahead), between(before, self.middle, -back)
            sides = upstream * (after - self.middle) / ahead, upstream * (self.middle - before) / -back
            low, high = float(np.minimum(*sides).sum()), float(np.maximum(*sides).sum())
        return Slope(numeric, noise, right, left, low, high, bool(changed.any()))


def judge(line: Line, eps: float, rtol: float) -> tuple[str, float]:
    """The verdict, "proved", "failed", "kink", "small" or "zero", and the slope found.

    Most are proved at the first step. Where that one does not do, because the function is steep, or bends, or rounding is
    in the way, the steps from long to short are tried until two neighbours agree on the slope.
    """
    analytic, step = line.analytic, eps * line.length()
    first = line.slope(step)
    if analytic == 0 and not first.changed:
        return "zero", 0.0
    scale = max(abs(analytic), abs(first.numeric))
    if max(abs(analytic - first.numeric), first.noise) <= rtol * scale and first.jump <= PRECISE * scale:
        return "proved", first.numeric

    tried: list[Slope] = []
    best, best_error, dissent, last_gap = None, PRECISE, 0, math.inf
    for factor in FACTORS:
        slope = line.slope(step * factor)
        if tried and tried[-1].changed and not slope.changed:
            if analytic == 0:
                return "zero", 0.0
            break  # so short a step is rounded away, and the shorter ones as well
        tried.append(slope)
        if len(tried) < 2:
            continue
        scale = max(abs(analytic), abs(slope.numeric))
        gap = abs(slope.numeric - tried[-2].numeric)
        if gap > 50 * last_gap + slope.noise:  # rounding that is underestimated makes it 10 times larger
            best, best_error, dissent = None, PRECISE, 0  # they part, as beside a pole: that they agreed was chance
        last_gap = gap
        error = (gap + slope.noise) / scale if scale else math.inf
        if error <= max(best_error, rtol):  # false for NaN
            best, best_error = (slope, tried[-2]), error
        dissent = dissent + 1 if error <= rtol and abs(analytic - slope.numeric) > 2 * rtol * scale else 0
        if error <= rtol and dissent != 1:
            break  # two neighbours are enough where they agree with the gradient; to disprove it takes three
    if best is None:
        kink = any(_bends(near, far) and _excused(line, near, far, rtol) for far, near in pairwise(tried))
        return "kink" if kink else "small", first.numeric
    near, far = best
    scale = max(abs(analytic), abs(near.numeric))
    agrees = abs(analytic - near.numeric) <= (rtol + best_error) * scale
    if _bends(near, far) and (near.jump > PRECISE * scale if agrees else _excused(line, near, far, rtol)):
        return "kink", near.numeric
    return "proved" if agrees else "failed", near.numeric


def _bends(near: Slope, far: Slope) -> bool:
    """Whether the slopes to the right and to the left stay apart as the step gets shorter.

    Where a function is smooth, they differ by the curvature times the step, so with a tenth of the step by a tenth.
    """
    return near.jump > 0.5 * far.jump and near.jump > 8 * near.noise


def _excused(line: Line, near: Slope, far: Slope, rtol: float) -> bool:
    """Whether a gradient that disagrees at a kink may be right: of each output, it is between the slopes on both sides.

    That is so where each output is at one kink. Where it is at several of them, as the loss of a model that sees a blank image,
    or as along a direction, each one's share may be on the same side, and no gradient is wrong.
    """
    if line.subject.deep or line.direction is not None:
        return near.jump > PRECISE * abs(line.analytic - near.numeric)
    analytic, low, high = line.analytic, min(near.low, far.low), max(near.high, far.high)
    slack = 100 * rtol * max(abs(low), abs(high)) + near.noise
    return low - slack <= analytic <= high + slack
