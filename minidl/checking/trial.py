"""check_layer: everything that a layer promises is tested, rung by rung, with an error that lists what is wrong."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..contracts import Output
from . import gradcheck
from .rungs import Draw, Result, Shape, Trial


class LayerError(AssertionError):
    """A layer is not right; ``results`` holds what every rung found."""

    def __init__(self, name: str, results: list[Result]) -> None:
        lines = [
            f"input shape {result.input_shape}: {fault}"
            for result in results
            for fault in _worth_saying(result, results)
        ]
        super().__init__("\n".join([f"{name} is not right yet.", *dict.fromkeys(lines)]))
        self.results = results


def check_layer(
    factory: Callable[[], Output],
    input_shapes: Sequence[Shape] | Shape,
    *,
    inputs: Draw | None = None,
    samples: int = 3,
    seed: int = 0,
    reference: Callable[[], Output] | None = None,
    **settings: Any,
) -> list[Result]:
    """Check everything that a layer promises. Raises LayerError (an AssertionError), listing what is wrong.

    factory: () → a new layer, e.g. ``lambda: Dense(4)``. input_shapes: the shape of one sample, without batch axis, or a list of
    shapes; odd sizes, sizes of 1 and height ≠ width reveal most. inputs: (rng, shape) → x, for a layer that does not accept
    arbitrary numbers; normal ones by default. reference: () → a layer that is known to be right; it gets the same parameters,
    by name or in their order, and both forwards have to agree. settings: for gradcheck, e.g. ``max_entries=50``.
    Without them, the gradients of a slow layer are tried for a smaller input shape, and directions alone for the one given.

    It tests, rung by rung: the shape that build promises; the reference's values; every gradient, in training and outside,
    with everything that gradcheck finds; the gradients where entries are equal, moved together; float32 and float64 are kept, and
    agree; a batch equals its samples one by one, outside training; fresh arrays; arrays in other memory layouts; and whether
    backward is a numeric gradient. Returns what each rung found; the error has the same as ``results``.

    Raises TypeError for a factory that cannot be called, invalid shapes, or settings that gradcheck does not have.
    """
    if not _makes_layers(factory):
        raise TypeError(f"factory must make a new layer at each call, e.g. lambda: Dense(4), received {factory!r}.")
    if reference is not None and not _makes_layers(reference):
        raise TypeError(f"reference must make a new layer at each call, e.g. lambda: Dense(4), received {reference!r}.")
    one = isinstance(input_shapes, tuple) and all(isinstance(size, int) for size in input_shapes)
    shapes = [input_shapes] if one else list(input_shapes) if isinstance(input_shapes, tuple | list) else []
    if not shapes or not all(isinstance(shape, tuple) for shape in shapes):
        raise TypeError(
            "input_shapes must be the shape of a sample, without the batch axis, e.g. (28, 28, 1), or a list of such, "
            f"received {input_shapes!r}."
        )
    inspect.signature(gradcheck).bind(None, None, training=True, **settings)
    draw = inputs or (lambda rng, shape: rng.normal(size=shape))
    results: list[Result] = []
    for shape in shapes:
        trial = Trial(factory, tuple(shape), draw, samples, seed, settings, reference, inputs is None)  # type: ignore[arg-type]
        results += trial.results()
    if not all(result.passed for result in results):
        raise LayerError(type(factory()).__name__, results)
    return results


def _worth_saying(result: Result, results: list[Result]) -> list[str]:
    """The faults without those that say the same as an earlier rung's, in other words."""
    before = [other for other in results[: results.index(result)] if other.input_shape == result.input_shape]
    said = [fault for other in before for fault in other.faults]
    if result.rung not in ("shapes", "values", "gradients") and any("Error: " in fault for fault in said):
        return []  # the layer cannot even be called
    wrong = {fault.partition("[")[0] for other in before if other.rung == "gradients" for fault in other.faults}
    wrong |= {"dx" if name in ("x", "input") else f"d{name}" for name in wrong}
    if result.rung == "ties" and wrong & {"x", "input"}:
        return []
    return [fault for fault in result.faults if fault.partition(" ")[0].partition("[")[0] not in wrong]


def _makes_layers(factory: object) -> bool:
    """Whether it is a function or a class; a layer may be callable, too."""
    return callable(factory) and (isinstance(factory, type) or not hasattr(factory, "forward"))
