"""The plan: what is fused and what is not, what each layer is given, and where backward may stop."""

import re

import numpy as np
import pytest

from minidl import Sequential
from minidl.engine import steps
from minidl.engine.plan import Plan
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    ReLU,
    Residual,
    Stack,
)
from minidl.losses import BinaryCrossentropy, CategoricalCrossentropy, MeanSquaredError
from minidl.ops import reference


class Watch(Layer):
    """Passes everything on and keeps what it was given."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen, self.keys, self.backwards = [], [], 0

    def forward(self, x, *, training=False, rng=None):
        self.seen.append(x.copy())
        self.keys.append(rng)
        return x, None

    def backward(self, dy, cache):
        self.backwards += 1
        return dy, {}


# ------------------------------------------------------------------------------------------------------------- fusing


def tutorial_layers():
    return [
        Conv2D(3, (5, 5), input_shape=(12, 12, 1), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(8, activation="relu"),
        Dense(4, activation="softmax"),
    ]


FUSED = [steps.ConvPoolStep, steps.DropoutStep, steps.FlattenStep, steps.DenseStep, steps.DenseStep]


@pytest.mark.parametrize(
    ("options", "kinds", "places"),
    [
        ({}, FUSED, [0, 2, 3, 4, 5]),
        ({"fuse": False}, [steps.LayerStep] * 6, [0, 1, 2, 3, 4, 5]),
        ({"ops": "reference"}, [steps.LayerStep] * 6, [0, 1, 2, 3, 4, 5]),
        ({"dtype": "float64"}, [steps.LayerStep, steps.LayerStep, *FUSED[1:]], [0, 1, 2, 3, 4, 5]),
    ],
    ids=["fused", "fuse=False", "reference", "float64"],
)
def test_what_is_fused_and_what_is_not(options, kinds, places):
    model = Sequential(tutorial_layers(), **options)
    plan = Plan(model.layers, CategoricalCrossentropy(), model.fuse)
    assert [type(step) for step in plan.steps] == kinds
    assert [step.place for step in plan.steps] == [(place,) for place in places]  # dropout's key follows from its layer


def test_a_stack_within_is_looked_into_and_fused():
    inner = Stack([Conv2D(3, 3), MaxPooling2D()], name="inner")
    block = Residual([Dropout(0.5), Dense(5, activation="relu"), Dense(5)], projection=Dense(5), name="block")
    model = Sequential([inner, Flatten(), block], name="outer")
    model.build((6, 6, 1))
    first, second, third = Plan(model.layers, None, True).steps
    assert [type(step) for step in (first, second, third)] == [
        steps.ConvPoolStep,
        steps.FlattenStep,
        steps.FusedResidualStep,
    ]
    assert (first.address, first.place, first.kernel) == ("inner/conv2d", (0, 0), "inner/conv2d/kernel")
    assert (third.address, third.place) == ("block", (2,))
    assert [(step.address, step.place) for step in (*third.inner, *third.projection)] == [
        ("block/dropout", (0,)),
        ("block/dense", (1,)),
        ("block/dense_1", (2,)),
        ("block/dense_2", (3,)),
    ]
    assert {layer.name for layer in third.leaves()} == {"dropout", "dense", "dense_1", "dense_2"}


def test_a_stack_of_the_users_that_does_more_is_one_step_and_a_subclass_is_never_fused():
    class Doubled(Stack):
        def forward(self, x, *, training=False, rng=None):
            y, cache = super().forward(x, training=training, rng=rng)
            return 2 * y, cache

        def backward(self, dy, cache):
            return super().backward(2 * dy, cache)

    class Other(Dense):
        pass

    model = Sequential([Doubled([Dense(3)]), Other(2)], seed=0)
    model.build((4,))
    plan = Plan(model.layers, None, True)
    assert [type(step) for step in plan.steps] == [steps.LayerStep] * 2
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    kernel, _, other, _ = model.get_weights()  # the biases are zeros
    np.testing.assert_allclose(model.predict(x, verbose=0), 2 * (x @ kernel) @ other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "pool",
    [
        lambda: MaxPooling2D(3, strides=2),
        lambda: MaxPooling2D(2, strides=3),
        lambda: MaxPooling2D(2, padding="same"),
        lambda: MaxPooling2D((17, 16)),
        lambda: Activation("relu"),
    ],
    ids=["overlapping", "apart", "same", "too large for 8 bits", "none"],
)
def test_a_pool_of_another_kind_stays_a_step_of_its_own_and_is_right(pool):
    fused, plain = (
        Sequential([Conv2D(2, 2, input_shape=(18, 18, 1), activation="relu"), pool()], seed=1, fuse=fuse)
        for fuse in (True, False)
    )
    x = np.random.default_rng(0).normal(size=(3, 18, 18, 1))
    assert [type(step) for step in Plan(fused.layers, None, True).steps] == [steps.ConvStep, steps.LayerStep]
    np.testing.assert_allclose(fused.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [4, 5, 6])
def test_a_map_of_one_column_is_fused_and_right(width):
    model = Sequential([Conv2D(2, 3, input_shape=(8, width, 1)), MaxPooling2D()], seed=1)
    assert [type(step) for step in Plan(model.layers, None, True).steps] == [steps.ConvPoolStep]
    x = np.random.default_rng(0).normal(size=(3, 8, width, 1)).astype(np.float32)
    plain = Sequential([Conv2D(2, 3, input_shape=(8, width, 1)), MaxPooling2D()], seed=1, ops="reference")
    np.testing.assert_allclose(model.predict(x, verbose=0), plain.predict(x, verbose=0), atol=1e-6)


class Keep(Layer):
    """Returns arrays that it keeps, forward and backward."""

    def forward(self, x, *, training=False, rng=None):
        self.y = x * 1
        self.promised_y = self.y.copy()
        return self.y, None

    def backward(self, dy, cache):
        self.dx = dy * 1
        self.promised = self.dx.copy()
        return self.dx, {}


class KeepingLoss(MeanSquaredError):
    def backward(self, cache):
        self.dy = super().backward(cache)
        self.promised = self.dy.copy()
        return self.dy


def test_no_step_changes_an_array_that_somebody_else_keeps():
    keep, loss = Keep(), KeepingLoss()
    model = Sequential([Dense(4, input_dim=4), Dropout(0.5), keep, Dropout(0.5)], seed=1)
    model.compile(loss=loss)
    x, y = np.random.default_rng(0).random((8, 4)), np.eye(4)[[0, 1, 2, 3] * 2]
    model.train_on_batch(x, y)
    np.testing.assert_array_equal(loss.dy, loss.promised)
    np.testing.assert_array_equal(keep.dx, keep.promised)
    np.testing.assert_array_equal(keep.y, keep.promised_y)


def test_a_plan_follows_the_layers_parameters():
    model = Sequential(tutorial_layers(), seed=1)
    model.compile(loss="categorical_crossentropy")
    x, y = np.random.default_rng(0).random((5, 12, 12, 1)), np.eye(4)[[0, 1, 2, 3, 0]]
    first = model.evaluate(x, y, verbose=0)
    other = Sequential(tutorial_layers(), seed=2)
    other.compile(loss="categorical_crossentropy")
    model.set_weights(other.get_weights())
    changed = model.evaluate(x, y, verbose=0)
    assert changed == other.evaluate(x, y, verbose=0) != first
    model.get_layer("dense_1").params["bias"] = np.array([50, 0, 0, 0], np.float32)  # a new array in the dictionary
    np.testing.assert_allclose(model.predict(x, verbose=0)[:, 0], 1, atol=1e-6)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(30, abs=2)  # three of five are wrong by about 50


def test_layers_added_later_are_in_the_plan():
    model = Sequential([Dense(3, input_dim=3, kernel_initializer="ones")])
    model.compile(loss="mse")
    x = np.ones((2, 3))
    assert model.evaluate(x, np.zeros((2, 3)), verbose=0) == 9
    model.add(Dense(1, kernel_initializer="ones"))
    assert model.evaluate(x, np.zeros((2, 1)), verbose=0) == 81


# ------------------------------------------------------------------------------------------------ settings that change


def small(*layers, **options):
    model = Sequential([Input((6, 6, 2)), *layers, Flatten(), Dense(3, activation="softmax")], seed=1, **options)
    model.compile("sgd", "categorical_crossentropy")
    return model


def changed(kind, **settings):
    """A change of these settings of the model's layers of that kind."""

    def change(model):
        for layer in model.layers:
            if type(layer) is kind:
                vars(layer).update(settings)

    return change


def smoothing(model):
    model.loss.label_smoothing = 0.3


def logits(model):
    model.loss.from_logits = True  # so that the softmax is made twice


CHANGES = {
    "max_value": (lambda: [Conv2D(4, 3), ReLU()], changed(ReLU, max_value=0.1)),
    "negative_slope": (lambda: [Flatten(), Dense(8), ReLU()], changed(ReLU, negative_slope=0.5)),
    "threshold": (lambda: [Conv2D(4, 3), BatchNormalization(), ReLU()], changed(ReLU, threshold=0.2)),
    "a plain ReLU": (
        lambda: [Conv2D(4, 3), ReLU(2.0, 0.1), MaxPooling2D()],
        changed(ReLU, max_value=None, negative_slope=0.0),
    ),
    "activation": (lambda: [Conv2D(4, 3, activation="relu"), MaxPooling2D()], changed(Conv2D, activation="tanh")),
    "another pool": (lambda: [Conv2D(4, 3), MaxPooling2D()], changed(MaxPooling2D, pool_size=(3, 3), padding="same")),
    "in a stack": (
        lambda: [Stack([Conv2D(4, 3), ReLU()])],
        lambda model: changed(ReLU, max_value=0.1)(model.layers[0]),
    ),
    "label_smoothing": (lambda: [Conv2D(4, 3)], smoothing),
    "from_logits": (lambda: [Conv2D(4, 3)], logits),
}


@pytest.mark.parametrize(("layers", "change"), CHANGES.values(), ids=CHANGES)
def test_a_setting_that_changes_is_followed(layers, change):
    """Layer by layer, which asks each of them anew, gives the same numbers; and they are others than before."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 6, 6, 2)).astype(np.float32), np.eye(3)[rng.integers(0, 3, 9)]
    model, plain = small(*layers()), small(*layers(), fuse=False, ops="reference")
    plain.set_weights(model.get_weights())
    before = model.predict(x, verbose=0), model.loss_and_gradients(x, y)
    change(model)
    change(plain)
    after, expected = ((each.predict(x, verbose=0), each.loss_and_gradients(x, y)) for each in (model, plain))
    np.testing.assert_allclose(after[0], expected[0], rtol=1e-4, atol=1e-6)
    assert after[1][0] == pytest.approx(expected[1][0], rel=1e-5)
    assert after[1][0] != pytest.approx(before[1][0], rel=1e-5)
    for address, gradient in expected[1][1].items():
        np.testing.assert_allclose(after[1][1][address], gradient, rtol=1e-3, atol=1e-5, err_msg=address)


@pytest.mark.parametrize("name", ["fuse", "ops"])
def test_fused_steps_come_and_go_with_the_settings_that_ask_for_them(name):
    x = np.ones((2, 6, 6, 2), np.float32)
    model = small(Conv2D(4, 3, activation="relu"), MaxPooling2D(), Dropout(0.5))
    usual, other = getattr(model, name), {"fuse": False, "ops": reference}[name]

    def kinds():
        model.predict(x, verbose=0)
        return {type(step) for step in model._engine.runner(model).plan.steps}

    assert steps.ConvPoolStep in kinds()
    setattr(model, name, other)
    assert kinds() == {steps.LayerStep}
    setattr(model, name, usual)
    assert steps.DropoutStep in kinds()


def test_nothing_is_asked_of_the_settings_of_a_users_layer():
    """Which may hold anything under a name of ours: here, arrays, which cannot be compared as one."""

    class Squash(Layer):
        def forward(self, x, *, training=False, rng=None):
            self.activation = self.padding = np.tanh(x)
            return self.activation, self.activation

        def backward(self, dy, cache):
            return dy * (1 - cache**2), {}

    model = Sequential([Dense(3, input_dim=2), Squash()], seed=1)
    model.compile("sgd", "mse")
    first = model.predict(np.ones((4, 2)), verbose=0)
    np.testing.assert_array_equal(model.predict(np.ones((4, 2)), verbose=0), first)
    model.train_on_batch(np.ones((4, 2)), np.zeros((4, 3)))
    assert np.abs(model.predict(np.ones((4, 2)), verbose=0)).sum() < np.abs(first).sum()


# ---------------------------------------------------------------------------------------------- softmax and crossentropy


def test_softmax_meets_crossentropy_only_where_they_belong_together():
    z = np.array([[2.0, -1.0, 0.5]])
    e = np.exp(z)
    p, target = e / e.sum(), np.array([[0.0, 1.0, 0.0]])

    def loss(last, loss):
        layers = [Dense(3, input_dim=3, kernel_initializer="zeros", activation=last)]
        model = Sequential(layers, dtype="float64")
        model.compile(loss=loss)
        model.set_weights([np.eye(3), np.zeros(3)])
        return model.evaluate(z, target, verbose=0)

    assert loss("softmax", "categorical_crossentropy") == pytest.approx(-np.log(p[0, 1]), rel=1e-12)
    assert loss(None, CategoricalCrossentropy(from_logits=True)) == pytest.approx(-np.log(p[0, 1]), rel=1e-12)
    twice = np.exp(p) / np.exp(p).sum()
    with pytest.warns(UserWarning, match="leave out one"):
        of_twice = loss("softmax", CategoricalCrossentropy(from_logits=True))
    assert of_twice == pytest.approx(-np.log(twice[0, 1]), rel=1e-12)
    assert loss("softmax", "mse") == pytest.approx(((p - target) ** 2).mean(), rel=1e-12)


@pytest.mark.parametrize("last", [lambda: Dense(1, "sigmoid"), lambda: Stack([Dense(1), Activation("sigmoid")])])
def test_a_sigmoid_meets_the_binary_crossentropy(last):
    """sigmoid(1000) is 1 in any float, and −log(1 − 1) would be infinite, or clipped −ln 1e-7; on the logits it is 1000."""
    model = Sequential([last()], dtype="float64")
    model.compile(loss="binary_crossentropy")
    model.build((1,))
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    x, y = np.array([[1000.0], [-3.0]]), np.array([0, 1])
    loss, gradients = model.loss_and_gradients(x, y)
    p = 1 / (1 + np.exp(3))
    assert loss == pytest.approx((1000 - np.log(p)) / 2, rel=1e-12)
    (bias,) = (value for address, value in gradients.items() if address.endswith("bias"))
    np.testing.assert_allclose(bias, [(1 + p - 1) / 2], rtol=1e-12)  # the mean of p − target
    np.testing.assert_allclose(model.predict(x, verbose=0), [[1], [p]], rtol=1e-12)
    assert model.trace(x, y).notes[0].startswith("The sigmoid and the loss are one computation")


@pytest.mark.parametrize(
    ("last", "loss", "said"),
    [
        (
            Dense(3),
            "categorical_crossentropy",
            "Dense 'dense' ends in linear, which gives no probabilities, and Categorical",
        ),
        (
            Dense(3, "relu"),
            "sparse_categorical_crossentropy",
            "use activation='softmax', or loss=SparseCategoricalCross",
        ),
        (
            Activation("tanh"),
            "binary_crossentropy",
            "use activation='sigmoid', or loss=BinaryCrossentropy(from_logits=True)",
        ),
        (Stack([Dense(3), Stack([Dense(3)])]), "binary_crossentropy", "Dense 'dense' ends in linear"),
        (Dense(3, "softmax"), CategoricalCrossentropy(from_logits=True), "takes logits: leave out one."),
        (Dense(1, "sigmoid"), BinaryCrossentropy(from_logits=True), "ends in sigmoid, which gives probabilities"),
    ],
)
def test_a_last_layer_and_a_loss_that_do_not_fit_are_named(last, loss, said):
    with pytest.warns(UserWarning, match=re.escape(said)) as caught:
        Sequential([last]).compile(loss=loss)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("last", "loss"),
    [
        (Dense(3), "mse"),
        (Dense(3), CategoricalCrossentropy(from_logits=True)),
        (Dense(3, "sigmoid"), "categorical_crossentropy"),  # its outputs are divided by their sum
        (Dense(3, "softmax"), "binary_crossentropy"),
        (Residual([Dense(3)], Dense(3)), "categorical_crossentropy"),  # nothing is known of what it gives
        (type("Own", (Dense,), {})(3), "categorical_crossentropy"),
    ],
)
def test_where_nothing_is_wrong_or_known_nothing_is_said(last, loss):
    Sequential([last]).compile(loss=loss)  # a warning would be an error


def test_a_softmax_at_the_end_of_a_stack_meets_the_crossentropy_too():
    """p = e^1000 / (e^1000 + 1) is 1 in any float, and −log(1 − p) would be infinite; on the logits it is 1000."""
    for last in (Stack([Dense(2), Activation("softmax")]), Stack([Stack([Dense(2, activation="softmax")])])):
        model = Sequential([last], dtype="float64")
        model.compile(loss="categorical_crossentropy")
        model.build((2,))
        model.set_weights([np.eye(2), np.zeros(2)])
        x, y = np.array([[1000.0, 0.0]]), np.array([[0.0, 1.0]])
        loss, gradients = model.loss_and_gradients(x, y)
        assert loss == pytest.approx(1000, rel=1e-12)
        (bias,) = (value for address, value in gradients.items() if address.endswith("bias"))
        np.testing.assert_allclose(bias, [1, -1], rtol=1e-12)  # p − target
        np.testing.assert_array_equal(model.predict(x, verbose=0), [[1, 0]])
        assert type(model.layers[0]) is Stack  # what runs has changed, and not what the user wrote
        assert next(iter(model.leaves()))[1].units == 2


def test_a_loss_of_the_users_gets_what_the_last_layer_gives():
    class Twice(CategoricalCrossentropy):
        def losses_and_gradients(self, y_true, y_pred):
            np.testing.assert_allclose(y_pred.sum(axis=1), 1)  # probabilities, not logits
            losses, gradients = super().losses_and_gradients(y_true, y_pred)
            return 2 * losses, 2 * gradients

    one, two = (Sequential([Dense(3, "softmax", input_dim=4)], seed=0, dtype="float64") for _ in range(2))
    one.compile(loss="categorical_crossentropy")
    two.compile(loss=Twice())
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 4)), np.eye(3)[rng.integers(0, 3, 6)]
    loss, gradients = one.loss_and_gradients(x, y)
    double, doubled = two.loss_and_gradients(x, y)
    assert double == pytest.approx(2 * loss, rel=1e-12)
    for address, gradient in gradients.items():
        np.testing.assert_allclose(doubled[address], 2 * gradient, rtol=1e-9)


# ---------------------------------------------------------------------------------------------------- random numbers


def test_what_a_layer_is_given_as_rng():
    first, second = Watch(input_shape=(2,)), Watch()
    model = Sequential([first, second, Dense(1)], seed=1)
    model.compile(loss="mse")
    x, y = np.zeros((40, 2)), np.zeros((40, 1))
    model.train_on_batch(x, y)
    model.train_on_batch(x, y)
    model.predict(x, verbose=0)
    assert [key.first_sample for key in sorted(first.keys[:2], key=lambda key: key.first_sample)] == [0, 20]
    assert len({key.key for key in first.keys[:2]}) == 1  # the shards of a batch share the layer's key
    steps = {key.key for key in first.keys[:4]} | {key.key for key in second.keys[:4]}
    assert len(steps) == 4  # two layers, two steps
    assert first.keys[4:] == [None, None]  # no training: no randomness


@pytest.mark.parametrize("options", [{}, {"fuse": False}, {"ops": "reference"}], ids=["fused", "unfused", "reference"])
def test_masks_differ_between_layers_steps_and_samples_and_vanish_in_prediction(options):
    layers = [Dropout(0.5, input_shape=(600,)), Watch(), Dropout(0.5), Watch(), Dense(1)]
    model = Sequential(layers, seed=1, **options)
    model.compile(loss="mse")
    x, y = np.ones((8, 600)), np.zeros((8, 1))
    model.train_on_batch(x, y)
    model.train_on_batch(x, y)
    model.predict(x, verbose=0)
    one, two, plain = layers[1].seen
    both = layers[3].seen[0]
    assert set(np.unique(one)) == {0, 2}  # kept entries are divided by 1 − rate
    assert set(np.unique(both)) == {0, 4}
    for mask in (one != 0, two != 0):
        assert abs(mask.mean() - 0.5) < 0.04  # 4800 throws: five standard deviations
    assert abs(((one != 0) == (two != 0)).mean() - 0.5) < 0.04  # independent from step to step
    assert abs((both != 0)[one != 0].mean() - 0.5) < 0.06  # and from layer to layer
    assert len({row.tobytes() for row in one}) == 8
    np.testing.assert_array_equal(plain, 1)
    np.testing.assert_array_equal(layers[3].seen[2], 1)


def test_masks_are_the_same_in_both_sets_of_operations_and_for_any_cut():
    def seen(n, **options):
        watch = Watch()
        model = Sequential([Dropout(0.3, input_shape=(5, 4, 3)), watch, Flatten(), Dense(1)], seed=1, **options)
        model.compile(loss="mse")
        model.train_on_batch(np.ones((n, 5, 4, 3)), np.zeros((n, 1)))
        return np.concatenate(sorted(watch.seen, key=len, reverse=True)) if n < 16 else watch.seen

    whole = seen(15)
    np.testing.assert_array_equal(whole, seen(15, ops="reference"))
    np.testing.assert_array_equal(whole, seen(15, fuse=False))
    parts = seen(28)  # two shards of 14, in any order
    assert len(parts) == 2
    assert sum(np.array_equal(part, whole[:14]) for part in parts) == 1


# ------------------------------------------------------------------------------------------------------------ backward


@pytest.mark.parametrize("fuse", [True, False])
def test_backward_stops_at_the_first_layer_that_learns(fuse):
    below, above = Watch(input_shape=(4,)), Watch()
    frozen, trained = Dense(3), Dense(3)
    model = Sequential([below, frozen, above, trained, Dense(2)], fuse=fuse)
    model.compile(loss="mse")
    x, y = np.ones((5, 4)), np.ones((5, 2))
    model.train_on_batch(x, y)
    assert (below.backwards, above.backwards) == (0, 1)
    frozen.trainable = False
    model.train_on_batch(x, y)
    assert (below.backwards, above.backwards) == (0, 1)
    model.loss_and_gradients(x, y)  # which gives every gradient, frozen or not
    assert (below.backwards, above.backwards) == (0, 2)


def test_the_lowest_step_that_is_trained():
    layers = [Flatten(input_shape=(2, 2)), Dense(3), Residual([Dense(3), Dense(3)]), Activation("tanh"), Dense(2)]
    model = Sequential(layers)
    plan, (_, first, one, other, _, last) = Plan(model.layers, None, True), [layer for _, layer in model.leaves()]

    def lowest(*frozen):
        return plan.lowest_trained({id(layer) for layer in frozen})

    assert lowest() == lowest(last) == lowest(one, other) == 1
    assert lowest(first) == lowest(first, one) == 2
    assert lowest(first, one, other) == 4
    assert lowest(first, one, other, last) == 5  # none: one beyond the last


def test_a_model_without_parameters_has_a_loss_and_no_gradients():
    model = Sequential([Flatten(input_shape=(2, 2)), Activation("softmax")])
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    x, y = np.zeros((20, 2, 2)), np.zeros(20, int)
    assert model.loss_and_gradients(x, y) == (pytest.approx(np.log(4)), {})
    assert model.fit(x, y, verbose=0).history == {"loss": [pytest.approx(np.log(4))]}


def test_a_parameter_may_be_a_single_number():
    class Times(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"factor": np.array(3.0, dtype)}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x * self.params["factor"], x

        def backward(self, dy, cache):
            return dy * self.params["factor"], {"factor": (dy * cache).sum()}

    model = Sequential([Times(input_shape=(1,))], dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    x = np.ones((40, 1))
    loss, gradients = model.loss_and_gradients(x, 0 * x)
    assert (loss, float(gradients["times/factor"])) == (pytest.approx(9), pytest.approx(6))  # (3 − 0)², 2 · 3
    model.train_on_batch(x, 0 * x)
    assert float(model.params["times/factor"]) == pytest.approx(3 - 0.01 * 6)
