"""Trainings whose bits must not depend on the number of ranks. As a program, run by mpiexec, it prints what came of them.

mpiexec -n 3 python tests/distribution/trainings.py NAME …
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import minidl
from minidl import Sequential, callbacks, optimizers
from minidl.engine import runner
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    Rescaling,
    Residual,
)

FIT = {"batch_size": 250, "epochs": 2, "verbose": 0}


def samples(n=620):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 14, 14, 1), np.uint8), rng.integers(0, 4, n)


def mlp(**settings):
    """Its first kernel has more entries than a block of the sum of squares."""
    head = {name: value for name, value in settings.items() if name in ("seed", "dtype")}
    layers = [Rescaling(1 / 255, input_shape=(14, 14, 1)), Flatten(), Dense(401, activation="relu"), Dropout(0.5)]
    return Sequential([*layers, Dense(4, activation="softmax")], **{"seed": 5, **head})


def cnn():
    layers = [Rescaling(1 / 255, input_shape=(14, 14, 1)), Conv2D(7, 3, activation="relu"), MaxPooling2D()]
    layers += [Residual([Conv2D(7, 3, padding="same", activation="tanh")]), Dropout(0.2), Flatten()]
    return Sequential([*layers, Dense(33, activation="relu"), Dense(4, activation="softmax")], seed=6)


def compiled(model, optimizer="adam", metrics=("accuracy",)):
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def digest(model, *others):
    """Of everything that training changes, and of what else came of it."""
    found = hashlib.sha256(json.dumps([model.optimizer.iterations, model.steps_trained, others]).encode())
    slots = model.optimizer.slots
    for array in (*model.get_weights(), *(value for name in sorted(slots) for value in slots[name].values())):
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def whole(model, x, y, **settings):
    """fit, evaluate and predict."""
    history = model.fit(x, y, **{**FIT, **settings})
    predicted = model.predict(x, verbose=0)
    return digest(
        model, history.history, model.evaluate(x, y, verbose=0), hashlib.sha256(predicted.tobytes()).hexdigest()
    )


def dense_adam():
    return whole(compiled(mlp()), *samples(), validation_split=0.2)


def convolutions_rmsprop():
    return whole(compiled(cnn(), "rmsprop"), *samples(), validation_data=samples(90))


def float64_nesterov():
    return whole(compiled(mlp(dtype="float64"), optimizers.SGD(0.1, momentum=0.9, nesterov=True)), *samples())


def without_state():
    return whole(compiled(cnn(), optimizers.SGD(0.1)), *samples())


def last_batch_of_one():
    return whole(compiled(mlp()), *samples(501))


def clipped_together():
    return whole(compiled(mlp(), optimizers.Adam(global_clipnorm=0.01)), *samples())


def clipped_one_by_one():
    return whole(compiled(cnn(), optimizers.Adagrad(0.1, clipnorm=0.01)), *samples())


class Centred(optimizers.Adam):
    """Its own prepare reads every entry of the gradients."""

    def prepare(self, grads):
        for grad in grads.values():
            grad -= grad.mean()
        return super().prepare(grads)


def own_prepare():
    return whole(compiled(cnn(), Centred(clipnorm=0.01)), *samples())


def own_prepare_without_clipping():
    return whole(compiled(cnn(), Centred()), *samples())


def averages():
    """Of which each rank keeps a part: swapped for every evaluation, written over the parameters, and kept at the end."""
    x, y = samples()
    swap = [callbacks.SwapEMAWeights(swap_on_epoch=True)]
    model = compiled(mlp(), optimizers.Adam(use_ema=True, ema_momentum=0.9))
    first = whole(model, x, y, validation_split=0.2, callbacks=swap)
    model = compiled(cnn(), optimizers.Adagrad(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3))
    model.get_layer("dense").trainable = False
    return [first, whole(model, x, y, validation_split=0.2)]


def frozen_in_the_middle():
    """The ranges that are trained do not touch; clipped, they are divided at the edges of blocks."""
    model = cnn()
    model.get_layer("dense").trainable = False
    first = whole(compiled(model, optimizers.Adam(global_clipnorm=0.01)), *samples())
    model.get_layer("dense").trainable, model.layers[1].trainable = True, False
    return [first, whole(compiled(model), *samples())]


def all_frozen():
    model = cnn()
    model.trainable = False
    return whole(compiled(model), *samples(), epochs=1)


def tied_and_penalized():
    x = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    first, second = (Dense(6, activation="tanh", kernel_regularizer="l2") for _ in range(2))
    model = Sequential([first, second], seed=1)
    model.build((6,))
    second.params["kernel"] = first.params["kernel"]
    model.compile("adam", "mse")
    return whole(model, x, x[:, ::-1].copy())


def weights_and_own_metric():
    x, y = samples()

    def spread(y_true, y_pred):
        return float(y_pred.max() - y_pred.min())

    model = compiled(cnn(), metrics=["accuracy", spread])
    return whole(model, x, y, sample_weight=np.linspace(0, 2, len(x)), class_weight="balanced", validation_split=0.1)


def callbacks_and_files():
    """Everything that decides or writes; the files are rank 0's."""
    x, y = samples()
    model = compiled(mlp())
    with tempfile.TemporaryDirectory() as own:
        folder = Path(own) if minidl.distribution.rank() == 0 else Path(own) / "missing"
        history = model.fit(
            x,
            y,
            **FIT | {"epochs": 4},
            validation_split=0.2,
            callbacks=[
                callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
                callbacks.ReduceLROnPlateau("loss", patience=1),
                callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
                callbacks.CSVLogger(folder / "log.csv"),
                callbacks.ModelCheckpoint(folder / "models" / "{epoch}.safetensors"),
                callbacks.BackupAndRestore(folder / "backup", save_freq=2),
            ],
        )
        names = sorted(path.name for path in Path(own).rglob("*"))
        saved = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(own).rglob("*.*")}
    assert (names != []) == (minidl.distribution.rank() == 0)
    found = digest(model, history.history)
    return [found, saved] if minidl.distribution.rank() == 0 else [found]


def calls_within_fit():
    """A callback evaluates the model, saves it, and trains another one, while each rank has a part of the optimizer's state."""
    model, other, found = compiled(mlp()), compiled(cnn()), []
    x, y = samples()

    def call(epoch, logs):
        found.append(model.evaluate(x, y, verbose=0))
        other.fit(x[:300], y[:300], verbose=0)
        model.save(folder / "model.safetensors")
        found.append(digest(other))

    with tempfile.TemporaryDirectory() as own:
        folder = Path(own)
        first = whole(model, x, y, callbacks=[callbacks.LambdaCallback(on_epoch_end=call)])
        saved = folder / "model.safetensors"
        if minidl.distribution.rank() == 0:  # what was saved is what the last epoch left
            assert digest(minidl.load_model(saved), 1) == digest(model, 1)
    return [first, digest(model, found)]


class Batches:
    """Makes any batch by its number."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        x, y = samples()
        return x[i * 200 : (i + 1) * 200], y[i * 200 : (i + 1) * 200]


def own_batches():
    model = compiled(cnn())
    history = model.fit(Batches(), epochs=2, verbose=0, validation_data=Batches())
    more = model.fit((Batches()[i] for i in range(2)), steps_per_epoch=2, verbose=0)
    return digest(model, history.history, more.history, float(model.predict(Batches(), verbose=0).sum()))


def one_call_at_a_time():
    model = compiled(mlp(), optimizers.Adam(clipnorm=0.1))
    x, y = samples()
    losses = [model.train_on_batch(x[i::3], y[i::3]) for i in range(3)]
    loss, gradients = model.loss_and_gradients(x, y)
    hashes = [hashlib.sha256(value.tobytes()).hexdigest() for value in gradients.values()]
    return digest(model, losses, loss, hashes)


class Mean(Layer):
    """A layer of the user's, which replaces its own arrays."""

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)}


def own_layer_in_a_nested_model():
    x, y = samples()
    layers = [Rescaling(1 / 255, input_shape=(14, 14, 1)), Flatten(), Mean(), Dense(20, activation="relu")]
    body = Sequential(layers, seed=2)
    model = compiled(Sequential([body, Dense(4, activation="softmax")], seed=3))
    first = whole(model, x, y)
    body.layers[2].params = {"factor": body.layers[2].params["factor"] * np.float32(0.5)}
    return [first, whole(model, x, y)]


def seeds_that_are_drawn():
    """Here the bits differ from run to run, and not from rank to rank."""
    layers = [Rescaling(1 / 255, input_shape=(14, 14, 1)), Flatten(), Dense(4, activation="softmax")]
    return whole(compiled(Sequential(layers)), *samples(), epochs=1)


def interrupted_by_callbacks():
    """A fit that ends in an error that all raise and catch; the model can be trained further."""
    model = compiled(mlp())
    x, y = samples()

    def stop(epoch, logs):
        raise LookupError("enough")

    try:
        model.fit(x, y, **FIT, callbacks=[callbacks.LambdaCallback(on_epoch_end=stop)])
    except LookupError:
        return [digest(model), whole(model, x, y)]
    raise AssertionError("nothing was raised")


def batch_normalization():
    """Sums over the batch meet in the tree, forward and backward, also on ranks without a shard."""
    layers = [Rescaling(1 / 255, input_shape=(14, 14, 1)), Conv2D(6, 3), BatchNormalization(), Activation("relu")]
    layers += [MaxPooling2D(), Dropout(0.2), Flatten(), Dense(20), BatchNormalization(), Activation("tanh")]
    model = compiled(Sequential([*layers, Dense(4, activation="softmax")], seed=4))
    x, y = samples()
    model.layers[2].trainable = False
    first = whole(model, x, y, validation_split=0.2)
    model.layers[2].trainable = True
    second = whole(model, x, y, validation_split=0.2)
    model.measure_statistics(x, batch_size=300)
    return [first, second, digest(model)]


TRAININGS = {
    function.__name__: function
    for function in (
        dense_adam,
        convolutions_rmsprop,
        float64_nesterov,
        without_state,
        last_batch_of_one,
        clipped_together,
        clipped_one_by_one,
        own_prepare,
        own_prepare_without_clipping,
        averages,
        frozen_in_the_middle,
        all_frozen,
        tied_and_penalized,
        weights_and_own_metric,
        callbacks_and_files,
        calls_within_fit,
        own_batches,
        one_call_at_a_time,
        own_layer_in_a_nested_model,
        interrupted_by_callbacks,
        batch_normalization,
        seeds_that_are_drawn,
    )
}


def main():
    runner.WORTH_A_THREAD = 1  # these models are tiny: their batches would not be cut
    minidl.distribution.initialize()
    for name in sys.argv[1:] or TRAININGS:
        line = json.dumps([minidl.distribution.rank(), name, TRAININGS[name]()])
        sys.stdout.write(f"{line}\n")  # in one piece: mpiexec mixes what the ranks print


if __name__ == "__main__":
    main()
