"""Regularizers: their penalty is a part of the loss, once, and their gradient a part of the gradient."""

import re

import numpy as np
import pytest
from support import assert_close, assert_gradient, assert_same, numeric_gradient

from minidl import Sequential, gradcheck, load_model, regularizers, set_num_threads
from minidl.callbacks import BackupAndRestore, Callback
from minidl.layers import Conv2D, Conv2DTranspose, Dense, Flatten, Residual
from minidl.regularizers import L1, L1L2, L2

WEIGHTS = np.array([[1.0, -2.0], [0.0, 3.0]])


@pytest.mark.parametrize(
    ("make", "penalty", "gradient"),
    [
        (lambda: L1(0.5), 0.5 * 6, [[0.5, -0.5], [0, 0.5]]),
        (lambda: L2(0.5), 0.5 * 14, [[1, -2], [0, 3]]),
        (lambda: L1L2(0.5, 0.25), 0.5 * 6 + 0.25 * 14, [[1, -1.5], [0, 2]]),
        (lambda: regularizers.get("l1", ""), 0.01 * 6, [[0.01, -0.01], [0, 0.01]]),
        (lambda: regularizers.get("l2", ""), 0.01 * 14, [[0.02, -0.04], [0, 0.06]]),
        (lambda: regularizers.l1_l2(l2=1.0), 14, [[2, -4], [0, 6]]),
        (lambda: L1L2(), 0, [[0, 0], [0, 0]]),
    ],
)
def test_by_hand(make, penalty, gradient):
    """Σ |w| = 6, Σ w² = 14."""
    regularizer = make()
    assert regularizer(WEIGHTS) == pytest.approx(penalty, rel=1e-15)
    assert_close(regularizer.gradient(WEIGHTS), np.array(gradient, float))
    assert regularizer.gradient(WEIGHTS.astype(np.float32)).dtype == np.float32
    assert type(regularizer)(**regularizer.get_config())(WEIGHTS) == regularizer(WEIGHTS)


def test_the_gradient_is_the_central_difference():
    regularizer, weights = L1L2(0.3, 0.7), np.random.default_rng(0).normal(size=(4, 5))
    assert_gradient(regularizer.gradient(weights), numeric_gradient(lambda: regularizer(weights), weights))


def network(penalised=True, **options):
    """Every layer that takes one; the same weights with and without."""
    first, second, third = (L1L2(0.01, 0.02), L2(0.05), "l1") if penalised else (None, None, None)
    model = Sequential(
        [
            Conv2D(3, 3, activation="tanh", kernel_regularizer=first, input_shape=(6, 5, 2)),
            Conv2DTranspose(2, 2, kernel_regularizer=second, name="up"),
            Flatten(),
            Residual([Dense(4), Dense(40, kernel_regularizer="l2" if penalised else None)], name="r"),
            Dense(3, "softmax", kernel_regularizer=third),
        ],
        seed=1,
        **options,
    )
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def samples(n=50):
    random = np.random.default_rng(0)
    return random.normal(size=(n, 6, 5, 2)), random.integers(0, 3, n)


def penalties(model):
    """By hand: name of the layer → (l1, l2)."""
    of = {"conv2d": (0.01, 0.02), "up": (0, 0.05), "r/dense_1": (0, 0.01), "dense": (0.01, 0)}
    kernels = {address: model.params[f"{address}/kernel"].astype(np.float64) for address in of}
    value = sum(l1 * np.abs(kernels[at]).sum() + l2 * (kernels[at] ** 2).sum() for at, (l1, l2) in of.items())
    return value, {at: l1 * np.sign(kernels[at]) + 2 * l2 * kernels[at] for at, (l1, l2) in of.items()}


@pytest.mark.parametrize("way", [{}, {"fuse": False}, {"ops": "reference"}])
@pytest.mark.parametrize("n", [5, 50, 350])
def test_loss_and_gradient_have_the_penalty_once(n, way):
    """Whatever the number of shards: 1, 2 and 4."""
    x, y = samples(n)
    model, plain = network(dtype="float64", **way), network(False, dtype="float64", **way)
    assert_same(model.get_weights(), plain.get_weights())
    value, slopes = penalties(model)
    loss, gradients = model.loss_and_gradients(x, y)
    expected_loss, expected = plain.loss_and_gradients(x, y)
    assert loss == pytest.approx(expected_loss + value, rel=1e-12)
    for address, gradient in gradients.items():
        layer, _, name = address.rpartition("/")
        assert_close(gradient, expected[address] + (slopes[layer] if name == "kernel" and layer in slopes else 0))


def test_gradcheck():
    report = gradcheck(network(dtype="float64"), *samples(20))
    assert report.passed, str(report)


def test_evaluate_fit_and_trace_have_it_in_their_loss():
    x, y = samples()
    model, plain = network(dtype="float64"), network(False, dtype="float64")
    value, slopes = penalties(model)
    found, expected = (each.evaluate(x, y, batch_size=20, verbose=0) for each in (model, plain))
    assert found[0] == pytest.approx(expected[0] + value, rel=1e-12)
    assert found[1] == expected[1]
    trace, expected = model.trace(x, y), plain.trace(x, y)
    assert trace.loss == pytest.approx(expected.loss + value, rel=1e-12)
    assert_close(trace.gradients["up/kernel"], expected.gradients["up/kernel"] + slopes["up"])
    assert_close(trace["up"].gradients["kernel"], expected["up"].gradients["kernel"])
    assert "include the regularizers' penalties" in trace.notes[0]
    # of an epoch of one batch, the loss is that of before its step
    history = model.fit(x, y, batch_size=50, verbose=0, validation_data=(x, y)).history
    assert history["loss"][0] == pytest.approx(found[0], rel=1e-12)
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x, y, verbose=0)[0], rel=1e-12)


def test_sample_weights_do_not_weigh_the_penalty():
    x, y = samples()
    model = network(dtype="float64")
    nothing = model.evaluate(x, y, sample_weight=np.zeros(50), verbose=0)[0]
    assert nothing == pytest.approx(penalties(model)[0], rel=1e-12)


def test_without_a_loss_the_weights_shrink():
    """y = 0 · w: the only gradient is the penalty's, 2 · l2 · w: a step of SGD multiplies by 1 − 2 · η · l2 = 0.9."""
    model = Sequential([Dense(2, kernel_regularizer=L2(0.5), input_dim=3)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.1
    before = model.get_weights()[0]
    for _ in range(3):
        model.train_on_batch(np.zeros((4, 3)), np.zeros((4, 2)))
    np.testing.assert_allclose(model.get_weights()[0], before * 0.9**3, rtol=1e-12)


def test_a_frozen_layer_has_no_penalty():
    """As in Keras: training could not make it smaller."""
    x, y = samples()
    model, plain = network(dtype="float64"), network(False, dtype="float64")
    for layer in model.layers:
        layer.trainable = False
    assert model.evaluate(x, y, verbose=0) == plain.evaluate(x, y, verbose=0)
    model.get_layer("up").trainable = True
    kernel = model.params["up/kernel"]
    expected = plain.evaluate(x, y, verbose=0)[0] + 0.05 * (kernel**2).sum()
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(expected, rel=1e-12)


def test_a_regularizer_that_is_set_later_counts_from_the_next_call_on():
    x, y = samples()
    model = network(False, dtype="float64")
    before = model.evaluate(x, y, verbose=0)[0]
    model.get_layer("up").kernel_regularizer = L2(0.05)
    expected = before + 0.05 * (model.params["up/kernel"] ** 2).sum()
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(expected, rel=1e-12)


def test_a_tied_kernel_has_the_penalties_of_both():
    """Each of two layers that share a kernel asks for ½ · Σ w²."""
    model = Sequential(
        [Dense(3, kernel_regularizer=L2(0.5), input_dim=3), Dense(3, kernel_regularizer=L2(0.5))], dtype="float64"
    )
    model.layers[1].params["kernel"] = model.layers[0].params["kernel"]
    model.compile("sgd", "mse")
    x, y = np.zeros((4, 3)), np.zeros((4, 3))
    kernel = model.params["dense/kernel"]
    loss, gradients = model.loss_and_gradients(x, y)
    assert loss == pytest.approx((kernel**2).sum(), rel=1e-12)
    assert_close(gradients["dense/kernel"], 2 * kernel)
    assert_close(model.trace(x, y).gradients["dense/kernel"], 2 * kernel)


@pytest.mark.usefixtures("threads_as_before")
def test_the_same_bits_with_any_number_of_threads():
    results = []
    for threads in (1, 3):
        set_num_threads(threads)
        model = network()
        history = model.fit(*samples(250), batch_size=120, epochs=2, verbose=0).history
        results.append((history, model.get_weights()))
    assert results[0][0] == results[1][0]
    assert_same(results[0][1], results[1][1])


def test_saved_loaded_and_resumed(tmp_path):
    x, y = samples()
    whole, stopped = network(), network()
    expected = whole.fit(x, y, batch_size=10, epochs=2, verbose=0).history

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise SystemExit

    with pytest.raises(SystemExit):
        stopped.fit(
            x,
            y,
            batch_size=10,
            epochs=2,
            verbose=0,
            callbacks=[BackupAndRestore(tmp_path / "backup", save_freq=1), Stop()],
        )
    resumed = network()
    callbacks = [BackupAndRestore(tmp_path / "backup", save_freq=1)]
    assert resumed.fit(x, y, batch_size=10, epochs=2, verbose=0, callbacks=callbacks).history == expected
    assert_same(resumed.get_weights(), whole.get_weights())

    whole.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    found = loaded.get_layer("conv2d").kernel_regularizer
    assert (type(found), found.get_config()) == (L1L2, {"l1": 0.01, "l2": 0.02})
    assert loaded.evaluate(x, y, verbose=0) == whole.evaluate(x, y, verbose=0)


def test_a_backup_of_a_training_without_one_is_refused(tmp_path):
    x, y = samples()
    network(False).fit(x, y, epochs=1, verbose=0, callbacks=[BackupAndRestore(tmp_path, delete_checkpoint=False)])
    with pytest.raises(ValueError, match="kernel_regularizer was None then"):
        network().fit(x, y, epochs=2, verbose=0, callbacks=[BackupAndRestore(tmp_path)])


def test_one_of_a_users_own(tmp_path):
    """It is saved by its get_config, and looked up by name."""

    class Cubes:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, weights):
            return self.factor * np.sum(np.abs(weights) ** 3)

        def gradient(self, weights):
            return 3 * self.factor * weights * np.abs(weights)

        def get_config(self):
            return {"factor": self.factor}

    model = Sequential([Dense(2, kernel_regularizer=Cubes(0.5), input_dim=3)], dtype="float64", seed=0)
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).normal(size=(4, 3)), np.zeros((4, 2))
    assert gradcheck(model, x, y).passed
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors", {"Cubes": Cubes})
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


@pytest.mark.parametrize("given", ["l2", "L2", L2])
def test_by_name_and_class_it_has_its_defaults(given):
    layer = Dense(2, kernel_regularizer=given)
    assert type(layer.kernel_regularizer) is L2
    assert layer.kernel_regularizer(np.array([3.0])) == pytest.approx(0.09)


@pytest.mark.parametrize("wrong", [0.01, int, lambda weights: 0.0, np.sum])
def test_what_is_no_regularizer(wrong):
    text = "Dense kernel_regularizer must be a name, an object like regularizers.L2(0.01), or one of your own with __call__"
    with pytest.raises(TypeError, match=re.escape(text)):
        Dense(2, kernel_regularizer=wrong)


def test_settings_that_are_refused():
    with pytest.raises(ValueError, match=r"^l2 must be a number in \[0, ∞\), received -1\.$"):
        L2(-1)
    with pytest.raises(ValueError, match="unknown regularizer 'L3'"):
        Conv2D(2, 3, kernel_regularizer="L3")
