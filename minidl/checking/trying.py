"""Judging every array of a subject: which lines are tried, what they say for each dy, and what is noted."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from ..contracts import Array
from .behaviour import CHANGES_CACHE, CHANGES_DY, compare_form
from .differences import Verdict, judge
from .hints import likely_mistake
from .lines import Line, Try, entries, random_directions, ties
from .report import Record, Report
from .subjects import Subject
from .upstream import stream

MODES = ("entries", "direction", "ties", "auto")
SECONDS = 5.0  # roughly the most that mode="auto" takes
PLAINLY = 0.01  # small outputs disprove a gradient only if its relative error is above this
SATURATED = (
    1e-6  # a gradient that is so small beside the others of its array may be that of a function that no longer moves
)
CHANCE = 16.0  # a gradient is not held to more than this many times what its numbers differ by chance
# A bias whose sum a normalization takes away again, or that a softmax does not see, has the gradient 0, of which rounding leaves
# something: in backward this much beside the largest gradient, and in the slope at a long step that.
VANISHED = (1e-11, 1e-9)
RANK = ("failed", "kink", "proved", "small", "zero")  # of several verdicts on one line, the first in this order counts


class Effort(NamedTuple):
    """How thoroughly to check: arguments of gradcheck."""

    mode: str
    eps: float
    rtol: float
    max_entries: int | None
    directions: int


def check_arrays(subject: Subject, report: Report, effort: Effort, seed: int, progress: Callable[[str], None]) -> None:
    """Fill the report: a record for each array whose gradient has the array's shape."""
    middle = subject.outputs()
    arrays = {
        name: array
        for name, array in subject.arrays.items()
        if all(name in found and not compare_form(name, found[name], array) for found in subject.gradients)
    }
    rng = stream(seed, 5)
    modes = [effort] if effort.mode != "auto" else list(_within_seconds(subject, arrays, report, effort))
    for name, array in arrays.items():
        for one in modes:
            total, tries = _tries(one, name, array, subject, rng)
            _check(subject, middle, name, array, report, one, total, tries, progress)
    _look_elsewhere(subject, report, effort)
    report.evaluations = subject.evaluations


def _tries(
    effort: Effort, name: str, array: Array, subject: Subject, rng: np.random.Generator
) -> tuple[int, Iterator[Try]]:
    """(how many, the lines to be tried)."""
    if effort.mode == "direction":
        return effort.directions, random_directions(array, effort.directions, rng)
    if effort.mode == "ties":
        found = list(ties(array, samples=array.ndim > 1 and len(array) == subject.samples))
        return len(found), iter(found)
    total = min(array.size, effort.max_entries or array.size)
    return total, entries(array, [found[name] for found in subject.gradients], effort.max_entries, rng)


def _check(
    subject: Subject,
    middle: Array,
    name: str,
    array: Array,
    report: Report,
    effort: Effort,
    total: int,
    tries: Iterator[Try],
    progress: Callable[[str], None],
) -> None:
    """Judge one array, and add its record to the report."""
    record = Record(name, array.size, tries=effort.mode, shape=array.shape)
    report.records.append(record)
    gradients = [found[name] for found in subject.gradients]
    floats = [[one for one in found.values() if one.dtype.kind == "f"] for found in subject.gradients]
    largest = [max(float(np.abs(one).max(initial=0.0)) for one in found) for found in floats]
    pace = 1.0
    for number, (where, direction) in enumerate(tries, 1):
        line = Line(subject, middle, array, where, direction)
        verdicts: list[tuple[Verdict, float]] = []
        for upstream, gradient, others in zip(subject.upstreams, gradients, largest, strict=True):
            one, analytic = (
                judge(line, upstream, gradient, others, effort.eps, effort.rtol, pace),
                line.analytic(gradient),
            )
            if one.word == "failed" and abs(analytic - one.slope) <= CHANCE * line.weight * subject.rounding.get(
                name, 0.0
            ):
                one = one._replace(word="small")  # where the gradient is 0, backward may leave what it rounded
            verdicts.append((one, analytic))
        (word, slope, pace), analytic = min(verdicts, key=lambda pair: RANK.index(pair[0].word))
        if word == "small":
            word, slope, analytic = _rescued(subject, line, name, effort, slope, analytic)
        if word == "small" and all(map(partial(_vanishes, line), subject.upstreams, gradients, largest)):
            word = "zero"
        record.count(word, where, analytic, slope)
        progress(f"{name}, {number:,} of {total:,}")
    spoilt = {CHANGES_CACHE, CHANGES_DY} & set(report.problems)  # what follows from that is another mistake's
    if record.failed and name not in report.hints and not spoilt:
        with np.errstate(all="ignore"):  # numbers of any size
            hint = likely_mistake(subject, record)
        if hint:
            report.hints[name] = hint


def _vanishes(line: Line, upstream: Array, gradient: Array, largest: float) -> bool:
    """Whether gradient and slope, also to either side, are 0 beside the largest gradient, apart from rounding."""
    if abs(line.analytic(gradient)) > VANISHED[0] * line.weight * largest:
        return False
    slope = line.slope(1e-2 * line.length, upstream)
    most = max(abs(slope.low), abs(slope.high)) + slope.noise  # NaN where that leaves the function's domain
    return most <= VANISHED[1] * line.weight * largest


def _rescued(
    subject: Subject, line: Line, name: str, effort: Effort, slope: float, analytic: float
) -> tuple[str, float, float]:
    """The verdict for the upstream that weights small outputs as much as large ones, if it is clear.

    A small output may be what remains of larger numbers that cancel, and then moves in jumps. So it can prove; to disprove,
    the gradient has to be far off, and the slope the same at every step.
    """
    if (more := subject.for_small) is None:
        return "small", slope, analytic
    upstream, gradients = more
    word, other, _ = judge(line, upstream, gradients[name], 0.0, effort.eps, effort.rtol, 1.0)
    own = line.analytic(gradients[name])
    if word == "failed":
        steps = [line.slope(step * line.length, upstream) for step in (1e-3, 1e-4, 1e-5)]
        plain = abs(own - other) > PLAINLY * abs(other)
        # A sigmoid that has come to 1 no longer moves, though its slope is not yet 0.
        saturated = not any(step.changed for step in steps) and abs(own) <= SATURATED * line.size(gradients[name])
        if saturated or not (plain and all(abs(step.numeric - other) <= PLAINLY * abs(other) for step in steps)):
            word = "small"
    return (word, other, own) if word in ("proved", "failed") else ("small", slope, analytic)


def _look_elsewhere(subject: Subject, report: Report, effort: Effort) -> None:
    """If all slopes and gradients are 0: whether that is so for other inputs, too, as for a step function."""
    records = [record for record in report.records if record.tried]
    if report.problems or not records or any(record.zero < record.tried for record in records):
        return
    try:
        other = subject.elsewhere()
        if other is None:
            return
        probe, rng = Report(report.target), np.random.default_rng(0)
        middle = other.outputs()
        for name, array in other.arrays.items():
            tries = list(entries(array, [other.gradients[0][name]], 20, rng))
            _check(
                other,
                middle,
                name,
                array,
                probe,
                effort._replace(mode="entries"),
                len(tries),
                iter(tries),
                lambda _: None,
            )
    except Exception:
        return  # the target may not be able to work on other inputs
    report.flat = all(record.zero == record.tried for record in probe.records)


def _within_seconds(subject: Subject, arrays: dict[str, Array], report: Report, effort: Effort) -> Iterator[Effort]:
    """mode="auto": all entries, or as many as there is time for, and directions; with a note on what is left out."""
    started = time.perf_counter()
    subject.outputs()
    each = 2 * (time.perf_counter() - started)
    total = sum(array.size for array in arrays.values())
    if effort.max_entries is None and total * each <= SECONDS:
        report.notes.append(f"mode='auto': all {total:,} entries were tried.")
        yield effort._replace(mode="entries")
        return
    some = effort.max_entries or max(5, int(SECONDS / 2 / each / max(1, len(arrays))))
    report.notes.append(
        f"mode='auto': {some:,} entries of each array and {effort.directions} directions through it were tried. All "
        f"{total:,} entries, by mode='entries', would take about {_duration(total * each)}."
    )
    yield effort._replace(mode="entries", max_entries=some)
    yield effort._replace(mode="direction")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
