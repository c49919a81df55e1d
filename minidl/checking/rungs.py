"""The rungs that a layer has to climb: what each one tests, and what it finds."""

import copy
import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ..contracts import Array, Named, Output, Target
from ..ops.random import RandomKey
from . import gradcheck
from .behaviour import REUSES_GRADIENT
from .calls import is_integers, keywords_of
from .closeness import LAYOUTS, differences
from .nested import same
from .report import Record, Report
from .upstream import stream

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Array]

ATTEMPTS = 5  # with other random numbers, where the first ones prove nothing
SECONDS = 2.0  # roughly how long the gradients of one input shape may take before only some entries are tried
RUNGS = ("shapes", "values", "gradients", "ties", "dtypes", "one by one", "fresh", "layouts", "honest")


@dataclass
class Result:
    """What one rung found, for one input shape.

    rung: one of RUNGS. points: 0 … 1; for the gradients, the share of the tried numbers that are not wrong. faults: in words.
    hint: the likely mistake. worst: the worst entry, {"array", "where", "analytic", "numeric"}. notes: other remarks.
    """

    rung: str
    input_shape: Shape
    points: float = 1.0
    faults: list[str] = field(default_factory=list)
    hint: str = ""
    worst: Named | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.faults

    def to_dict(self) -> Named:
        """The result as data, for JSON."""
        return {"passed": self.passed, **asdict(self), "input_shape": list(self.input_shape)}


class Trial:
    """One layer on samples of one shape. Each rung fills a result."""

    def __init__(
        self,
        factory: Callable[[], Output],
        shape: Shape,
        draw: Draw,
        samples: int,
        seed: int,
        settings: Named,
        reference: Callable[[], Output] | None,
        near_zero: bool,
    ) -> None:
        self.factory, self.shape, self.draw, self.seed = factory, shape, draw, seed
        self.settings, self.reference = settings, reference
        x = np.asarray(draw(stream(seed, 6), (samples, *shape)))
        # Exact in float32, so that both dtypes start from the same numbers.
        self.near_zero = near_zero
        self.x = x if is_integers(x) else x.astype(np.float32).astype(np.float64)
        self.key = RandomKey(seed, 0)
        self.promised: Output = None
        self.reports: list[Report] = []

    def results(self) -> list[Result]:
        """What every rung found. An exception counts as a fault."""
        found = []
        for rung in RUNGS:
            if rung == "values" and self.reference is None:
                continue
            result, started = Result(rung, self.shape), time.perf_counter()
            try:
                getattr(self, f"_{rung.replace(' ', '_')}")(result)
            except Exception as error:
                result.faults.append(f"{rung}: {_in_words(error)}")
            result.seconds = time.perf_counter() - started
            if result.faults:
                result.points = min(result.points, 0.0) if rung != "gradients" else result.points
            found.append(result)
        return found

    # ------------------------------------------------------------------------------------------------------ the rungs

    def _shapes(self, result: Result) -> None:
        layer = self._make()
        y, _ = self._forward(layer, self.x)
        if self.promised is not None and (not isinstance(self.promised, tuple) or y.shape[1:] != self.promised):
            result.faults.append(
                f"build returns the output shape {self.promised!r}, but forward gives {y.shape[1:]} for a sample."
            )
        elif len(y) != len(self.x):
            result.faults.append(f"forward gives {len(y)} samples for {len(self.x)}.")

    def _values(self, result: Result) -> None:
        """forward against the reference's: random numbers, negative ones, equal ones, and a single sample."""
        assert self.reference is not None
        layer, right = self._make(), self.reference()
        if hasattr(right, "build"):
            right.build(self.shape, stream(self.seed, 7), np.dtype(np.float64))
        ours, theirs = _params(layer), _params(right)
        pairs = (
            [(name, name) for name in theirs] if ours.keys() == theirs.keys() else list(zip(ours, theirs, strict=False))
        )
        if len(ours) != len(theirs) or any(np.shape(ours[a]) != np.shape(theirs[b]) for a, b in pairs):
            shapes = [{name: np.shape(value) for name, value in one.items()} for one in (ours, theirs)]
            result.faults.append(f"the parameters are {shapes[0]}, those of the reference {shapes[1]}.")
            return
        for name, other in pairs:
            theirs[other][...] = ours[name]
        x = self.x
        tried = {"": x, "of a single sample ": x[:1]}
        if not is_integers(x):
            tried["of equal numbers "] = self._tied()
        if self.near_zero:  # inputs are arbitrary numbers
            tried["of negative numbers "] = -np.abs(x)
        for what, inputs in tried.items():
            y, expected = self._forward(layer, inputs)[0], self._forward(right, inputs)[0]
            found = differences({"y": y}, {"y": expected}, f"{what}from the reference")
            if found:
                result.faults += found
                result.hint = self._hint_of_values(layer, inputs, y, expected)
                result.faults += [f"y: {result.hint}"] if result.hint else []
                return

    def _hint_of_values(self, layer: Target, x: Array, y: Array, expected: Array) -> str:
        """What would make the outputs right: a factor, or a transposed or reversed parameter."""
        if y.shape != expected.shape:
            return ""
        ratio = float((y * expected).sum() / max((expected**2).sum(), 1e-300))
        if not differences({"y": y}, {"y": ratio * expected}, ""):
            return f"it is {ratio:.6g} times what it should be, everywhere."
        for name, value in _params(layer).items():
            kept = value.copy()
            for turned, words in _turned(kept):
                value[...] = turned
                wrong = differences({"y": self._forward(layer, x)[0]}, {"y": expected}, "")
                value[...] = kept
                if not wrong:
                    return f"it would be right if {name} were {words}."
        return ""

    def _gradients(self, result: Result) -> None:
        at, settings = self.quick, self.quick._within_seconds(result)
        if at is not self:
            result.notes.append(f"forward is slow, so the gradients were tried for the input shape {at.shape}.")
        for training in (True, False):
            for seed in range(self.seed, self.seed + ATTEMPTS):
                x = self.draw(stream(seed, 6, training), at.x.shape)
                report = gradcheck(at._make(seed=seed), x, training=training, **{"seed": seed, **settings})
                if report.passed or report.problems or any(record.failed for record in report.records):
                    break  # otherwise too little could be proved: a few ReLUs may all be off by chance
            self.reports.append(report)
            told = {_subject(fault) for fault in result.faults}
            result.faults += (
                [] if report.passed else [line for line in report.explanations() if _subject(line) not in told]
            )
            result.hint = result.hint or next(iter(report.hints.values()), "")
            result.notes += report.remarks()
        if self.near_zero and not result.faults:
            # Few normal numbers are near the threshold of a mask.
            x = 0.2 * self.draw(stream(self.seed, 11), at.x.shape)
            report = gradcheck(at._make(), x, **{"seed": self.seed, **settings})
            if report.problems or any(record.failed for record in report.records):
                self.reports.append(report)
                result.faults += [f"for small x, {fault}" for fault in report.explanations()]
        if at is not self and not result.faults:
            # Along directions, which take a few evaluations for all entries, where it was asked for.
            x = self.draw(stream(self.seed, 6), self.x.shape)
            report = gradcheck(self._make(), x, **{"seed": self.seed, **settings, "mode": "direction", "directions": 2})
            if report.problems or any(record.failed for record in report.records):
                self.reports.append(report)
                result.faults += [f"for the input shape {self.shape}, {fault}" for fault in report.explanations()]
        records = [record for report in self.reports for record in report.records]
        self._rate(result, records)

    def _rate(self, result: Result, records: list[Record]) -> None:
        failed, tried = sum(record.failed for record in records), sum(record.tried for record in records)
        if result.faults:
            result.points = (tried - failed) / tried if failed else 0.0
        wrong = [record for record in records if record.failed]
        if wrong:
            one = max(wrong, key=lambda record: record.worst_relative)
            numbers = {"analytic": one.analytic, "numeric": one.numeric}
            result.worst = {
                "array": one.name,
                "where": list(one.where or ()),
                **{key: value if math.isfinite(value) else None for key, value in numbers.items()},
            }

    @cached_property
    def quick(self) -> "Trial":
        """This trial, or where forward is slow, one of a smaller input shape that the layer takes, too.

        No two axes of it that were cut have the same size: rows may be taken for columns.
        """
        if self._affordable() is None:
            return self
        for largest in (8, 16):
            shape = tuple(min(size, max(1, largest - axis)) for axis, size in enumerate(self.shape))
            if shape == self.shape:
                break
            try:
                other = Trial(
                    self.factory, shape, self.draw, len(self.x), self.seed, self.settings, None, self.near_zero
                )
                other._run(other._make(), other.x)
            except Exception:
                continue
            return other
        return self

    def _affordable(self) -> tuple[float, int] | None:
        """(the seconds that forward takes, how many entries of each array there is time for); None if for all of them."""
        if self.settings.keys() & {"max_entries", "mode"} or is_integers(self.x):
            return None
        layer, started = self._make(), time.perf_counter()
        self._forward(layer, self.x)
        each = 2 * (time.perf_counter() - started)
        sizes = [self.x.size, *(np.size(value) for value in _params(layer).values())]
        some = max(10, int(SECONDS / 2 / each / len(sizes)))
        if 2 * each * sum(sizes) < SECONDS or some >= max(sizes):
            return None
        return each / 2, some

    def _within_seconds(self, result: Result) -> Named:
        """The settings for gradcheck; fewer entries where all of them would take long."""
        if (found := self._affordable()) is None:
            return self.settings
        seconds, some = found
        result.notes.append(f"forward takes {seconds:.2g} s, so only {some} entries of each array were tried.")
        return {**self.settings, "max_entries": some}

    def _ties(self, result: Result) -> None:
        """Equal entries, moved together: this catches a pool where all of them win; moved one by one they are at a kink."""
        if is_integers(self.x) or self.settings.get("mode", "ties") != "ties":
            return
        at = self.quick
        report = gradcheck(
            at._make(), at._tied(), **{"seed": self.seed, "only": self._input(), **self.settings, "mode": "ties"}
        )
        if not report.problems and any(record.failed for record in report.records):
            result.faults += [f"where entries are equal, {fault}" for fault in report.explanations()]
            self._rate(result, report.records)

    def _dtypes(self, result: Result) -> None:
        layer, coarse = self._make(), self._make(np.float32)
        for name, value in _params(layer).items():
            value[...] = _params(coarse)[name]
        x = self.x if is_integers(self.x) else self.x.astype(np.float32)
        double, single = self._run(layer, self.x), self._run(coarse, x)
        result.faults += [
            f"{name} is {value.dtype} for float32 input and parameters: keep the dtype, e.g. by np.zeros(…, x.dtype)."
            for name, value in single.items()
            if value.dtype != np.float32
        ]
        result.faults += [
            f"build makes the parameter {name!r} as {value.dtype} for dtype float32: use the dtype that it is given."
            for name, value in self._built(np.float32).items()
            if value.dtype != np.float32 and not is_integers(value)
        ]
        result.faults = result.faults or differences(single, double, "in float32 and in float64")

    def _one_by_one(self, result: Result) -> None:
        layer = self._make()
        whole = self._run(layer, self.x)
        dy = self._upstream(whole["y"])
        parts = [self._run(layer, self.x[n : n + 1], dy[n : n + 1]) for n in range(len(self.x))]
        joined = {
            name: np.concatenate([part[name] for part in parts])
            if name in ("y", "dx")
            else np.sum([part[name] for part in parts], 0)
            for name in whole
        }
        result.faults += differences(joined, whole, "for samples one by one and for the batch")

    def _fresh(self, result: Result) -> None:
        layer, x = self._make(), self.x.copy()
        y, cache = self._forward(layer, x)
        dy = self._upstream(y)
        dx, grads = layer.backward(dy, cache)
        results = {"dx": dx, **{f"d{name}": value for name, value in grads.items()}}
        results = {name: value for name, value in results.items() if value is not None}
        before = copy.deepcopy(results)
        self._run(layer, x, -dy)
        if not same(results, before):
            result.faults.append(REUSES_GRADIENT)
        given = {"x": x, "dy": dy, "y": y, **_params(layer)}
        pairs = [("y", y, name, value) for name, value in given.items() if name not in ("y", "dy")]
        pairs += [(ours, a, name, b) for ours, a in results.items() for name, b in given.items()]
        pairs += [(one, a, other, b) for (one, a), (other, b) in combinations(results.items(), 2)]
        result.faults += [
            f"{one} shares its memory with {other}: return a fresh array, e.g. a .copy()."
            for one, a, other, b in pairs
            if np.shares_memory(a, b)
        ]

    def _layouts(self, result: Result) -> None:
        """Arrays in other memory layouts, which a user may pass."""
        layer = self._make()
        plain = self._run(layer, self.x)
        dy = self._upstream(plain["y"])
        for layout, view in LAYOUTS.items():
            x = self.x if is_integers(self.x) else view(self.x)
            try:
                result.faults += differences(self._run(layer, x, view(dy)), plain, f"for arrays {layout}")
            except Exception as error:
                result.faults.append(f"arrays {layout} make a {type(error).__name__}: {error}")

    def _honest(self, result: Result) -> None:
        calls = max((report.forwards_in_backward for report in self.reports), default=0)
        if calls >= max(2, self.quick.x.size):
            result.faults.append(
                f"backward calls forward {calls:,} times: it is a numeric gradient. Derive it: the chain rule takes one pass."
            )
        elif calls:
            result.notes.append(f"backward calls forward ({calls}).")

    # ------------------------------------------------------------------------------------------------- what they use

    def _make(self, dtype: Any = np.float64, seed: int | None = None) -> Any:
        layer, rng = self.factory(), stream(self.seed if seed is None else seed, 7)
        if hasattr(layer, "build"):
            self.promised = layer.build(self.shape, rng, np.dtype(dtype))
        # Mistakes hide behind zeros and ones: a missing bias of zeros goes unnoticed. So every parameter gets some noise.
        for value in _params(layer).values():
            if not is_integers(value):
                value += rng.normal(size=value.shape).astype(value.dtype) / 8
        return layer

    def _built(self, dtype: Any) -> dict[str, Array]:
        layer = self.factory()
        if hasattr(layer, "build"):
            layer.build(self.shape, stream(self.seed, 7), np.dtype(dtype))
        return _params(layer)

    def _forward(self, layer: Target, x: Array) -> tuple[Array, Output]:
        options = {"training": False, "rng": self.key}
        y, cache = layer.forward(x, **{name: options[name] for name in keywords_of(layer.forward)})
        return y, cache

    def _run(self, layer: Target, x: Array, dy: Array | None = None) -> dict[str, Array]:
        """y, dx and the gradients, by name; without dx if it is None."""
        y, cache = self._forward(layer, x)
        dx, grads = layer.backward(self._upstream(y) if dy is None else dy, cache)
        found = {"y": y, "dx": dx, **{f"d{name}": value for name, value in grads.items()}}
        # Copies: that backward returns the same array again is told where the arrays are fresh.
        return {
            name: value.copy()
            for name, value in found.items()
            if value is not None and not (is_integers(x) and name == "dx")
        }

    def _upstream(self, y: Array) -> Array:
        return stream(self.seed, 8).normal(size=y.shape).astype(np.float32).astype(y.dtype)

    def _tied(self) -> Array:
        """x with each number replaced by one of three of its own sample, so that many are equal."""
        rng, x = stream(self.seed, 9), self.x.copy()
        for sample in x:
            sample[...] = rng.choice(rng.choice(sample.reshape(-1), min(3, sample.size)), sample.shape)
        return x

    def _input(self) -> str:
        return "input" if "x" in _params(self._make()) else "x"


def _subject(fault: str) -> str:
    """The array that a fault is about, or the whole fault if it is about none."""
    name = re.split(r"\[|: | direction ", fault, maxsplit=1)[0]
    return name if len(name.split()) == 1 else fault


def _params(layer: Target) -> dict[str, Array]:
    return getattr(layer, "params", None) or {}


def _turned(array: Array) -> list[tuple[Array, str]]:
    """The array transposed and reversed in the ways that a mistake might have."""
    turned = [(array[::-1], "flipped")] if array.ndim else []
    if array.ndim > 1:
        turned += [(array[::-1, ::-1], "flipped along its first two axes"), (array[:, ::-1], "flipped along axis 1")]
        if array.shape[0] == array.shape[1]:
            turned.append((np.swapaxes(array, 0, 1), "transposed"))
    return [(copy.copy(view), words) for view, words in turned]


def _in_words(error: Exception) -> str:
    text = str(error)
    if isinstance(error, NotImplementedError) and not text:
        text = f"{traceback.extract_tb(error.__traceback__)[-1].name} is still to be written"
    return f"{type(error).__name__}: {text}"
