"""Where one number comes from: its formula, the terms it is the sum of, the slope beside it, and the line that computes it."""

import difflib
import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tracing import Trace
from .rules import Rule, Source, arguments, evaluate, terms
from .sheet import sheet_of
from .slopes import Slope, slope
from .values import PACKAGE, Sheet

SHOWN = 8  # terms, in the text


@dataclass(frozen=True)
class Number:
    """One number of a trace: where it stands, and its value. ``trace.explain(address, index)`` goes on from there."""

    address: str
    index: tuple[int, ...]
    value: float

    def __str__(self) -> str:
        return f"{self.address}{list(self.index) if self.index else ''} {self.value:.6g}"


@dataclass(frozen=True)
class Term:
    """One summand: its value, the product of its factors and of ``scale``, a constant such as 1 / (the number of samples)."""

    value: float
    factors: tuple[Number, ...]
    scale: float = 1.0

    def __str__(self) -> str:
        scale = [] if self.scale == 1 else ["−1"] if self.scale == -1 else [f"{self.scale:.6g}"]
        return " · ".join([*scale, *map(str, self.factors)])


@dataclass(frozen=True)
class Explanation:
    """Where one number comes from. ``print(explanation)`` shows it.

    address, index, value: which number, and what the library computed. meaning: what it is. formula: how it is made, "" where no
    rule is known, as for a layer of your own. terms: those that are not 0, the largest first; empty where the number is
    a function of ``arguments``. zeros: for each way to be 0, "conv2d:dz is 0", how many terms are. total: the sum of the terms,
    or the function's value, in float64; None without a rule. slope: by central differences, None where it is not a gradient.
    source: the line that computes it.
    """

    address: str
    index: tuple[int, ...]
    value: float
    meaning: str
    formula: str
    terms: list[Term]
    arguments: dict[str, Number]
    zeros: dict[str, int]
    total: float | None
    slope: Slope | None
    source: Source | None

    def __str__(self) -> str:
        place = f"{self.address}{list(self.index) if self.index else ''}"
        lines = [f"{place} = {self.value:.6g}" + (f"  {self.meaning}" if self.meaning else "")]
        lines += [f"  {self.formula}"] if self.formula else []
        lines += [f"  {name} = {number}" for name, number in self.arguments.items()]
        if count := len(self.terms) + sum(self.zeros.values()):
            causes = [f"{zero} in {many}" for zero, many in self.zeros.items()]
            left = f", {len(self.terms)} left" if self.zeros and self.terms else ""
            lines.append(f"  {count} term{'s' * (count > 1)}" + (": " + ", ".join(causes) if causes else "") + left)
            lines += [f"  {term.value:+12.6g} = {term}" for term in self.terms[:SHOWN]]
            rest = self.terms[SHOWN:]
            lines += [f"  {math.fsum(t.value for t in rest):+12.6g} = {len(rest)} more"] if rest else []
        sums = [] if self.total is None else [f"{'sum' if self.terms or self.zeros else 'result'} {self.total:.6g}"]
        sums.append(f"computed {self.value:.6g}")
        if self.slope is not None:
            sides = f" (a kink: {self.slope.left:.6g} on the left, {self.slope.right:.6g} on the right)"
            sums.append(f"slope by central differences {self.slope.value:.6g}" + sides * self.slope.kink)
        lines.append("  " + ", ".join(sums))
        if self.source is not None:
            lines.append(f"  {self.source.file}:{self.source.line}  {self.source.code}")
        return "\n".join(lines)


def explain(trace: Trace, address: str, index: int | tuple[int, ...] = ()) -> Explanation:
    """See ``Trace.explain``."""
    sheet = sheet_of(trace)
    index = (index,) if isinstance(index, int | np.integer) else tuple(index)
    own = _checked(sheet, address)
    place = _checked_index(address, index, sheet.shape(own))
    array, rule = sheet.values[own], sheet.rules.get(own)
    value = float(array[place])
    measured, meaning = _gradient(trace, address, place)
    if rule is None:
        return Explanation(address, place, value, meaning, "", [], {}, {}, None, measured, _users_line(trace, address))
    found, zeros, arguments, total = _terms(sheet, own, place, rule)
    return Explanation(
        address, place, value, meaning, rule.formula, found, arguments, zeros, total, measured, rule.source
    )


def _checked(sheet: Sheet, address: str) -> str:
    """The address under which the array stands. Raises KeyError where there is none."""
    if address in sheet:
        return sheet.origin(address)
    every = list(sheet.addresses())
    near = dict.fromkeys(difflib.get_close_matches(str(address), every, 4))
    there = ", ".join(repr(each) for each in near or every)
    raise KeyError(f"the trace has no {address!r}. There is {there}.")


def _checked_index(address: str, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index, counted from the front. Raises IndexError where the array has no such number."""
    if len(index) != len(shape) or not all(-size <= place < size for place, size in zip(index, shape, strict=False)):
        raise IndexError(f"{address!r} has shape {shape}, received index {index}: give one number for each axis.")
    return tuple(int(place) % size for place, size in zip(index, shape, strict=True))


def _gradient(trace: Trace, address: str, index: tuple[int, ...]) -> tuple[Slope | None, str]:
    """The measured slope and what the number is, where it is a gradient; else None and nothing."""
    name, colon, what = address.rpartition(":")
    parameter = what[1:] if colon else address.rpartition("/")[2]
    if colon and name != "loss" and what not in ("dx", "dy"):
        if not what.startswith("d") or parameter not in trace[name].params:
            return None, ""
    elif address == "loss" or (name == "loss" and what != "dy"):
        return None, ""
    measured = slope(trace, address, index)
    return measured, "" if measured is None else f"∂loss/∂{'y_pred' if name == 'loss' else parameter}"


def _terms(
    sheet: Sheet, own: str, index: tuple[int, ...], rule: Rule
) -> tuple[list[Term], dict[str, int], dict[str, Number], float]:
    """The terms that are not 0; how many are 0, by cause; or the arguments of a function; and the result."""
    shape = sheet.shape(own)
    entry = np.array([np.ravel_multi_index(index, shape) if index else 0])
    total = float(evaluate(rule, shape, entry, sheet.values)[0])
    given = {
        name: _number(sheet, rule.arguments[name].address, int(flat[0]))
        for name, (_, flat) in arguments(rule, shape, entry, sheet.values).items()
    }
    found: list[Term] = []
    zeros: dict[str, int] = {}
    for part in rule.parts:
        every = terms(part, rule, shape, entry, sheet.values)
        left = every.exists[0].copy()
        if outside := int((~left).sum()):
            zeros["outside the array"] = zeros.get("outside the array", 0) + outside
        for factor, (numbers, _) in reversed(list(zip(part.factors, every.factors, strict=True))):
            if zero := int((left & (numbers[0] == 0)).sum()):
                cause = f"{factor.address} is 0"
                zeros[cause] = zeros.get(cause, 0) + zero
            left &= numbers[0] != 0
        for place in np.flatnonzero(left):
            factors = tuple(
                _number(sheet, factor.address, int(flat[0, place]))
                for factor, (_, flat) in zip(part.factors, every.factors, strict=True)
            )
            found.append(Term(float(every.values[0, place]), factors, part.scale))
    return sorted(found, key=lambda term: -abs(term.value)), zeros, given, total


def _number(sheet: Sheet, address: str, flat: int) -> Number:
    own = sheet.origin(address)
    shape = sheet.shape(own)
    index = tuple(int(place) for place in np.unravel_index(flat, shape)) if shape else ()
    return Number(address, index, float(sheet.values[own].reshape(-1)[flat]))


def _users_line(trace: Trace, address: str) -> Source | None:
    """Where the class of a layer without rules defines what computes this array, if that can be known."""
    name, colon, what = address.rpartition(":")
    if not colon or name == "loss":
        name, what = address.rpartition("/")[0], "dx"
    try:
        method: Any = getattr(type(trace[name].layer), "forward" if what == "y" else "backward")
        lines, first = inspect.getsourcelines(method)
        file = Path(inspect.getsourcefile(method) or "")
    except (KeyError, AttributeError, TypeError, OSError):
        return None
    if what not in ("y", "dx") and not what.startswith("d"):
        return None
    shown = file.relative_to(PACKAGE) if file.is_relative_to(PACKAGE) else file
    return Source(shown.as_posix(), first, lines[0].strip())
