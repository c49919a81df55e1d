"""The tutorial's three models, once, for all benchmarks: 28 × 28 grey images in, ten classes out."""

from typing import Any

from minidl import Sequential
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D


def mlp() -> list[Any]:
    """784 – 784 – 10."""
    return [Flatten(), Dense(784, activation="relu"), Dense(10, activation="softmax")]


def cnn() -> list[Any]:
    """One convolution of 32 filters, 592,074 parameters."""
    return [
        Conv2D(32, (5, 5), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(128, activation="relu"),
        Dense(10, activation="softmax"),
    ]


def larger_cnn() -> list[Any]:
    """Two convolutions, 59,933 parameters."""
    return [
        Conv2D(30, (5, 5), activation="relu"),
        MaxPooling2D(),
        Conv2D(15, (3, 3), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(128, activation="relu"),
        Dense(50, activation="relu"),
        Dense(10, activation="softmax"),
    ]


MODELS = {"mlp": mlp, "cnn": cnn, "larger_cnn": larger_cnn}


def compiled(name: str, seed: int, **settings: Any) -> Sequential:
    """The model, ready for integer labels, trained with Adam."""
    model = Sequential([Input((28, 28, 1)), *MODELS[name]()], name=name, seed=seed, **settings)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model
