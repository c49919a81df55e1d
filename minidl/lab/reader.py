"""A model that reads digits, and how it wants them: in which shape, with which pixels, and with which labels."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Array
from ..layers import Activation, Conv2D, Dense, Flatten, Input, MaxPooling2D, Rescaling
from ..losses import SparseCategoricalCrossentropy
from ..models import Sequential, load_model
from ..optimizers import Optimizer
from ..utils import to_categorical
from .bugs import FAULTY, with_layer

SHAPES = ((28, 28, 1), (28, 28), (784,))
CLASSES = 10


@dataclass
class Reader:
    """model: compiled, for images of 28 × 28 pixels and ten classes. full: the number that stands for full ink, 255 or 1."""

    model: Sequential
    full: int = 255

    def inputs(self, images: Array) -> Array:
        """Images (N, 28, 28) in uint8 → what the model is given, (N, *input_shape)."""
        x = images if self.full == 255 else images.astype(self.model.dtype) * (self.full / 255)
        return x.reshape(len(images), *(self.model.input_shape or ()))

    def labels(self, digits: Array) -> Array:
        """Digits (N,) → what the model's loss is given."""
        if isinstance(self.model.loss, SparseCategoricalCrossentropy):
            return digits.astype(np.int64)
        return to_categorical(digits, CLASSES)

    def probabilities(self, images: Array) -> Array:
        """(N, 10): what the model predicts, as shares of 1."""
        return _shares(self.model.predict(self.inputs(images), verbose=0))

    def accuracy(self, images: Array, digits: Array) -> float:
        """The share of the images that are read right."""
        return float(np.mean(self.probabilities(images).argmax(axis=1) == digits))

    def surprise(self, images: Array, digits: Array) -> float:
        """The mean of −ln of the probability that it gives to what an image shows."""
        right = self.probabilities(images)[np.arange(len(digits)), digits]
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    def again(self, optimizer: Optimizer, fresh: bool) -> "Reader":
        """A copy to train. fresh: with the initial weights that follow from the model's seed."""
        model = Sequential.from_config(self.model.get_config(), FAULTY) if fresh else copy.deepcopy(self.model)
        model.tie(self.model.ties())  # which no config holds
        model.compile(optimizer, self.model.loss, ["accuracy"])
        return Reader(model, self.full)

    def with_layer(self, address: str, cls: type) -> "Reader":
        """A reader whose model is the same, but for the class of one layer."""
        model = with_layer(self.model, address, cls)
        model.compile("sgd", self.model.loss, ["accuracy"])
        return Reader(model, self.full)


def small_network() -> Reader:
    """The lab's own network, not trained: one convolution, so that everything in it can be looked at."""
    layers = [
        *(Input((28, 28, 1)), Rescaling(1 / 255), Conv2D(8, 5), Activation("relu"), MaxPooling2D()),
        *(Flatten(), Dense(10, activation="softmax")),
    ]
    model = Sequential(layers, name="the lab's own", seed=0)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return Reader(model)


def load(path: str, images: Array, digits: Array) -> Reader:
    """The model in a file, tried on some digits to find out which pixels it was trained with: from 0 to 255, or to 1.

    Raises OSError where the file cannot be read, and ValueError where it holds no model for images of 28 × 28 pixels and ten
    classes.
    """
    model = load_model(path)
    if model.input_shape not in SHAPES:
        raise ValueError(
            f"the lab draws images of 28 × 28 pixels, for models with an input of {_or(SHAPES)}, and {path} holds one for "
            f"{model.input_shape}."
        )
    if model.output_shape != (CLASSES,):
        raise ValueError(
            f"the lab needs a model with an output for each of ten digits, (10,), and {path} holds one with {model.output_shape}."
        )
    readers = [Reader(model, full) for full in (255, 1)]
    best = min(readers, key=lambda reader: reader.surprise(images, digits))
    if model.loss is None:
        outputs: Any = model.predict(best.inputs(images), verbose=0)
        logits = _shares(outputs) is not outputs
        model.compile("adam", SparseCategoricalCrossentropy(from_logits=logits), ["accuracy"])
    return best


def _shares(outputs: Array) -> Array:
    """The outputs themselves where each row is a distribution, else their softmax."""
    if (outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
        return outputs
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _or(shapes: tuple[object, ...]) -> str:
    return ", ".join(map(str, shapes[:-1])) + f" or {shapes[-1]}"
