"""For tests of layers: ``check_layer`` tests everything about a layer in one line, and strategies draw inputs and layers.

The strategies are for Hypothesis, which comes with an extra: pip install 'minidl[test]'.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .cases import LAYERS, Case
from .checking.closeness import LAYOUTS, TOLERANCES, assert_close
from .checking.rungs import Result
from .checking.trial import LayerError, check_layer
from .contracts import Array, Shape

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

# ------------------------------------------------------------------------------------------------ strategies for Hypothesis


def _hypothesis() -> Any:
    try:
        import hypothesis.strategies
    except ImportError as error:
        raise ImportError("the strategies of minidl.testing need Hypothesis: pip install 'minidl[test]'.") from error
    return hypothesis.strategies


def _normal(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.normal(size=shape)


# The kinds of inputs: name → (rng, shape) → x.
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
    """Strategy for batches x (N, *shape), N from 1 to max_samples, of any of the kinds; strided: also in any of the LAYOUTS."""
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
    """Strategy for the shape of one sample, e.g. (H, W, C) for rank=3."""
    st = _hypothesis()
    strategy: SearchStrategy[Shape] = st.tuples(*[st.integers(1, max_size)] * rank)
    return strategy


def layer_configurations() -> "SearchStrategy[tuple[Callable[[], Any], Shape]]":
    """Strategy for (factory, input_shape): any layer of the library, with any settings, and a sample shape that fits it."""
    st = _hypothesis()

    def make(name: str, seed: int) -> Case:
        return LAYERS[name].draw(np.random.default_rng(seed))

    strategy: SearchStrategy[Case] = st.builds(make, st.sampled_from(list(LAYERS)), st.integers(0, 2**32 - 1))
    return strategy
