"""The models of all benchmarks as plain data, so that every library trains the same."""

import math
from typing import NamedTuple

DIGIT = (28, 28, 1)  # height, width, channels
EVALUATION_BATCH = 1000  # images at once, where a contestant has to be told
LEARNING_RATE = 0.001  # of Adam

Shape = tuple[int, ...]


class Unsupported(ValueError):
    """A model that a library cannot train."""


class Rescaling(NamedTuple):
    """Multiplies its input, which may be integers."""

    scale: float


class Conv(NamedTuple):
    """A convolution with a square window, then a ReLU. padding: "valid" or "same", as Keras means them."""

    filters: int
    window: int
    strides: int = 1
    padding: str = "valid"


class Pool(NamedTuple):
    """The maximum of each size × size square."""

    size: int


class Norm(NamedTuple):
    """Batch normalization of each channel, with Keras's settings: moving averages that keep 0.99, ε = 0.001."""


class Dropout(NamedTuple):
    """Sets a share of its input to zero in training."""

    rate: float


class Flatten(NamedTuple):
    """An image as one row of numbers."""


class Dense(NamedTuple):
    """A dense layer; activation: "relu" or "softmax"."""

    units: int
    activation: str


Layer = Rescaling | Conv | Pool | Norm | Dropout | Flatten | Dense


class Model(NamedTuple):
    """What is trained: the title that tables show, the batch size (samples), the layers, and the shape of one sample.

    Samples of a digit's shape are the digits of MNIST; all others are random numbers (``worker.random_data``).
    """

    title: str
    batch_size: int
    layers: tuple[Layer, ...]
    shape: Shape = DIGIT

    @property
    def classes(self) -> int:
        """How many there are: the units of the last layer."""
        last = self.layers[-1]
        if not isinstance(last, Dense):
            raise ValueError(f"the last layer of a model must be Dense, received {last}.")
        return last.units


def perceptron(*units: int, batch_size: int) -> Model:
    """Dense layers with ReLU between them, and a softmax; units: those of the input first."""
    *hidden, classes = units[1:]
    layers = (*(Dense(n, "relu") for n in hidden), Dense(classes, "softmax"))
    title = f"MLP {'–'.join(map(str, units))}"
    if units[0] == math.prod(DIGIT):
        return Model(title, batch_size, (Flatten(), *layers))
    return Model(title, batch_size, layers, units[:1])


MODELS = {
    "mlp": perceptron(784, 784, 10, batch_size=200),
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
    "lenet5": Model(
        "LeNet-5",
        128,
        (
            Conv(6, 5),
            Pool(2),
            Conv(16, 5),
            Pool(2),
            Flatten(),
            Dense(120, "relu"),
            Dense(84, "relu"),
            Dense(10, "softmax"),
        ),
    ),
    "deep_cnn": Model(
        "deep CNN",
        128,
        (
            Conv(32, 3),
            Conv(32, 3),
            Pool(2),
            Conv(64, 3),
            Conv(64, 3),
            Pool(2),
            Flatten(),
            Dense(256, "relu"),
            Dense(10, "softmax"),
        ),
    ),
    "mnist_best": Model(
        "mnist_best.py's network",  # without its augmentation, which not every library has
        128,
        (
            Conv(32, 3),
            Conv(32, 3),
            Pool(2),
            Conv(64, 3),
            Conv(64, 3),
            Pool(2),
            Conv(128, 3, padding="same"),
            Flatten(),
            Dense(256, "relu"),
            Dropout(0.5),
            Dense(10, "softmax"),
        ),
    ),
    "normalized_cnn": Model(
        "CNN with batch normalization",
        128,
        (
            Conv(32, 3),
            Norm(),
            Pool(2),
            Conv(64, 3),
            Norm(),
            Pool(2),
            Flatten(),
            Dense(128, "relu"),
            Norm(),
            Dropout(0.5),
            Dense(10, "softmax"),
        ),
    ),
    "tiny_mlp": perceptron(4, 16, 16, 10, batch_size=32),
    "small_mlp": perceptron(784, 64, 10, batch_size=32),
    "three_layer_mlp": perceptron(30, 64, 64, 64, 10, batch_size=64),
}
OF_DIGITS = [name for name, model in MODELS.items() if model.shape == DIGIT]


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape of one sample behind the layer, from the one in front of it."""
    match layer:
        case Conv(filters, window, strides, padding):
            cut = 0 if padding == "same" else window - 1
            return (*(-(-(size - cut) // strides) for size in shape[:2]), filters)
        case Pool(size):
            return (shape[0] // size, shape[1] // size, shape[2])
        case Flatten():
            return (math.prod(shape),)
        case Dense(units):
            return (units,)
    return shape


def same_padding(size: int, window: int, strides: int) -> tuple[int, int]:
    """The zeros (before, after) of padding "same" along one axis; where their number is odd, the last one comes after."""
    zeros = max((-(-size // strides) - 1) * strides + window - size, 0)
    return zeros // 2, zeros - zeros // 2


def with_shapes(model: Model) -> list[tuple[Layer, Shape, Shape]]:
    """Each layer with the shapes of a sample in front of it and behind it."""
    result: list[tuple[Layer, Shape, Shape]] = []
    shape = model.shape
    for layer in model.layers:
        after = output_shape(layer, shape)
        result.append((layer, shape, after))
        shape = after
    return result
