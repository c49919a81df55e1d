"""How the files in this folder were written, with minidl 0.1.0: they must load in every later version.

The data and the models are made by the functions below, which the test imports as well.
"""

import contextlib
from pathlib import Path

import numpy as np

from minidl import Sequential
from minidl.callbacks import BackupAndRestore, Callback, EarlyStopping
from minidl.initializers import Constant
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling
from minidl.optimizers import SGD, Adam

HERE = Path(__file__).parent


def images():
    """(x, y): 300 noisy 20 × 20 images, of which the brightest quarter is the class."""
    rng = np.random.default_rng(7)
    y = rng.integers(4, size=300)
    x = rng.integers(0, 100, size=(300, 20, 20, 1), dtype=np.uint8)
    for sample, label in zip(x, y, strict=True):
        top, left = 10 * (label // 2), 10 * (label % 2)
        sample[top : top + 10, left : left + 10] += 100
    return x, y


def convolutional():
    """Its batches of 150 were cut into two shards, and still are."""
    model = Sequential(
        [
            Rescaling(1 / 255, input_shape=(20, 20, 1)),
            Conv2D(16, 5, padding="same", activation="relu", name="first"),
            MaxPooling2D(),
            Dropout(0.25),
            Conv2D(4, 3, strides=2, use_bias=False, bias_initializer=Constant(0.5)),
            Activation("tanh"),
            Flatten(),
            Dense(4, activation="softmax", bias_initializer=Constant(0.25)),
        ],
        name="old",
        seed=3,
    )
    model.compile(Adam(0.002, weight_decay=1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def points():
    """(x, y): 60 points, and the sign of their sum."""
    x = np.random.default_rng(8).normal(size=(60, 5)).astype(np.float32)
    return x, (x.sum(axis=1) > 0).astype(int)


def small():
    model = Sequential(
        [Dense(6, activation="relu", input_shape=(5,)), Dropout(0.1), Dense(2, activation="softmax")], seed=5
    )
    model.compile(SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Stop(Callback):
    """Ends the program, as a kill would, after so many batches."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_begin(self, batch, logs=None):
        self.batches -= 1
        if self.batches < 0:
            raise SystemExit


def fit(model, x, y, batch_size, folder, *more):
    """The training whose backup is kept."""
    hooks = [EarlyStopping("loss", patience=3), BackupAndRestore(folder, save_freq=1, delete_checkpoint=False), *more]
    return model.fit(x, y, batch_size=batch_size, epochs=3, verbose=0, callbacks=hooks)


def main():
    model, (x, y) = convolutional(), images()
    model.fit(x, y, batch_size=150, epochs=4, verbose=0)
    model.save(HERE / "model.safetensors")
    model.save_weights(HERE / "weights.safetensors")
    np.save(HERE / "predictions.npy", model.predict(x[:20], verbose=0))
    for name, make, data, batch_size in (
        ("two_shards", convolutional, images(), 150),
        ("one_shard", small, points(), 8),
        ("cut_otherwise", small, points(), 20),
    ):
        model = make()
        with contextlib.suppress(SystemExit):
            fit(model, *data, batch_size, HERE / name, Stop(3))
        model = make()
        history = model.fit(*data, batch_size=batch_size, epochs=3, verbose=0)
        np.savez(HERE / f"{name}.npz", *model.get_weights(), losses=history.history["loss"])


if __name__ == "__main__":
    main()
