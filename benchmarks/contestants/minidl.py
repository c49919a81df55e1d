"""minidl, with its fast operations or with the reference ones."""

import minidl
from minidl import layers as keras_named
from minidl.contracts import Array

from ..models import EVALUATION_BATCH, LEARNING_RATE, Conv, Dense, Dropout, Flatten, Layer, Model, Norm, Pool, Rescaling


def translate(layer: Layer) -> object:
    """The library's layer."""
    match layer:
        case Rescaling(scale):
            return keras_named.Rescaling(scale)
        case Conv(filters, window, strides, padding):
            return keras_named.Conv2D(filters, window, strides, padding, activation="relu")
        case Pool(size):
            return keras_named.MaxPooling2D((size, size))
        case Norm():
            return keras_named.BatchNormalization()
        case Dropout(rate):
            return keras_named.Dropout(rate)
        case Flatten():
            return keras_named.Flatten()
        case Dense(units, activation):
            return keras_named.Dense(units, activation=activation)


class Trainer:
    """A minidl.Sequential; ops: "kernels" or "reference"."""

    def __init__(self, model: Model, threads: int, seed: int, ops: str = "kernels") -> None:
        minidl.set_num_threads(threads)
        layers = [keras_named.Input(model.shape), *map(translate, model.layers)]
        self.model = minidl.Sequential(layers, seed=seed, ops=ops)
        optimizer = minidl.optimizers.Adam(LEARNING_RATE)
        self.model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer)

    def prepare(self, x: Array, y: Array) -> tuple[Array, Array]:
        """NumPy's arrays as they are."""
        return x, y

    def train(self, x: Array, y: Array, batch_size: int) -> None:
        """One epoch."""
        self.model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)

    def predict(self, x: Array) -> Array:
        """Probabilities, (n, classes)."""
        if len(x) <= EVALUATION_BATCH:  # as Keras's users do
            return self.model.predict_on_batch(x)
        return self.model.predict(x, verbose=0)
