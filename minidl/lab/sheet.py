"""All the numbers of a trace under their addresses, each array with the rule that says how its numbers are made."""

import inspect
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Array
from ..tracing import Record, Trace
from .rules import Factor, Part, Rule, Source, evaluate

PACKAGE = Path(__file__).parents[2]


class Sheet:
    """The values of a trace, and what is known of where they come from.

    Addresses: "conv2d:x", ":y", ":dy", ":dx" and what lies between them, such as ":z" and ":dz"; "conv2d:kernel", a parameter as it
    was; "conv2d/kernel", ∂loss/∂parameter; "loss" and "loss:p", what the loss is made of. values: address → array.
    rules: address → Rule, for those that have one. same: address → another one that is the same array.
    """

    def __init__(self) -> None:
        self.values = _Values(self)
        self.rules: dict[str, Rule] = {}
        self.same: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def put(self, address: str, array: Array, rule: Rule | None = None) -> None:
        """An array that is there, and its rule."""
        self.values.known[address] = np.asarray(array)
        self.shapes[address] = np.shape(array)
        if rule is not None:
            self.rules[address] = rule

    def make(self, address: str, shape: tuple[int, ...], rule: Rule) -> None:
        """An array that its rule makes: the library does not keep it, and only the explanation speaks of it."""
        self.shapes[address], self.rules[address] = tuple(shape), rule

    def link(self, address: str, target: str) -> None:
        """Say that the first is another name of the second."""
        self.same[address] = target

    def origin(self, address: str) -> str:
        """The address under which an array stands, whatever name it was called by."""
        while address in self.same:
            address = self.same[address]
        return address

    def shape(self, address: str) -> tuple[int, ...]:
        return self.shapes[self.origin(address)]

    def addresses(self) -> Iterator[str]:
        """All of them, those that are other names too."""
        yield from self.shapes
        yield from self.same

    def __contains__(self, address: str) -> bool:
        return self.origin(address) in self.shapes


class _Values(dict[str, Array]):
    """Address → array; those that only a rule makes are made when they are first asked for."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__()
        self.known: dict[str, Array] = {}
        self._sheet = sheet

    def __missing__(self, address: str) -> Array:
        own = self._sheet.origin(address)
        if own not in self.known:
            shape = self._sheet.shapes[own]
            entries = np.arange(np.prod(shape, dtype=int))
            self.known[own] = evaluate(self._sheet.rules[own], shape, entries, self).reshape(shape)
        self[address] = self.known[own]
        return self[address]


def sheet_of(trace: Trace) -> Sheet:
    """The sheet of a trace. Of a layer or a loss that is not in the table, a user's or a subclass, only the values."""
    from .layers import LAYERS
    from .losses import LOSSES, loss_only

    sheet = Sheet()
    for record in trace.layers:
        _put_values(sheet, record)
        if (rules := LAYERS.get(type(record.layer))) is not None:
            rules(sheet, record)
    LOSSES.get(type(trace.run.loss), loss_only)(sheet, trace)
    _connect(sheet, trace)
    _put_gradients(sheet, trace)
    return sheet


def _put_values(sheet: Sheet, record: Record) -> None:
    for name in ("x", "y", "dy", "dx"):
        sheet.put(f"{record.name}:{name}", getattr(record, name))
    for name, value in record.params.items():
        sheet.put(f"{record.name}:{name}", value)
        sheet.put(f"{record.name}:d{name}", record.gradients[name])


def _connect(sheet: Sheet, trace: Trace) -> None:
    """One layer's y is the next one's x, and its dy is the next one's dx."""
    top = [record.name for record in trace.layers if "/" not in record.name]
    for below, above in zip(top, top[1:], strict=False):
        sheet.link(f"{above}:x", f"{below}:y")
        sheet.link(f"{below}:dy", f"{above}:dx")
    if top:
        sheet.link(f"{top[-1]}:dy", "loss:dy")
        sheet.link("loss:y_pred", f"{top[-1]}:y")


def _put_gradients(sheet: Sheet, trace: Trace) -> None:
    """∂loss/∂parameter by address: the layer's own, or the sum over tied parameters and the penalty."""
    places: dict[str, list[str]] = {}
    for record in trace.layers:
        for name in record.params:
            address = f"{record.name}/{name}"
            places.setdefault(trace.ties.get(address, address), []).append(f"{record.name}:d{name}")
    for address, total in trace.gradients.items():
        parts, penalty = places.get(address, []), trace.penalties.get(address)
        if penalty is not None and penalty.any():
            sheet.put(f"{address}:penalty", penalty)
            parts = [*parts, f"{address}:penalty"]
        if len(parts) == 1:
            sheet.link(address, parts[0])
        else:
            formula = f"∂loss/∂{address} = {' + '.join(parts)}"
            sheet.put(address, total, Rule(formula, parts=tuple(Part((Factor(part),)) for part in parts)))


@lru_cache(maxsize=None)
def source(function: Callable[..., Any], fragment: str) -> Source:
    """The line of a function that holds the fragment; the last one, if there are several."""
    lines, first = inspect.getsourcelines(function)
    place = max(i for i, line in enumerate(lines) if fragment in line)
    file = Path(inspect.getsourcefile(inspect.unwrap(function)) or "").relative_to(PACKAGE)
    return Source(file.as_posix(), first + place, lines[place].strip())


def axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names for the axes of an array: n for the samples, then i, j, k, …"""
    return ("n", "i", "j", "k", "l", "m", "o", "q")[: len(shape)]


def copy_of(formula: str, address: str, where: Source | None = None) -> Rule:
    """The rule of an array that is another one, in another shape."""
    return Rule(formula, where, parts=(Part((Factor(address),)),))
