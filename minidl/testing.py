"""For tests of layers, ours and yours: ``check_layer`` tries a layer in every way in one line, and strategies draw what to try.

``check_layer`` needs nothing else. The strategies are for Hypothesis, which comes with the extra: pip install 'minidl[test]'.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .checking.closeness import LAYOUTS, TOLERANCES, assert_close
from .checking.rungs import Result
from .checking.trial import LayerError, check_layer
from .layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling
from .layers.activation import ACTIVATIONS
from .ops.geometry import Array

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = [
    "KINDS",
    "LAYOUTS",
    "TOLERANCES",
    "LayerError",
    "Result",
    "assert_close",
    "check_layer",
    "inputs",
    "layer_configurations",
    "shapes",
]

Shape = tuple[int, ...]

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
