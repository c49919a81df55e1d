"""gradcheck: numeric proof, or disproof, of any gradient: a layer's, a loss's, a model's or a plain function's.

A derivative is a limit of differences, so every analytic gradient can be compared with (f(x + h) − f(x − h)) / 2h in float64.
What is checked only has to keep its contract; it need not be registered, or use anything from this library.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

from ..contracts import Output, Target
from ..utils.terminal import is_terminal, printable
from .report import Fault, GradientError, Record, Report
from .state import remember
from .subjects import Settings
from .targets import subject_of
from .trying import MODES, Effort, check_arrays

__all__ = ["GradientError", "Record", "Report", "assert_gradients", "gradcheck"]


def gradcheck(
    target: Target,
    *arrays: Output,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    mode: str = "entries",
    max_entries: int | None = None,
    directions: int = 8,
    training: bool = True,
    seed: int = 0,
    dy: Output = None,
    only: str | Sequence[str] | None = None,
    without: str | Sequence[str] = (),
    per_sample: bool = False,
    nondet_tol: float = 0.0,
) -> Report:
    """Compare analytic gradients with central differences in float64.

    target and arrays, one of:
        a layer, x                 an object with forward(x, *, training, rng) → (y, cache), backward(dy, cache) → (dx, grads)
                                   and params; if it has no params yet but a build, that is called in float64. The
                                   gradients of the input and of every parameter are checked, with two random dys. Either
                                   keyword may be missing. Pass several inputs one after another; y may be several arrays.
        a model, x                 an object with layers, each of them as above: checked as one layer.
        a loss, y_true, y_pred     an object with forward(y_true, y_pred) → (value, cache), backward(cache) → dy.
        a model, x, y              an object with params and loss_and_gradients(x, y, training=…) → (loss, gradients by
                                   address), made with dtype="float64". The gradients of all parameters are checked.
        a network, x, y            an object with params and loss(x, y) → (loss, gradients by name), as in Stanford's CS231n.
        (forward, backward), x, …  two functions: forward(x, w, …) → (y, cache), backward(dy, cache) → (dx, dw, …).
        (value, gradient), x, …    two functions of the same arguments; value(x) is a number, gradient(x) has the shape of x,
                                   or is several gradients, one for each of the first arguments.
        function, x, …             one function → (value, gradients). x may be a dictionary of arrays, the gradients another.

    Integers without a gradient, such as ids and labels, are not moved, nor is anything but an array. The arrays in a dictionary,
    list or tuple that is passed to two functions are moved as well; backward then gives their gradients in the same form.

    eps: the first step h is eps · max(1, |x|); where one step does not settle it, shorter and longer ones are tried. rtol: the
    largest relative error that counts as agreement, apart from what rounding explains. mode: "entries" tries every number, or
    max_entries of each array, chosen at random; "direction" tries ``directions`` random directions through each array
    instead, which covers all of its numbers in a few evaluations; "ties" moves equal entries of a sample together, so that
    they stay tied (in a pool, each one alone would be at a kink); "auto" tries all entries where that takes seconds, else
    some entries and some directions, and notes how long all of them would take. training: passed to the layer or
    model; its randomness is frozen, because every call gets the same rng. seed: for dy and all random choices. dy: used
    instead of the random ones. only, without: names of the arrays to check, or to leave out. per_sample: the value is an array
    of one loss per sample, and the gradient is that of their sum. nondet_tol: how much two identical calls may differ,
    relative to the largest number; 0 means not in one bit.

    Everything that layers hold is restored afterwards: attributes, arrays, lists and dictionaries, not what is inside of other
    objects. Layers are also tested for other faults: a backward that changes dy, its cache or the
    parameters, that differs when called twice or is not linear in dy, that depends on what else the layer has seen, or
    gradients of the wrong name, shape or dtype.

    Raises TypeError for a target that is none of these, or a model that is not float64; ValueError for arrays or settings
    that do not fit.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be {', '.join(map(repr, MODES[:-1]))} or {MODES[-1]!r}, received {mode!r}.")
    for value, what in ((max_entries, "max_entries"), (directions, "directions")):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1, received {value!r}.")
    for number, what in ((eps, "eps"), (rtol, "rtol")):
        if not number > 0:
            raise ValueError(f"{what} must be above 0, received {number!r}.")
    if not nondet_tol >= 0:
        raise ValueError(f"nondet_tol must be 0 or more, received {nondet_tol!r}.")
    chosen, left = None if only is None else _names(only), _names(without)
    settings = Settings(training, seed, nondet_tol, dy, per_sample, chosen, left)
    report = Report(getattr(target, "name", None) or type(target).__name__, mode=mode)
    restore, progress, started = remember(target), _Progress(report), time.perf_counter()
    try:
        subject = subject_of(target, arrays, settings, report)
        check_arrays(subject, report, Effort(mode, eps, rtol, max_entries, directions), seed, progress.show)
    except Fault as fault:
        report.problems.append(str(fault))
    finally:
        restore()
        progress.close()
    report.seconds = time.perf_counter() - started
    return report


def assert_gradients(target: Target, *arrays: Any, **settings: Any) -> None:
    """Call gradcheck; raise GradientError (an AssertionError), with the worst entry and the likely mistake, where it fails."""
    report = gradcheck(target, *arrays, **settings)
    if not report.passed:
        raise GradientError(report)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


class _Progress:
    """A line of progress on the terminal, if the check takes longer than two seconds."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.next = time.monotonic() + 2
        self.shown = False

    def show(self, text: str) -> None:
        if time.monotonic() > self.next and is_terminal(sys.stderr):
            self.next = time.monotonic() + 0.2
            self.shown = True
            line = printable(f"gradcheck {self.report.target}: {text}")
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
