"""Every array has one home: layers move between models, views predict, and a list of layers that was changed is seen."""

import copy
import gc
import re

import numpy as np
import pytest
from support import assert_same

from minidl import Sequential, load_model
from minidl.callbacks import HOOKS, LambdaCallback
from minidl.layers import BatchNormalization, Conv2D, Dense, Flatten, Input, MaxPooling2D, Residual, Stack
from minidl.optimizers import SGD, Adam

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(24, 4)).astype(np.float32), RNG.integers(3, size=24)


def softmax(**settings):
    return Dense(3, activation="softmax", **settings)


def three(seed=0, optimizer="sgd", **settings):
    model = Sequential([Dense(5, activation="relu", input_shape=(4,)), Dense(4), softmax()], seed=seed, **settings)
    return compiled(model, optimizer)


def compiled(model, optimizer="sgd"):
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit(model, **settings):
    return model.fit(X, Y, batch_size=8, verbose=0, **settings)


def predict(model):
    return model.predict(X, verbose=0)


def changed(before, after):
    return [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


# --------------------------------------------------------------------------------------------------------------- moving


def test_a_built_model_in_another_one_keeps_its_weights_and_is_trained_there():
    base = compiled(Sequential([Dense(5, activation="relu", input_shape=(4,)), softmax()], seed=1, name="base"))
    fit(base)
    weights, expected = base.get_weights(), predict(base)
    model = compiled(Sequential([base, softmax()], seed=2, name="whole"))
    assert_same(model.get_weights()[:4], weights)
    assert_same(predict(base), expected)
    fit(model)
    assert all(changed(weights, base.get_weights()))
    assert_same(base.get_weights(), model.get_weights()[:4])  # one array, seen from both
    x, _ = base.forward(X)
    np.testing.assert_allclose(predict(base), x, rtol=1e-6)  # and the old model predicts with it
    text = "model 'base' is a part of model 'whole', which trains its layers: call whole.fit instead."
    before = base.get_weights()
    with pytest.raises(ValueError, match=r"^model 'base'") as caught:
        fit(base)
    assert str(caught.value) == text
    with pytest.raises(ValueError, match=r"is a part of model 'whole'"):
        base.train_on_batch(X, Y)
    assert_same(base.get_weights(), before)


@pytest.mark.parametrize("compiled_first", [True, False])
def test_an_array_that_is_held_since_before_fit_is_the_one_that_is_trained(compiled_first):
    """The layer was put on top after compile, or before it."""
    model = Sequential([Dense(5, activation="softmax", input_shape=(4,))], seed=0)
    if compiled_first:
        compiled(model)
    model.add(softmax())
    if not compiled_first:
        compiled(model)
    held, before = model.layers[-1].params["kernel"], model.layers[-1].params["kernel"].copy()
    fit(model)
    assert (held != before).any()
    np.testing.assert_array_equal(held, model.get_weights()[-2])


def test_inside_a_model_that_is_not_compiled_it_may_still_be_trained():
    base = three()
    whole = Sequential([base, softmax()])
    before = whole.get_weights()
    fit(base)
    assert changed(before, whole.get_weights()) == [True] * 6 + [False] * 2
    del whole
    gc.collect()
    fit(base)


def test_layers_with_a_new_head_belong_to_the_model_that_was_compiled_last():
    old = three()
    fit(old)
    new = Sequential([*old.layers[:2], softmax(name="head")], seed=3, name="new")
    fit(old)  # nothing is taken before compile
    compiled(new)
    before = old.get_weights()
    fit(new)
    assert changed(before, old.get_weights()) == [True] * 4 + [False] * 2
    with pytest.raises(ValueError, match="can only predict: its layer 'dense' now belongs to model 'new'") as caught:
        fit(old)
    assert "copy.deepcopy(model)" in str(caught.value)
    alone = copy.deepcopy(old)  # as the error says
    fit(alone)
    compiled(old)  # and back
    fit(old)
    with pytest.raises(ValueError, match="now belongs to model 'sequential'"):
        fit(new)


def test_a_view_inside_a_new_model_hands_its_layers_over():
    """Sequential(features) of the layers of a trained model, and then a new head on it: the new model trains them."""
    features = [Dense(5, activation="relu", input_shape=(4,)), Dense(4)]
    old = compiled(Sequential([*features, softmax()], seed=1))
    fit(old)
    base = Sequential(features)
    new = compiled(Sequential([base, softmax()], name="new", seed=2))
    before = [weight.copy() for weight in old.get_weights()]
    fit(new)
    assert changed(before, old.get_weights()) == [True] * 4 + [False] * 2
    with pytest.raises(ValueError, match="can only predict"):
        fit(old)
    base.trainable = False
    before = new.get_weights()
    fit(new)
    assert changed(before, new.get_weights()) == [False] * 4 + [True] * 2


def test_the_steps_of_a_moved_layer_are_those_of_one_that_was_always_there():
    """Momentum makes them depend on the optimizer's state, which belongs to the new model."""
    donor = three(seed=4)
    moved = compiled(Sequential([*donor.layers[:2], softmax()], seed=5), SGD(0.1, momentum=0.9))
    fresh = Sequential([Dense(5, activation="relu", input_shape=(4,)), Dense(4), softmax()], seed=5)
    fresh.set_weights(moved.get_weights())
    compiled(fresh, SGD(0.1, momentum=0.9))
    fit(moved, epochs=2)
    fit(fresh, epochs=2)
    assert_same(moved.get_weights(), fresh.get_weights())


def test_the_new_model_decides_the_operations():
    donor = three()
    model = compiled(Sequential([*donor.layers[:2], softmax()], ops="reference"))
    assert {layer.ops.__name__ for layer in model.layers} == {"minidl.ops.reference"}


def test_a_layer_of_another_dtype_is_refused_with_what_to_do():
    base = Sequential([Dense(4, input_shape=(4,))])
    text = (
        "layer 'dense' is built in float32, and its model computes in float64: make the model with dtype='float32', or a new "
        "layer, and copy the weights with set_weights(layer.get_weights())."
    )
    for make in (
        lambda: Sequential([base, softmax()], dtype="float64"),
        lambda: Sequential(base.layers, dtype="float64"),
    ):
        with pytest.raises(ValueError, match="is built in float32") as caught:
            make()
        assert str(caught.value) == text
    new = Sequential([Dense(4, input_shape=(4,)), softmax()], dtype="float64")
    new.layers[0].set_weights(base.layers[0].get_weights())  # as the error says


def test_a_name_does_not_change_while_a_layer_stands_in_a_model():
    """Default names of stacks are numbered anew in each model, but never in one that they already stand in."""
    model = Sequential([Sequential([Dense(4)]), Sequential([Dense(4)]), softmax()])
    model.build((4,))
    names = list(model.params)
    assert names[:4:2] == ["sequential/dense/kernel", "sequential_1/dense/kernel"]
    view = Sequential(model.layers[1:])
    assert list(model.params) == names
    assert view.layers[0].name == "sequential_1"
    base = Sequential([Dense(4, input_shape=(4,))], name="mine")
    assert Sequential([base, Dense(2)]).layers[0].name == "mine"


def test_a_layer_that_was_taken_out_is_free():
    model = three()
    head = model.layers.pop()
    other = compiled(Sequential([Dense(4, input_shape=(4,)), head], name="other"))
    fit(other)
    alone = three(seed=1).layers
    taken = alone.pop(0)
    fit(compiled(Sequential([taken, softmax()])))


# ---------------------------------------------------------------------------------------------------------------- views


def test_a_view_predicts_and_says_what_to_do_to_train_it():
    model = three()
    fit(model)
    view = Sequential(model.layers[:2], name="view")
    z, _ = model.layers[0].forward(X)
    expected, _ = model.layers[1].forward(z)
    np.testing.assert_allclose(predict(view), expected, rtol=1e-5, atol=1e-6)
    view.compile("sgd", "mse")  # it may be evaluated
    before = predict(view)
    view.evaluate(X, before, verbose=0)
    text = (
        "model 'view' has nothing but layers of model 'sequential', and can only predict. To train this one on its own, take a "
        "copy: copy.deepcopy(model)."
    )
    with pytest.raises(ValueError, match="can only predict") as caught:
        view.fit(X, before, verbose=0)
    assert str(caught.value) == text
    copied = copy.deepcopy(view)
    weights = model.get_weights()
    copied.fit(X, before + 1, verbose=0)
    assert_same(model.get_weights(), weights)
    fit(model)  # the view has taken nothing
    assert not np.array_equal(predict(view), before)  # it sees what the model has learned


def test_a_view_of_a_model_that_is_gone_has_its_layers_for_itself():
    view = compiled(Sequential(three().layers))
    gc.collect()
    before = view.get_weights()
    fit(view)
    assert all(changed(before, view.get_weights()))


# ------------------------------------------------------------------------------------------------------- changed lists


def test_a_head_that_is_exchanged_by_hand():
    model = three(optimizer=SGD(0.1, momentum=0.9))
    fit(model)
    velocity = model.optimizer.slots["dense/kernel"]["velocity"].copy()
    assert velocity.any()
    model.layers.pop()
    assert predict(model).shape == (24, 4)
    model.layers.append(softmax(name="new"))
    assert predict(model).shape == (24, 3)
    assert list(model.params)[-2:] == ["new/kernel", "new/bias"]
    twin = copy.deepcopy(model)
    fit(model)
    assert list(model.optimizer.slots)[-2:] == ["new/kernel", "new/bias"]
    fit(twin)  # a copy in between changes nothing
    assert_same(model.get_weights(), twin.get_weights())


def test_state_of_the_optimizer_stays_with_its_parameter():
    """The first of two stacks with default names goes; the second keeps its name, and so its velocity."""
    model = Sequential([Sequential([Dense(4, input_shape=(4,))]), Sequential([Dense(4)]), softmax()], seed=0)
    compiled(model, SGD(0.1, momentum=0.9))
    fit(model)
    velocity = model.optimizer.slots["sequential_1/dense/kernel"]["velocity"].copy()
    model.layers.pop(0)
    model.optimizer.learning_rate = 0.0
    model.trainable = False
    fit(model)
    assert list(model.params) == ["sequential_1/dense/kernel", "sequential_1/dense/bias", "dense/kernel", "dense/bias"]
    assert_same(model.optimizer.slots["sequential_1/dense/kernel"]["velocity"], velocity)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("again", [False, True])  # whether it is compiled once more, with the same optimizer
def test_a_new_layer_begins_without_the_state_of_the_one_whose_name_it_has(copied, again):
    """Its first step is −η · gradient; the layer below goes on with its velocity, μ · velocity − η · gradient."""
    model = three(optimizer=SGD(0.125, momentum=0.5))
    fit(model)
    last = model.layers[-1].name
    model = copy.deepcopy(model) if copied else model
    if again:
        model.compile(model.optimizer, model.loss)
    model.layers.pop()
    model.add(softmax())
    assert model.layers[-1].name == last
    velocity = model.optimizer.slots["dense/kernel"]["velocity"].copy()
    assert velocity.any()
    before = copy.deepcopy(model.params)
    _, gradients = model.loss_and_gradients(X, Y)
    model.train_on_batch(X, Y)
    for address, value in model.params.items():
        kept = velocity / 2 if address == "dense/kernel" else 0
        if address.startswith(last) or address == "dense/kernel":
            np.testing.assert_allclose(value - before[address], kept - gradients[address] / 8, rtol=1e-4, atol=1e-6)


def test_the_state_of_the_optimizer_goes_with_a_layer_to_its_new_address():
    model = three(optimizer=SGD(0.1, momentum=0.9))
    fit(model)
    velocity = model.optimizer.slots["dense/kernel"]["velocity"].copy()
    model.layers[0] = Sequential([model.layers[0]], name="inner")
    model.trainable = False
    fit(model)
    assert velocity.any()
    assert_same(model.optimizer.slots["inner/dense/kernel"]["velocity"], velocity)


def test_a_list_inside_a_stack_that_is_changed_by_hand():
    model = compiled(Sequential([Sequential([Dense(4, input_shape=(4,)), Dense(4)]), softmax()], seed=0))
    fit(model)
    model.layers[0].layers.append(Dense(4))
    fit(model)
    assert [name for name in model.params if "dense_2" in name] == [
        "sequential/dense_2/kernel",
        "sequential/dense_2/bias",
    ]
    model.layers[0].layers.append(Dense(4, name="dense"))
    with pytest.raises(ValueError, match="already has a layer named 'dense'"):
        predict(model)
    model.layers[0].layers.pop()
    predict(model)


def test_layers_that_no_longer_fit_are_refused_before_anything_runs():
    model = compiled(Sequential([Sequential([Dense(5, input_shape=(4,)), Dense(6), Dense(4)]), softmax()]))
    fit(model)
    weights = model.get_weights()
    taken = model.layers[0].layers.pop(1)
    for call in (predict, fit):
        with pytest.raises(ValueError, match=r"layer 'dense_2': input_shape=\(6,\) contradicts what comes before it"):
            call(model)
    model.layers[0].layers.insert(1, taken)
    assert_same(model.get_weights(), weights)
    fit(model)


@pytest.mark.parametrize("change", ["pop", "replace"])
def test_a_residual_keeps_the_layers_that_it_was_made_of(change):
    model = compiled(Sequential([Residual([Dense(4), Dense(4)], input_shape=(4,)), softmax()]))
    fit(model)
    inner = model.layers[0].layers
    if change == "pop":
        inner.pop()
    else:
        inner[0] = Dense(4)
    text = "Residual 'residual' cannot gain or lose layers once it is made: make a new one."
    with pytest.raises(ValueError, match="Residual 'residual'") as caught:
        fit(model)
    assert str(caught.value) == text


def test_layers_that_compare_in_their_own_way():
    class Same(Dense):
        def __eq__(self, other):
            return True

        __hash__ = object.__hash__

    model = compiled(Sequential([Same(4, input_shape=(4,)), Same(4), softmax()]))
    fit(model)
    model.layers[1] = Same(7)
    model.layers[2] = softmax()
    fit(model)
    assert model.layers[1].params["kernel"].shape == (4, 7)


# ------------------------------------------------------------------------------------------------ in the middle of a fit


def at_the_end_of_the_first_epoch(call):
    return LambdaCallback(on_epoch_end=lambda epoch, logs: call() if epoch == 0 else None)


@pytest.mark.parametrize("change", ["compile", "add", "pop and predict"])
def test_a_model_that_a_callback_changes_says_so(change):
    model = three()

    def call():
        if change == "compile":
            compiled(model)
        elif change == "add":
            model.add(Dense(3))
        else:
            model.layers.pop(1)
            model.layers.insert(1, Dense(4))
            predict(model)

    text = "model 'sequential' was compiled, or its layers were changed, during training: let fit return first."
    with pytest.raises(RuntimeError, match="was compiled") as caught:
        fit(model, epochs=3, callbacks=[at_the_end_of_the_first_epoch(call)])
    assert str(caught.value) == text
    fit(model)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("change", ["compile", "add"])
@pytest.mark.parametrize("batch", [0, 3], ids=["first batch", "last batch"])
def test_at_whatever_moment_a_callback_changes_the_model(hook, change, batch):
    """Nothing but that sentence; and no error where the callback comes after all steps."""
    model = three()

    def call(*arguments):
        if arguments[:-1] not in ((), (0,)) and arguments[0] != batch:
            return
        if change == "add":
            model.add(Dense(3, name=f"more_{len(model.layers)}"))
        else:
            model.compile(
                "sgd", "sparse_categorical_crossentropy", metrics=["accuracy", "sparse_categorical_crossentropy"]
            )

    def trained(epochs):
        settings = {"batch_size": -(-len(Y) // 4), "epochs": epochs, "validation_data": (X, Y), "verbose": 0}
        model.fit(X, Y, callbacks=[LambdaCallback(**{hook: call})], **settings)

    if hook == "on_train_end":
        trained(2)
        return
    if "predict" in hook:
        shape = model.output_shape
        found = model.predict(X, verbose=0, callbacks=[LambdaCallback(**{hook: call})])
        assert found.shape == (len(X), *shape)
        return
    with pytest.raises(RuntimeError, match="was compiled, or its layers were changed, during training: let fit return"):
        trained(2)


@pytest.mark.parametrize("return_dict", [False, True])
def test_an_evaluation_is_that_of_the_metrics_that_it_began_with(return_dict):
    model = three()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = model.evaluate(X, Y, verbose=0, return_dict=return_dict)
    hooks = LambdaCallback(
        on_test_batch_begin=lambda batch, logs: model.compile("sgd", "sparse_categorical_crossentropy")
    )
    assert model.evaluate(X, Y, verbose=0, return_dict=return_dict, callbacks=[hooks]) == expected


def test_parameters_that_a_callback_sets_anew_are_trained():
    model, twin = three(), three()

    def call():
        layer = model.layers[0]
        layer.params = {name: value.copy() for name, value in layer.params.items()}

    fit(model, epochs=3, callbacks=[at_the_end_of_the_first_epoch(call)])
    fit(twin, epochs=3)
    assert_same(model.get_weights(), twin.get_weights())


# ------------------------------------------------------------------------------------------------------ a class of one's own


class Doubled(Sequential):
    """Twice what its layers give."""

    def forward(self, x, *, training=False, rng=None):
        y, cache = super().forward(x, training=training, rng=rng)
        return 2 * y, cache

    def backward(self, dy, cache):
        return super().backward(2 * dy, cache)


def test_a_forward_of_ones_own_is_called_or_refused():
    inner = Doubled([Dense(4, input_shape=(4,))])
    model = compiled(Sequential([inner, softmax()]))
    z, _ = inner.forward(X)
    expected, _ = model.layers[1].forward(z)
    np.testing.assert_allclose(predict(model), expected, rtol=1e-5)
    fit(model)
    alone = compiled(Doubled([Dense(4, input_shape=(4,)), softmax()]))
    for call in (predict, fit):
        with pytest.raises(TypeError, match="has a forward or a backward of its own"):
            call(alone)
    fit(compiled(Sequential([alone])))  # as the error says


class Block(Stack):
    """It makes its layers itself, from an argument of its own."""

    def __init__(self, units, **common):
        super().__init__([Dense(units, activation="relu"), Dense(units)], **common)
        self.units = units


class ResidualBlock(Residual):
    def __init__(self, units, **common):
        super().__init__([Dense(units, activation="relu"), Dense(4)], **common)
        self.units = units


class ModelBlock(Sequential):
    def __init__(self, units, **common):
        super().__init__([Dense(units, activation="relu"), Dense(units)], **common)
        self.units = units


class WithConfig(Residual):
    """And one that says of itself what it is made from."""

    def __init__(self, width):
        super().__init__([Dense(width), Dense(4)])

    def get_config(self):
        return {"width": self.layers[0].units}


@pytest.mark.parametrize("make", [Block, ResidualBlock, ModelBlock, WithConfig], ids=lambda cls: cls.__name__)
def test_a_class_that_makes_its_layers_itself_is_saved(make, tmp_path):
    model = compiled(Sequential([Input((4,)), make(5), softmax()], seed=0), "adam")
    fit(model)
    model.layers[0].trainable = False
    model.save(tmp_path / "model.safetensors")
    other = load_model(tmp_path / "model.safetensors", custom_objects={make.__name__: make})
    assert type(other.layers[0]) is make
    assert list(other.params) == list(model.params)
    for each in (model, other):
        fit(each)
    assert_same(other.get_weights(), model.get_weights())
    assert other.to_json() == model.to_json()


def test_an_optimizer_whose_model_is_gone_brings_no_state_into_another_one():
    optimizer = Adam()
    model = Sequential([Dense(2, input_dim=2)])
    model.compile(optimizer, "mse")
    model.fit([[1.0, 2.0]], [[1.0, 2.0]], verbose=0)
    del model
    gc.collect()
    with pytest.raises(ValueError, match="this optimizer holds the state of another model"):
        Sequential([Dense(2, input_dim=2)]).compile(optimizer, "mse")


def fitted():
    model = Sequential([Dense(8, "relu", input_shape=(4,)), BatchNormalization(), Dense(2)], seed=1)
    model.compile("sgd", "mse")
    model.fit(np.ones((6, 4)), np.ones((6, 2)), verbose=0)
    return model


@pytest.mark.parametrize(
    ("place", "name", "shape"),
    [
        (2, "kernel", (8, 3)),
        (2, "kernel", (8, 40)),
        (2, "kernel", (4, 2)),
        (2, "bias", (1,)),
        (1, "gamma", (40,)),
        (1, "beta", None),
    ],
)
@pytest.mark.parametrize("call", ["fit", "predict"])
def test_a_parameter_of_another_shape_is_refused(place, name, shape, call):
    """The kernels would read or write beyond the end of an array."""
    model = fitted()
    params = model.layers[place].params
    if shape is None:
        del params[name]
    else:
        params[name] = np.zeros(shape, np.float32)
    arguments = (np.ones((6, 4)), np.ones((6, 2)))
    with pytest.raises(ValueError, match=re.escape(f"was built with params['{name}']")):
        getattr(model, call)(*arguments[: 2 if call == "fit" else 1], verbose=0)


CHANGES = {
    "padding": lambda model: setattr(model.layers[0], "padding", "same"),
    "strides": lambda model: setattr(model.layers[0], "strides", (2, 2)),
    "filters": lambda model: setattr(model.layers[0], "filters", 7),
    "kernel_size": lambda model: setattr(model.layers[0], "kernel_size", (2, 2)),
    "use_bias": lambda model: setattr(model.layers[0], "use_bias", False),
    "pool_size": lambda model: setattr(model.layers[2], "pool_size", (3, 3)),
    "units": lambda model: setattr(model.layers[4], "units", 100),
    "input_shape": lambda model: setattr(model, "input_shape", (16, 16, 3)),
    "moving_mean": lambda model: model.layers[1].state.update(moving_mean=np.zeros(1, np.float32)),
    "moving_variance": lambda model: model.layers[1].state.pop("moving_variance"),
    "kernel": lambda model: setattr(model.layers[4].params["kernel"], "shape", (3, 36)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("samples", [1, 20])
@pytest.mark.parametrize("fuse", [False, True])
def test_a_layer_that_is_no_longer_as_it_was_built_is_refused(change, samples, fuse):
    """Whatever its arrays would have to hold; also after it has worked, and though the number of samples chooses the kernels."""
    model = Sequential(
        [Conv2D(4, 3, input_shape=(8, 8, 3)), BatchNormalization(), MaxPooling2D(), Flatten(), Dense(3)],
        seed=1,
        fuse=fuse,
    )
    model.compile("sgd", "mse")
    x, y = np.ones((samples, 8, 8, 3)), np.ones((samples, 3))
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    CHANGES[change](model)
    x = np.ones((samples, 16, 16, 3)) if change == "input_shape" else x
    for call in (lambda: model.predict(x, verbose=0), lambda: model.train_on_batch(x, y)):
        with pytest.raises(ValueError, match="was built"):
            call()
    assert model.steps_trained == 1
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


@pytest.mark.parametrize("change", ["append", "replace"])
@pytest.mark.parametrize(
    "call", ["get_weights", "count_params", "summary", "save", "save_weights", "set_weights", "build"]
)
def test_layers_that_are_changed_by_hand_are_noticed(change, call, tmp_path, capsys):
    """By the very next call, whichever it is."""
    model, expected = fitted(), Sequential([Dense(8, "relu", input_shape=(4,)), BatchNormalization(), Dense(2)], seed=1)
    if change == "append":
        model.layers.append(Dense(5))
        expected.add(Dense(5))
    else:
        model.layers[2] = Dense(7)
        expected.pop()
        expected.add(Dense(7))
    path = tmp_path / "m.safetensors"
    shapes = [value.shape for value in expected.get_weights()]
    if call == "build":
        with pytest.raises(ValueError, match="already built"):
            model.build((4,))
    elif call == "set_weights":
        model.set_weights(expected.get_weights())
    elif call.startswith("save"):
        getattr(model, call)(path)
        if call == "save":
            assert [value.shape for value in load_model(path).get_weights()] == shapes
        expected.load_weights(path)
    elif call == "summary":
        model.summary()
        assert f"Total params: {expected.count_params()} (" in capsys.readouterr().out
    else:
        found = getattr(model, call)()
        assert found == expected.count_params() if call == "count_params" else [v.shape for v in found] == shapes
    assert [value.shape for value in model.weights.values()] == shapes
    assert None not in [layer.name for layer in model.layers]
