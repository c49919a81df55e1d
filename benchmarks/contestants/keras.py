"""Keras 3, on the backend that KERAS_BACKEND names."""

import keras
import numpy as np
from keras import layers

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
)


def limit_threads(threads: int) -> None:
    """TensorFlow has its own settings; JAX counts the cores that the process may use."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)


def translate(layer: Layer) -> keras.Layer:
    """The library's layer."""
    match layer:
        case Rescaling(scale):
            return layers.Rescaling(scale)
        case Conv(filters, window, strides, padding):
            return layers.Conv2D(filters, window, strides, padding, activation="relu")
        case Pool(size):
            return layers.MaxPooling2D(size)
        case Norm():
            return layers.BatchNormalization()
        case Dropout(rate):
            return layers.Dropout(rate)
        case Flatten():
            return layers.Flatten()
        case Dense(units, activation):
            return layers.Dense(units, activation=activation)


class Trainer:
    """A keras.Sequential."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        limit_threads(threads)
        keras.utils.set_random_seed(seed)
        self.model = keras.Sequential([keras.Input(model.shape), *map(translate, model.layers)])
        self.model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(LEARNING_RATE))

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NumPy's arrays as they are."""
        return x, y

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        self.model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes). Keras advises against ``predict`` for what is a single batch."""
        if len(x) <= EVALUATION_BATCH:
            return np.asarray(self.model.predict_on_batch(x))
        return self.model.predict(x, batch_size=EVALUATION_BATCH, verbose=0)
