"""The steps: each gives what the layers that it stands for give, writes its gradients where it is told, and keeps its cache."""

import numpy as np
import pytest
from support import TOLERANCE, assert_same, copied

from minidl import Sequential, backprop
from minidl.engine import steps
from minidl.engine.stages import alone
from minidl.engine.steps import NOT_NEEDED, steps_of
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    ReLU,
    Rescaling,
    Residual,
    Stack,
)
from minidl.ops.random import RandomKey

KEY = RandomKey(12345, 3)
# what it is → layers, the shape of a sample, and the kind of step that runs them
CASES = {
    "a layer": (lambda: [Rescaling(3)], (5,), steps.LayerStep),
    "flatten": (lambda: [Flatten()], (3, 4, 2), steps.FlattenStep),
    "dropout": (lambda: [Dropout(0.4)], (7,), steps.DropoutStep),
    "dropout of nothing": (lambda: [Dropout(0)], (7,), steps.DropoutStep),
    "dense": (lambda: [Dense(4)], (5,), steps.DenseStep),
    "dense of 3": (lambda: [Dense(6)], (3,), steps.DenseStep),
    "dense of 11, relu": (lambda: [Dense(9, activation="relu")], (11,), steps.DenseStep),
    "dense, relu": (lambda: [Dense(4, activation="relu")], (5,), steps.DenseStep),
    "dense, relu, no bias": (lambda: [Dense(4, activation="relu", use_bias=False)], (5,), steps.DenseStep),
    "dense, no bias": (lambda: [Dense(4, use_bias=False)], (5,), steps.DenseStep),
    "dense, tanh": (lambda: [Dense(4, activation="tanh")], (5,), steps.DenseStep),
    "dense, silu": (lambda: [Dense(4, activation="silu")], (5,), steps.DenseStep),
    "convolution": (lambda: [Conv2D(3, (2, 3))], (5, 6, 2), steps.ConvStep),
    "convolution, relu, same, strides": (
        lambda: [Conv2D(3, 3, strides=(2, 1), activation="relu", padding="same", use_bias=False)],
        (5, 6, 2),
        steps.ConvStep,
    ),
    "convolution, sigmoid": (lambda: [Conv2D(3, 2, activation="sigmoid")], (5, 6, 2), steps.ConvStep),
    "convolution, gelu": (lambda: [Conv2D(3, 2, activation="gelu")], (5, 6, 2), steps.ConvStep),
    "convolution and pool, one channel": (
        lambda: [Conv2D(5, 3, activation="relu"), MaxPooling2D()],
        (9, 8, 1),
        steps.ConvPoolStep,
    ),
    "convolution and pool, wide window": (
        lambda: [Conv2D(5, (2, 6), use_bias=False), MaxPooling2D()],
        (8, 11, 2),
        steps.ConvPoolStep,
    ),
    "convolution and pool, many channels, same": (
        lambda: [Conv2D(5, 3, activation="relu", padding="same"), MaxPooling2D()],
        (6, 5, 6),
        steps.ConvPoolStep,
    ),
    "dense, activation": (lambda: [Dense(4), Activation("relu")], (5,), steps.DenseStep),
    "convolution, activation": (lambda: [Conv2D(3, 2), Activation("relu")], (5, 6, 2), steps.ConvStep),
    "convolution, activation and pool": (
        lambda: [Conv2D(3, 2), Activation("relu"), MaxPooling2D()],
        (7, 6, 2),
        steps.ConvPoolStep,
    ),
    "dense, a layer ReLU": (lambda: [Dense(4), ReLU()], (5,), steps.DenseStep),
    "convolution, a layer ReLU and pool": (
        lambda: [Conv2D(3, 2), ReLU(), MaxPooling2D()],
        (7, 6, 2),
        steps.ConvPoolStep,
    ),
    "normalization": (lambda: [BatchNormalization()], (5,), steps.NormStep),
    "normalization of images, relu": (lambda: [BatchNormalization(), ReLU()], (3, 4, 6), steps.NormStep),
    "normalization without parameters, relu": (
        lambda: [BatchNormalization(center=False, scale=False, epsilon=0.1), Activation("relu")],
        (6,),
        steps.NormStep,
    ),
    "normalization, relu and pool": (
        lambda: [BatchNormalization(), ReLU(), MaxPooling2D()],
        (5, 6, 9),  # the last row is in no window
        steps.NormPoolStep,
    ),
    "normalization and pool, without gamma and beta": (
        lambda: [BatchNormalization(scale=False, center=False), MaxPooling2D()],
        (4, 4, 3),
        steps.NormPoolStep,
    ),
    "normalization and pool, frozen": (
        lambda: [BatchNormalization(trainable=False), Activation("relu"), MaxPooling2D()],
        (4, 5, 17),
        steps.NormPoolStep,
    ),
    "normalization, frozen": (lambda: [BatchNormalization(trainable=False), ReLU()], (6,), steps.NormStep),
    "convolution, normalization": (
        lambda: [Conv2D(3, (2, 3)), BatchNormalization(scale=False)],
        (5, 6, 2),
        steps.ConvNormStep,
    ),
    "convolution without bias, normalization, relu": (
        lambda: [Conv2D(5, 3, 2, "same", use_bias=False), BatchNormalization(center=False), ReLU()],
        (5, 6, 3),
        steps.ConvNormStep,
    ),
    "convolution, frozen normalization, relu": (
        lambda: [Conv2D(5, 3, padding="same"), BatchNormalization(trainable=False), Activation("relu")],
        (5, 6, 1),
        steps.ConvNormStep,
    ),
    "convolution, normalization, relu and pool": (
        lambda: [Conv2D(5, 3), BatchNormalization(), ReLU(), MaxPooling2D()],
        (8, 9, 2),
        steps.ConvNormStep,
    ),
    "convolution, normalization and pool": (
        lambda: [Conv2D(4, 3, use_bias=False), BatchNormalization(), MaxPooling2D()],
        (8, 9, 1),
        steps.ConvNormStep,
    ),
    "residual with normalization": (
        lambda: [Residual([Conv2D(3, 3, padding="same"), BatchNormalization(), ReLU()])],
        (5, 4, 3),
        steps.FusedResidualStep,
    ),
    "residual": (
        lambda: [Residual([Dense(6, activation="relu"), Dropout(0.5), Dense(5)])],
        (5,),
        steps.FusedResidualStep,
    ),
    "residual with a projection": (
        lambda: [Residual([Conv2D(4, 3, activation="relu", padding="same"), MaxPooling2D()], Conv2D(4, 1, strides=2))],
        (6, 6, 3),
        steps.FusedResidualStep,
    ),
    "residual in a residual": (
        lambda: [Residual([Dense(5), Residual([Dropout(0.3), Dense(5, activation="relu")])])],
        (5,),
        steps.FusedResidualStep,
    ),
}
# batch normalization makes a sample's numbers depend on the others
CASES_BY_SAMPLE = {name: case for name, case in CASES.items() if "normalization" not in name}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def problem(case, fuse=True):
    """(layers of a built stack, its only step, x, dy): nothing is left out between layers and step."""
    make, shape, kind = case
    stack = Stack(make(), name="stack")
    stack.build(shape, np.random.default_rng(0))
    for _, layer in stack.leaves():
        random = np.random.default_rng(1)
        for name, value in layer.params.items():
            if name != "kernel":
                value[...] = random.normal(size=value.shape)
        for value in layer.state.values():
            value[...] = random.uniform(0.5, 2, value.shape)
    (step,) = steps_of(stack.layers, fuse)
    assert type(step) is kind
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    return stack.layers, step, x, rng.normal(size=(4, *stack.output_shape)).astype(np.float32)


@every_case
def test_a_step_replaces_its_own_layers_and_none_after_them(case):
    make, shape, kind = case
    stack = Stack([*make(), Rescaling(2)])
    stack.build(shape, np.random.default_rng(0))
    first, second = steps_of(stack.layers, True)
    assert (type(first), first.layers) == (kind, stack.layers[:-1])
    assert (type(second), second.layers) == (steps.LayerStep, stack.layers[-1:])


def room(params):
    """Arrays for gradients, full of NaN, which a step has to write over."""
    return {address: np.full_like(value, np.nan) for address, value in params.items()}


def params_of(layers):
    """By address."""
    return {f"{layer.name}/{name}": value for layer in layers for name, value in layer.params.items()}


@every_case
@pytest.mark.parametrize("training", [True, False], ids=["training", "prediction"])
def test_a_step_gives_what_its_layers_give(case, training):
    layers, step, x, dy = problem(case)
    rng = KEY if training else None
    expected, caches = backprop.forward(layers, x, training=training, rng=rng)
    expected_dx, expected_gradients = backprop.backward(layers, dy, caches)

    grads = room(params_of(layers))
    y, cache = step.forward(x, training, (None if rng is None else step.key(rng)))
    dx = step.backward(dy.copy(), cache, grads, True)
    tolerance = TOLERANCE[np.dtype(np.float32)]
    np.testing.assert_allclose(y, expected, **tolerance)
    np.testing.assert_allclose(dx, expected_dx, **tolerance)
    assert (y.dtype, dx.dtype) == (x.dtype, x.dtype)
    assert set(grads) == set(expected_gradients)
    for address, gradient in grads.items():
        np.testing.assert_allclose(gradient, expected_gradients[address], **tolerance, err_msg=address)


@pytest.mark.parametrize("case", CASES_BY_SAMPLE.values(), ids=CASES_BY_SAMPLE)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_few_samples_are_as_many(case, samples):
    """One or two have kernels of their own: each of four samples has the numbers that it has among the others."""
    layers, step, x, dy = problem(case)
    params = params_of(layers)
    ys, dxs, total = [], [], dict.fromkeys(params, 0)
    for first in range(0, 4, samples):
        own, grads = slice(first, first + samples), room(params)
        y, cache = step.forward(x[own], True, step.key(RandomKey(KEY.key, KEY.first_sample + first)))
        ys.append(y)
        dxs.append(step.backward(dy[own].copy(), cache, grads, True).copy())
        total = {address: total[address] + gradient for address, gradient in grads.items()}
    expected = room(params)
    y, cache = step.forward(x, True, step.key(KEY))
    dx = step.backward(dy.copy(), cache, expected, True)
    tolerance = TOLERANCE[np.dtype(np.float32)]
    np.testing.assert_allclose(np.concatenate(ys), y, **tolerance)
    np.testing.assert_allclose(np.concatenate(dxs), dx, **tolerance)
    for address, gradient in total.items():
        np.testing.assert_allclose(gradient, expected[address], **tolerance, err_msg=address)


@every_case
def test_backward_may_be_called_twice_and_forward_changes_nothing(case):
    layers, step, x, dy = problem(case)
    params = params_of(layers)
    before, kept = x.copy(), copied(params)
    y, cache = step.forward(x, True, step.key(KEY))
    np.testing.assert_array_equal(x, before)
    y_before = y.copy()
    results = []
    for _ in range(2):
        grads = room(params)
        results.append((step.backward(dy.copy(), cache, grads, True).copy(), copied(grads)))
    assert_same(results[1], results[0])
    np.testing.assert_array_equal(y, y_before)
    np.testing.assert_array_equal(x, before)
    assert_same(params, kept)


@every_case
def test_without_dx_the_gradients_are_the_same(case):
    layers, step, x, dy = problem(case)
    _, cache = step.forward(x, True, step.key(KEY))
    found = []
    for need_dx in (True, False):
        grads = room(params_of(layers))
        dx = step.backward(dy.copy(), cache, grads, need_dx)
        found.append(grads)
    for address, gradient in found[1].items():
        np.testing.assert_allclose(gradient, found[0][address], **TOLERANCE[np.dtype(np.float32)], err_msg=address)
    if isinstance(step, (steps.DenseStep, steps.ConvStep, steps.ConvPoolStep, steps.StagedStep)):
        assert dx is NOT_NEEDED


def test_a_residual_step_without_fused_ones_is_the_layer_to_the_last_bit():
    make, shape, _ = CASES["residual with a projection"]
    layers, step, x, dy = problem((make, shape, steps.ResidualStep), fuse=False)
    assert {type(inner) for inner in (*step.inner, *step.projection)} == {steps.LayerStep}
    expected, caches = backprop.forward(layers, x, training=True, rng=KEY)
    expected_dx, expected_gradients = backprop.backward(layers, dy, caches)
    grads = room(params_of(layers))
    y, cache = step.forward(x, True, step.key(KEY))
    assert_same((y, step.backward(dy.copy(), cache, grads, True)), (expected, expected_dx))
    assert_same(grads, {address: expected_gradients[address] for address in grads})


def test_dropout_in_a_stack_in_a_stack_has_the_mask_of_the_layer():
    """The key of each follows from the path to it, in steps as in layers."""
    inner = Stack([Dropout(0.5), Stack([Dropout(0.5)], name="deep")], name="inner")
    again = Stack([Dropout(0.2), Activation("relu")], name="again")
    stack = Stack([Dropout(0.5), inner, Residual([Dropout(0.5), again])])
    stack.build((64,))
    x = np.ones((4, 64), np.float32)
    expected, _ = stack.forward(x, training=True, rng=KEY)
    for fuse in (True, False):
        (y, _), _ = alone(steps.forward(steps_of(stack.layers, fuse), x, True, KEY))
        np.testing.assert_array_equal(y, expected)


# ------------------------------------------------------------------------------------------- the layers of the users


class Wrong(Layer):
    """A layer with one parameter that returns what it is told to."""

    def __init__(self, forward=None, backward=None):
        super().__init__(name="wrong")
        self.replaced = {"forward": forward, "backward": backward}

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(3, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        good = (x * self.params["factor"], x)
        return self.replaced["forward"](*good) if self.replaced["forward"] else good

    def backward(self, dy, cache):
        good = (dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)})
        return self.replaced["backward"](*good) if self.replaced["backward"] else good


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"forward": lambda y, cache: y}, TypeError, r"forward must return \(y, cache\), received ndarray\."),
        ({"forward": lambda y, cache: (y, cache, 1)}, TypeError, r"forward must return \(y, cache\), received tuple\."),
        (
            {"forward": lambda y, cache: (y[:, :2], cache)},
            ValueError,
            r"forward must return shape \(2, 3\), as its build said, received \(2, 2\)\.",
        ),
        (
            {"backward": lambda dx, grads: dx},
            TypeError,
            r"backward must return \(dx, gradients by name\), received ndarray\.",
        ),
        (
            {"backward": lambda dx, grads: (dx, None)},
            TypeError,
            r"backward must return \(dx, gradients by name\), received None as the gradients\. Without parameters that is \{\}",
        ),
        (
            {"backward": lambda dx, grads: (dx, {})},
            ValueError,
            r"a gradient of each parameter's shape, \{'factor': \(3,\)\}, received \{\}\.",
        ),
        (
            {"backward": lambda dx, grads: (dx, {"factor": np.ones(2)})},
            ValueError,
            r"a gradient of each parameter's shape, \{'factor': \(3,\)\}, received \{'factor': \(2,\)\}\.",
        ),
        (
            {"backward": lambda dx, grads: (dx[:1], grads)},
            ValueError,
            r"backward must return dx of shape \(2, 3\), received \(1, 3\)\.",
        ),
    ],
)
def test_a_layer_that_does_not_keep_its_word_is_named(wrong, error, text):
    model = Sequential([Wrong(**wrong)], name="m")
    model.compile(loss="mse")
    with pytest.raises(error, match=f"^layer 'wrong': .*{text}"):
        model.loss_and_gradients(np.ones((2, 3)), np.ones((2, 3)))


def test_what_a_layer_returns_is_brought_into_the_models_form():
    """Another dtype, another order in memory, a list's worth of gradient."""

    def other_form(y, cache):
        return np.asfortranarray(y, np.float64), cache

    model = Sequential([Wrong(forward=other_form, backward=other_form), Dense(1)], seed=0)
    model.compile(loss="mse")
    plain = Sequential([Wrong(), Dense(1)], seed=0)
    plain.compile(loss="mse")
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.ones((6, 1))
    assert_same(model.loss_and_gradients(x, y), plain.loss_and_gradients(x, y))


@pytest.mark.parametrize("settings", [{"max_value": 1}, {"negative_slope": 0.1}, {"threshold": 0.5}], ids=str)
def test_a_relu_with_settings_is_a_step_of_its_own(settings):
    stack = Stack([Dense(4), ReLU(**settings)])
    stack.build((5,), np.random.default_rng(0), np.dtype(np.float32))
    assert [type(step) for step in steps_of(stack.layers, True)] == [steps.DenseStep, steps.LayerStep]
