"""Trainings drawn at random, whose bits must not depend on the number of ranks. As a program, it prints what came of them.

mpiexec -n 3 python tests/distribution/drawn.py SEED …
"""

import json
import random
import sys

import numpy as np
from trainings import digest

import minidl
from minidl import Sequential, callbacks, layers, optimizers
from minidl.engine import runner

OPTIMIZERS = {
    "SGD": lambda **common: optimizers.SGD(0.05, **common),
    "momentum": lambda **common: optimizers.SGD(0.05, momentum=0.9, **common),
    "Nesterov": lambda **common: optimizers.SGD(0.05, momentum=0.9, nesterov=True, **common),
    **{
        name: getattr(optimizers, name)
        for name in ("RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta")
    },
}
CLIPS = [{}, {}, {"clipnorm": 0.01}, {"global_clipnorm": 0.01}, {"clipvalue": 1e-3}]
AVERAGES = [{}, {"use_ema": True, "ema_momentum": 0.8}, {"use_ema": True, "ema_overwrite_frequency": 3}]
AUGMENTATIONS = [
    lambda: layers.RandomTranslation(0.1, 0.1),
    lambda: layers.RandomRotation(0.1),
    lambda: layers.RandomErasing(0.5),
    lambda: layers.RandomElasticTransform(1.0),
    lambda: layers.GaussianNoise(0.1),
]
BLOCKS = [
    lambda: [layers.Conv2D(5, 3, padding="same", kernel_regularizer="l2"), layers.BatchNormalization()],
    lambda: [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D()],
    lambda: [layers.Residual([layers.BatchNormalization(), layers.Activation("relu"), layers.Dropout(0.2)])],
    lambda: [layers.SpatialDropout2D(0.2), layers.Conv2D(3, 2, strides=2, activation="gelu")],
    lambda: [Sequential([layers.LayerNormalization(), layers.LeakyReLU()])],
]
HEADS = [
    lambda: [layers.Flatten(), layers.Dense(17), layers.BatchNormalization(), layers.Activation("tanh")],
    lambda: [layers.GlobalAveragePooling2D(), layers.Dense(9, activation="silu"), layers.Dropout(0.3)],
    lambda: [layers.Flatten(), layers.Dense(260, activation="relu")],  # its kernel is a block of squares or more
]


class Batches:
    """Makes any batch by its number; they are of different sizes."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, i):
        n = len(self.x)
        return tuple(each[n * i * i // 9 : max(n * (i + 1) ** 2 // 9, n * i * i // 9 + 1)] for each in (self.x, self.y))


def drawn_model(draw):
    augmentations = [draw.choice(AUGMENTATIONS)() for _ in range(draw.randrange(3))]
    blocks = [layer for _ in range(draw.randrange(3)) for layer in draw.choice(BLOCKS)()]
    body = [layers.Rescaling(1 / 255, input_shape=(10, 10, 2)), *augmentations, *blocks, *draw.choice(HEADS)()]
    model = Sequential([*body, layers.Dense(4, activation="softmax")], seed=draw.randrange(100))
    if draw.random() < 0.3:
        draw.choice([layer for layer in model.layers if layer.params]).trainable = False
    optimizer = draw.choice(list(OPTIMIZERS))
    settings = {**draw.choice(CLIPS), **draw.choice(AVERAGES)}
    metrics = draw.choice([[], ["accuracy"], ["accuracy", "sparse_top_k_categorical_accuracy"]])
    model.compile(OPTIMIZERS[optimizer](**settings), "sparse_categorical_crossentropy", metrics=metrics)
    return model, [optimizer, settings, [type(layer).__name__ for layer in model.layers]]


def drawn_samples(draw, n):
    rng = np.random.default_rng(draw.randrange(1000))
    return rng.integers(0, 256, (n, 10, 10, 2), np.uint8), rng.integers(0, 4, n)


def training(seed):
    """What came of the training of this seed, and what it was."""
    draw = random.Random(seed)
    model, what = drawn_model(draw)
    n = draw.choice([1, 2, 5, 30, 130, 260])
    x, y = drawn_samples(draw, n)
    size = draw.choice([1, 7, n, 130]) if n < 100 else draw.choice([50, 130, n])
    settings = {"epochs": 2, "verbose": 0, "callbacks": []}
    if model.optimizer.use_ema and draw.random() < 0.5:
        settings["callbacks"].append(callbacks.SwapEMAWeights(draw.random() < 0.5))
    if draw.random() < 0.3:
        settings["callbacks"].append(callbacks.EarlyStopping("loss", patience=0, restore_best_weights=True))
    kind = draw.choice(["arrays", "arrays", "batches", "generator"])
    if kind == "arrays":
        settings |= {"batch_size": size, "shuffle": draw.random() < 0.7}
        settings |= draw.choice(
            [{}, {"validation_split": 0.3} if n > 1 else {}, {"validation_data": drawn_samples(draw, 3)}]
        )
        settings |= draw.choice([{}, {"class_weight": "balanced"}, {"sample_weight": np.linspace(0, 2, n)}])
        history = model.fit(x, y, **settings)
    elif kind == "batches":
        history = model.fit(Batches(x, y), validation_data=Batches(x, y), **settings)
    else:
        made = Batches(x, y)
        history = model.fit((made[i % 3] for i in range(4)), steps_per_epoch=2, **settings)
    predicted = model.predict(x, batch_size=size, verbose=0)
    model.train_on_batch(x[:3], y[:3])
    found = digest(model, history.history, model.evaluate(x, y, verbose=0), predicted.tobytes().hex())
    return found, [*what, n, size, kind, sorted(settings)]


def main():
    runner.WORTH_A_THREAD = 1
    minidl.distribution.initialize()
    for seed in map(int, sys.argv[1:]):
        sys.stdout.write(json.dumps([minidl.distribution.rank(), seed, *training(seed)]) + "\n")


if __name__ == "__main__":
    main()
