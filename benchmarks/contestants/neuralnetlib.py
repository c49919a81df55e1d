"""neuralnetlib, another library in NumPy alone."""

import numpy as np
from neuralnetlib import layers
from neuralnetlib.losses import SparseCategoricalCrossentropy
from neuralnetlib.models import Sequential
from neuralnetlib.optimizers import Adam

from ..models import (
    EVALUATION_BATCH,
    LEARNING_RATE,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Model,
    Norm,
    Pool,
    Rescaling,
    Unsupported,
)


def translate(layer: Layer) -> list[layers.Layer]:
    """The library's layers."""
    match layer:
        case Rescaling():
            raise Unsupported("neuralnetlib has no layer that rescales: give it floats between 0 and 1.")
        case Conv(filters, window, strides, padding):
            convolution = layers.Conv2D(filters, window, strides, padding, weights_init="xavier")
            return [convolution, layers.Activation("relu")]
        case Pool(size):
            return [layers.MaxPooling2D(size)]
        case Norm():
            raise Unsupported("neuralnetlib's adapter has no batch normalization.")
        case Dropout(rate):
            return [layers.Dropout(rate)]
        case Flatten():
            return [layers.Flatten()]
        case Dense(units, activation):
            return [layers.Dense(units), layers.Activation(activation)]


class Trainer:
    """A neuralnetlib Sequential. Its only threads are those of NumPy's BLAS, which its process limits."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        self.model = Sequential(random_state=seed)
        self.model.add(layers.Input(model.shape))
        for layer in model.layers:
            for part in translate(layer):
                self.model.add(part)
        self.model.compile(SparseCategoricalCrossentropy(), Adam(LEARNING_RATE))

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NumPy's arrays as they are."""
        return x, y

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        self.model.fit(x, y, epochs=1, batch_size=batch_size, verbose=False)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        starts = range(0, len(x), EVALUATION_BATCH)
        return np.concatenate([self.model.predict(x[start : start + EVALUATION_BATCH]) for start in starts])
