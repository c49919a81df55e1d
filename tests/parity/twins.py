"""What the comparisons with PyTorch and with Keras share: the three MNIST models, digits to train on, and the tolerances.

A twin is the same model in the other library, with the same weights. ``-rP`` shows every measured difference:

    python -m pytest tests/parity -rP | grep difference
"""

import functools

import numpy as np

from minidl.datasets import mnist

# What may differ: the largest difference between the entries of two arrays, as a share of the twin's largest entry.
#
# float64, the proof: measured are 2e-15 for outputs and losses, 8e-15 for gradients, and 2e-13 for what 20 steps did to the
# weights, each of which carries the roundings of all before it.
# float32, as one trains: measured are 3e-7 for outputs, 2e-6 for gradients, 1e-5 for losses and 1.4e-2 for 20 steps. Where two
# values in a pool's window, or an input of a ReLU and 0, are as near as a rounding, the libraries may choose differently, and a
# gradient goes another way.
TOLERANCE = {
    "float64": {"values": 1e-13, "gradients": 1e-12, "losses": 1e-12, "steps": 1e-9},
    "float32": {"values": 1e-5, "gradients": 1e-3, "losses": 1e-4, "steps": 3e-2},
}
STEPS, BATCH = 20, 32


def agree(what, actual, expected, dtype, kind):
    """Print the difference of two arrays, or of two lists of them, and hold the worst one against its tolerance."""
    if not isinstance(actual, list):
        actual, expected = [actual], [expected]
    worst = max(difference(one, other) for one, other in zip(actual, expected, strict=True))
    print(f"difference {worst:.1e} in {dtype} {what}")
    assert worst <= TOLERANCE[dtype][kind], what


def difference(actual, expected):
    """max |actual − expected| / max |expected|; where nothing but zeros is expected, max |actual|."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    return np.abs(actual - expected).max() / (np.abs(expected).max() or 1)


# ---------------------------------------------------------------------------------------------------------- the models
# The names are Keras's, so that one and the same source makes the model of minidl and, given keras.layers, its twin.


def mlp(layers, rate):
    return [
        layers.Input((784,)),
        layers.Dense(784, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def cnn(layers, rate):
    return [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, (5, 5), activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(rate),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


def cnn_large(layers, rate):
    return [
        layers.Input((28, 28, 1)),
        layers.Conv2D(30, (5, 5), activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(15, (3, 3), activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(rate),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(50, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]


MODELS = {"mlp": mlp, "cnn": cnn, "cnn_large": cnn_large}


def normalized(layers, rate=0):
    """Batch normalization over images and over features, after layers with a bias and without, with a ReLU, a pool, and neither.

    The numbers are ones that float32 holds, because Keras turns them into that.
    """
    return [
        layers.Input((28, 28, 1)),
        layers.Conv2D(6, 5, strides=2, use_bias=False),
        layers.BatchNormalization(momentum=0.875, epsilon=2**-10),
        layers.Activation("relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(5, 3, padding="same"),
        layers.BatchNormalization(momentum=0.75, epsilon=2**-10, scale=False),
        layers.Flatten(),
        layers.Dense(12, activation="tanh"),
        layers.BatchNormalization(momentum=0.5, epsilon=2**-5),
        layers.Dense(10, activation="softmax"),
    ]


def give_biases(model):
    """Biases that are not zero: a fault in them would show, and blank parts of a digit tie in the pools."""
    random = np.random.default_rng(1)
    model.set_weights([w if w.ndim > 1 else random.uniform(-0.1, 0.1, w.shape) for w in model.get_weights()])


def changes(after, before):
    """What the training did to each array. A few steps change weights little, so comparing them whole would prove little."""
    return [new - old for new, old in zip(after, before, strict=True)]


@functools.cache
def digits(name, samples=STEPS * BATCH):
    """The first training digits, scaled to [0, 1], in the shape that the model of this name takes; and their labels."""
    (x, y), _ = mnist.load_data()
    shape = (784,) if name == "mlp" else (28, 28, 1)
    return x[:samples].reshape(-1, *shape) / 255, y[:samples].astype(np.int64)
