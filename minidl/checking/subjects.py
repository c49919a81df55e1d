"""What a check works on, whatever the target: arrays to move, their outputs, and the gradients to judge."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..contracts import Array, Output
from .report import Fault, Report

TOO_COARSE = "its rounding is larger than the differences to be judged"


class Settings(NamedTuple):
    """How the target is called. nondet_tol: how much two identical calls may differ, relative to the largest number."""

    training: bool = True
    seed: int = 0
    nondet_tol: float = 0.0
    dy: Output = None
    per_sample: bool = False
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()


@dataclass
class Subject:
    """What is under test, in one form: arrays to move, and what they do to a few numbers.

    arrays: float64, by name, moved in place. evaluate: the outputs for the arrays as they are now, in a row. upstreams: the
    weights that make one number of the outputs, once or twice. gradients: for each of them the analytic ones. samples: in the
    batch. deep: it is made of several layers. rescue: one more upstream and its gradients, for outputs of very different
    sizes; of little weight. backward: the gradients for another upstream, where there can be another. form: the shape of the
    outputs, where they are one array. elsewhere: the same at other inputs, or None where there are no others.
    """

    arrays: dict[str, Array]
    evaluate: Callable[[], Array]
    upstreams: list[Array]
    gradients: list[dict[str, Array]]
    samples: int
    deep: bool = False
    rescue: Callable[[], tuple[Array, dict[str, Array]] | None] = lambda: None
    backward: Callable[[Array], dict[str, Array]] | None = None
    form: tuple[int, ...] = ()
    elsewhere: Callable[[], "Subject | None"] = lambda: None
    evaluations: int = field(default=0, compare=False)

    @cached_property
    def for_small(self) -> tuple[Array, dict[str, Array]] | None:
        """rescue, once."""
        return self.rescue()

    @cached_property
    def rounding(self) -> dict[str, float]:
        """How far the numbers of each gradient are chance: for 3 · dy, backward rounds otherwise."""
        if self.backward is None:
            return {}
        with np.errstate(all="ignore"):
            thrice = self.backward(3 * self.upstreams[0])
        return {
            name: float(np.abs(thrice[name] / 3 - found).max(initial=0.0)) for name, found in self.gradients[0].items()
        }

    def outputs_or_nan(self, middle: Array) -> Array:
        """outputs, where an array was moved; NaN in the place of the middle's numbers outside of the function's domain."""
        try:
            return self.outputs()
        except (
            ArithmeticError,
            ValueError,
            AssertionError,
            IndexError,
        ):  # as of math.log, and of a check of the arguments
            return np.full_like(middle, np.nan)

    def outputs(self) -> Array:
        """evaluate, counted."""
        self.evaluations += 1
        return self.evaluate()


def as_float64(value: Output, what: str, report: Report, finite: bool = True) -> Array:
    """A copy in float64, with a note if it was a smaller float."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} must hold real numbers, received dtype {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype != np.float64:
        report.notes.append(f"{what} is {array.dtype}, and was checked as float64: {TOO_COARSE}.")
    array = np.array(array, np.float64, order="C")
    return check_finite(array, what) if finite else array


def check_finite(array: Array, what: str) -> Array:
    """The array. Raises ValueError where it cannot be moved, because of NaN or infinity in it."""
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, received NaN or infinity.")
    return array


def check_value(value: Output, what: str, per_sample: bool = False) -> None:
    """Raise Fault where the value is not one finite float64 number, or one per sample."""
    array = np.asarray(value)
    wanted = "one number for each sample" if per_sample else "one number"
    if array.ndim != per_sample or array.dtype.kind not in "fiu" or (array.dtype.kind == "f" and array.itemsize < 8):
        hint = ""
        if array.ndim == 1 and array.dtype == np.float64:
            hint = " If these are the losses of the samples, say per_sample=True: the gradient is that of their sum."
        raise Fault(f"{what} must be {wanted} in float64, received {array.dtype} of shape {array.shape}.{hint}")
    if not np.isfinite(array).all():
        raise Fault(f"{what} must be finite, received {array}.")


def count_samples(batch: Output, name: str, report: Report) -> int:
    """The number of samples, with a note if there is only one. Raises ValueError where there is none."""
    if len(batch) == 0:
        raise ValueError(f"{name} must hold a sample at least, received an array of shape {np.shape(batch)}.")
    if len(batch) == 1:
        report.notes.append(
            f"{name} is a batch of one: with two or more samples, it would also be checked how they are summed."
        )
    return len(batch)


def choose(names: list[str], settings: Settings) -> set[str]:
    """The names of the arrays to check. Raises ValueError for an unknown name."""
    for given in (*(settings.only or ()), *settings.without):
        if given not in names:
            raise ValueError(f"only and without must name arrays of {', '.join(names)}, received {given!r}.")
    chosen = {name for name in settings.only or names if name not in settings.without}
    if names and not chosen:
        raise ValueError(f"only and without leave none of {', '.join(names)} to check.")
    return chosen


def check_scalar(settings: Settings) -> None:
    """Raise ValueError for a setting that is of no use where the target has a value, and no y."""
    if settings.dy is not None:
        raise ValueError(
            "dy is for a layer or for (forward, backward): here is a value, whose own gradient is 1. Leave dy out."
        )


def check_layer(settings: Settings) -> None:
    """Raise ValueError for a setting that is of no use where the target has a y, and no value."""
    if settings.per_sample:
        raise ValueError(
            "per_sample is for a value for each sample; a layer's y may have any shape: leave per_sample out."
        )
