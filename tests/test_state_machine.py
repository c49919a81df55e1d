"""The public API under random use: calls that are right and calls that are wrong, in any order.

After a call that fails the model is what it was before (or what is documented: built by the first data, or trained up to the
batch that failed). At the end all calls that changed something are made again, on a new model, without the failures, and
without the looking, saving and loading in between: it must be the same model to the last bit.
"""

import contextlib
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minidl import Sequential, load_model, set_num_threads
from minidl.engine import workers
from minidl.engine.blas import SingleThreadedBlas
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, Residual, Stack
from minidl.optimizers import SGD, Adam, RMSprop

SHAPES = [(4,), (6, 6, 1), (5, 7, 2)]
LAYERS = {
    "dense": lambda: Dense(3, activation="relu"),
    "softmax": lambda: Dense(4, activation="softmax"),
    "conv": lambda: Conv2D(2, (3, 3), activation="relu", padding="same"),
    "small conv": lambda: Conv2D(3, (2, 2), activation="tanh"),
    "pool": lambda: MaxPooling2D(),
    "flatten": lambda: Flatten(),
    "dropout": lambda: Dropout(0.3),
    "sigmoid": lambda: Activation("sigmoid"),
    "residual": lambda: Residual([Conv2D(2, 3, padding="same"), Dropout(0.2)], projection=Conv2D(2, 1)),
}
OPTIMIZERS = {
    "sgd": lambda: SGD(0.05),
    "momentum": lambda: SGD(0.05, momentum=0.9, clipnorm=1.0),
    "rmsprop": lambda: RMSprop(0.01),
    "adam": lambda: Adam(0.01, weight_decay=0.01),
}
LOSSES = ["mse", "categorical_crossentropy", "sparse_categorical_crossentropy"]
WRONG = (ValueError, TypeError, RuntimeError, OSError)


def output_shape(kind, shape):
    """What the layer makes of a sample of this shape, by the rules of Keras's documentation; None where it does not fit."""
    if kind in ("dense", "softmax"):
        return ({"dense": 3, "softmax": 4}[kind],) if len(shape) == 1 else None
    if kind == "taken":
        return (3,) if shape == (4,) else None
    if kind == "flatten":
        return (math.prod(shape),)
    if kind in ("dropout", "sigmoid"):
        return shape
    if len(shape) != 3:
        return None
    height, width, channels = shape
    result = {
        "conv": (height, width, 2),
        "residual": (height, width, 2),
        "small conv": (height - 1, width - 1, 3),
        "pool": (height // 2, width // 2, channels),
    }[kind]
    return result if min(result) > 0 else None


def with_weights(name, shape, dtype):
    """A dense layer that a model of its own has built, always with the same weights."""
    layer = Dense(3, name=name)
    Stack([layer]).build(shape[:1], np.random.default_rng(5), dtype)
    layer.input_shape = shape  # of any rank: a layer that does not fit is refused for its shape or for its dtype
    return layer


def state(model):
    """All that a call may not change when it fails, as values that do not change with the model."""
    optimizer = model.optimizer
    return {
        "layers": [(id(layer), layer.name, layer.home.owner is model) for layer in model.layers],
        "shapes": [(layer.input_shape, layer.output_shape) for layer in model.layers],
        "arrays": [(name, id(value)) for name, value in model.params.items()],
        "compiled": (id(optimizer), id(model.loss), [name for name, _ in model.metrics]),
        "input": model.input_shape,
        **trained(model),
    }


def trained(model):
    """What training changes, in values."""
    optimizer = model.optimizer
    slots = {} if optimizer is None else optimizer.slots
    return {
        "weights": {name: (value.shape, value.tobytes()) for name, value in model.params.items()},
        "counters": (model.seed, model.epochs_trained, model.steps_trained, getattr(optimizer, "iterations", None)),
        "slots": {
            (name, slot): value.tobytes() for name in model.params for slot, value in slots.get(name, {}).items()
        },
    }


class RandomUse(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.threads = workers._num_threads
        self.log = []  # (call, may it fail): what changed the model
        self.kinds = []
        self.shape = None  # of a sample, once it is known
        self.epochs = self.steps = self.iterations = 0

    @initialize(
        seed=st.integers(0, 3),
        dtype=st.sampled_from(["float32", "float64"]),
        fuse=st.booleans(),
        kinds=st.sampled_from(
            ["", "flatten dense softmax", "conv pool dropout flatten softmax", "flatten dense dropout"]
        ),
        shape=st.sampled_from(SHAPES[1:]),
        optimizer=st.sampled_from(sorted(OPTIMIZERS)),
        loss=st.sampled_from(LOSSES),
    )
    def start(self, seed, dtype, fuse, kinds, shape, optimizer, loss):
        """Nothing yet, or a model that can be trained: most random sequences of calls would never come to one."""
        self.make = lambda: Sequential(seed=seed, dtype=dtype, fuse=fuse)
        self.model = self.make()
        if kinds:
            self.input(shape)
            self.compile(optimizer, loss, ["accuracy"])
        for kind in kinds.split():
            self.add(kind)

    # ------------------------------------------------------------------------------------------------ what is expected

    @property
    def output(self):
        """The shape of a prediction; None where it is not known, or the layers do not fit."""
        shape = self.shape
        for kind in self.kinds:
            shape = output_shape(kind, shape) if shape else None
        return shape

    @property
    def built(self):
        return bool(self.kinds) and self.output is not None

    @property
    def compiled(self):
        return self.model.optimizer is not None

    def does(self, call):
        """A call that has to succeed, and that changes the model."""
        self.log.append(call)
        return call(self.model)

    def refuses(self, call, *errors):
        """A call that has to fail. It may have built a model that was not; else nothing is changed."""
        before, was_built = state(self.model), self.model.built
        with pytest.raises(errors or WRONG) as caught:
            call(self.model)
        assert str(caught.value)
        if self.model.built and not was_built:
            shape = self.model.input_shape
            self.log.append(lambda model: model.build(shape))
            self.shape = shape
            return
        assert state(self.model) == before

    def looks(self, call):
        """A call that has to succeed and changes nothing."""
        before = state(self.model)
        result = call(self.model)
        assert state(self.model) == before
        return result

    def data(self, n, seed=0):
        """x and y that fit model and loss."""
        rng = np.random.default_rng(seed)
        x = rng.random((n, *self.shape))
        name = type(self.model.loss).__name__
        if name == "SparseCategoricalCrossentropy":
            return x, rng.integers(0, self.output[0], n)
        if name == "CategoricalCrossentropy":
            return x, np.eye(self.output[0])[rng.integers(0, self.output[0], n)]
        return x, rng.random((n, *self.output))

    @property
    def trains(self):
        """Whether there is all that fit needs, and loss and metrics fit the output."""
        return self.built and self.compiled and (self.squared or (len(self.output) == 1 and self.output[0] > 1))

    @property
    def squared(self):
        return "Mean" in type(self.model.loss).__name__

    # ---------------------------------------------------------------------------------------------------------- layers

    @rule(shape=st.sampled_from(SHAPES))
    def input(self, shape):
        if self.kinds or self.model.input_shape:
            self.refuses(lambda model: model.add(Input(shape)), ValueError)
        else:
            self.does(lambda model: model.add(Input(shape)))
            self.shape = shape

    @rule(kind=st.sampled_from(sorted(LAYERS)))
    def add(self, kind):
        assume(len(self.kinds) < 7)
        make = LAYERS[kind]
        known = self.output if self.kinds else self.shape
        if known is not None and output_shape(kind, known) is None:
            layer = make()
            self.refuses(lambda model: model.add(layer), ValueError)
            assert layer.name is None
            assert layer.home is None
        else:
            self.does(lambda model: model.add(make()))
            self.kinds.append(kind)

    @rule(what=st.sampled_from(["class", "number", "again", "name", "of another shape", "of another dtype"]))
    def add_what_is_no_new_layer(self, what):
        taken = self.model.layers[0].name if self.kinds else None
        known = self.output if self.kinds else self.shape
        assume(self.kinds or what in ("class", "number", "of another shape", "of another dtype"))
        assume(known is not None or "another" not in what)  # before that, it shows only when the shape is known
        thing = {
            "class": Dense,
            "number": 3,
            "again": self.model.layers[-1] if self.kinds else None,
            "name": Activation("relu", name=taken),
            "of another shape": with_weights("other", (99,), self.model.dtype),
            "of another dtype": with_weights("other", known or (4,), np.dtype("float16")),
        }[what]
        self.refuses(lambda model: model.add(thing), ValueError, TypeError)

    @rule()
    def add_a_layer_that_keeps_its_weights(self):
        assume(len(self.kinds) < 7)
        known, name = self.output if self.kinds else self.shape, f"taken_{len(self.kinds)}"
        if known not in (None, (4,)):
            self.refuses(lambda model: model.add(with_weights(name, (4,), model.dtype)), ValueError)
            return
        self.shape = self.shape if self.kinds else (4,)
        self.does(lambda model: model.add(with_weights(name, (4,), model.dtype)))
        self.kinds.append("taken")
        kernel = with_weights(name, (4,), self.model.dtype).params["kernel"]
        np.testing.assert_array_equal(self.model.layers[-1].params["kernel"], kernel)

    @precondition(lambda self: self.kinds)
    @rule(place=st.integers(0, 6), trainable=st.booleans())
    def freeze_or_thaw(self, place, trainable):
        """Of the layers, the one at this place, counted round."""

        def change(model):
            model.layers[place % len(model.layers)].trainable = trainable

        self.does(change)

    @rule(shape=st.sampled_from(SHAPES))
    def build(self, shape):
        assume(self.kinds)
        if self.built:
            self.refuses(lambda model: model.build(shape), ValueError)
            return
        before, self.shape = self.shape, shape
        if self.output is None:
            self.shape = before
            self.refuses(lambda model: model.build(shape), ValueError)
        else:
            self.does(lambda model: model.build(shape))

    @rule(shape=st.sampled_from(["text", (0, 3), (-1,), (2.5,), None]))
    def build_for_no_shape(self, shape):
        self.refuses(lambda model: model.build(shape), ValueError, TypeError)

    # --------------------------------------------------------------------------------------------------------- compile

    @rule(
        optimizer=st.sampled_from(sorted(OPTIMIZERS)),
        loss=st.sampled_from(LOSSES),
        metrics=st.sampled_from([None, ["accuracy"], []]),
    )
    def compile(self, optimizer, loss, metrics):
        make = OPTIMIZERS[optimizer]
        self.does(lambda model: model.compile(optimizer=make(), loss=loss, metrics=metrics))
        self.iterations = 0

    @rule(
        wrong=st.sampled_from(
            [
                {"loss": None},
                {"loss": "mse", "optimizer": "adamm"},
                {"loss": "mes"},
                {"loss": "mse", "metrics": "accuracy"},
                {"loss": "mse", "metrics": ["accuracy", "accuracy"]},
                {"loss": "mse", "metrics": ["acuracy"]},
                {"loss": 3},
                {"loss": "mse", "optimizer": Adam},
            ]
        )
    )
    def compile_wrongly(self, wrong):
        self.refuses(lambda model: model.compile(**wrong), ValueError, TypeError)

    @rule()
    def compile_with_the_optimizer_of_another_model(self):
        other, optimizer = Sequential([Dense(1, input_dim=1)]), SGD(0.1)
        other.compile(optimizer, "mse")
        self.refuses(lambda model: model.compile(optimizer, "mse"), ValueError)

    @precondition(lambda self: self.compiled)
    @rule(rate=st.sampled_from([0.0, 0.001, 0.1]))
    def change_the_learning_rate(self, rate):
        def change(model):
            model.optimizer.learning_rate = rate

        self.does(change)

    # -------------------------------------------------------------------------------------------------------- training

    def training(self, call, epochs, batches):
        """A training that succeeds, or ends because the loss is not finite; the counters tell how far it came."""
        steps = self.model.steps_trained
        self.log.append(call)
        try:
            call(self.model)
        except FloatingPointError:
            made = self.model.steps_trained - steps
            assert made < epochs * batches
            self.epochs += made // batches if epochs else 0
        else:
            made = batches * max(1, epochs)
            self.epochs += epochs
        self.steps += made
        self.iterations += made

    @precondition(lambda self: self.trains)
    @rule(
        n=st.integers(1, 40),
        batch_size=st.sampled_from([1, 7, 16, 40]),
        epochs=st.integers(1, 2),
        shuffle=st.booleans(),
        validation=st.booleans(),
        verbose=st.sampled_from([0, 2]),
    )
    def fit(self, n, batch_size, epochs, shuffle, validation, verbose):
        assume(n // batch_size < 12)
        x, y = self.data(n)
        self.training(
            lambda model: model.fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                shuffle=shuffle,
                verbose=verbose,
                validation_data=(x, y) if validation else None,
            ),
            epochs,
            -(-n // batch_size),
        )

    @precondition(lambda self: self.trains)
    @rule(n=st.sampled_from([1, 20]))
    def train_on_batch(self, n):
        x, y = self.data(n, seed=1)
        steps = self.model.steps_trained
        call = lambda model: model.train_on_batch(x, y)  # noqa: E731
        self.log.append(call)
        try:
            call(self.model)
        except FloatingPointError:
            assert self.model.steps_trained == steps
        else:
            self.steps += 1
            self.iterations += 1

    @precondition(lambda self: self.trains)
    @rule(
        bad=st.sampled_from(["x", "late x", "y", "shape", "length", "missing", "text"]), method=st.sampled_from("fet")
    )
    def wrong_data(self, bad, method):
        x, y = self.data(20)
        if bad == "x":
            x[3] = np.nan
        elif bad == "late x":
            x[19] = np.inf
        elif bad == "y":
            y = np.full(20, -1) if y.ndim == 1 else y[:, :1].repeat(9, axis=1)
        elif bad == "shape":
            x = x[..., None]
        elif bad == "length":
            y = y[:19]
        elif bad == "missing":
            y = None
        else:
            x = x.astype(str)
        if bad == "late x" and method == "f" and not self.fails_on(x[:16], y[:16]):
            self.log.append(lambda model: self.failing_fit(model, x, y))
            self.log[-1](self.model)
            self.steps += 1  # the first batch was made
            self.iterations += 1
            return
        calls = {
            "f": lambda model: model.fit(x, y, verbose=0),
            "e": lambda model: model.evaluate(x, y, verbose=0),
            "t": lambda model: model.train_on_batch(x, y),
        }
        self.refuses(calls[method], ValueError, TypeError)

    def fails_on(self, x, y):
        """Whether a step on these samples would end in a loss that is not finite."""
        try:
            self.looks(lambda model: model.loss_and_gradients(x, y, training=True))
        except FloatingPointError:
            return True
        return False

    def failing_fit(self, model, x, y):
        with pytest.raises(ValueError, match="first found in sample 19"):
            model.fit(x, y, batch_size=16, shuffle=False, verbose=0)

    @rule(
        wrong=st.sampled_from(
            [
                {"batch_size": 0},
                {"batch_size": 1.5},
                {"epochs": 0},
                {"epochs": True},
                {"verbose": 7},
                {"validation_split": 1.5},
                {"validation_data": 3},
                {"initial_epoch": -1},
                {"callbacks": [print]},
                {"class_weight": {0: -1.0}},
                {"sample_weight": [1.0]},
            ]
        )
    )
    def fit_with_wrong_settings(self, wrong):
        x, y = self.data(20) if self.trains else (np.ones((20, 4)), np.zeros(20))
        self.refuses(lambda model: model.fit(x, y, **{"verbose": 0, **wrong}), ValueError, TypeError, RuntimeError)

    @precondition(lambda self: self.built and self.compiled and not self.trains)
    @rule(method=st.sampled_from(["fit", "evaluate"]))
    def train_what_loss_or_metric_does_not_fit(self, method):
        x, y = np.ones((5, *self.shape)), np.zeros((5, *self.output))
        self.refuses(lambda model: getattr(model, method)(x, y, verbose=0), ValueError)

    @precondition(lambda self: not self.compiled)
    @rule(method=st.sampled_from(["fit", "evaluate", "train_on_batch", "loss_and_gradients"]))
    def train_before_compile(self, method):
        self.refuses(lambda model: getattr(model, method)(np.ones((3, 4)), np.zeros(3)), RuntimeError)

    # --------------------------------------------------------------------------------------------------------- looking

    @precondition(lambda self: self.built)
    @rule(n=st.integers(1, 40))
    def predict(self, n):
        x = np.random.default_rng(2).random((n, *self.shape))
        once = self.looks(lambda model: model.predict(x, verbose=0))
        assert once.shape == (n, *self.output)
        np.testing.assert_array_equal(self.looks(lambda model: model.predict(x, verbose=0)), once)

    @precondition(lambda self: self.trains)
    @rule(training=st.booleans())
    def evaluate_and_differentiate(self, training):
        x, y = self.data(18)
        self.looks(lambda model: model.evaluate(x, y, verbose=0))
        if not self.fails_on(x, y):
            loss, gradients = self.looks(lambda model: model.loss_and_gradients(x, y))
            assert math.isfinite(loss)
            assert list(gradients) == list(self.model.params)

    @rule(what=st.sampled_from(["get_layer", "index", "predict"]))
    def look_for_what_is_not_there(self, what):
        wrong = {
            "get_layer": lambda model: model.get_layer("no such layer"),
            "index": lambda model: model.get_layer(index=99),
            "predict": lambda model: model.predict([["a", "b"]]),
        }
        self.refuses(wrong[what], ValueError, TypeError)

    @rule(threads=st.integers(1, 3))
    def use_more_threads(self, threads):
        set_num_threads(threads)

    # --------------------------------------------------------------------------------------------------------- weights

    @precondition(lambda self: self.built)
    @rule(factor=st.sampled_from([0.5, -1.0, 0.0]))
    def change_weights(self, factor):
        self.does(lambda model: model.set_weights([weight * factor for weight in model.get_weights()]))

    @precondition(lambda self: self.built and self.model.params)
    @rule(wrong=st.sampled_from(["fewer", "more", "shape", "text"]))
    def change_weights_wrongly(self, wrong):
        weights = [weight + 1 for weight in self.model.get_weights()]
        given = {
            "fewer": weights[:-1],
            "more": [*weights, weights[0]],
            "shape": [*weights[:-1], weights[-1][None]],
            "text": [*weights[:-1], np.full(weights[-1].shape, "a")],
        }
        self.refuses(lambda model: model.set_weights(given[wrong]), ValueError)

    # ----------------------------------------------------------------------------------------------------------- files

    @property
    def path(self):
        return Path(self.folder.name) / "model.safetensors"

    @precondition(lambda self: self.built)
    @rule()
    def save_and_go_on_with_what_was_loaded(self):
        self.looks(lambda model: model.save(self.path))
        loaded = load_model(self.path)
        assert trained(loaded) == trained(self.model)
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in self.model.layers]
        self.model = loaded

    @precondition(lambda self: self.built)
    @rule()
    def weights_through_a_file(self):
        self.looks(lambda model: model.save_weights(self.path))
        twin = Sequential.from_config(self.model.get_config())
        twin.load_weights(self.path)
        assert trained(twin)["weights"] == trained(self.model)["weights"]
        self.looks(lambda model: model.load_weights(self.path))

    @rule(damage=st.sampled_from(["missing", "garbage", "another model", "cut", "no folder"]))
    def wrong_files(self, damage):
        path = self.path
        path.unlink(missing_ok=True)
        other = Sequential([Dense(11, input_dim=17, name="other")])
        if damage == "garbage":
            path.write_bytes(b"garbage" * 10)
        elif damage in ("another model", "cut"):
            other.save(path)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-5])
        if damage == "no folder":
            self.refuses(lambda model: model.save(path / "no" / "folder"), OSError, ValueError)
            return
        self.refuses(lambda model: model.load_weights(path), OSError, ValueError)
        if damage != "another model":
            self.refuses(lambda model: load_model(path), OSError, ValueError)

    # ------------------------------------------------------------------------------------------------------ at any time

    @invariant()
    def is_sound(self):
        model = self.model
        assert model.built == self.built
        assert len(model.layers) == len(self.kinds)
        assert len({layer.name for layer in model.layers}) == len(self.kinds)
        assert (model.epochs_trained, model.steps_trained) == (self.epochs, self.steps)
        assert not self.compiled or model.optimizer.iterations == self.iterations
        assert not self.built or model.output_shape == self.output
        for value in model.params.values():
            assert value.dtype == model.dtype
            assert value.flags.c_contiguous
            assert np.isfinite(value).all()
        assert not SingleThreadedBlas._inside

    def teardown(self):
        try:
            if hasattr(self, "model"):
                again = self.make()
                for call in self.log:
                    with contextlib.suppress(FloatingPointError):
                        call(again)
                assert trained(again) == trained(self.model)
        finally:
            self.folder.cleanup()
            set_num_threads(1)  # ends the pool
            workers._num_threads = self.threads


# at random, a crossentropy is compiled with a last layer that gives no probabilities
TestRandomUse = pytest.mark.filterwarnings("ignore:.* gives no probabilities:UserWarning")(RandomUse.TestCase)
TestRandomUse.settings = settings(max_examples=25, stateful_step_count=30)  # more of them: stress/random_use.py
