"""The configurations of each layer that are tried: one table for the certificate, the strategies of ``testing`` and the tests."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np

from .contracts import Pair, Shape
from .layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    LayerNormalization,
    LeakyReLU,
    MaxPooling2D,
    RandomAffine,
    RandomElasticTransform,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    ReLU,
    Rescaling,
    Reshape,
    Residual,
    Softmax,
    SpatialDropout2D,
    Stack,
    UpSampling2D,
    ZeroPadding2D,
)
from .layers.activation import ACTIVATIONS
from .layers.augmentation import FILL_MODES, INTERPOLATIONS

Case: TypeAlias = tuple[Callable[[], Layer], Shape]  # makes a new layer; the shape of a sample


class LayerCases(NamedTuple):
    """The configurations of one layer.

    examples: chosen by hand, with odd sizes, sizes of 1, and height ≠ width. draw: returns a random small configuration.
    """

    examples: list[Case]
    draw: Callable[[np.random.Generator], Case]


def _activation(rng: np.random.Generator) -> str:
    return str(rng.choice(list(ACTIVATIONS)))


def _shape(rng: np.random.Generator) -> Shape:
    """A random shape of one to three axes."""
    return tuple(int(size) for size in rng.integers(1, 5, size=rng.integers(1, 4)))


def _pair(rng: np.random.Generator, most: int = 4) -> Pair:
    height, width = rng.integers(1, most + 1, size=2)
    return int(height), int(width)


def _images(rng: np.random.Generator, window: Pair, padding: str) -> Shape:
    """The shape of an image that the window fits into; with padding the window may be larger."""
    height, width = window if padding == "valid" else (1, 1)
    rows, columns, channels = rng.integers(0, 4, size=3)
    return height + int(rows), width + int(columns), 1 + int(channels)


def _padding(rng: np.random.Generator) -> str:
    return str(rng.choice(["valid", "same"]))


def _dense(rng: np.random.Generator) -> Case:
    # at least two units: the softmax of one unit is always 1, which leaves nothing to prove
    units, activation, use_bias = int(rng.integers(2, 5)), _activation(rng), bool(rng.integers(2))
    return lambda: Dense(units, activation, use_bias), (int(rng.integers(1, 5)),)


def _convolution(layer: type[Conv2D], rng: np.random.Generator) -> Case:
    window, strides, padding = _pair(rng), _pair(rng), _padding(rng)
    filters, activation, use_bias = int(rng.integers(2, 5)), _activation(rng), bool(rng.integers(2))
    return (
        lambda: layer(filters, window, strides, padding, activation=activation, use_bias=use_bias),
        _images(rng, window, padding),
    )


def _pooling(layer: type[MaxPooling2D] | type[AveragePooling2D], rng: np.random.Generator) -> Case:
    window, padding = _pair(rng), _padding(rng)
    strides = None if rng.integers(2) else _pair(rng)
    return lambda: layer(window, strides, padding), _images(rng, window, padding)


def _global_pooling(layer: type[GlobalAveragePooling2D] | type[GlobalMaxPooling2D], rng: np.random.Generator) -> Case:
    keepdims = bool(rng.integers(2))
    return lambda: layer(keepdims), (*_pair(rng), int(rng.integers(1, 4)))


def _up_sampling(rng: np.random.Generator) -> Case:
    size = _pair(rng, 3)
    return lambda: UpSampling2D(size), (*_pair(rng), int(rng.integers(1, 4)))


def _reshape(rng: np.random.Generator) -> Case:
    rows, columns = _pair(rng)
    return lambda: Reshape((columns, -1)), (rows, columns, int(rng.integers(1, 4)))


def _relu(rng: np.random.Generator) -> Case:
    most = None if rng.integers(2) else float(rng.choice([0.3, 1.1]))
    slope, threshold = float(rng.choice([0.0, 0.25])), float(rng.choice([0.0, 0.15, 0.6]))
    return lambda: ReLU(most, slope, threshold), _shape(rng)


def _leaky_relu(rng: np.random.Generator) -> Case:
    slope = float(rng.choice([0.0, 0.3, 1.5]))
    return lambda: LeakyReLU(slope), _shape(rng)


def _noise(rng: np.random.Generator) -> Case:
    stddev = float(rng.choice([0.0, 0.1, 2.0]))
    return lambda: GaussianNoise(stddev), _shape(rng)


def _layer_normalization(rng: np.random.Generator) -> Case:
    epsilon, center, scale = float(rng.choice([1e-3, 0.5])), bool(rng.integers(2)), bool(rng.integers(2))
    return (
        lambda: LayerNormalization(epsilon=epsilon, center=center, scale=scale),
        (*_shape(rng)[:-1], int(rng.integers(3, 7))),
    )


def _batch_normalization(rng: np.random.Generator) -> Case:
    epsilon, center, scale = float(rng.choice([1e-3, 0.5])), bool(rng.integers(2)), bool(rng.integers(2))
    return lambda: BatchNormalization(epsilon=epsilon, center=center, scale=scale), _shape(rng)


def _padded(rows: Pair, columns: Pair) -> Callable[[], ZeroPadding2D]:
    return lambda: ZeroPadding2D((rows, columns))


def _warp(make: Callable[..., Layer], rng: np.random.Generator, factors: tuple[str, ...] = ()) -> Case:
    """A layer that reads images at other places; each of these factors is drawn."""
    settings: dict[str, float | str] = {name: float(rng.uniform(0.05, 0.6)) for name in factors}
    settings |= {"fill_mode": str(rng.choice(FILL_MODES)), "interpolation": str(rng.choice(INTERPOLATIONS))}
    return lambda: make(**settings, fill_value=0.5), (*_pair(rng, 6), int(rng.integers(1, 4)))


def _erasing(rng: np.random.Generator) -> Case:
    fill = None if rng.integers(2) else 0.5
    return lambda: RandomErasing((0.5, 1), (0.1, 0.6), fill, (-1, 1)), (*_pair(rng), int(rng.integers(1, 4)))


def _dropout(rng: np.random.Generator) -> Case:
    rate = float(rng.choice([0.0, 0.2, 0.5]))
    return lambda: Dropout(rate), _shape(rng)


def _spatial_dropout(rng: np.random.Generator) -> Case:
    rate = float(rng.choice([0.0, 0.2, 0.5]))
    return lambda: SpatialDropout2D(rate), (*_pair(rng), int(rng.integers(1, 5)))


def _rescaling(rng: np.random.Generator) -> Case:
    scale, offset = float(rng.choice([1 / 255, -2.0])), float(rng.choice([0.0, 0.5]))
    return lambda: Rescaling(scale, offset), _shape(rng)


def _activation_layer(rng: np.random.Generator) -> Case:
    name = _activation(rng)
    return lambda: Activation(name), (*_shape(rng)[:-1], int(rng.integers(2, 6)))


def _stack(rng: np.random.Generator) -> Case:
    units, window, padding = int(rng.integers(1, 4)), _pair(rng, 3), _padding(rng)

    def make() -> Stack:
        convolution = Conv2D(units, window, padding=padding, activation="tanh")
        return Stack([convolution, Flatten(), Stack([Dense(units + 1, "sigmoid"), Dense(2)])])

    return make, _images(rng, window, padding)


def _residual(rng: np.random.Generator) -> Case:
    features, units, projected = int(rng.integers(1, 5)), int(rng.integers(1, 5)), bool(rng.integers(2))
    output = units if projected else features
    return (
        lambda: Residual([Dense(3, "tanh"), Dense(output)], Dense(output, use_bias=False) if projected else None),
        (features,),
    )


LAYERS: dict[str, LayerCases] = {
    "Dense": LayerCases(
        [
            (lambda: Dense(4), (5,)),
            (lambda: Dense(3, activation="relu"), (7,)),
            (lambda: Dense(1, use_bias=False), (1,)),
            (lambda: Dense(5, activation="softmax"), (3,)),
        ],
        _dense,
    ),
    "Conv2D": LayerCases(
        [
            (lambda: Conv2D(3, 3), (6, 5, 2)),
            (lambda: Conv2D(2, (2, 3), strides=(2, 1), padding="same", activation="relu"), (7, 6, 3)),
            (lambda: Conv2D(4, (5, 1), strides=2, padding="same"), (5, 9, 1)),
            (lambda: Conv2D(2, 1, strides=3, use_bias=False), (7, 7, 2)),
            (lambda: Conv2D(15, 3, activation="tanh"), (4, 4, 1)),
        ],
        partial(_convolution, Conv2D),
    ),
    "MaxPooling2D": LayerCases(
        [
            (lambda: MaxPooling2D(), (4, 6, 3)),
            (lambda: MaxPooling2D(3, strides=1), (5, 5, 2)),
            (lambda: MaxPooling2D((2, 3), strides=(3, 2), padding="same"), (7, 8, 1)),
            (lambda: MaxPooling2D(2, strides=3), (8, 7, 2)),
        ],
        partial(_pooling, MaxPooling2D),
    ),
    "Conv2DTranspose": LayerCases(
        [
            (lambda: Conv2DTranspose(3, 3), (3, 2, 2)),
            (lambda: Conv2DTranspose(2, (2, 3), strides=(2, 1), padding="same", activation="relu"), (3, 4, 3)),
            (lambda: Conv2DTranspose(4, (5, 1), strides=2, padding="same", activation="gelu"), (2, 3, 1)),
            (lambda: Conv2DTranspose(2, 1, strides=3, use_bias=False), (2, 3, 2)),
        ],
        partial(_convolution, Conv2DTranspose),
    ),
    "AveragePooling2D": LayerCases(
        [
            (lambda: AveragePooling2D(), (4, 6, 3)),
            (lambda: AveragePooling2D(3, strides=1), (5, 5, 2)),
            (lambda: AveragePooling2D((2, 3), strides=(3, 2), padding="same"), (7, 8, 1)),
            (lambda: AveragePooling2D(2, strides=3), (8, 7, 2)),
        ],
        partial(_pooling, AveragePooling2D),
    ),
    "GlobalAveragePooling2D": LayerCases(
        [(lambda: GlobalAveragePooling2D(), (3, 5, 2)), (lambda: GlobalAveragePooling2D(keepdims=True), (1, 1, 3))],
        partial(_global_pooling, GlobalAveragePooling2D),
    ),
    "GlobalMaxPooling2D": LayerCases(
        [(lambda: GlobalMaxPooling2D(), (3, 5, 2)), (lambda: GlobalMaxPooling2D(keepdims=True), (1, 1, 3))],
        partial(_global_pooling, GlobalMaxPooling2D),
    ),
    "UpSampling2D": LayerCases(
        [(lambda: UpSampling2D(), (2, 3, 2)), (lambda: UpSampling2D((3, 1)), (1, 4, 1))], _up_sampling
    ),
    "ZeroPadding2D": LayerCases(
        [(lambda: ZeroPadding2D(), (2, 3, 2)), (lambda: ZeroPadding2D(((0, 2), (1, 0))), (3, 1, 1))],
        lambda rng: (_padded(_pair(rng), _pair(rng)), (*_pair(rng), 2)),
    ),
    "Dropout": LayerCases(
        [(lambda: Dropout(0.2), (8,)), (lambda: Dropout(0.7), (3, 4, 2)), (lambda: Dropout(0), (5,))], _dropout
    ),
    "SpatialDropout2D": LayerCases(
        [(lambda: SpatialDropout2D(0.4), (3, 2, 6)), (lambda: SpatialDropout2D(0), (2, 2, 1))], _spatial_dropout
    ),
    "GaussianNoise": LayerCases(
        [(lambda: GaussianNoise(0.2), (8,)), (lambda: GaussianNoise(3), (3, 4, 2)), (lambda: GaussianNoise(0), (5,))],
        _noise,
    ),
    "RandomTranslation": LayerCases(
        [
            (lambda: RandomTranslation(0.3, 0.2), (5, 4, 2)),
            (lambda: RandomTranslation((-0.1, 0.9), 0, "constant", "nearest", fill_value=0.5), (3, 1, 1)),
        ],
        partial(_warp, RandomTranslation, factors=("height_factor", "width_factor")),
    ),
    "RandomRotation": LayerCases(
        [
            (lambda: RandomRotation(0.1), (5, 4, 1)),
            (lambda: RandomRotation((0.2, 0.4), "wrap"), (2, 3, 3)),
        ],
        partial(_warp, RandomRotation, factors=("factor",)),
    ),
    "RandomZoom": LayerCases(
        [
            (lambda: RandomZoom(0.4), (4, 5, 2)),
            (lambda: RandomZoom((0.3, 1), -0.5, "nearest"), (3, 2, 1)),
        ],
        partial(_warp, RandomZoom, factors=("height_factor", "width_factor")),
    ),
    "RandomShear": LayerCases(
        [
            (lambda: RandomShear(0.3, 0.2), (5, 4, 1)),
            (lambda: RandomShear(y_factor=(0.1, 1), fill_mode="constant"), (3, 4, 2)),
        ],
        partial(_warp, RandomShear, factors=("x_factor", "y_factor")),
    ),
    "RandomAffine": LayerCases(
        [
            (lambda: RandomAffine(0.1, 0.2, 0.3, 0.4, "constant", fill_value=-1), (5, 4, 2)),
            (lambda: RandomAffine(zoom=(0.1, 0.2)), (1, 3, 1)),
        ],
        partial(_warp, RandomAffine, factors=("rotation", "translation", "zoom", "shear")),
    ),
    "RandomElasticTransform": LayerCases(
        [
            (lambda: RandomElasticTransform((1, 1), (1, 1)), (8, 9, 1)),
            (lambda: RandomElasticTransform(scale=(0.2, 0.9), fill_mode="constant"), (3, 4, 2)),
        ],
        partial(_warp, RandomElasticTransform, factors=("factor", "scale")),
    ),
    "RandomErasing": LayerCases(
        [
            (lambda: RandomErasing((1, 1), (0.3, 0.5), value_range=(-2, 1)), (5, 4, 2)),
            (lambda: RandomErasing(0.9, fill_value=0.25, value_range=(0, 1)), (3, 6, 1)),
        ],
        _erasing,
    ),
    "LayerNormalization": LayerCases(
        [
            (lambda: LayerNormalization(), (5,)),
            (lambda: LayerNormalization(epsilon=0.1, scale=False), (2, 3, 4)),
            (lambda: LayerNormalization(center=False), (2, 6)),
        ],
        _layer_normalization,
    ),
    "BatchNormalization": LayerCases(
        [
            (lambda: BatchNormalization(), (5,)),
            (lambda: BatchNormalization(epsilon=0.1, scale=False), (3, 2, 4)),
            (lambda: BatchNormalization(center=False, moving_mean_initializer="ones"), (2, 3)),
        ],
        _batch_normalization,
    ),
    "Reshape": LayerCases([(lambda: Reshape((4, 2)), (8,)), (lambda: Reshape((-1,)), (3, 4, 2))], _reshape),
    "Flatten": LayerCases(
        [(lambda: Flatten(), (3, 4, 2)), (lambda: Flatten(), (5,))], lambda rng: (lambda: Flatten(), _shape(rng))
    ),
    "Rescaling": LayerCases(
        [(lambda: Rescaling(1 / 255), (4, 4, 1)), (lambda: Rescaling(-2, offset=3), (6,))], _rescaling
    ),
    "Activation": LayerCases(
        [(lambda: Activation("relu"), (3, 3, 2)), (lambda: Activation("softmax"), (4,))], _activation_layer
    ),
    "Softmax": LayerCases(
        [(lambda: Softmax(), (4,)), (lambda: Softmax(), (2, 3))],
        lambda rng: (lambda: Softmax(), (*_shape(rng)[:-1], int(rng.integers(2, 6)))),
    ),
    "LeakyReLU": LayerCases([(lambda: LeakyReLU(), (3, 3, 2)), (lambda: LeakyReLU(0.01), (5,))], _leaky_relu),
    "ReLU": LayerCases(
        [
            (lambda: ReLU(), (3, 3, 2)),
            (lambda: ReLU(6), (5,)),
            (lambda: ReLU(max_value=1.1, negative_slope=0.1, threshold=0.3), (4, 2)),
        ],
        _relu,
    ),
    "Stack": LayerCases(
        [
            (lambda: Stack([Dense(3, "tanh"), Dense(2)]), (4,)),
            (lambda: Stack([Conv2D(2, 2), Stack([MaxPooling2D(), Flatten()]), Dense(3, "softmax")]), (5, 4, 1)),
        ],
        _stack,
    ),
    "Residual": LayerCases(
        [
            (lambda: Residual([Dense(3, "tanh"), Dense(4)]), (4,)),
            (lambda: Residual([Conv2D(3, 3, 2, "same", activation="relu")], Conv2D(3, 1, 2)), (5, 6, 2)),
            (lambda: Residual([Residual([Dense(5, "sigmoid"), Dense(3)], name="inner"), Dropout(0.3)]), (3,)),
        ],
        _residual,
    ),
}
