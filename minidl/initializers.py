"""Initial weights: random, so that units differ, and scaled so that signals neither fade nor explode."""

import math

import numpy as np

from .checks import is_number
from .contracts import Array, Config, DType, Initializer, Shape
from .utils.lookup import by_name


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs feed an output (fan-in), and how many outputs an input feeds (fan-out).

    (D, U) → D, U. (KH, KW, C, F) → KH · KW · C, KH · KW · F. (U,) → U, U, as in Keras.
    """
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def glorot_uniform(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """Uniform in ±√(6 / (fan_in + fan_out)). Glorot and Bengio 2010: variances stay alike forward and backward."""
    return _uniform(shape, rng, dtype, 6 / sum(fans(shape)))


def glorot_normal(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """Normal with variance 2 / (fan_in + fan_out), cut off at two standard deviations. Glorot and Bengio 2010."""
    return _truncated_normal(shape, rng, dtype, 2 / sum(fans(shape)))


def he_uniform(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """Uniform in ±√(6 / fan_in). He et al. 2015: made for ReLU, which halves the variance."""
    return _uniform(shape, rng, dtype, 6 / fans(shape)[0])


def he_normal(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """Normal with variance 2 / fan_in, cut off at two standard deviations. He et al. 2015."""
    return _truncated_normal(shape, rng, dtype, 2 / fans(shape)[0])


def random_normal(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """Normal with standard deviation 0.05, as Keras's "random_normal" (formerly "normal")."""
    return rng.normal(0.0, 0.05, shape).astype(dtype)


def zeros(shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """All 0: right for biases; as a kernel it would keep all units of a layer alike forever."""
    return np.zeros(shape, dtype)


class Constant:
    """An initializer that sets every weight to ``value``. A class, so that a file can store the value."""

    def __init__(self, value: float) -> None:
        if not is_number(value):
            raise ValueError(f"Constant value must be a number, received {value!r}.")
        self.value = float(value)

    def __call__(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        return np.full(shape, self.value, dtype)

    def get_config(self) -> Config:
        """The argument that recreates it."""
        return {"value": self.value}


constant = Constant  # Keras has both spellings


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "random_normal": random_normal,
    "normal": random_normal,
    "zeros": zeros,
    "ones": Constant(1.0),
}


def get(initializer: str | Initializer) -> Initializer:
    """The initializer of that name, or the function itself."""
    if isinstance(initializer, str):
        return by_name(INITIALIZERS, initializer, "initializer")
    if not callable(initializer):
        raise TypeError(
            f"an initializer must be a name or a function (shape, rng, dtype) → array, received {initializer!r}."
        )
    return initializer


def name_of(initializer: Initializer) -> str | Initializer:
    """The name of one of the library's initializers, or the function itself."""
    return next((name for name, function in INITIALIZERS.items() if function is initializer), initializer)


def allocate(initializer: Initializer, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """A new array, C-contiguous and of this dtype, whatever the function returns. Raises ValueError for another shape."""
    values = np.array(initializer(shape, rng, dtype), dtype, order="C")
    if values.shape != shape:
        name = getattr(initializer, "__name__", type(initializer).__name__)
        raise ValueError(f"the initializer {name} must return an array of shape {shape}, received {values.shape}.")
    return values


def _uniform(shape: Shape, rng: np.random.Generator, dtype: DType, limit_squared: float) -> Array:
    limit = math.sqrt(limit_squared)
    return rng.uniform(-limit, limit, shape).astype(dtype)


def _truncated_normal(shape: Shape, rng: np.random.Generator, dtype: DType, variance: float) -> Array:
    """Draw again what falls outside two standard deviations; 0.8796… is the standard deviation that the cut leaves of 1."""
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return (values * (math.sqrt(variance) / 0.87962566103423978)).astype(dtype)
