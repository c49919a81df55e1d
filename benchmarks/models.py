"""The models of all benchmarks as plain data, so that every library trains the same: 28 × 28 grey images in, ten classes out."""

import math
from typing import NamedTuple

IMAGE = (28, 28, 1)  # height, width, channels
EVALUATION_BATCH = 1000  # images at once, where a contestant has to be told
LEARNING_RATE = 0.001  # of Adam

Shape = tuple[int, ...]


class Rescaling(NamedTuple):
    """Multiplies its input, which may be integers."""

    scale: float


class Conv(NamedTuple):
    """A convolution with a square window, stride 1 and no padding, then a ReLU."""

    filters: int
    window: int


class Pool(NamedTuple):
    """The maximum of each size × size square."""

    size: int


class Dropout(NamedTuple):
    """Sets a share of its input to zero in training."""

    rate: float


class Flatten(NamedTuple):
    """An image as one row of numbers."""


class Dense(NamedTuple):
    """A dense layer; activation: "relu" or "softmax"."""

    units: int
    activation: str


Layer = Rescaling | Conv | Pool | Dropout | Flatten | Dense


class Model(NamedTuple):
    """What is trained: the title that tables show, the batch size (samples) and the layers."""

    title: str
    batch_size: int
    layers: tuple[Layer, ...]


MODELS = {
    "mlp": Model("MLP 784–784–10", 200, (Flatten(), Dense(784, "relu"), Dense(10, "softmax"))),
    "cnn": Model(
        "CNN",
        200,
        (Conv(32, 5), Pool(2), Dropout(0.2), Flatten(), Dense(128, "relu"), Dense(10, "softmax")),
    ),
    "larger_cnn": Model(
        "larger CNN",
        200,
        (
            Conv(30, 5),
            Pool(2),
            Conv(15, 3),
            Pool(2),
            Dropout(0.2),
            Flatten(),
            Dense(128, "relu"),
            Dense(50, "relu"),
            Dense(10, "softmax"),
        ),
    ),
    "mnist_convnet": Model(
        "Keras's mnist_convnet",
        128,
        (Conv(32, 3), Pool(2), Conv(64, 3), Pool(2), Flatten(), Dropout(0.5), Dense(10, "softmax")),
    ),
}


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape of one sample behind the layer, from the one in front of it."""
    match layer:
        case Conv(filters, window):
            return (shape[0] - window + 1, shape[1] - window + 1, filters)
        case Pool(size):
            return (shape[0] // size, shape[1] // size, shape[2])
        case Flatten():
            return (math.prod(shape),)
        case Dense(units):
            return (units,)
    return shape


def with_shapes(model: Model) -> list[tuple[Layer, Shape, Shape]]:
    """Each layer with the shapes of a sample in front of it and behind it."""
    result: list[tuple[Layer, Shape, Shape]] = []
    shape: Shape = IMAGE
    for layer in model.layers:
        after = output_shape(layer, shape)
        result.append((layer, shape, after))
        shape = after
    return result
