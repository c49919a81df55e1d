"""The library's own layers and losses, and the museum's correct parts, in the form of the zoo.

Of a layer of the library, the operation of ``ops/reference.py`` that its backward calls is material for mutants, too.
"""

import importlib.util
from pathlib import Path

import numpy as np

from minidl import layers, losses
from minidl.ops import reference

LAYERS = {}  # name → (class, shapes of a sample, (rng, shape) → x or None)
LOSSES = {}  # name → (class, (rng) → (y_true, y_pred))
MUSEUM = Path(__file__).parent.parent.parent / "examples" / "bug_museum.py"


def load_museum():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("museum", MUSEUM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_layer(name, base, *shapes, operation=None, **settings):
    """operation: the name of that in ops/reference.py."""

    def __init__(self):
        base.__init__(self, **settings)
        self.ops = self.operations

    made = type(name, (base,), {"__init__": __init__, "operations": reference, "operation": operation})
    LAYERS[name] = made, list(shapes), None


def add_loss(name, base, draw, **settings):
    LOSSES[name] = type(name, (base,), {"__init__": lambda self: base.__init__(self, **settings)}), draw


for activation in ("relu", "leaky_relu", "sigmoid", "tanh", "softmax"):
    add_layer(
        f"Activation({activation})",
        layers.Activation,
        (4,),
        (2, 3),
        operation=f"{activation}_backward",
        activation=activation,
    )
add_layer("minidl.Dense", layers.Dense, (4,), (3,), operation="dense_backward", units=4, activation="tanh")
add_layer(
    "minidl.Conv2D",
    layers.Conv2D,
    (5, 4, 2),
    (4, 5, 1),
    operation="conv2d_backward",
    filters=3,
    kernel_size=(3, 2),
    strides=(2, 1),
    padding="same",
)
add_layer(
    "minidl.MaxPooling2D",
    layers.MaxPooling2D,
    (4, 5, 2),
    operation="max_pool2d_backward",
    pool_size=(2, 3),
    strides=(1, 2),
    padding="same",
)
add_layer(
    "minidl.ZeroPadding2D",
    layers.ZeroPadding2D,
    (3, 4, 2),
    operation="zero_pad2d_backward",
    padding=((1, 0), (2, 1)),
)
add_layer("minidl.Dropout", layers.Dropout, (8,), rate=0.4)
add_layer("minidl.Flatten", layers.Flatten, (2, 3))
add_layer("minidl.Rescaling", layers.Rescaling, (4,), scale=3.0, offset=1.0)

museum = load_museum()
for (
    base,
    *shapes,
) in (  # BatchNorm is not among them: always normalising by the batch, it fails "one by one", as it should
    (museum.Elu, (5,)),
    (museum.Skip, (4,)),
    (museum.Grouped, (6,)),
    (museum.AveragePool, (4, 5, 2)),
    (museum.GreyEmbedding, (8,)),
):
    add_layer(f"museum.{base.__name__}", base, *shapes)


def labels(rng):
    return rng.integers(0, 3, size=6), rng.normal(size=(6, 3))


def one_hot(rng):
    return np.eye(3)[rng.integers(0, 3, size=6)], rng.normal(size=(6, 3))


def numbers(rng):
    return rng.normal(size=(5, 3)), rng.normal(size=(5, 3))


add_loss("minidl.CategoricalCrossentropy", losses.CategoricalCrossentropy, one_hot, from_logits=True)
add_loss("minidl.SparseCategoricalCrossentropy", losses.SparseCategoricalCrossentropy, labels, from_logits=True)
add_loss("minidl.MeanSquaredError", losses.MeanSquaredError, numbers)
