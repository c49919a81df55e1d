"""What the slopes at several steps say about a gradient: proved, failed, at a kink, too small, or without any effect."""

import math
from itertools import pairwise
from typing import NamedTuple

from ..contracts import Array
from .lines import Line, Slope

PRECISE = 1e-3  # a slope whose relative uncertainty is larger than this proves nothing
LOST = 1e-11  # how large backward's rounding may make a gradient, relative to the others
FACTORS = [10.0**power for power in range(4, -7, -1)]  # the other steps to try, as multiples of the first one
PLAIN = 30.0  # how many times rtol a gradient has to be off, so that three steps that agree are enough
ALIKE = 0.1  # how far two slopes may be apart, relative to them, to be evidence against a gradient that is much larger
MANY = 30.0  # at several kinks at once, how far off a gradient may be, as a multiple of the jumps of all outputs
ROUGH = 8.0  # how many times its own uncertainty a slope has to be off the gradient, to disprove it all the same


class Verdict(NamedTuple):
    """word: "proved", "failed", "kink", "small" or "zero". slope: the numeric one. pace: the factor of the step that found it."""

    word: str
    slope: float
    pace: float


def judge(line: Line, upstream: Array, gradient: Array, others: float, eps: float, rtol: float, pace: float) -> Verdict:
    """The verdict on a gradient along a line, for one upstream. others: the largest number of all
    gradients for it. pace: the factor of the step to begin with.

    Most are proved at the first step. Where that one does not do, because the function is steep, or bends, or rounding is
    in the way, the steps from long to short are tried until two neighbours agree on the slope.
    """
    analytic, step = line.analytic(gradient), eps * line.length
    first = line.slope(step * pace, upstream)
    scale = max(abs(analytic), abs(first.numeric))
    largest = float(abs(gradient).max())
    if analytic == 0 and not first.changed and first.noise <= 1e-6 * largest:
        return Verdict("zero", 0.0, pace)  # what rounding could hide is negligible beside the other gradients

    if scale and max(abs(analytic - first.numeric), first.noise) <= rtol * scale and first.jump <= PRECISE * scale:
        return Verdict("proved", first.numeric, pace)

    found, flat = _Search(analytic, rtol, first, line.wide), 0.0
    steps = _steps(line, step, first, scale * rtol)
    for factor in steps:
        slope = line.slope(step * factor, upstream)
        if analytic == 0 and not slope.changed and not _refuted(analytic, [*found.tried, slope]):
            return Verdict("zero", 0.0, pace)
        flat = max(flat, 0.0 if slope.changed else step * factor)
        if found.settled(slope):
            pace = factor
            break
    longer = sum(factor > FACTORS[0] for factor in steps)
    verdict = _verdict(line, found, longer, flat, pace)
    if verdict.word == "failed" and abs(analytic - verdict.slope) <= LOST * (line.size(gradient) + others / 10):
        return verdict._replace(word="small")
    return verdict


def _steps(line: Line, step: float, first: Slope, wanted: float) -> list[float]:
    """Factors of the step, from long to short: longer ones where rounding hides the slope, shorter ones near 0."""
    hidden = first.noise > 0 and not wanted > first.noise * 1e-8
    need = 8 if hidden else math.ceil(math.log10(first.noise / wanted)) if first.noise > 0 else 0
    longer = [10.0**power for power in range(need, 4, -1)]
    shorter = []
    if 0 < line.place < 1e-6:
        size = line.place / step
        shorter = [size * 10.0**power for power in range(-1, -7, -1) if size * 10.0**power < FACTORS[-1]]
    return [*longer, *FACTORS, *shorter]


class _Search:
    """Goes from long to short steps and keeps the best two neighbours.

    best: (the shorter, the longer one). error: how far the slope may be off, relative to it. dissent: how many times in a row
    two neighbours agreed with each other, and not with the gradient. wide: as of the line.
    """

    def __init__(self, analytic: float, rtol: float, first: Slope, wide: bool) -> None:
        self.analytic, self.rtol, self.first, self.wide = analytic, rtol, first, wide
        self.tried: list[Slope] = []
        self.best: tuple[Slope, Slope] | None = None
        self.error, self.dissent, self.last_gap = PRECISE, 0, math.inf

    def settled(self, slope: Slope) -> bool:
        """Whether this slope, with the one before, settles the verdict."""
        self.tried.append(slope)
        if len(self.tried) < 2:
            return False
        last = self.tried[-2]
        scale = max(abs(self.analytic), abs(slope.numeric))
        gap = abs(slope.numeric - last.numeric)
        if gap > 50 * self.last_gap + slope.noise:  # rounding that is underestimated makes it 10 times larger
            self.best, self.error, self.dissent = None, PRECISE, 0  # they diverge: their agreement was chance
        # Beside a gradient that is very large, all slopes seem equal: they also have to agree with each other, or get closer.
        closer = self.last_gap / 2 if len(self.tried) > 2 else 0.0
        converges = gap <= max(ALIKE * abs(slope.numeric), closer, slope.noise)
        self.last_gap = gap
        error = (gap + slope.noise) / scale if scale else math.inf
        if converges and error <= max(self.error, self.rtol):  # false for NaN
            self.best, self.error = (slope, last), error
        off = abs(self.analytic - slope.numeric)
        agrees = off <= 2 * self.rtol * scale
        close = converges and error <= self.rtol
        self.dissent = self.dissent + 1 if close and not agrees else 0
        # Two neighbours are enough where they agree with the gradient. To disprove it takes three, and where it is off by
        # little, all the shorter ones.
        return close and (agrees or self.disproved(slope))

    def disproved(self, slope: Slope) -> bool:
        """Whether three in a row agree on a slope that is plainly another one, with no kink among them, and the first step, if
        it is shorter, does not contradict them."""
        off = abs(self.analytic - slope.numeric)
        plain = off > PLAIN * self.rtol * max(abs(self.analytic), abs(slope.numeric))
        apart = abs(self.first.numeric - slope.numeric)  # NaN where the first step leaves the function's domain
        sides = slope.step > self.first.step and apart > max(off / 4, ROUGH * (self.first.noise + slope.noise))
        within = self.wide or slope.low <= self.analytic <= slope.high
        kink = within and slope.spread > off / 4 and slope.spread > 0.3 * self.tried[-2].spread
        return self.dissent > 1 and plain and not sides and not kink


def _verdict(line: Line, found: _Search, longer: int, flat: float, pace: float) -> Verdict:
    """The final verdict. longer: how many of the steps are too long to tell a kink from a curve."""
    analytic, rtol, tried, first = found.analytic, found.rtol, found.tried, found.first
    if found.best is None:
        if any(
            _bends(near, far) and _excused(line, analytic, near, far, rtol) for far, near in pairwise(tried[longer:])
        ):
            return Verdict("kink", first.numeric, pace)
        return Verdict("failed" if _refuted(analytic, tried) else "small", first.numeric, pace)
    near, far = found.best
    scale = max(abs(analytic), abs(near.numeric))
    agrees = abs(analytic - near.numeric) <= (rtol + found.error) * scale
    if _bends(near, far) and (near.jump > PRECISE * scale if agrees else _excused(line, analytic, near, far, rtol)):
        return Verdict("kink", near.numeric, pace)
    if agrees:
        return Verdict("proved", near.numeric, pace)
    if not near.changed and _rounded_away(analytic, flat, line, tried):
        return Verdict("small", near.numeric, pace)
    if found.disproved(near) or _refuted(analytic, tried):
        return Verdict("failed", near.numeric, pace)
    return Verdict("small", near.numeric, pace)


def _refuted(analytic: float, tried: list[Slope]) -> bool:
    """Whether the slope certainly differs from the gradient, even if it is known only roughly.

    That is where two neighbours agree, no kink is within their reach, and no shorter step sees another slope with certainty.
    """
    for position, (far, near) in enumerate(pairwise(tried)):
        doubt = abs(far.numeric - near.numeric) + near.noise
        off = abs(analytic - near.numeric)
        shorter = tried[position + 2 :]
        if not shorter or not off > ROUGH * doubt:  # false for NaN
            continue
        apart = abs(shorter[0].numeric - near.numeric)
        if near.spread > off / 4 and (near.spread > 0.3 * far.spread or apart > 2 * doubt):
            continue  # a kink is within reach, or was by chance just out of it
        if all(abs(slope.numeric - near.numeric) <= ROUGH * (slope.noise + doubt) for slope in shorter):
            return True
    return False


def _rounded_away(analytic: float, step: float, line: Line, tried: list[Slope]) -> bool:
    """Whether it may be flat only because the short steps are rounded away: longer ones see the slope of the gradient.

    Not where steps do nothing that are so long that the function would have to hold numbers above 1e11 for it.
    """
    return step < 1e-5 * line.length and any(
        slope.changed and abs(analytic - slope.numeric) <= 0.1 * abs(analytic) and slope.jump <= 0.2 * abs(analytic)
        for slope in tried
    )


def _bends(near: Slope, far: Slope) -> bool:
    """Whether the slopes to the right and to the left still differ as the step gets shorter.

    Where a function is smooth, they differ by the curvature times the step, so with a tenth of the step, by a tenth as much.
    """
    return near.spread > 0.5 * far.spread and near.spread > 8 * near.noise


def _excused(line: Line, analytic: float, near: Slope, far: Slope, rtol: float) -> bool:
    """Whether a gradient that disagrees at a kink may be right: of each output, it is between the slopes on both sides.

    That is so where each output is at one kink. Where it is at several of them, as the loss of a model that sees a blank image,
    or as along a direction, each one's share may be on the same side, and no gradient is wrong.
    """
    if line.wide:
        return abs(analytic - near.numeric) < MANY * near.spread
    low, high = min(near.low, far.low), max(near.high, far.high)
    slack = 100 * rtol * max(abs(low), abs(high)) + near.noise
    return low - slack <= analytic <= high + slack
