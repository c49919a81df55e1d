"""The plan: what is fused and what is not, what each layer is given, and where backward may stop."""

import tracemalloc

import numpy as np
import pytest

from minidl import Sequential
from minidl.engine.plan import Plan, Workspace, layer_key
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D
from minidl.losses import CategoricalCrossentropy, MeanSquaredError

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


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


# ---------------------------------------------------------------------------------------------------------- workspace


def test_a_workspace_hands_out_the_same_memory_again():
    scratch = Workspace()
    first = scratch.array("a", (4, 3), FLOAT32)
    assert (first.shape, first.dtype) == ((4, 3), FLOAT32)
    again = scratch.array("a", (2, 5), FLOAT32)
    assert again.shape == (2, 5)
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, scratch.array("b", (4, 3), FLOAT32))
    larger = scratch.array("a", (5, 3), FLOAT32)
    assert larger.shape == (5, 3)
    assert not np.shares_memory(first, larger)
    other = scratch.array("a", (2, 2), FLOAT64)
    assert (other.shape, other.dtype) == ((2, 2), FLOAT64)
    assert all(array.flags.c_contiguous for array in (first, again, larger, other))


def test_a_workspaces_arrays_are_apart_and_large_ones_begin_at_a_line_of_the_cache():
    scratch, large = Workspace(), Workspace.LARGE
    sizes = [1, 7, large - 1, large, 3 * Workspace.BLOCK, large + 1, 5, Workspace.BLOCK // 2, Workspace.BLOCK // 2]
    arrays = [scratch.array(i, (size,), np.dtype(np.uint8)) for i, size in enumerate(sizes)]
    for i, array in enumerate(arrays):
        array[:] = i
    for i, array in enumerate(arrays):
        assert len(array) < large or array.ctypes.data % Workspace.ALIGNMENT == 0
        assert (array == i).all()
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_a_workspace_of_small_arrays_takes_little_memory():
    tracemalloc.start()
    scratches = [Workspace() for _ in range(100)]
    for scratch in scratches:
        scratch.array("a", (1000,), FLOAT32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 400_000 < peak < 600_000  # one of a hundred shards has 4,000 bytes, and not a block


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


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 5), ({"fuse": False}, 6), ({"ops": "reference"}, 6)],
    ids=["fused", "fuse=False", "reference"],
)
def test_convolution_and_pool_are_one_step_unless_switched_off(options, steps):
    model = Sequential(tutorial_layers(), **options)
    plan = Plan(model.layers, CategoricalCrossentropy(), model.fuse)
    assert len(plan.steps) == steps
    positions = [step.position for step in plan.steps]
    assert positions == ([0, 2, 3, 4, 5] if steps == 5 else [0, 1, 2, 3, 4, 5])  # dropout's key follows from its layer


@pytest.mark.parametrize(
    "pool",
    [
        lambda: MaxPooling2D(3, strides=2),
        lambda: MaxPooling2D(2, strides=3),
        lambda: MaxPooling2D(3, padding="same"),
        lambda: MaxPooling2D((17, 16)),
        lambda: Activation("relu"),
    ],
    ids=["overlapping", "apart", "same", "too large for 8 bits", "none"],
)
def test_a_pool_of_another_kind_stays_a_step_of_its_own_and_is_right(pool):
    fused, plain = (
        Sequential(
            [Conv2D(2, 2, input_shape=(18, 18, 1), activation="relu"), pool()], seed=1, dtype="float64", fuse=fuse
        )
        for fuse in (True, False)
    )
    x = np.random.default_rng(0).normal(size=(3, 18, 18, 1))
    assert len(Plan(fused.layers, None, True).steps) == 2
    np.testing.assert_allclose(fused.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-12)


@pytest.mark.parametrize(("width", "steps"), [(4, 2), (5, 2), (6, 1)])
def test_a_map_of_one_column_is_pooled_by_a_step_of_its_own(width, steps):
    model = Sequential([Conv2D(2, 3, input_shape=(8, width, 1)), MaxPooling2D()], seed=1)
    assert (
        len(Plan(model.layers, None, True).steps) >= steps
    )  # with vectors of 8 lanes the kernel does single columns too
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


def test_dropout_in_place_changes_no_array_that_somebody_else_keeps():
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
    assert loss("softmax", CategoricalCrossentropy(from_logits=True)) == pytest.approx(-np.log(twice[0, 1]), rel=1e-12)
    assert loss("softmax", "mse") == pytest.approx(((p - target) ** 2).mean(), rel=1e-12)


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


def test_every_layer_and_every_step_has_a_key_of_its_own():
    keys = [layer_key(batch, position) for batch in (0, 1, 2**63, 2**64 - 1) for position in range(50)]
    assert len(set(keys)) == 200
    assert all(0 <= key < 2**64 for key in keys)


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
    model = Sequential([below, Dense(3), above, Dense(2)], fuse=fuse)
    model.compile(loss="mse")
    model.train_on_batch(np.ones((5, 4)), np.ones((5, 2)))
    assert (below.backwards, above.backwards) == (0, 1)


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
