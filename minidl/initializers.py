"""Initial weights: random, so that units differ, and scaled so that signals neither fade nor explode.

An initializer is a function (shape, rng, dtype) → array. The library's are objects, so that a file can store their settings.
"""

import math
from typing import Any

import numpy as np

from .checks import check_choice, check_number, is_number
from .contracts import Array, Config, DType, Shape
from .contracts import Initializer as InitializerLike
from .utils.lookup import by_name, spelled
from .utils.settings import settings


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs feed an output (fan-in), and how many outputs an input feeds (fan-out).

    (D, U) → D, U. (KH, KW, C, F) → KH · KW · C, KH · KW · F. (U,) → U, U, as in Keras.
    """
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


class Initializer:
    """What the library's initializers share: a subclass defines ``draw``, your own one ``__call__``."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        """(shape, rng, dtype) → a new array. With anything else the initializer of these settings: Keras has he_normal() for
        HeNormal(), and he_normal is one here."""
        if len(given) == 3 or named.keys() & {"shape", "rng", "dtype"}:
            return self.draw(*given, **named)
        return type(self)(*given, **named)

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        """A new array of this shape and dtype."""
        raise NotImplementedError

    def get_config(self) -> Config:
        """The arguments that recreate it, by name."""
        return settings(self)


class VarianceScaling(Initializer):
    """Random with variance scale / fan, so that a layer's outputs are as large as its inputs.

    mode: the fan: "fan_in", "fan_out", or "fan_avg", their mean. distribution: "uniform", "untruncated_normal", or
    "truncated_normal", which is cut off at two standard deviations.
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal") -> None:
        self.scale = check_number(scale, "scale", 0)
        self.mode = check_choice(mode, ("fan_in", "fan_out", "fan_avg"), "mode")
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = check_choice(distribution, kinds, "distribution")

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        if self.distribution == "uniform":
            limit = math.sqrt(3 * self.scale / fan)
            return rng.uniform(-limit, limit, shape).astype(dtype)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, math.sqrt(self.scale / fan), shape).astype(dtype)
        # the standard deviation that the cut leaves of 1
        return (_truncated(shape, rng) * (math.sqrt(self.scale / fan) / 0.87962566103423978)).astype(dtype)


class GlorotUniform(VarianceScaling):
    """Uniform in ±√(6 / (fan_in + fan_out)). Glorot and Bengio 2010: variances stay alike forward and backward."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg", "uniform")


class GlorotNormal(VarianceScaling):
    """Normal with variance 2 / (fan_in + fan_out), cut off at two standard deviations. Glorot and Bengio 2010."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_avg")


class HeUniform(VarianceScaling):
    """Uniform in ±√(6 / fan_in). He et al. 2015: made for ReLU, which halves the variance."""

    def __init__(self) -> None:
        super().__init__(2.0, "fan_in", "uniform")


class HeNormal(VarianceScaling):
    """Normal with variance 2 / fan_in, cut off at two standard deviations. He et al. 2015."""

    def __init__(self) -> None:
        super().__init__(2.0)


class LecunUniform(VarianceScaling):
    """Uniform in ±√(3 / fan_in). LeCun et al. 1998."""

    def __init__(self) -> None:
        super().__init__(1.0, "fan_in", "uniform")


class LecunNormal(VarianceScaling):
    """Normal with variance 1 / fan_in, cut off at two standard deviations: made for selu (Klambauer et al. 2017)."""

    def __init__(self) -> None:
        super().__init__(1.0)


class RandomUniform(Initializer):
    """Uniform from minval to maxval."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval, self.maxval = check_number(minval, "minval"), check_number(maxval, "maxval")

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        return rng.uniform(self.minval, self.maxval, shape).astype(dtype)


class RandomNormal(Initializer):
    """Normal with this mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean, self.stddev = check_number(mean, "mean"), check_number(stddev, "stddev", 0)

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        return rng.normal(self.mean, self.stddev, shape).astype(dtype)


class TruncatedNormal(RandomNormal):
    """Normal with this mean and standard deviation, drawn again where it is more than two of these from the mean."""

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        return (self.mean + self.stddev * _truncated(shape, rng)).astype(dtype)


class Orthogonal(Initializer):
    """gain times a matrix whose columns (of a wide one, whose rows) are orthogonal and of length 1 (Saxe et al. 2014).

    It turns and mirrors what passes through it, and changes no length. A kernel of more axes counts as a matrix (…, F).
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = check_number(gain, "gain")

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal makes arrays of two axes or more, received shape {shape}.")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        q = q * np.sign(np.diagonal(r))  # or not all orthogonal matrices would be equally likely
        return np.asarray(self.gain * (q if rows >= columns else q.T).reshape(shape), dtype)


class Identity(Initializer):
    """gain times the identity matrix, with zeros beside or below where it is not square."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = check_number(gain, "gain")

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        if len(shape) != 2:
            raise ValueError(f"Identity makes matrices, received shape {shape}.")
        return np.asarray(self.gain * np.eye(*shape), dtype)


class Constant(Initializer):
    """Every weight is ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        if not is_number(value):
            raise ValueError(f"Constant value must be a number, received {value!r}.")
        self.value = float(value)

    def draw(self, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
        return np.full(shape, self.value, dtype)


class Zeros(Constant):
    """All 0: right for biases; as a kernel it would keep all units of a layer alike forever."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """All 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


constant = Constant  # Keras has both spellings

# Ready to be called: he_normal(shape, rng, dtype).
glorot_uniform, glorot_normal = GlorotUniform(), GlorotNormal()
he_uniform, he_normal = HeUniform(), HeNormal()
lecun_uniform, lecun_normal = LecunUniform(), LecunNormal()
random_uniform, random_normal, truncated_normal = RandomUniform(), RandomNormal(), TruncatedNormal()
orthogonal, identity, zeros, ones = Orthogonal(), Identity(), Zeros(), Ones()

INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_uniform": lecun_uniform,
    "lecun_normal": lecun_normal,
    "random_uniform": random_uniform,
    "uniform": random_uniform,
    "random_normal": random_normal,
    "normal": random_normal,
    "truncated_normal": truncated_normal,
    "orthogonal": orthogonal,
    "identity": identity,
    "zeros": zeros,
    "ones": ones,
}


def get(initializer: str | InitializerLike) -> InitializerLike:
    """The initializer of that name, or the function itself."""
    if isinstance(initializer, str):
        return by_name(INITIALIZERS, spelled(INITIALIZERS, initializer), "initializer")
    if isinstance(initializer, type):
        initializer = initializer()  # with its defaults, as in Keras
    if not callable(initializer):
        raise TypeError(
            f"an initializer must be a name or a function (shape, rng, dtype) → array, received {initializer!r}."
        )
    return initializer


def name_of(initializer: InitializerLike) -> str | InitializerLike:
    """The name of one of the library's initializers, or the function itself."""
    for name, ours in INITIALIZERS.items():  # a copy of a layer has a copy of its initializer
        if isinstance(initializer, Initializer) and _identity(initializer) == _identity(ours):
            return name
    return initializer


def _identity(initializer: Initializer) -> tuple[type, Config]:
    """Equal for initializers that do the same."""
    return type(initializer), initializer.get_config()


def allocate(initializer: InitializerLike, shape: Shape, rng: np.random.Generator, dtype: DType) -> Array:
    """A new array, C-contiguous and of this dtype, whatever the function returns. Raises ValueError for another shape."""
    values = np.array(initializer(shape, rng, dtype), dtype, order="C")
    if values.shape != shape:
        name = getattr(initializer, "__name__", type(initializer).__name__)
        raise ValueError(f"the initializer {name} must return an array of shape {shape}, received {values.shape}.")
    return values


def _truncated(shape: Shape, rng: np.random.Generator) -> Array:
    """Standard normal numbers, drawn again where they fall outside two standard deviations."""
    values: Array = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values
