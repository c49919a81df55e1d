"""The values of a trace under their addresses, with the rules they are made by; and what the tables of rules are written with."""

import inspect
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import Array
from .rules import Factor, Part, Rule, Source, evaluate

PACKAGE = Path(__file__).parents[2]


class Sheet:
    """The values of a trace, and what is known of where they come from.

    Addresses: "conv2d:x", ":y", ":dy", ":dx" and what lies between them, such as ":z" and ":dz"; "conv2d:kernel", a parameter
    as it was; "conv2d/kernel", ∂loss/∂parameter; "loss" and "loss:p", what the loss is made of. values: address → array.
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


@cache
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
