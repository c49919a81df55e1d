"""Layers that need sums over the whole batch get them however the batch is cut, and learn them with the step or not at all."""

import numpy as np
import pytest
from support import assert_same

from minidl import Sequential, losses, set_num_threads
from minidl.callbacks import BackupAndRestore, Callback
from minidl.engine import runner
from minidl.engine.stages import Part, alone, summed
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
    Residual,
    SpatialDropout2D,
    Stack,
)
from minidl.models import load_model
from minidl.regularizers import L2

pytestmark = pytest.mark.usefixtures("threads_as_before")
WAYS = {"fused": {}, "not fused": {"fuse": False}, "reference": {"ops": "reference"}}
every_way = pytest.mark.parametrize("way", WAYS)


class Centre(Layer):
    """A layer of the user's: subtracts the mean over the batch, or, outside of training, the last one that it has seen."""

    def build(self, input_shape, rng, dtype):
        self.state = {"mean": np.zeros(input_shape, dtype)}
        return input_shape

    def measure(self, x):
        return np.array([np.full(x.shape[1:], float(len(x))), x.sum(axis=0, dtype=np.float64)])

    def forward(self, x, *, training=False, rng=None, sums=None):
        if not (training and self.trainable):
            return x - self.state["mean"], None
        count, total = self.measure(x) if sums is None else sums
        return (x - total / count).astype(x.dtype), count

    def measure_backward(self, dy, cache):
        return dy.sum(axis=0, dtype=np.float64)

    def backward(self, dy, cache, *, sums=None):
        if cache is None:
            return dy, {}
        total = self.measure_backward(dy, cache) if sums is None else sums
        return (dy - total / cache).astype(dy.dtype), {}

    def learn(self, sums, *, momentum=None):
        self.state["mean"][...] = sums[1] / sums[0]


def network(**options):
    """Normalization behind convolutions and Dense layers, in a stack, in a residual, twice in a row; and the user's."""
    layers = [
        Conv2D(6, 3, input_shape=(9, 8, 1)),
        BatchNormalization(momentum=0.75),
        ReLU(),
        MaxPooling2D(),
        Residual(
            [Conv2D(5, 3, padding="same", use_bias=False), BatchNormalization(), Activation("tanh")],
            projection=Stack([Conv2D(5, 1), BatchNormalization(scale=False)]),
        ),
        SpatialDropout2D(0.2),
        Flatten(),
        Stack([Dense(12), Centre(), BatchNormalization(center=False), Activation("relu")]),
        Dropout(0.2),
        Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, **{"seed": 3, **options})
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def samples(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 9, 8, 1)) * 3 + 1, rng.integers(0, 4, n)


def bits(arrays):
    return [array.tobytes() for array in arrays]


# ----------------------------------------------------------------------------------------------------------- the stages


def shard(own, steps):
    """Yields its number, each time added to the total before; ends with its total."""
    total = np.zeros(1)
    for step in range(steps):
        total = yield Part(own + step * total)
    return float(total[0])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_shard_is_sent_the_total_of_each_stage_by_hand(n, threads):
    """Σ own, then Σ (own + that total), then Σ (own + twice that total)."""
    set_num_threads(threads)
    first = n * (n + 1) / 2
    second = first + n * first
    third = first + 2 * n * second
    roots, measured = summed(lambda i: shard(i + 1, 3), n, lambda left, right: left + right)
    assert sum(roots) == n * third
    assert measured == []
    assert len(roots) == min(n, 2)


def test_a_shard_alone_is_sent_its_own_part_by_hand():
    """1, then 1 + 1, then 1 + 2 · 2."""
    assert alone(shard(1, 3)) == (5.0, [])


def test_an_error_in_one_shard_is_raised_and_ends_the_others():
    def job(i):
        yield Part(np.ones(1))
        if i == 1:
            raise KeyError("shard 1")
        yield Part(np.ones(1))

    with pytest.raises(KeyError, match="shard 1"):
        summed(job, 4, lambda left, right: None)


# ---------------------------------------------------------------------------------------------------- the whole batch's


@every_way
@pytest.mark.parametrize("cuts", [[(0, 5), (5, 37)], [(0, 1), (1, 2), (2, 37)], [(i, i + 1) for i in range(37)]])
def test_a_batch_in_shards_is_the_batch(cuts, way, monkeypatch):
    """Loss, gradients and what is learned: as if it had not been cut; to a rounding of float64."""
    x, y = samples(37)
    weights = np.random.default_rng(1).random(37)
    found = []
    for each in (cuts, [(0, 37)]):
        monkeypatch.setattr(runner, "shards", lambda n, work, each=each: each)
        model = network(dtype="float64", **WAYS[way])
        loss, gradients = model.loss_and_gradients(x, y, weights, training=True)
        model.train_on_batch(x, y, weights)
        found.append((loss, gradients, model.state))
    (loss, gradients, state), (whole_loss, whole, whole_state) = found
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    for address, gradient in gradients.items():
        np.testing.assert_allclose(gradient, whole[address], rtol=1e-9, atol=1e-13, err_msg=address)
    for address, value in state.items():
        np.testing.assert_allclose(value, whole_state[address], rtol=1e-12, atol=1e-15, err_msg=address)
        assert value.any()


@every_way
def test_the_gradients_are_those_of_the_plain_list_of_layers(way):
    """The page backprop.py knows nothing of stages."""
    x, y = samples(40)
    model = network(dtype="float64", **WAYS[way])
    for value in model.params.values():
        value += np.random.default_rng(2).normal(0, 0.1, value.shape)
    assert len(runner.shards(40, runner.work(model))) > 1
    for training in (True, False):
        loss, gradients = model.loss_and_gradients(x, y, training=training)
        trace = model.trace(x, y, training=training)
        assert loss == pytest.approx(trace.loss, rel=1e-12)
        for address, gradient in gradients.items():
            np.testing.assert_allclose(gradient, trace.gradients[address], rtol=1e-8, atol=1e-13, err_msg=address)


@every_way
@pytest.mark.parametrize(
    ("n", "batch_size"), [(67, 33), (230, 230), (131, 65), (21, 5)], ids=["a last one", "three shards", "odd", "whole"]
)
def test_any_number_of_threads_gives_the_same_bits(n, batch_size, way):
    x, y = samples(n)

    def trained(threads):
        set_num_threads(threads)
        model = network(**WAYS[way])
        history = model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, validation_split=0.1)
        model.measure_statistics(x[:40], batch_size=17)
        loss, gradients = model.loss_and_gradients(x, y, training=True)
        return (
            bits(model.get_weights()),
            history.history,
            model.predict(x, verbose=0).tobytes(),
            loss,
            bits(gradients.values()),
        )

    alone = trained(1)
    for threads in (2, 3):
        assert trained(threads) == alone, f"{threads} threads"


def test_what_is_learned_in_a_step_by_hand():
    """momentum · old + (1 − momentum) · the moments of all samples of the batch."""
    model = Sequential([BatchNormalization(momentum=0.75, input_shape=(2,)), Centre(), Dense(1)], seed=1)
    model.compile(loss="mse", optimizer="sgd")
    x = np.array([[1, 0], [3, 0], [5, 8], [7, 0]] * 5)  # cut into two shards
    assert len(runner.shards(20, runner.work(model))) == 2
    model.train_on_batch(x, np.zeros(20))
    state = model.state
    np.testing.assert_allclose(state["batch_normalization/moving_mean"], [0.25 * 4, 0.25 * 2])
    np.testing.assert_allclose(state["batch_normalization/moving_variance"], [0.75 + 0.25 * 5, 0.75 + 0.25 * 12])
    np.testing.assert_allclose(state["centre/mean"], 0, atol=1e-6)
    model.predict(x, verbose=0), model.evaluate(x, np.zeros(20), verbose=0), model.trace(x, np.zeros(20), training=True)
    model.loss_and_gradients(x, np.zeros(20), training=True)
    np.testing.assert_allclose(model.state["batch_normalization/moving_mean"], [1, 0.5])  # only steps are learned from
    names = [name.rpartition("/")[2] for name in model.weights][:4]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]


@every_way
def test_a_frozen_normalization_keeps_its_averages_and_uses_them(way):
    x, y = samples(40)
    model = network(**WAYS[way])
    model.fit(x, y, verbose=0)
    first = model.layers[1]
    first.trainable = False
    before = bits(first.get_weights())
    gradient = model.loss_and_gradients(x, y, training=True)[1]["conv2d/bias"]
    assert np.abs(gradient).max() > 1e-4  # before a batch's own moments, a bias has none
    model.fit(x, y, verbose=0, epochs=2)
    assert bits(first.get_weights()) == before
    assert model.layers[4].layers[1].state["moving_mean"].any()
    model.trainable = False
    before = bits(model.get_weights())
    model.fit(x, y, verbose=0)
    assert bits(model.get_weights()) == before


@every_way
@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_callback_freezes_or_thaws_counts_from_the_next_fit_on(way, frozen):
    """Until then it is measured or not as before, and its averages, parameters and penalties with it."""
    x, y = samples(40)
    results = []
    for changes in (False, True):
        model = network(**WAYS[way])
        inner = model.layers[4].layers[1]
        for layer in (model.layers[1], inner):
            layer.trainable = not frozen
            layer.gamma_regularizer = L2(0.1)

        class Changes(Callback):
            def on_train_batch_begin(self, batch, logs=None, changes=changes, layers=(model.layers[1], inner)):
                for layer in layers if changes else ():
                    layer.trainable = frozen

        losses = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[Changes()]).history["loss"]
        results.append([*bits(model.get_weights()), losses])
        before = bits(inner.get_weights())
        model.fit(x, y, verbose=0)
        assert (bits(inner.get_weights()) == before) is (frozen != changes)
    assert results[0] == results[1]


@every_way
def test_in_a_frozen_stack_a_normalization_of_any_kind_is_frozen(way):
    """Added to it later, or thawed alone; in a step, in a trace and in a gradient it uses its moving averages."""
    base = Sequential([Conv2D(3, 2, input_shape=(5, 5, 2))], seed=1)
    base.trainable = False
    base.add(BatchNormalization())
    inner = Stack([Conv2D(4, 2), BatchNormalization(), ReLU()], trainable=False)
    inner.layers[1].trainable = True
    model = Sequential([base, inner, Flatten(), Dense(1)], seed=1, **WAYS[way])
    model.compile(loss="mse", optimizer="sgd")
    x, y = 5 + np.random.default_rng(0).normal(size=(30, 5, 5, 2)), np.zeros(30)
    expected = model.evaluate(x, y, verbose=0)
    before = bits([*base.get_weights(), *inner.get_weights()])
    assert model.trace(x, y, training=True).loss == pytest.approx(expected, rel=1e-5)
    assert model.loss_and_gradients(x, y, training=True)[0] == pytest.approx(expected, rel=1e-5)
    assert model.train_on_batch(x, y) == pytest.approx(expected, rel=1e-5)
    assert bits([*base.get_weights(), *inner.get_weights()]) == before


def test_layers_below_are_trained_through_a_normalization_without_parameters():
    model = Sequential([Dense(3, input_dim=2), BatchNormalization(center=False, scale=False), Dense(1)], seed=1)
    model.compile(loss="mse", optimizer="sgd")
    x = np.random.default_rng(0).normal(size=(30, 2))
    before = model.layers[0].get_weights()[0]
    model.layers[2].trainable = False
    model.train_on_batch(x, x[:, 0])
    assert np.abs(model.layers[0].get_weights()[0] - before).max() > 1e-5
    before = bits(model.get_weights()[:2])
    model.layers[0].trainable = False  # nothing is left to be trained, and yet there is something to learn
    mean = model.state["batch_normalization/moving_mean"].copy()
    model.train_on_batch(x + 5, x[:, 0])
    assert bits(model.get_weights()[:2]) == before
    assert not np.array_equal(model.state["batch_normalization/moving_mean"], mean)


# ------------------------------------------------------------------------------------------------------ what goes wrong


class Spoils(Layer):
    """Infinity in the batch's first sample, in training, when told to."""

    told = False

    def forward(self, x, *, training=False, rng=None):
        y = x.copy()
        if training and self.told and rng.first_sample == 0:
            y[0] = np.inf
        return y, None

    def backward(self, dy, cache):
        return dy, {}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("place", [1, 3], ids=["before it", "after it"])
def test_a_step_that_fails_teaches_nothing(place, threads):
    """Before the last normalization all shards are spoilt, after it only one of them: the others wait for it in vain."""
    set_num_threads(threads)
    models = []
    for _ in range(2):
        layers = [Dense(5, input_dim=3), BatchNormalization(), Activation("tanh"), Dense(2)]
        layers.insert(place, Spoils())
        models.append(Sequential(layers, seed=1))
        models[-1].compile(loss="mse", optimizer="adam")
    model, other = models
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.zeros((40, 2))
    model.train_on_batch(x, y)
    before = bits(model.get_weights())
    model.layers[place].told = True
    with pytest.raises(FloatingPointError, match="first layer whose output is not finite is 'spoils'"):
        model.train_on_batch(x, y)
    assert bits(model.get_weights()) == before
    model.layers[place].told = False
    model.train_on_batch(x, y)
    for _ in range(2):
        other.train_on_batch(x, y)
    assert bits(model.get_weights()) == bits(other.get_weights())


class Own(Stack):
    """A stack with a forward of its own."""

    def forward(self, x, *, training=False, rng=None):
        return super().forward(x, training=training, rng=rng)


def test_a_normalization_that_the_model_cannot_reach_is_refused_in_training():
    model = Sequential([Own([Dense(3), BatchNormalization()], name="own"), Dense(1)], seed=1)
    model.compile(loss="mse", optimizer="sgd")
    x = np.random.default_rng(0).normal(size=(20, 4))
    assert np.isfinite(model.predict(x, verbose=0)).all()
    assert np.isfinite(model.trace(x, x[:, 0], training=True).loss)  # the whole batch at once
    with pytest.raises(ValueError, match=r"layer 'own' has a forward of its own, and BatchNormalization .* inside"):
        model.fit(x, x[:, 0], verbose=0)


def test_a_frozen_one_needs_no_sums_wherever_it_is():
    """With the moving averages, which it has from a training before: the same as in a stack that the model runs itself."""
    x = np.random.default_rng(0).normal(size=(20, 4))
    found = []
    for kind in (Own, Stack):
        inner = kind([Dense(3), BatchNormalization(trainable=False)], name="inner")
        model = Sequential([inner, Dense(1)], seed=1, dtype="float64")
        model.build((4,))
        for address, value in model.state.items():
            value[...] = 2 if address.endswith("mean") else 3
        model.compile(loss="mse", optimizer="sgd")
        model.fit(x, x[:, 0], verbose=0)
        found.append(model.get_weights())
    for own, other in zip(*found, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12)


@every_way
@pytest.mark.parametrize("shape", [(3,), (4, 4, 2)])
@pytest.mark.parametrize(
    "x",
    [
        lambda shape: np.random.default_rng(0).normal(size=(1, *shape)),
        lambda shape: np.zeros((20, *shape)),
        lambda shape: np.full((20, *shape), 0.1),
        lambda shape: np.full((20, *shape), -1e6 / 3),
        lambda shape: np.random.default_rng(0).normal(size=(20, *shape)) * 1e-20,
        lambda shape: np.random.default_rng(0).normal(size=(20, *shape)) * 1e15,
        lambda shape: np.random.default_rng(0).normal(size=(20, *shape)) * 1e-3 + 1e4,
    ],
    ids=["a batch of one", "zeros", "a constant", "a large constant", "tiny", "huge", "far from 0"],
)
def test_odd_batches_are_finite(x, shape, way):
    """One class, too: all labels are 0."""
    model = Sequential(
        [BatchNormalization(input_shape=shape), ReLU(), Flatten(), Dense(3), BatchNormalization(), Dense(2, "softmax")],
        seed=1,
        **WAYS[way],
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    data = x(shape)
    for _ in range(3):
        assert np.isfinite(model.train_on_batch(data, np.zeros(len(data), int)))
    assert np.isfinite(model.predict(data, verbose=0)).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


# ------------------------------------------------------------------------------------------------------ measured afresh


def test_statistics_measured_on_one_batch_are_those_of_training():
    """With all samples as one batch, what the model predicts is what training had computed."""
    model = Sequential([Dense(4, input_dim=3), BatchNormalization(), ReLU(), Dense(2), BatchNormalization()], seed=1)
    model.compile(loss="mse", optimizer="sgd")
    x = np.random.default_rng(0).normal(size=(50, 3)) + 2
    params = bits(model.params.values())
    model.measure_statistics(x, batch_size=50)
    assert bits(model.params.values()) == params
    assert model.steps_trained == 0
    np.testing.assert_allclose(
        model.predict(x, verbose=0), model.trace(x, x[:, :2], training=True).y_pred, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("before", [9, np.inf, np.nan])
@pytest.mark.parametrize("batch_size", [7, 50, None])
def test_statistics_measured_in_batches_are_those_of_all_samples(batch_size, before):
    """For the first layer exactly: the variance between the batches is in it. A frozen one keeps its own; nothing stays of what
    was."""
    frozen = BatchNormalization(trainable=False)
    model = Sequential([BatchNormalization(input_shape=(3,)), Centre(), frozen, Dropout(0.5)], seed=1)
    for value in model.state.values():
        value[...] = before
    x = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 3] + np.arange(50)[:, None]
    with np.errstate(invalid="ignore"):  # of the frozen layer
        model.measure_statistics(x, batch_size=batch_size)
    first = model.layers[0].state
    np.testing.assert_allclose(first["moving_mean"], x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(first["moving_variance"], x.var(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.layers[1].state["mean"], 0, atol=1e-5)
    assert_same(list(frozen.state.values()), [np.full(3, before, np.float32)] * 2)


def test_statistics_are_measured_of_what_makes_batches():
    model = Sequential([BatchNormalization(input_shape=(3,))])
    x = np.random.default_rng(0).normal(size=(50, 3))
    model.measure_statistics(x[i : i + 10] for i in range(0, 50, 10))
    np.testing.assert_allclose(model.state["batch_normalization/moving_mean"], x.mean(axis=0), rtol=1e-5)


# -------------------------------------------------------------------------------------------------------- files, copies


class DiesInTheSecondEpoch(Callback):
    """After its second batch."""

    def on_train_batch_end(self, batch, logs=None):
        if (self.model.epochs_trained, batch) == (1, 1):
            raise KeyboardInterrupt


def test_a_training_that_died_goes_on_with_its_moving_averages(tmp_path):
    x, y = samples(50)
    died, resumed, never = network(), network(), network()
    with pytest.raises(KeyboardInterrupt):
        died.fit(
            x, y, 10, epochs=3, verbose=0, callbacks=[BackupAndRestore(tmp_path, save_freq=1), DiesInTheSecondEpoch()]
        )
    resumed.fit(x, y, 10, epochs=3, verbose=0, callbacks=[BackupAndRestore(tmp_path, save_freq=1)])
    never.fit(x, y, 10, epochs=3, verbose=0)
    assert resumed.steps_trained == never.steps_trained == 15
    assert bits(resumed.get_weights()) == bits(never.get_weights())


def test_moving_averages_are_saved_and_counted(tmp_path):
    x, y = samples(40)
    model = Sequential(
        [Flatten(input_shape=(9, 8, 1)), BatchNormalization(beta_regularizer="l2", momentum=0.5), Dense(4, "softmax")],
        seed=3,
    )
    model.compile(loss=losses.SparseCategoricalCrossentropy(), optimizer="adam")
    model.fit(x, y, verbose=0, epochs=2)
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert bits(again.get_weights()) == bits(model.get_weights())
    assert model.count_params() == 4 * 72 + 4 * 73
    for each in (model, again):
        each.fit(x, y, verbose=0)
    assert bits(again.get_weights()) == bits(model.get_weights())
    penalized = model.loss_and_gradients(x, y)[1]["batch_normalization/beta"]
    model.layers[1].beta_regularizer = None
    plain = model.loss_and_gradients(x, y)[1]["batch_normalization/beta"]
    np.testing.assert_allclose(penalized - plain, 0.02 * model.layers[1].params["beta"], rtol=1e-4, atol=1e-8)
