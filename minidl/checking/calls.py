"""A layer, or the two functions of one, called in whichever form it is written: one input or more, with or without keywords."""

import contextlib
import inspect
from collections.abc import Callable, Iterator

import numpy as np

from ..contracts import Cache, Named, Output, Target
from ..ops.random import RandomKey
from .nested import all_spread, gathered, several
from .report import Fault
from .state import layers_in

KEYWORDS = ("training", "rng")
NO_GENERATOR = (
    "rng is a RandomKey (key, first_sample), which no generator is: make one by np.random.default_rng(rng.key), so that the same "
    "rng gives the same numbers"
)


class LayerCall:
    """An object with forward(x, …) → (y, cache), backward(dy, cache) → (dx, gradients by name), and params."""

    def __init__(self, layer: Target, count: int, training: bool) -> None:
        self.layer, self.training = layer, training
        wanted = required_by(layer.forward)
        # A single input is passed as it is; several as separate arguments, or as a tuple where forward accepts only one.
        self.spread = count > 1 and (wanted is None or len(wanted) > 1)
        if wanted is not None and len(wanted) != (count if self.spread else 1):
            raise ValueError(
                f"forward of {type(layer).__name__} takes {len(wanted)} inputs ({', '.join(wanted)}), received {count}: "
                f"call gradcheck(layer, {', '.join(wanted)})."
            )
        names = wanted if self.spread and wanted else ["x"] if count == 1 else [f"x{i}" for i in range(count)]
        taken = params_of(layer)
        self.names = [name if name not in taken else "input" if count == 1 else f"input {name}" for name in names]
        self.keywords = keywords_of(layer.forward)
        self.codes = [part.forward.__code__ for part in layers_in(layer) if hasattr(part.forward, "__code__")]

    def forward(self, inputs: Named, key: int, training: bool | None = None) -> tuple[Output, Output]:
        given = tuple(inputs[name] for name in self.names)
        options = {"training": self.training if training is None else training, "rng": RandomKey(key, 0)}
        with _explained():
            value = self.layer.forward(
                *(given if self.spread or len(given) == 1 else (given,)),
                **{name: options[name] for name in self.keywords},
            )
        return pair(value, "forward must return (y, cache)")

    def backward(self, dy: Output, cache: Cache) -> Named:
        dx, grads = with_names(self.layer.backward(dy, cache), "backward must return (dx, {name: gradient})")
        parts = dx if len(self.names) > 1 and isinstance(dx, tuple | list) else (dx,)
        if len(parts) != len(self.names):
            raise Fault(f"backward must return as dx a tuple, with a gradient for each of {', '.join(self.names)}.")
        return {**dict(zip(self.names, parts, strict=True)), **grads}


class PairCall:
    """Two functions: forward(x, w, …) → (y, cache), and backward(dy, cache) → (dx, dw, …), or one gradient, or them by name.

    inputs: the arguments by name, where the arrays in a dictionary, list or tuple are inputs of their own: p['w'], p[0].
    """

    def __init__(self, functions: tuple[Output, Output], arguments: tuple[Output, ...]) -> None:
        self.functions = functions
        self.names = names_of_arguments(functions[0], len(arguments))
        self.codes = [functions[0].__code__] if hasattr(functions[0], "__code__") else []
        self.arguments = dict(zip(self.names, arguments, strict=True))
        self.inputs = all_spread(self.arguments)

    def forward(self, inputs: Named, key: int, training: bool | None = None) -> tuple[Output, Output]:
        arguments = (gathered(name, value, inputs) for name, value in self.arguments.items())
        return pair(self.functions[0](*arguments), "forward must return (y, cache)")

    def backward(self, dy: Output, cache: Cache) -> Named:
        gradients = self.functions[1](dy, cache)
        return all_spread(by_name(gradients, self.names if several(gradients) else [self._owner(gradients)]))

    def _owner(self, gradient: Output) -> str:
        """What a single gradient belongs to: the first argument, or, as the table of an embedding, the first array of floats."""
        first = self.names[0]
        floats = (
            name for name, each in self.arguments.items() if isinstance(each, np.ndarray) and each.dtype.kind == "f"
        )
        return first if np.shape(gradient) == np.shape(self.arguments[first]) else next(floats, first)


def by_name(gradients: Output, names: list[str]) -> Named:
    """Gradients by name, from a dictionary or in the order of the arguments."""
    if isinstance(gradients, dict):
        return gradients
    if isinstance(gradients, tuple | list) and several(gradients):
        if len(gradients) > len(names):
            raise Fault(f"there are {len(gradients)} gradients for the {len(names)} arguments {', '.join(names)}.")
        return dict(zip(names, gradients, strict=False))
    return {names[0]: gradients}


def names_of_arguments(function: Callable[..., Output], count: int) -> list[str]:
    """The names of the function's first parameters; x, or x0, x1, … where it has none."""
    with contextlib.suppress(TypeError, ValueError):
        parameters = list(inspect.signature(function).parameters.values())[:count]
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if len(parameters) == count and all(parameter.kind in kinds for parameter in parameters):
            return [parameter.name for parameter in parameters]
    return ["x"] if count == 1 else [f"x{i}" for i in range(count)]


def pair(value: Output, must: str) -> tuple[Output, Output]:
    if not isinstance(value, tuple) or len(value) != 2:
        hint = " Is a return missing?" if value is None else ""
        received = f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
        raise Fault(f"{must}, received {received}.{hint}")
    return value


def with_names(value: Output, must: str) -> tuple[Output, Named]:
    """A pair, the latter of which is a dictionary."""
    first, named = pair(value, must)
    if not isinstance(named, dict):
        raise Fault(f"{must}, received a {type(named).__name__} for the latter.")
    return first, named


def params_of(layer: Target) -> Named:
    params = getattr(layer, "params", None)
    if params is not None and not isinstance(params, dict):
        raise TypeError(
            f"the params of a layer must be a dictionary {{name: array}}, received a {type(params).__name__} in {layer!r}."
        )
    return params or {}


def required_by(function: Callable[..., Output]) -> list[str] | None:
    """The names of the required positional arguments; None where any number is accepted, or it is unknown."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        one.name for one in parameters if one.kind in kinds and one.default is one.empty and one.name not in KEYWORDS
    ]


def keywords_of(function: Callable[..., Output]) -> tuple[str, ...]:
    """Those of the keywords training and rng that it accepts."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return KEYWORDS
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return KEYWORDS
    return tuple(name for name in KEYWORDS if name in parameters)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Raise Fault, with advice, where a layer mistakes its rng for a NumPy generator."""
    try:
        yield
    except AttributeError as error:
        if isinstance(error.obj, RandomKey):
            raise Fault(f"forward fails: {error}. {NO_GENERATOR}.") from error
        raise


def is_integers(value: Output) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "iub"
