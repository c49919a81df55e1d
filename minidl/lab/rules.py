"""What a rule is: how each number of an array is made of numbers of other arrays. A sum of products, or a function of a few.

A rule holds for every entry of its array, and is data: NumPy evaluates it here, and a page in a browser does the same.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..contracts import Array

MOST = 1 << 22  # so many terms are held at once


@dataclass(frozen=True)
class Factor:
    """A number of another array.

    address: of that array. index: where in it, one expression for each of its axes, in the names of the rule's axes and of the
    indices that are summed over, such as "2*i+a-1" or "(h-a)/2"; there is no such number where the result is outside the array or
    not whole. None: at the same place, counted row by row, as in an array of the same shape.
    """

    address: str
    index: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Part:
    """Σ scale · factor · factor · …

    over: the indices that are summed over, and their sizes. Terms of which a factor does not exist are left out.
    """

    factors: tuple[Factor, ...]
    over: Mapping[str, int] = field(default_factory=dict)
    scale: float = 1.0


@dataclass(frozen=True)
class Source:
    """A line of source. file: relative to the folder of the package. line: its number."""

    file: str
    line: int
    code: str


@dataclass(frozen=True)
class Rule:
    """How an entry of an array is made: the sum of its parts, or else a function of its arguments.

    formula: for people. axes: the names of the array's axes. function: an expression in the names of the arguments, with the
    functions below. source: the line of the library that computes it.
    """

    formula: str
    source: Source | None = None
    axes: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    function: str = ""
    arguments: Mapping[str, Factor] = field(default_factory=dict)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "floor": np.floor,
    "where": np.where,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "erfc": np.vectorize(math.erfc, otypes=[np.float64]),
}

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
}


@dataclass
class Terms:
    """The terms of one part, for some entries.

    values (…, terms): each one's product, 0 where a factor does not exist. exists: the same shape. factors: of each factor, its
    values and its flat positions in its array.
    """

    values: Array
    exists: Array
    factors: list[tuple[Array, Array]]


def terms(part: Part, rule: Rule, shape: tuple[int, ...], entries: Array, values: Mapping[str, Array]) -> Terms:
    """The terms of a part for the entries (E,), flat positions in an array of this shape: (E, T), T = the product of ``over``."""
    names = _names(rule, shape, entries, part.over)
    count = math.prod(part.over.values())
    product, exists = np.full((len(entries), count), part.scale), np.ones((len(entries), count), bool)
    found = []
    for factor in part.factors:
        array = values[factor.address]
        flat, inside = _positions(factor, array.shape, entries, names)
        flat = np.broadcast_to(np.where(inside, flat, 0), product.shape)
        numbers = array.reshape(-1)[flat].astype(np.float64)
        exists &= inside
        product = product * numbers
        found.append((numbers, flat))
    return Terms(np.where(exists, product, 0), exists, found)


def arguments(
    rule: Rule, shape: tuple[int, ...], entries: Array, values: Mapping[str, Array]
) -> dict[str, tuple[Array, Array]]:
    """What the function of a rule is given for the entries (E,): by name, the numbers (E,) and their flat positions (E,)."""
    names, found = _names(rule, shape, entries, {}), {}
    for name, factor in rule.arguments.items():
        array = values[factor.address]
        flat = np.broadcast_to(_positions(factor, array.shape, entries, names)[0], (len(entries), 1))[:, 0]
        found[name] = array.reshape(-1)[flat].astype(np.float64), flat
    return found


def evaluate(rule: Rule, shape: tuple[int, ...], entries: Array, values: Mapping[str, Array]) -> Array:
    """The numbers that a rule gives for the entries (E,), flat positions in an array of this shape.  In float64."""
    if rule.function:
        given = {name: numbers for name, (numbers, _) in arguments(rule, shape, entries, values).items()}
        with np.errstate(all="ignore"):  # the branch that where does not take
            return np.asarray(_calculate(rule.function, given), np.float64) + np.zeros(len(entries))
    total = np.zeros(len(entries))
    for part in rule.parts:
        step = max(1, MOST // max(1, math.prod(part.over.values())))
        for first in range(0, len(entries), step):
            some = entries[first : first + step]
            total[first : first + step] += terms(part, rule, shape, some, values).values.sum(axis=1)
    return total


def _names(rule: Rule, shape: tuple[int, ...], entries: Array, over: Mapping[str, int]) -> dict[str, Array]:
    """What each name of an index stands for: those of the axes as (E, 1), those of the summed ones as (1, T)."""
    places = np.unravel_index(entries, shape) if rule.axes else ()
    of_axes = {name: place[:, None] for name, place in zip(rule.axes, places, strict=True)}
    summed = np.indices(tuple(over.values())).reshape(len(over), 1, math.prod(over.values()))
    return {**of_axes, **dict(zip(over, summed, strict=True))}


def _positions(
    factor: Factor, shape: tuple[int, ...], entries: Array, names: Mapping[str, Array]
) -> tuple[Array, Array]:
    """The flat positions of a factor in its array, and whether there is such a number: both broadcast to (E, T)."""
    if factor.index is None:
        return entries[:, None], np.ones((len(entries), 1), bool)
    flat, inside = np.zeros((1, 1), np.intp), np.ones((1, 1), bool)
    for expression, size in zip(factor.index, shape, strict=True):
        place = np.asarray(_calculate(expression, names))
        whole = np.floor(place).astype(np.intp)
        inside = inside & (whole == place) & (whole >= 0) & (whole < size)
        flat = flat * size + whole
    return flat, inside


def _calculate(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of an expression: numbers, names, + − · /, a comparison, and FUNCTIONS."""
    return _value(_tree(expression), names)


@cache
def _tree(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of a part of an expression. Raises ValueError for what no rule is written with."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_value(left, names), _value(right, names))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name](*(_value(argument, names) for argument in arguments))
    raise ValueError(f"a rule cannot hold {ast.unparse(node)!r}.")
