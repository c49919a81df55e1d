"""gradcheck: numeric proof, or disproof, of any gradient: a layer's, a loss's, a model's or a plain function's.

A derivative is a limit of differences, so every analytic gradient can be held against (f(x + h) − f(x − h)) / 2h in float64. What
is checked is known by its contract alone; nothing has to be registered, and nothing of this library has to be used.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..contracts import Array
from .behaviour import compare_form
from .differences import Line, judge
from .hints import likely_mistake
from .report import Fault, GradientError, Record, Report
from .subjects import Subject, remember, subject_of

__all__ = ["GradientError", "Record", "Report", "assert_gradients", "gradcheck"]


def gradcheck(
    target: Any,
    *arrays: Any,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    mode: str = "entries",
    max_entries: int | None = None,
    directions: int = 8,
    training: bool = True,
    seed: int = 0,
) -> Report:
    """Hold analytic gradients against central differences in float64.

    target and arrays, one of:
        a layer, x                 an object with forward(x, *, training, rng) → (y, cache), backward(dy, cache) → (dx, grads)
                                   and params; where it has no params yet but a build, that is called in float64. The
                                   gradients of the input and of every parameter are checked, with a random dy.
        a model, x                 an object with layers, each of which is one as above: checked as one layer.
        a loss, y_true, y_pred     an object with forward(y_true, y_pred) → (value, cache), backward(cache) → dy.
        a model, x, y              an object with params and loss_and_gradients(x, y, training=…) → (loss, gradients by
                                   address), made with dtype="float64". The gradients of all parameters are checked.
        (value, gradient), x       two functions of x; value(x) is a number, gradient(x) has the shape of x.

    eps: the first step h is eps · max(1, |x|); where one step does not settle it, shorter and longer ones are tried. rtol: the
    largest relative error that counts as agreement, beside what rounding explains. mode: "entries" tries every number, or
    max_entries of each array, chosen at random; "direction" tries ``directions`` random directions through each array
    instead, which covers all of its numbers in a few evaluations. training: passed to the layer or model; its randomness is
    frozen, because every call gets the same rng. seed: of dy, and of what is chosen.

    Everything is put back as it was. Layers are also tried for other faults: a backward that changes dy, its cache or the
    parameters, that is not the same twice or not proportional to dy, that depends on what else the layer has seen, or
    gradients of wrong name, shape or dtype.

    Raises TypeError for a target that is none of these, or a model that is not float64; ValueError for arrays or settings
    that do not fit.
    """
    if mode not in ("entries", "direction"):
        raise ValueError(f"mode must be 'entries' or 'direction', received {mode!r}.")
    for value, what in ((max_entries, "max_entries"), (directions, "directions")):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1, received {value!r}.")
    for number, what in ((eps, "eps"), (rtol, "rtol")):
        if not number > 0:
            raise ValueError(f"{what} must be above 0, received {number!r}.")
    rng = np.random.default_rng(seed)
    report = Report(getattr(target, "name", None) or type(target).__name__, mode=mode)
    restore, progress = remember(target), _Progress(report)
    try:
        subject = subject_of(target, arrays, training, seed, rng, report)
        _check_arrays(subject, report, eps, rtol, max_entries, directions, rng, progress)
    except Fault as fault:
        report.problems.append(str(fault))
    finally:
        restore()
        progress.close()
    return report


def assert_gradients(target: Any, *arrays: Any, **settings: Any) -> None:
    """gradcheck, and a GradientError (an AssertionError) with the worst entry and the likely mistake where it fails."""
    report = gradcheck(target, *arrays, **settings)
    if not report.passed:
        raise GradientError(report)


def _check_arrays(
    subject: Subject,
    report: Report,
    eps: float,
    rtol: float,
    max_entries: int | None,
    directions: int,
    rng: np.random.Generator,
    progress: "_Progress",
) -> None:
    """Fill the report, a record for each array whose gradient has the form of the array."""
    middle = np.array(subject.evaluate(), np.float64)
    for name, array in subject.arrays.items():
        gradient = subject.gradients.get(name)
        if gradient is None or compare_form(name, gradient, array):
            continue
        record = Record(name, array.size)
        report.records.append(record)
        judged: list[tuple[tuple[int, ...], float, float]] = []
        by_entry = report.mode == "entries"
        tries = _entries(array, max_entries, rng) if by_entry else _directions(array, directions, rng)
        total = min(array.size, max_entries or array.size) if by_entry else directions
        for number, (where, direction) in enumerate(tries, 1):
            line = Line(subject, middle, array, gradient, where, direction)
            verdict, numeric = judge(line, eps, rtol)
            record.count(verdict, where, line.analytic, numeric)
            if verdict in ("proved", "failed"):
                judged.append((where, line.analytic, numeric))
            progress.show(f"{name}, {number:,} of {total:,}")
        if record.failed:
            with np.errstate(all="ignore"):  # numbers of any size
                hint = likely_mistake(gradient if by_entry else np.zeros(0), judged, subject.samples)
            if hint:
                report.hints[name] = hint


def _entries(array: Array, max_entries: int | None, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], None]]:
    """Every index of the array, or so many of them, chosen at random."""
    chosen = np.arange(array.size)
    if max_entries is not None and max_entries < array.size:
        chosen = np.sort(rng.choice(array.size, max_entries, replace=False))
    for flat in chosen:
        yield tuple(int(i) for i in np.unravel_index(flat, array.shape)), None


def _directions(array: Array, directions: int, rng: np.random.Generator) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Random directions of length 1; the "index" is the direction's number."""
    for number in range(directions if array.size else 0):
        direction = rng.normal(size=array.shape)
        yield (number,), direction / np.linalg.norm(direction)


class _Progress:
    """A line on the terminal that says how far it is, where it takes longer than two seconds."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.next = time.monotonic() + 2
        self.shown = False

    def show(self, text: str) -> None:
        if time.monotonic() > self.next and sys.stderr is not None and sys.stderr.isatty():
            self.next = time.monotonic() + 0.2
            self.shown = True
            print(f"\r\033[Kgradcheck {self.report.target}: {text}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
