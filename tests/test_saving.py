"""Model files: what is in them, that training goes on from them bit for bit, and what is refused.

Files are taken apart and forged here with struct and json alone, which share no code with the reader.
"""

import errno
import functools
import json
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from support import assert_same, copied

import minidl
from minidl import Sequential, load_model, saving
from minidl.datasets import read_idx
from minidl.initializers import constant
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling, Residual
from minidl.losses import CategoricalCrossentropy, MeanSquaredError
from minidl.metrics import ChosenAccuracy
from minidl.models import model_from_json
from minidl.optimizers import SGD, Adam, RMSprop

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (50, 8, 8, 1)).astype(np.uint8), RNG.integers(0, 3, 50)
ROWS, TARGETS = RNG.normal(size=(20, 4)), RNG.normal(size=(20, 2))


def cnn(optimizer="adam", **options):
    layers = [
        Rescaling(1 / 255, input_shape=(8, 8, 1)),
        Conv2D(4, (3, 3), activation="relu"),
        MaxPooling2D(),
        Dropout(0.3),
        Flatten(),
        Dense(3, activation="softmax"),
    ]
    model = Sequential(layers, **{"seed": 3, **options})
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


def mlp(units=3, **options):
    model = Sequential([Dense(units, activation="tanh", input_dim=4), Dense(2)], **{"seed": 1, **options})
    model.compile(SGD(0.1, momentum=0.9), "mse")
    return model


def parts(path):
    """(the metadata's JSON, the header without it, the bytes after it)."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    return json.loads(header.pop("__metadata__")["minidl"]), header, data[8 + size :]


def forge(path, content, header=None, body=b""):
    """Write a safetensors file whose metadata says this. content: an object, or the text itself."""
    text = content if isinstance(content, str) else json.dumps(content)
    head = json.dumps({"__metadata__": {"minidl": text}, **(header or {})}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def change(path, edit):
    """Change what a file's JSON says: edit is given the content and changes it."""
    content, header, body = parts(path)
    edit(content)
    forge(path, content, header, body)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path):
    model = mlp()
    model.fit(ROWS, TARGETS, verbose=0)
    model.save(path)
    return path


def assert_refused(path, text, function=load_model, error=ValueError):
    """The whole message is ``text``, with the file's name in front."""
    with pytest.raises(error, match="^" + re.escape(f"'{path}' {text}") + "$"):
        function(path)


def state(model):
    optimizer = model.optimizer
    return copied((model.params, optimizer.slots, optimizer.iterations, model.epochs_trained, model.steps_trained))


# -------------------------------------------------------------------------------------------------- training goes on


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"ops": "reference"}, {"fuse": False}], ids=str)
@pytest.mark.parametrize(
    "optimizer", [Adam, lambda: RMSprop(0.01, clipnorm=1), lambda: SGD(0.1, 0.9, True, weight_decay=0.01)]
)
def test_training_goes_on_bit_for_bit(path, options, optimizer):
    """Two epochs are one epoch, a file, and one more: with dropout, shuffling, and a last batch that is not full."""
    whole = cnn(optimizer(), **options)
    expected = whole.fit(IMAGES, LABELS, epochs=2, batch_size=16, verbose=0).history
    first = cnn(optimizer(), **options)
    first.fit(IMAGES, LABELS, epochs=1, batch_size=16, verbose=0)
    first.save(path)

    second = load_model(path)
    assert_same(state(second), state(first))
    got = second.fit(IMAGES, LABELS, epochs=2, initial_epoch=1, batch_size=16, verbose=0).history
    assert got == {name: values[1:] for name, values in expected.items()}
    assert_same(state(second), state(whole))
    assert second.get_config() == whole.get_config()
    assert_same(second.predict(IMAGES, verbose=0), whole.predict(IMAGES, verbose=0))


def test_training_goes_on_in_another_process(path):
    whole = cnn()
    whole.fit(IMAGES, LABELS, epochs=2, batch_size=16, verbose=0)
    first = cnn()
    first.fit(IMAGES, LABELS, batch_size=16, verbose=0)
    first.save(path)
    np.savez(path.with_name("data.npz"), x=IMAGES, y=LABELS)
    script = """
        import sys, numpy as np, minidl
        minidl.engine.runner.WORTH_A_THREAD = 1  # as in this process
        model, data = minidl.load_model(sys.argv[1]), np.load(sys.argv[2])
        model.fit(data["x"], data["y"], batch_size=16, verbose=0)
        model.save(sys.argv[1])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), path, path.with_name("data.npz")], check=True)
    assert_same(state(load_model(path)), state(whole))


def test_what_a_loaded_model_knows(path):
    model = Sequential(
        [Dense(3, input_dim=4, name="out")], name="mine", seed=2**70, dtype="float64", ops="reference", fuse=False
    )
    model.compile(RMSprop(0.5), CategoricalCrossentropy(from_logits=True), ["acc"])
    model.save(path)
    loaded = load_model(path)
    assert (loaded.name, loaded.seed, loaded.dtype, loaded.fuse) == ("mine", 2**70, np.float64, False)
    assert loaded.ops is minidl.ops.reference
    assert loaded.input_shape == (4,)
    assert [layer.name for layer in loaded.layers] == ["out"]
    assert (type(loaded.loss), loaded.loss.from_logits) == (CategoricalCrossentropy, True)
    assert [(name, type(metric), metric.name) for name, metric in loaded.metrics] == [("acc", ChosenAccuracy, "acc")]
    assert (type(loaded.optimizer), loaded.optimizer.learning_rate, loaded.optimizer.slots) == (RMSprop, 0.5, {})
    assert (loaded.epochs_trained, loaded.steps_trained, loaded.optimizer.iterations) == (0, 0, 0)


def test_the_initializers_are_the_models_own_again(path):
    """While a file is loaded they give what is in it."""
    model = Sequential([Dense(3, kernel_initializer="he_normal", bias_initializer="ones", input_dim=4)], seed=1)
    model.save(path)
    loaded = load_model(path).layers[0]
    assert loaded.kernel_initializer is minidl.initializers.he_normal
    assert loaded.bias_initializer is model.layers[0].bias_initializer


def test_a_model_that_was_not_compiled(path):
    model = Sequential([Dense(3, input_dim=4)], seed=1)
    model.save(path)
    loaded = load_model(path)
    assert loaded.optimizer is None
    assert_same(loaded.params, model.params)
    with pytest.raises(RuntimeError, match="must be compiled first"):
        loaded.fit(ROWS, TARGETS)


def test_without_compiling(saved):
    """Without its optimizer, whose class may be missing, a model still predicts, and keeps count."""
    change(saved, lambda content: content["training"]["optimizer"].update(class_name="Lion"))
    loaded = load_model(saved, compile=False)
    assert loaded.optimizer is None
    assert (loaded.epochs_trained, loaded.steps_trained) == (1, 1)
    model = mlp()
    model.fit(ROWS, TARGETS, verbose=0)
    assert_same(loaded.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))


def test_the_same_model_is_the_same_bytes(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    load_model(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


# -------------------------------------------------------------------------------------------------- what is in the file


def test_the_file_as_other_tools_read_it(path):
    """Taken apart by the format's description: 8 bytes of length, a JSON header, the arrays."""
    model = mlp(units=2)
    model.train_on_batch(ROWS[:1], TARGETS[:1])
    model.save(path)
    content, header, body = parts(path)
    arrays = {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
    }
    assert {entry["dtype"] for entry in header.values()} == {"F32"}
    slots = {f"/optimizer/{name}/velocity": model.optimizer.slots[name]["velocity"] for name in model.params}
    assert_same(dict(sorted(arrays.items())), dict(sorted({**model.params, **slots}.items())))
    dense = {
        "use_bias": True,
        "kernel_initializer": "glorot_uniform",
        "bias_initializer": "zeros",
        "kernel_regularizer": None,
    }
    sgd = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": None, "clipnorm": None}
    sgd |= {"clipvalue": None, "global_clipnorm": None}
    assert content == {
        "kind": "model",
        "version": 1,
        "model": {
            "name": "sequential",
            "seed": 1,
            "dtype": "float32",
            "ops": "kernels",
            "fuse": True,
            "input_shape": [4],
            "layers": [
                {"class_name": "Dense", "config": {"units": 2, "activation": "tanh", "name": "dense", **dense}},
                {"class_name": "Dense", "config": {"units": 2, "activation": "linear", "name": "dense_1", **dense}},
            ],
        },
        "training": {
            "optimizer": {"class_name": "SGD", "config": sgd},
            "loss": {"class_name": "MeanSquaredError", "config": {}},
            "metrics": [],
        },
        "state": {"epochs_trained": 0, "steps_trained": 1, "iterations": 1},
    }


def test_arrays_of_any_layout_come_back(path):
    arrays = {
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
        "transposed": np.arange(6, dtype=np.int16).reshape(2, 3).T,
        "big-endian": np.arange(3, dtype=">f8"),
        "number": np.array(3.5, np.float32),
        "empty": np.zeros((0, 3), np.uint8),
    }
    saving.write(path, "test", {"list": [1, (2, 3)], "number": np.int64(4)}, arrays)
    content, found = saving.read(path, "test")
    assert content == {"kind": "test", "version": 1, "list": [1, [2, 3]], "number": 4}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    "array", [np.array([True]), np.array([1j]), np.array(["a"]), np.array([None])], ids=lambda a: str(a.dtype)
)
def test_arrays_that_could_not_be_read_are_not_written(path, array):
    text = f"a file holds arrays of floats and integers, received 'a', {array.dtype}."
    with pytest.raises(ValueError, match=re.escape(text)):
        saving.write(path, "test", {}, {"a": array})
    assert not path.exists()


def test_a_path_may_be_text_or_bytes(path):
    saving.write(os.fsencode(path), "test", {}, {})
    saving.write(str(path), "test", {}, {"a": np.ones(3, np.float16)})
    assert saving.read(os.fsencode(path), "test")[1]["a"].tolist() == [1, 1, 1]


# ---------------------------------------------------------------------------------------------------------- weights


def test_weights_alone(path):
    model, other = mlp(), mlp(seed=2)
    model.save_weights(path)
    before = copied(other.optimizer.slots)
    other.load_weights(path)
    assert_same(other.params, model.params)
    assert_same(other.optimizer.slots, before)
    assert parts(path)[0] == {"kind": "weights", "version": 1}
    assert parts(path)[1].keys() == model.params.keys()


def test_weights_of_a_whole_model_and_in_another_precision(saved):
    model = mlp(dtype="float64")
    model.load_weights(saved)
    assert_same(model.params, {name: value.astype(np.float64) for name, value in load_model(saved).params.items()})


def test_weights_too_large_for_the_precision_are_infinite(path):
    model = Sequential([Dense(1, kernel_initializer=constant(1e300), input_dim=1)], seed=1, dtype="float64")
    model.save_weights(path)
    small = Sequential([Dense(1, input_dim=1)], seed=1)
    small.load_weights(path)
    assert small.params["dense/kernel"] == np.inf


def test_a_report_of_all_that_does_not_fit(path):
    model = mlp()
    arrays = {
        "dense/kernel": np.zeros((4, 5), np.float32),
        "dense/bias": np.zeros(3, np.int64),
        "dense_1/kernel": np.zeros((3, 2), np.float32),
        "dense_2/bias": np.zeros(2, np.float32),
    }
    saving.write(path, "weights", {}, arrays)
    before = copied(model.params)
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.load_weights(path)
    assert str(caught.value) == (
        f"'{path}' cannot be loaded: it does not fit model 'sequential': missing 'dense_1/bias', (2,); "
        "unexpected 'dense_2/bias', (2,); 'dense/kernel' has shape (4, 5), expected (4, 3); 'dense/bias' is int64, "
        "expected floats."
    )
    assert_same(model.params, before)


def test_a_model_that_is_not_built_has_no_weights(path):
    model = Sequential([Dense(3)])
    for save in (model.save, model.save_weights):
        with pytest.raises(ValueError, match="is not built and has no weights to save"):
            save(path)
    with pytest.raises(ValueError, match="is not built: give its first layer an input_shape"):
        model.load_weights(path)
    assert not path.exists()


# --------------------------------------------------------------------------------------------- architecture as JSON


def test_from_config_and_json_make_the_same_model_with_new_weights():
    model = cnn()
    initial = copied(model.params)
    model.fit(IMAGES, LABELS, verbose=0)
    text = model.to_json(indent=2)
    assert text.startswith('{\n  "class_name": "Sequential",\n')
    for twin in (Sequential.from_config(model.get_config()), model_from_json(text), model_from_json(model.to_json())):
        assert twin.get_config() == model.get_config()
        assert_same(twin.params, initial)
        assert twin.optimizer is None


def test_a_config_of_a_model_that_is_not_built():
    model = Sequential([Dense(3), Dropout(0.1)], seed=4)
    assert model.get_config()["input_shape"] is None
    twin = model_from_json(model.to_json())
    assert not twin.built
    assert twin.get_config() == model.get_config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "its JSON cannot be read (Expecting property name"),
        ("[]", "a model's JSON must be that of to_json: {'class_name': 'Sequential', 'config': …}."),
        ('{"class_name": "Model", "config": {}}', "a model's JSON must be that of to_json"),
        ('{"class_name": "Sequential"}', "a model's config must be a dictionary with a list of layers, found None."),
        (
            '{"class_name": "Sequential", "config": {"layers": 3}}',
            "a model's config must be a dictionary with a list of layers",
        ),
    ],
)
def test_texts_that_are_no_model(text, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        model_from_json(text)


# ---------------------------------------------------------------------------------------------------- custom objects


class Scale(Layer):
    """y = x · factor^power. Takes power, and through **options what every layer takes."""

    def __init__(self, power, start_initializer, **options):
        super().__init__(**options)
        self.power, self.start_initializer = power, start_initializer

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": self.start_initializer(input_shape, rng, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"] ** self.power, x

    def backward(self, dy, cache):
        factor = self.params["factor"]
        return dy * factor**self.power, {"factor": (dy * cache * self.power * factor ** (self.power - 1)).sum(axis=0)}


class Bare:
    """A layer that derives from nothing, has no settings and takes no name."""

    params, output_shape = {}, None

    def build(self, input_shape, rng, dtype):
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return 2 * x, None

    def backward(self, dy, cache):
        return 2 * dy, {}


class Given:
    """A layer whose class has no build: each object is given one."""

    params, output_shape = {}, None
    forward, backward = Bare.forward, Bare.backward

    def __init__(self):
        self.build = lambda input_shape, rng, dtype: input_shape


class Weighted(MeanSquaredError):
    def __init__(self, weight):
        self.weight = weight

    def losses_and_gradients(self, y_true, y_pred):
        losses, gradients = super().losses_and_gradients(y_true, y_pred)
        return self.weight * losses, self.weight * gradients


class Slow(SGD):
    """Its arguments go on to SGD and, from there, to Optimizer."""

    def __init__(self, factor=0.5, **options):
        super().__init__(**options)
        self.factor = factor

    def apply_gradient(self, param, grad, slots, learning_rate, ops):
        super().apply_gradient(param, grad, slots, learning_rate * self.factor, ops)


def schedule(step):
    return 0.1 / (1 + step)


def largest(y_true, y_pred):
    return float(np.abs(y_pred - y_true).max()) * len(y_true), len(y_true)


def twos(shape, rng, dtype):
    return np.full(shape, 2, dtype)


CUSTOM = {kind.__name__: kind for kind in (Scale, Bare, Weighted, Slow, schedule, largest, twos)}


def custom():
    model = Sequential([Dense(2, kernel_initializer=twos, input_dim=4), Scale(3, twos, name="scale"), Bare()], seed=1)
    model.compile(Slow(0.25, learning_rate=schedule, momentum=0.5, clipnorm=3.0), Weighted(0.5), [largest, "accuracy"])
    return model


def test_custom_objects_come_back(path):
    whole, model = custom(), custom()
    expected = whole.fit(ROWS, TARGETS, epochs=2, verbose=0).history
    model.fit(ROWS, TARGETS, verbose=0)
    model.save(path)
    loaded = load_model(path, CUSTOM)
    assert [type(layer) for layer in loaded.layers] == [Dense, Scale, Bare]
    assert (loaded.layers[0].kernel_initializer, loaded.layers[1].power, loaded.layers[1].start_initializer) == (
        twos,
        3,
        twos,
    )
    assert loaded.layers[2].name == "bare"
    assert (type(loaded.loss), loaded.loss.weight) == (Weighted, 0.5)
    (first, metric), (second, other) = loaded.metrics
    assert (first, metric.function, second, type(other)) == ("largest", largest, "accuracy", ChosenAccuracy)
    optimizer = loaded.optimizer
    assert (type(optimizer), optimizer.factor, optimizer.momentum, optimizer.clipnorm) == (Slow, 0.25, 0.5, 3.0)
    assert optimizer.learning_rate is schedule
    assert loaded.fit(ROWS, TARGETS, verbose=0).history == {name: values[1:] for name, values in expected.items()}
    assert_same(state(loaded), state(whole))


def test_layers_that_derive_from_nothing_come_back(path):
    """Also within a stack; and where it is not the class that has the build."""
    model = Sequential([Dense(2, input_dim=4), Residual([Bare(), Given()]), Given()], seed=1)
    model.save(path)
    loaded = load_model(path, {"Bare": Bare, "Given": Given})
    assert [type(layer) for _, layer in loaded.leaves()] == [Dense, Bare, Given, Given]
    assert_same(loaded.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        ("Scale", "layer 1"),
        ("Bare", "layer 2"),
        ("twos", "layer 0"),
        ("Weighted", "loss"),
        ("Slow", "optimizer"),
        ("schedule", "optimizer"),
        ("largest", "metric"),
    ],
)
def test_a_custom_object_that_is_not_given(path, missing, what):
    custom().save(path)
    given = {name: thing for name, thing in CUSTOM.items() if name != missing}
    text = f"{what} is {missing!r}, which is not the library's: pass custom_objects={{{missing!r}: …}}."
    with pytest.raises(ValueError, match=re.escape(f"'{path}' cannot be loaded: {text}")):
        load_model(path, given)


def test_custom_objects_in_from_config_and_json():
    model = custom()
    for twin in (Sequential.from_config(model.get_config(), CUSTOM), model_from_json(model.to_json(), CUSTOM)):
        assert_same(twin.params, model.params)
        assert twin.to_json() == model.to_json()


class Decay:
    """A learning rate that is an object with settings."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / (1 + step)

    def get_config(self):
        return {"start": self.start}


class Chain(Bare):
    """Functions and objects, in a list and a dictionary."""

    def __init__(self, steps):
        self.steps = steps


def test_objects_that_are_called_come_back_with_their_settings(path):
    steps = [{"a": [schedule, Decay(0.5)], "b": {"class_name": "Dense", "config": {}}}, constant(3.0), 2, None]
    model = Sequential([Dense(2, kernel_initializer=constant(0.5), input_dim=4), Chain(steps)], seed=1)
    model.compile(SGD(Decay(0.25)), "mse")
    model.save(path)
    given = {kind.__name__: kind for kind in (Chain, Decay, schedule)}
    for twin in (load_model(path, given), model_from_json(model.to_json(), given)):
        assert twin.layers[0].kernel_initializer.value == 0.5
        (found, three, *rest), before = twin.layers[1].steps, steps[0]
        assert rest == [2, None]
        assert (type(three), three.value) == (type(constant(3.0)), 3.0)
        assert (found["a"][0], type(found["a"][1]), found["a"][1].start) == (schedule, Decay, 0.5)
        assert found["b"] == before["b"]  # of the user's, for whatever it is
        assert_same(twin.params, {**model.params, "dense/kernel": np.full((4, 2), 0.5, np.float32)})
    rate = load_model(path, given).optimizer.learning_rate
    assert (type(rate), rate(1)) == (Decay, 0.125)
    with pytest.raises(ValueError, match=re.escape("layer 1 is 'Decay', which is not the library's")):
        load_model(path, {"Chain": Chain, "schedule": schedule})


def test_settings_nested_too_deep():
    config = mlp().get_config()
    config["layers"][1]["config"]["units"] = functools.reduce(lambda inner, _: [inner], range(10_000), 1)
    with pytest.raises(ValueError, match=r"^the settings of layer 1 are nested too deep\.$"):
        Sequential.from_config(config)


class Constant(minidl.initializers.Constant):
    """The user's own of that name."""


def test_a_constant_of_the_users_is_not_taken_for_ours(path):
    Sequential([Dense(2, kernel_initializer=Constant(0.5), input_dim=4)], seed=1).save(path)
    with pytest.raises(ValueError, match="layer 0 is 'Constant', which is not the library's"):
        load_model(path)
    assert type(load_model(path, {"Constant": Constant}).layers[0].kernel_initializer) is Constant


class Shaped(Scale):
    """Its config has the shape of its input, as Keras's layers have."""

    def get_config(self):
        return {**super().get_config(), "input_shape": self.input_shape}


def test_a_layer_may_save_the_shape_of_its_input(path):
    model = Sequential([Shaped(2, twos, input_shape=(4,)), Dense(3), Shaped(1, twos)], seed=1)
    model.save(path)
    loaded = load_model(path, {"Shaped": Shaped, **CUSTOM})
    assert_same(loaded.params, model.params)
    assert [layer.input_shape for layer in loaded.layers] == [(4,), (4,), (3,)]
    config = model.get_config()
    del config["input_shape"]  # then it is the first layer's
    assert_same(Sequential.from_config(config, {"Shaped": Shaped, **CUSTOM}).params, model.params)


def test_a_class_of_the_same_name_as_ours_is_not_taken_for_it(path):
    class Dense(minidl.layers.Dense):
        pass

    Sequential([Dense(2, input_dim=4)], seed=1).save(path)
    assert_refused(
        path, "cannot be loaded: layer 0 is 'Dense', which is not the library's: pass custom_objects={'Dense': …}."
    )
    assert type(load_model(path, {"Dense": Dense}).layers[0]) is Dense


def test_a_custom_object_in_place_of_ours(saved):
    class Loud(Dense):
        pass

    assert {type(layer) for layer in load_model(saved, {"Dense": Loud}).layers} == {Loud}


def test_a_subclass_of_ours_is_not_made_larger_than_the_file(saved):
    class Loud(Dense):
        pass

    change(saved, SETTINGS["units of a thousand billion"][0])
    with pytest.raises(ValueError, match="the settings ask for an array 'dense/kernel'"):
        load_model(saved, {"Dense": Loud})


def test_nothing_is_imported_because_a_file_says_so(saved):
    for name in ("os.system", "minidl.layers.Dense", "builtins.eval", "__import__", "Layer", "Input"):
        change(saved, lambda content, name=name: content["model"]["layers"][0].update(class_name=name))
        with pytest.raises(ValueError, match=f"cannot be loaded: unknown layer 0 {name!r}"):
            load_model(saved)


class Forgetful(Bare):
    def __init__(self, factor):
        self._factor = factor


class Arrays(Bare):
    def __init__(self, table):
        self.table = table


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: Sequential([Dense(1, input_dim=2), Forgetful(3)]),
            "the settings of Forgetful are not known: its __init__ takes 'factor' and keeps no attribute of that name. Keep it "
            "as self.factor, or write get_config().",
        ),
        (
            lambda: Sequential([Dense(1, input_dim=2), Arrays(np.zeros(2))]),
            "JSON cannot hold array([0., 0.]): settings must be numbers, strings, lists, dictionaries or functions.",
        ),
        (
            lambda: Sequential([Dense(1, input_dim=2), Arrays(np.nan)]),
            "Out of range float values are not JSON compliant",
        ),
        (
            lambda: Sequential([Dense(1, input_dim=2), Arrays({(1, 2): 3})]),
            "JSON cannot hold these settings: keys must be str, int, float, bool or None, not tuple.",
        ),
        (
            lambda: Sequential([Dense(1, input_dim=2, kernel_initializer=functools.partial(twos))]),
            "are not known: write its get_config(), or a function with def.",
        ),
        (
            lambda: Sequential([Dense(1, input_dim=2, kernel_initializer=lambda shape, rng, dtype: np.ones(shape))]),
            "has no name to find it by: write it with def, and give it to custom_objects at load.",
        ),
    ],
    ids=["attribute", "array", "NaN", "key", "partial", "lambda"],
)
def test_settings_that_cannot_be_saved(path, model, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model().save(path)
    assert not path.exists()


def test_a_layer_may_say_itself_what_its_settings_are(path):
    class Own(Forgetful):
        def get_config(self):
            return {"factor": self._factor}

    Sequential([Dense(1, input_dim=2), Own(7)]).save(path)
    assert load_model(path, {"Own": Own}).layers[1]._factor == 7


# ------------------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5)"),
        (b"PK\x03\x04rest", "a zip archive (.keras, .npz, .pt)"),
        (b"\x93NUMPY\x01\x00", "a NumPy file (.npy)"),
        (b"\x80\x04\x95rest", "a pickle"),
    ],
)
def test_files_of_other_kinds_by_name(path, start, what):
    path.write_bytes(start + bytes(100))
    assert_refused(path, f"is {what}: expected a safetensors file, written by minidl.")


def test_files_that_are_not_ours(path, tmp_path):
    path.write_text("a text that is no model at all")
    with pytest.raises(ValueError, match=r"is damaged, or no safetensors file: .*Get a whole copy of the file\."):
        load_model(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged, or no safetensors file"):
        load_model(path)
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert_refused(path, "is a safetensors file, but not one of minidl's: its metadata has no 'minidl'.")
    with pytest.raises(FileNotFoundError, match="nothing"):
        load_model(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError):
        load_model(tmp_path)


def test_a_newer_version(saved):
    change(saved, lambda content: content.update(version=2))
    assert_refused(saved, "is of version 2, and this minidl reads up to version 1. Install a newer minidl.")


def test_weights_are_no_model(path):
    mlp().save_weights(path)
    assert_refused(path, "holds 'weights', expected 'model'.")
    saving.write(path, "backup", {}, {})
    with pytest.raises(ValueError, match="holds 'backup', expected 'weights' or 'model'"):
        mlp().load_weights(path)


def test_a_file_cut_short_anywhere(saved):
    data = saved.read_bytes()
    for length in [*range(0, len(data), 37), len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match="is damaged, or no safetensors file"):
            load_model(saved)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[1]", "is damaged: expected an object in its metadata, found list."),
        (
            "{",
            "is damaged: its JSON cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)).",
        ),
        ('{"a": NaN}', "is damaged: its JSON cannot be read (NaN is not a JSON number)."),
        ('{"a": 1, "a": 2}', "is damaged: its JSON cannot be read (it has a duplicate name)."),
        ('{"kind": "model"}', "is damaged: expected a version, an integer from 1, found None."),
        ('{"kind": "model", "version": true}', "is damaged: expected a version, an integer from 1, found True."),
        ('{"kind": "model", "version": 0}', "is damaged: expected a version, an integer from 1, found 0."),
        ('{"kind": ["model"], "version": 1}', "holds ['model'], expected 'model'."),
        (
            '{"kind": "model", "version": 1}',
            "cannot be loaded: a model's config must be a dictionary with a list of layers, found None.",
        ),
    ],
)
def test_metadata_that_is_no_models(path, content, text):
    forge(path, content)
    assert_refused(path, text)


def test_json_nested_too_deep(path):
    forge(path, '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(ValueError, match=r"is damaged: its JSON cannot be read .*recursion"):
        load_model(path)


def layer(content, position=0):
    return content["model"]["layers"][position]


SETTINGS = {
    "units of a thousand billion": (
        lambda content: layer(content)["config"].update(units=2**40),
        "the settings ask for an array 'dense/kernel' of shape (4, 1099511627776), and the file holds one of (4, 3).",
    ),
    "units of a thousand billion, in a layer that knows its input": (
        lambda content: layer(content)["config"].update(units=2**40, input_dim=4),
        "the settings ask for an array 'dense/kernel' of shape (4, 1099511627776), and the file holds one of (4, 3).",
    ),
    "a layer's own input of a thousand billion": (
        lambda content: [content["model"].pop("input_shape"), layer(content)["config"].update(input_shape=[2**40])],
        "the settings ask for an array 'dense/kernel' of shape (1099511627776, 3), and the file holds one of (4, 3).",
    ),
    "an input of a thousand billion": (
        lambda content: content["model"].update(input_shape=[2**40]),
        "the settings ask for an array 'dense/kernel' of shape (1099511627776, 3), and the file holds one of (4, 3).",
    ),
    "one more layer": (
        lambda content: content["model"]["layers"].append({"class_name": "Dense", "config": {"units": 2}}),
        "the settings ask for an array 'dense_2/kernel' of shape (2, 2), and the file holds none.",
    ),
    "one layer less": (
        lambda content: content["model"]["layers"].pop(),
        "it does not fit model 'sequential': unexpected '/optimizer/dense_1/bias/velocity', (2,); unexpected "
        "'/optimizer/dense_1/kernel/velocity', (3, 2); unexpected 'dense_1/bias', (2,); unexpected 'dense_1/kernel', (3, 2).",
    ),
    "no momentum": (
        lambda content: content["training"]["optimizer"]["config"].update(momentum=0),
        "it does not fit model 'sequential': unexpected '/optimizer/dense/bias/velocity', (3,); unexpected "
        "'/optimizer/dense/kernel/velocity', (4, 3); unexpected '/optimizer/dense_1/bias/velocity', (2,); unexpected "
        "'/optimizer/dense_1/kernel/velocity', (3, 2).",
    ),
    "a number for a text": (
        lambda content: layer(content)["config"].update(activation=3),
        "layer 0, Dense, cannot be made: Dense 'dense' activation must be the name of an activation or None, received 3. For a "
        "function of your own, write a layer with its forward and backward.",
    ),
    "no setting of a layer's": (
        lambda content: layer(content)["config"].update(colour="red"),
        "layer 0, Dense, cannot be made: Dense.__init__() got an unexpected keyword argument 'colour'. There are: units, "
        "activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, input_dim, name, input_shape, "
        "trainable.",
    ),
    "a constant that is no number": (
        lambda content: layer(content)["config"].update(
            kernel_initializer={"class_name": "Constant", "config": {"value": "1"}}
        ),
        "layer 0, Constant, cannot be made: Constant value must be a number, received '1'.",
    ),
    "a layer without config": (
        lambda content: layer(content).pop("config"),
        "layer 0 must be given as a class and its config, found {'class_name': 'Dense'}.",
    ),
    "a layer that is a number": (
        lambda content: content["model"]["layers"].insert(0, 3),
        "layer 0 must be given as a class and its config, found 3.",
    ),
    "a class that is a number": (
        lambda content: layer(content).update(class_name=3),
        "a layer 0 must be given by its name, received 3.",
    ),
    "a name twice": (
        lambda content: layer(content, 1)["config"].update(name="dense"),
        "model 'sequential' already has a layer named 'dense': every layer needs a name of its own.",
    ),
    "no shape": (lambda content: content["model"].pop("input_shape"), "it does not say the shape of a sample."),
    "a negative shape": (
        lambda content: content["model"].update(input_shape=[-1]),
        "input_shape must be a tuple of positive integers, the shape of one sample without the batch axis, received [-1].",
    ),
    "a shape that no array has": (
        lambda content: content["model"].update(input_shape=[2**32, 2**31]),
        "input_shape must be one that NumPy can hold: 63 axes, less than 2⁶³ numbers, received [4294967296, 2147483648].",
    ),
    "a seed that is a text": (
        lambda content: content["model"].update(seed="3"),
        "seed must be an integer ≥ 0 or None, received '3'.",
    ),
    "a name that is a number": (
        lambda content: content["model"].update(name=3),
        "a model's name must be a string or None, received 3.",
    ),
    "no state": (lambda content: content.pop("state"), "the counters must be given by name, found None."),
    "negative steps": (
        lambda content: content["state"].update(iterations=-1),
        "iterations must be an integer from 0 to 2⁶³ − 1, found -1.",
    ),
    "more steps than there can be": (
        lambda content: content["state"].update(steps_trained=2**63),
        "steps_trained must be an integer from 0 to 2⁶³ − 1, found 9223372036854775808.",
    ),
    "a count that is true": (
        lambda content: content["state"].update(epochs_trained=True),
        "epochs_trained must be an integer from 0 to 2⁶³ − 1, found True.",
    ),
    "a training that is a list": (
        lambda content: content.update(training=[]),
        "the training must be given as an optimizer, a loss and metrics, found [].",
    ),
    "an infinite learning rate": (
        lambda content: content["training"]["optimizer"]["config"].update(learning_rate=10**400),
        "optimizer, SGD, cannot be made: int too large to convert to float",
    ),
    "a metric that is a list": (
        lambda content: content["training"].update(metrics=[[]]),
        "a metric must be a name, a Metric, or a function (y_true, y_pred) → a number, a number for each sample or "
        "(total, count), received [].",
    ),
    "a layer for an optimizer": (
        lambda content: content["training"].update(optimizer=layer(content)),
        "unknown optimizer 'Dense'. There are: Adadelta, Adagrad, Adam, AdamW, Adamax, Nadam, RMSprop, SGD.",
    ),
    "too many layers": (
        lambda content: content["model"].update(layers=[{"class_name": "Flatten", "config": {}}] * 1001),
        "a model's config may hold 1000 layers, found 1001.",
    ),
}


@pytest.mark.parametrize("edit", SETTINGS)
def test_settings_that_do_not_hold_together(saved, edit):
    """Refused before anything is allocated that the file does not hold."""
    change(saved, SETTINGS[edit][0])
    tracemalloc.start()
    try:
        assert_refused(saved, f"cannot be loaded: {SETTINGS[edit][1]}")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("entry", "body", "message"),
    [
        ({"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}, b"", "is damaged, or no safetensors file"),
        (
            {"dtype": "F32", "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]},
            b"",
            "is damaged: the array 'a' cannot be read (array is too big",
        ),
        (
            {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
            bytes(4),
            "is not minidl's: the array 'a' is of type BF16.",
        ),
        (
            {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]},
            b"23",
            "is not minidl's: the array 'a' is of type BOOL.",
        ),
    ],
    ids=["larger than the file", "huge and empty", "bfloat16", "bool"],
)
def test_arrays_that_are_not_ours(path, entry, body, message):
    forge(path, {"kind": "weights", "version": 1}, {"a": entry}, body)
    with pytest.raises(ValueError, match=re.escape(message)):
        mlp().load_weights(path)


@pytest.mark.parametrize("size", [2, 10**4000], ids=["small", "large"])
def test_shapes_whose_product_takes_for_ever(saved, size):
    def edit(content):
        content["model"].update(input_shape=[size] * 1000, layers=[{"class_name": "Flatten", "config": {}}] * 1000)

    change(saved, edit)
    with pytest.raises(ValueError, match="input_shape must be one that NumPy can hold"):
        load_model(saved)


def test_a_file_that_is_quoted_is_quoted_in_part(saved):
    def edit(content):
        layer(content).update(class_name="long" * 10**6)

    change(saved, edit)
    with pytest.raises(ValueError, match=r"unknown layer 0 'longlonglong.* …$") as caught:
        load_model(saved)
    assert len(str(caught.value)) < 2200


def test_a_stack_too_high_to_be_loaded_is_not_saved(path):
    model = Sequential([Dense(1, input_dim=1)])
    model.layers += [model.layers[0]] * 1000
    with pytest.raises(ValueError, match=r"model 'sequential' has 1001 layers: a file may hold 1000\."):
        model.save(path)


# ----------------------------------------------------------------------------------------------------- atomic writing


def test_overwriting(saved):
    before = saved.read_bytes()
    for save in (mlp(units=5).save, mlp(units=5).save_weights):
        with pytest.raises(FileExistsError, match="the file is there already, and overwrite is False"):
            save(saved, overwrite=False)
    assert saved.read_bytes() == before
    mlp(units=5).save(saved)
    assert load_model(saved).layers[0].units == 5
    mlp(units=6).save(saved.with_name("new"), overwrite=False)
    assert load_model(saved.with_name("new")).layers[0].units == 6


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "MODEL.HDF5"])
def test_names_of_keras_files(tmp_path, name):
    suffix = "." + name.lower().rpartition(".")[2]
    for save in (mlp().save, mlp().save_weights):
        with pytest.raises(ValueError, match=f"is saved as a safetensors file, received the name of a {suffix} file"):
            save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_write_that_fails_leaves_the_old_file(saved, monkeypatch, call, number):
    before = saved.read_bytes()
    monkeypatch.setattr(os, call, failing(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match="cannot write") as caught:
        mlp(units=9).save(saved)
    monkeypatch.undo()
    assert caught.value.errno == number
    assert type(caught.value) is (PermissionError if number == errno.EACCES else OSError)
    text = f"[Errno {number}] cannot write '{saved}': {os.strerror(number)}. The existing file is unchanged."
    assert str(caught.value) == text
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_disk_that_is_full_half_way(saved):
    """The system itself refuses to write on, after some kilobytes."""
    resource = pytest.importorskip("resource")
    before, limits = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*: File too large\. The existing file is unchanged\."):
            mlp(units=5000).save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a folder cannot be flushed")
def test_the_file_is_on_disk_before_its_name_and_then_the_name(saved, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def note_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def note_replace(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    mlp(units=9).save(saved)
    assert calls == [saved.stat().st_size, "replace", "folder"]


def test_a_folder_that_cannot_be_flushed_is_no_error(saved, monkeypatch):
    fsync = os.fsync

    def flush(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    mlp(units=9).save(saved)
    assert load_model(saved).layers[0].units == 9


def test_ctrl_c_while_writing(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        mlp(units=9).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_places_that_cannot_be_written(tmp_path, saved):
    text = "cannot write '{0}': {1}. No file was left behind."
    missing, below = tmp_path / "no" / "model", saved / "model"
    for place, error, why in (
        (missing, FileNotFoundError, "No such file or directory"),
        (below, NotADirectoryError, "Not a directory"),
        (tmp_path, IsADirectoryError, "Is a directory"),
    ):
        with pytest.raises(error, match=re.escape(text.format(place, why))):
            mlp().save(place)
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    text = "cannot write '{}': it is a device, a pipe or a socket, which a file would replace."
    for place in (pipe, link):
        with pytest.raises(OSError, match=re.escape(text.format(place))):
            mlp().save(place)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_only_temporaries_are_removed(tmp_path):
    names = [
        ".minidl-0123456789abcdef.tmp",
        ".minidl-0123456789abcdeg.tmp",
        "x.minidl-0123456789abcdef.tmp",
        ".minidl-.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    folder = tmp_path / ".minidl-1111111111111111.tmp"
    folder.mkdir()
    saving.remove_temporaries(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([folder, *(tmp_path / name for name in names[1:])])


@pytest.mark.skipif(os.name != "posix", reason="POSIX's permissions")
def test_links_and_permissions_stay(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved)
    saved.chmod(0o640)
    mlp(units=7).save(link)
    assert link.is_symlink()
    assert load_model(saved).layers[0].units == 7
    assert stat.S_IMODE(saved.stat().st_mode) == 0o640
    plain, other = tmp_path / "plain", tmp_path / "other"
    plain.touch()
    mlp().save(other)
    assert stat.S_IMODE(other.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)  # as the umask wants them


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to begin many savers quickly")
def test_killed_while_writing(path):
    """kill −9 at forty moments in a loop of saves: there is always a whole file, of one save."""
    script = """
        import os, random, signal, sys, time
        import numpy as np
        from minidl import saving

        path, rng, seen = sys.argv[1], random.Random(1), set()
        saving.write(path, "test", {"number": -1}, {"a": np.full(200_000, -1)})
        for kill in range(40):
            child = os.fork()
            if not child:
                for number in range(1_000_000):
                    saving.write(path, "test", {"number": number}, {"a": np.full(200_000, number)})
            time.sleep(0.005 + 0.04 * rng.random())
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            content, arrays = saving.read(path, "test")
            assert (arrays["a"] == content["number"]).all() and len(arrays["a"]) == 200_000
            seen.add(content["number"])
        left = [name for name in os.listdir(os.path.dirname(path)) if name.startswith(".minidl-")]
        print(len(seen), len(left))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), path], capture_output=True, text=True, check=True
    )
    numbers, interrupted = map(int, result.stdout.split())
    assert numbers > 1
    assert interrupted > 0  # some were killed in the middle of a write


# ------------------------------------------------------------------------------------------------- what is no file to read


def readers():
    """Everything that reads a file whose path it is given."""
    return {"load_model": load_model, "load_weights": mlp().load_weights, "read_idx": read_idx}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("reader", ["load_model", "load_weights", "read_idx"])
def test_nobody_waits_for_a_pipe_or_reads_a_device(reader, tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as open_socket:
        open_socket.bind(str(tmp_path / "socket"))
        for place in (pipe, str(link), os.fsencode(pipe), tmp_path / "socket", "/dev/zero", "/dev/tty"):
            if not os.path.exists(place):
                continue
            with pytest.raises(OSError, match="it is a device, a pipe or a socket, and no file") as caught:
                readers()[reader](place)
            assert caught.value.filename == os.fsdecode(place)
    with pytest.raises(IsADirectoryError):
        readers()[reader](tmp_path)


@pytest.mark.parametrize("reader", ["load_model", "load_weights", "read_idx"])
def test_the_number_of_an_open_file_is_no_path_and_the_file_stays_open(reader, saved):
    with open(saved, "rb") as file:
        for given in (file.fileno(), np.int64(file.fileno()), file, None):
            with pytest.raises(TypeError, match=r"^(file)?path must be a path, a string or a pathlib\.Path, received "):
                readers()[reader](given)
        os.fstat(file.fileno())
        with pytest.raises(TypeError):
            mlp().save(file.fileno())
        os.fstat(file.fileno())


@pytest.mark.skipif(os.name != "posix", reason="a folder in use cannot be removed there")
def test_a_save_in_a_folder_that_is_gone_names_the_file(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    for call in (mlp().save, mlp().save_weights):
        with pytest.raises(FileNotFoundError) as caught:
            call("model.safetensors")
        text = "[Errno 2] cannot write 'model.safetensors': No such file or directory. No file was left behind."
        assert str(caught.value) == text
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_model("model.safetensors")


# --------------------------------------------------------------------------------------------------- memory for what is read


@pytest.mark.parametrize("piece", ["[],", "{},", '"",', "0.5,"])
def test_the_header_bounds_what_its_json_may_need(tmp_path, piece):
    """Each empty list of three bytes is an object of 56, and a reference to it."""
    path = tmp_path / "model.safetensors"
    for size in (saving.MOST_HEADER // 16, 4 * saving.MOST_HEADER):
        forge(path, "[" + piece * (size // len(piece)) + "0]")
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"expected an object|bytes, and 8388608 are the most that are read"):
                load_model(path)
            assert tracemalloc.get_traced_memory()[1] < 30 * min(size, saving.MOST_HEADER // 16)
        finally:
            tracemalloc.stop()


def test_a_header_as_large_as_the_limit_is_read_and_nothing_larger_is_written(tmp_path):
    path = tmp_path / "file"
    size = saving.MOST_HEADER
    saving.write(path, "kind", {"text": "x" * (size - 200)}, {})
    content, _ = saving.read(path, "kind")
    assert len(content["text"]) == size - 200
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"a file may hold 8388608 bytes of settings, names and shapes, and these need 83\d{5}"
    ):
        saving.write(path, "kind", {"text": "x" * size}, {})
    assert path.read_bytes() == before


def test_all_kinds_of_numbers_come_back_in_the_machines_byte_order(tmp_path):
    kinds = ["f2", "f4", "f8", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))]
    arrays = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    arrays |= {"empty": np.zeros((0, 3), np.float32), "one": np.array(2.5), "last": np.arange(3, dtype=np.int8)}
    saving.write(tmp_path / "file", "kind", {}, arrays)
    _, read = saving.read(tmp_path / "file", "kind")
    assert sorted(read) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
        assert read[name].flags.writeable
        assert read[name].dtype.isnative


LITTLE_MEMORY = """
import resource, sys
import minidl
from minidl import load_model, saving

def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

path, found = sys.argv[1], set()
load_model(path)
for extra in range(1, 130, 4):
    resource.setrlimit(resource.RLIMIT_AS, (used() + extra * 2**20, resource.RLIM_INFINITY))
    try:
        found.add(type(load_model(path)).__name__)
    except Exception as error:
        found.add("MemoryError" if isinstance(error, MemoryError) else repr(error))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*sorted(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on memory is Linux's")
def test_too_little_memory_is_a_memory_error(tmp_path):
    """At every moment of reading, and not the file's fault; it used to end in a panic, or not at all."""
    model = Sequential([Dense(2000, input_dim=1000)], seed=0)
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((1, 1000)), np.ones((1, 2000)))
    model.save(tmp_path / "model")  # 24 MB
    command = [sys.executable, "-c", LITTLE_MEMORY, tmp_path / "model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "MemoryError Sequential\n")
