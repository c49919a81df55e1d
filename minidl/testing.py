"""For tests of layers, ours and yours: ``check_layer`` tries a layer in every way in one line, and strategies draw what to try.

``check_layer`` needs nothing else. The strategies are for Hypothesis, which comes with the extra: pip install 'minidl[test]'.
"""

import inspect
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from .checking import gradcheck
from .contracts import Array
from .layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling
from .layers.activation import ACTIVATIONS
from .ops.random import RandomKey

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Shape = tuple[int, ...]

# How far two computations of the same numbers may be apart, relative to the largest of them: a few dozen roundings.
TOLERANCES = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
ATTEMPTS = 5  # other random numbers, where those of the first time prove nothing


def assert_close(actual: Any, expected: Any, what: str = "the arrays") -> None:
    """Equal to rounding, in the coarser one of both dtypes; and of one shape."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: shape {actual.shape}, expected {expected.shape}.")
    tolerance = max(TOLERANCES[array.dtype] for array in (actual, expected))
    limit = tolerance * np.abs(expected).max(initial=0.0)
    error = np.abs(np.subtract(actual, expected, dtype=np.float64))
    if not (error <= limit).all():  # NaN is not
        worst = np.unravel_index(int(error.argmax()), error.shape)
        place = [int(i) for i in worst]
        raise AssertionError(f"{what}{place}: {actual[worst]:.9g}, expected {expected[worst]:.9g} ± {limit:.1e}.")


# ------------------------------------------------------------------------------------------------------ a layer, in one line


def check_layer(
    factory: Callable[[], Any],
    input_shapes: Sequence[Shape] | Shape,
    *,
    inputs: Callable[[np.random.Generator, Shape], Array] | None = None,
    samples: int = 3,
    seed: int = 0,
    **settings: Any,
) -> None:
    """Hold a layer to everything that a layer promises; an AssertionError that lists what is wrong, and how to mend it.

    factory: () → a new layer, e.g. ``lambda: Dense(4)``. input_shapes: of one sample, without the batch axis; a list of such,
    where odd sizes, sizes of 1 and height ≠ width show most. inputs: (rng, shape) → x, for a layer that does not take any
    numbers; normal ones by default. settings: for gradcheck, e.g. ``max_entries=50``.

    It tries: the shape that build promises; float32 and float64 are kept, and agree; a batch equals its samples one by one,
    outside training; neither an argument nor the cache is changed, backward twice is the same, and nothing stays in the
    layer (by gradcheck); fresh arrays; arrays in other memory layouts; and every gradient, in training and outside.

    Raises TypeError for a factory that cannot be called, shapes that are none, or settings that gradcheck does not have.
    """
    if not callable(factory):
        raise TypeError(f"factory must make a new layer at each call, e.g. lambda: Dense(4), received {factory!r}.")
    one = isinstance(input_shapes, tuple) and all(isinstance(size, int) for size in input_shapes)
    shapes = [input_shapes] if one else list(input_shapes) if isinstance(input_shapes, tuple | list) else []
    if not shapes or not all(isinstance(shape, tuple) for shape in shapes):
        raise TypeError(
            "input_shapes must be the shape of a sample, without the batch axis, e.g. (28, 28, 1), or a list of such, "
            f"received {input_shapes!r}."
        )
    inspect.signature(gradcheck).bind(None, None, training=True, **settings)
    draw = inputs or (lambda rng, shape: rng.normal(size=shape))
    faults = []
    for shape in shapes:
        trial = _Trial(factory, tuple(shape), draw, samples, seed, settings)  # type: ignore[arg-type]
        faults += [f"input shape {shape}: {fault}" for fault in trial.faults()]
    if faults:
        raise AssertionError("\n".join([f"{type(factory()).__name__} is not right yet.", *dict.fromkeys(faults)]))


class _Trial:
    """One layer on samples of one shape. Each check gives its faults in words."""

    def __init__(
        self,
        factory: Callable[[], Any],
        shape: Shape,
        draw: Callable[[np.random.Generator, Shape], Array],
        samples: int,
        seed: int,
        settings: dict[str, Any],
    ) -> None:
        self.factory, self.shape, self.draw, self.seed, self.settings = factory, shape, draw, seed, settings
        # Exact in float32, so that both dtypes start from the same numbers.
        self.x = np.asarray(draw(np.random.default_rng(seed), (samples, *shape)), np.float32).astype(np.float64)
        self.key = RandomKey(seed, 0)
        self.promised: Any = None

    def faults(self) -> list[str]:
        """What is wrong, the simplest first; later checks are left out where they would say the same in other words."""
        found: list[str] = []
        for check in (self._gradients, self._shapes, self._dtypes, self._one_by_one, self._fresh, self._layouts):
            try:
                found += check()
            except Exception as error:
                found.append(f"{check.__name__[1:]}: {type(error).__name__}: {error}")
            if found:
                break
        return found

    def _make(self, dtype: Any = np.float64, seed: int | None = None) -> Any:
        layer, rng = self.factory(), np.random.default_rng(self.seed if seed is None else seed)
        if hasattr(layer, "build"):
            self.promised = layer.build(self.shape, rng, np.dtype(dtype))
        # Zero and one are what mistakes hide behind: a bias of zeros may be left out. So every parameter gets some noise.
        for value in (getattr(layer, "params", None) or {}).values():
            value += rng.normal(size=value.shape).astype(value.dtype) / 8
        return layer

    def _run(self, layer: Any, x: Array, dy: Array | None = None, training: bool = False) -> dict[str, Array]:
        """y, dx and the gradients, by name."""
        y, cache = layer.forward(x, training=training, rng=self.key)
        dx, grads = layer.backward(self._upstream(y) if dy is None else dy, cache)
        return {"y": y, "dx": dx, **{f"d{name}": value for name, value in grads.items()}}

    def _upstream(self, y: Array) -> Array:
        return np.random.default_rng(self.seed + 1).normal(size=y.shape).astype(np.float32).astype(y.dtype)

    def _gradients(self) -> list[str]:
        faults = []
        for training in (True, False):
            for seed in range(self.seed, self.seed + ATTEMPTS):
                x = self.draw(np.random.default_rng(seed), self.x.shape)
                report = gradcheck(self._make(seed=seed), x, training=training, **{"seed": seed, **self.settings})
                if report.passed or report.problems or any(record.failed for record in report.records):
                    break  # otherwise too little could be proved: a few ReLUs may all be off by chance
            faults += [] if report.passed else report.explanations()
        return faults

    def _shapes(self) -> list[str]:
        layer = self._make()
        y, _ = layer.forward(self.x, training=False, rng=self.key)
        if self.promised is not None and (not isinstance(self.promised, tuple) or y.shape[1:] != self.promised):
            return [f"build returns the output shape {self.promised!r}, but forward gives {y.shape[1:]} for a sample."]
        if len(y) != len(self.x):
            return [f"forward gives {len(y)} samples for {len(self.x)}."]
        return []

    def _dtypes(self) -> list[str]:
        layer, coarse = self._make(), self._make(np.float32)
        for name, value in (getattr(layer, "params", None) or {}).items():
            value[...] = coarse.params[name]
        double, single = self._run(layer, self.x), self._run(coarse, self.x.astype(np.float32))
        faults = [
            f"{name} is {value.dtype} for float32 input and parameters: keep the dtype, e.g. by np.zeros(…, x.dtype)."
            for name, value in single.items()
            if value.dtype != np.float32
        ]
        faults += [
            f"build makes the parameter {name!r} as {value.dtype} for dtype float32: use the dtype that it is given."
            for name, value in self._built(np.float32).items()
            if value.dtype != np.float32
        ]
        return faults or _differences(single, double, "in float32 and in float64")

    def _built(self, dtype: Any) -> dict[str, Array]:
        layer = self.factory()
        if hasattr(layer, "build"):
            layer.build(self.shape, np.random.default_rng(self.seed), np.dtype(dtype))
        return getattr(layer, "params", None) or {}

    def _one_by_one(self) -> list[str]:
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
        return _differences(joined, whole, "for samples one by one and for the batch")

    def _fresh(self) -> list[str]:
        layer, x = self._make(), self.x.copy()
        y, cache = layer.forward(x, training=False, rng=self.key)
        dy = self._upstream(y)
        dx, grads = layer.backward(dy, cache)
        results = {"dx": dx, **{f"d{name}": value for name, value in grads.items()}}
        given = {"x": x, "dy": dy, "y": y, **(getattr(layer, "params", None) or {})}
        pairs = [("y", y, name, value) for name, value in given.items() if name not in ("y", "dy")]
        pairs += [(ours, a, name, b) for ours, a in results.items() for name, b in given.items()]
        pairs += [(one, a, other, b) for (one, a), (other, b) in combinations(results.items(), 2)]
        return [
            f"{one} shares its memory with {other}: return a fresh array, e.g. a .copy()."
            for one, a, other, b in pairs
            if np.shares_memory(a, b)
        ]

    def _layouts(self) -> list[str]:
        """Views of other arrays, which a user may pass."""
        layer = self._make()
        plain = self._run(layer, self.x)
        dy = self._upstream(plain["y"])
        faults = []
        for layout, view in LAYOUTS.items():
            try:
                faults += _differences(self._run(layer, view(self.x), view(dy)), plain, f"for arrays {layout}")
            except Exception as error:
                faults.append(f"arrays {layout} make a {type(error).__name__}: {error}")
        return faults


def _with_gaps(array: Array) -> Array:
    wide = np.repeat(array, 2, axis=-1)
    wide[..., 1::2] = np.nan
    return wide[..., ::2]


# The same numbers in another memory layout: what it is → a view of them.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "with gaps in memory": _with_gaps,
    "in Fortran's order": lambda array: array.copy(order="F"),
    "stored backwards": lambda array: array[..., ::-1].copy()[..., ::-1],
}


def _differences(actual: dict[str, Array], expected: dict[str, Array], what: str) -> list[str]:
    faults = []
    for name in expected:
        try:
            assert_close(actual[name], expected[name], name)
        except AssertionError as error:
            faults.append(f"{name} differs {what}: {error}")
    return faults


# ------------------------------------------------------------------------------------------------ strategies for Hypothesis


def _hypothesis() -> Any:
    try:
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError("the strategies of minidl.testing need Hypothesis: pip install 'minidl[test]'.") from error
    return hypothesis.strategies


def _normal(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.normal(size=shape)


# What an input may be like: name → (rng, shape) → x.
KINDS: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "normal": _normal,
    "ties": lambda rng, shape: rng.integers(-2, 3, shape).astype(np.float64),
    "constant": lambda rng, shape: np.full(shape, rng.normal()),
    "zeros": lambda rng, shape: np.zeros(shape),
    "large": lambda rng, shape: rng.normal(size=shape) * 1e6,
    "small": lambda rng, shape: rng.normal(size=shape) * 1e-6,
    "mixed": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.integers(-6, 7, shape),
}


def inputs(
    shape: Shape,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    max_samples: int = 4,
    dtype: Any = np.float64,
    strided: bool = True,
) -> "SearchStrategy[Array]":
    """Strategy of batches x (N, *shape), N from 1 to max_samples, of any of the KINDS; strided: in any of the LAYOUTS, too."""
    st = _hypothesis()
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds must be among {', '.join(KINDS)}, received {unknown[0]!r}.")

    def make(samples: int, kind: str, seed: int, view: Callable[[Array], Array]) -> Array:
        return view(KINDS[kind](np.random.default_rng(seed), (samples, *shape)).astype(dtype))

    views = st.sampled_from([np.ascontiguousarray, *(LAYOUTS.values() if strided else ())])
    strategy: SearchStrategy[Array] = st.builds(
        make, st.integers(1, max_samples), st.sampled_from(list(kinds)), st.integers(0, 2**32 - 1), views
    )
    return strategy


def shapes(rank: int = 1, max_size: int = 6) -> "SearchStrategy[Shape]":
    """Strategy of the shapes of a sample, e.g. (H, W, C) for rank=3."""
    st = _hypothesis()
    strategy: SearchStrategy[Shape] = st.tuples(*[st.integers(1, max_size)] * rank)
    return strategy


def layer_configurations() -> "SearchStrategy[tuple[Callable[[], Any], Shape]]":
    """Strategy of (factory, input_shape): every layer of the library, with any of its settings, on samples that fit it."""
    st = _hypothesis()
    activations = st.sampled_from(list(ACTIVATIONS))
    small = st.integers(1, 4)
    pair = st.tuples(small, small)

    def images(make: Callable[..., Any]) -> Callable[..., tuple[Callable[[], Any], Shape]]:
        """The window may not be larger than an image that is not padded: the image is made larger by it."""

        def build(window: Any, strides: Any, padding: str, extra: Shape, *rest: Any) -> Any:
            height, width = window if padding == "valid" else (1, 1)
            shape = (extra[0] + height - 1, extra[1] + width - 1, extra[2])
            return (lambda: make(window, strides, padding, *rest)), shape

        return build

    def any_shape(make: Callable[..., Any], *settings: Any) -> Any:
        ranks = st.one_of(*(shapes(rank, 4) for rank in (1, 2, 3)))
        return st.builds(lambda shape, *values: ((lambda: make(*values)), shape), ranks, *settings)

    windows = (pair, pair, st.sampled_from(["valid", "same"]), st.tuples(small, small, small))
    conv = images(lambda window, strides, padding, *rest: Conv2D(rest[0], window, strides, padding, **rest[1]))
    pool = images(lambda window, strides, padding: MaxPooling2D(window, strides, padding))
    keywords = st.fixed_dictionaries({"activation": activations, "use_bias": st.booleans()})
    # From two units on: the softmax of a single one is 1 whatever happens, and there is nothing to prove.
    units = st.integers(2, 4)
    dense = st.builds(lambda units, more, size: ((lambda: Dense(units, **more)), (size,)), units, keywords, small)
    strategy: SearchStrategy[tuple[Callable[[], Any], Shape]] = st.one_of(
        dense,
        st.builds(conv, *windows, units, keywords),
        st.builds(pool, *windows),
        any_shape(Activation, activations.filter(lambda name: name != "softmax")),
        any_shape(Dropout, st.sampled_from([0.0, 0.2, 0.5])),
        st.builds(lambda size: ((lambda: Activation("softmax")), (size,)), st.integers(2, 5)),
        any_shape(Flatten),
        any_shape(Rescaling, st.sampled_from([1 / 255, -2.0]), st.sampled_from([0.0, 0.5])),
    )
    return strategy
