"""Averages of the parameters: by hand, in an optimizer, in fit, in a backup; and SwapEMAWeights."""

import numpy as np
import pytest
from support import assert_close

from minidl import Sequential, models, set_num_threads, state
from minidl.callbacks import BackupAndRestore, Callback, EarlyStopping, LambdaCallback, ModelCheckpoint, SwapEMAWeights
from minidl.layers import Dense, Dropout
from minidl.optimizers import SGD, Adam, AdamW

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype(np.float32)
Y = (X[:, :3] + RNG.normal(size=(60, 3))).argmax(axis=1)


def made(optimizer=None, seed=1):
    model = Sequential([Dense(7, "relu", name="below"), Dropout(0.2), Dense(3, "softmax", name="top")], seed=seed)
    model.compile(optimizer or Adam(0.01, use_ema=True, ema_momentum=0.8), "sparse_categorical_crossentropy")
    return model


def fit(model, epochs=1, callbacks=(), **how):
    return model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks), **how)


class Followed(Callback):
    """Computes the averages itself, from the weights after each step."""

    def __init__(self, momentum):
        self.momentum, self.averages = momentum, None

    def on_train_batch_end(self, batch, logs=None):
        weights = self.model.get_weights()
        old = self.averages or weights
        self.averages = [self.momentum * a + (1 - self.momentum) * w for a, w in zip(old, weights, strict=True)]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# ------------------------------------------------------------------------------------------------------- the optimizer


@pytest.mark.parametrize(
    ("settings", "params", "averages"),
    [({}, [9, 8, 7], [9, 8.5, 7.75]), ({"ema_overwrite_frequency": 2}, [9, 8.5, 7.5], [9, 8.5, 8])],
)
def test_by_hand(settings, params, averages):
    """Steps of −1 from 10: averages 9, (9 + 8) / 2, (8.5 + 7) / 2; or, with 8.5 in the place of 8, (8.5 + 7.5) / 2."""
    optimizer = SGD(1.0, use_ema=True, ema_momentum=0.5, **settings)
    param = np.array([10.0])
    for value, average in zip(params, averages, strict=True):
        optimizer.step({"p": param}, {"p": np.ones(1)})
        assert param == value
        assert optimizer.slots["p"]["average"] == average


def test_the_rules_own_state_is_beside_it():
    optimizer = Adam(use_ema=True)
    optimizer.step({"p": np.zeros(2)}, {"p": np.ones(2)})
    assert list(optimizer.slots["p"]) == ["mean", "mean_square", "average"]
    assert Adam().get_config().keys() | {"use_ema", "ema_momentum", "ema_overwrite_frequency"} == (
        optimizer.get_config().keys()
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ema_momentum": 1}, r"ema_momentum must be a number in \[0, 1\), received 1"),
        ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency must be a positive integer, received 0"),
        ({"use_ema": "yes"}, "use_ema must be True or False, received 'yes'"),
    ],
)
def test_settings_that_are_refused(settings, text):
    for kind in (SGD, AdamW):
        with pytest.raises(ValueError, match=text):
            kind(**settings)


# --------------------------------------------------------------------------------------------------------------- in fit


def test_fit_ends_with_the_averages_of_all_steps():
    model, followed = made(), Followed(0.8)
    fit(model, 3, [followed])
    for own, expected in zip(model.get_weights(), followed.averages, strict=True):
        assert_close(own, expected)


@pytest.mark.usefixtures("threads_as_before")
def test_same_bits_with_any_threads():
    results = []
    for threads in (1, 3):
        set_num_threads(threads)
        model = Sequential([Dense(300, "relu"), Dense(300, "relu"), Dense(3, "softmax")], seed=2)
        model.compile(Adam(use_ema=True, ema_momentum=0.7, clipnorm=0.5), "sparse_categorical_crossentropy")
        fit(model, 2)
        results.append(model.get_weights())
    same(*results)


def test_a_frozen_layer_keeps_its_weights_and_begins_where_it_is_when_it_is_trained():
    model = made()
    fit(model)
    model.layers[0].trainable = False
    model.layers[0].set_weights([value + 1 for value in model.layers[0].get_weights()])
    before = model.layers[0].get_weights()
    fit(model, 2, [SwapEMAWeights()], validation_data=(X, Y))
    same(model.layers[0].get_weights(), before)

    model = made()
    model.layers[0].trainable = False
    fit(model)
    begun = model.layers[0].get_weights()
    model.layers[0].trainable = True
    followed = Followed(0.8)
    followed.averages = model.get_weights()  # those of the frozen layer are its weights
    momenta = model.optimizer.slots["top/kernel"]["average"]
    followed.averages[2] = momenta.copy()
    followed.averages[3] = model.optimizer.slots["top/bias"]["average"].copy()
    fit(model, 1, [followed])
    for own, expected in zip(model.get_weights(), followed.averages, strict=True):
        assert_close(own, expected)
    assert not np.array_equal(model.layers[0].get_weights()[0], begun[0])


def test_weights_that_a_frozen_layer_is_given_are_where_its_averages_begin():
    """Also where it has averages of an earlier training: at a rate of 0, nothing moves."""
    model = made(SGD(0.01, use_ema=True, ema_momentum=0.8))
    fit(model)
    model.layers[0].trainable = False
    given = [value + 5 for value in model.layers[0].get_weights()]
    model.layers[0].set_weights(given)
    fit(model)
    model.layers[0].trainable = True
    model.optimizer.learning_rate = 0.0
    fit(model)
    for own, expected in zip(model.layers[0].get_weights(), given, strict=True):
        assert_close(own, expected)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end", "on_train_batch_end", "on_test_begin"])
def test_a_layer_that_a_callback_freezes_is_trained_to_the_end(hook, swap_on_epoch):
    model, untouched = made(), made()
    freeze = LambdaCallback(**{hook: lambda *_: setattr(model.layers[0], "trainable", False)})
    found = fit(model, 3, [freeze, SwapEMAWeights(swap_on_epoch)], validation_data=(X, Y)).history
    expected = fit(untouched, 3, [SwapEMAWeights(swap_on_epoch)], validation_data=(X, Y)).history
    assert found == expected
    same(model.get_weights(), untouched.get_weights())


def test_an_empty_fit_changes_nothing():
    model = made()
    fit(model)
    model.set_weights([value + 1 for value in model.get_weights()])
    before = model.get_weights()
    model.fit(X, Y, epochs=2, initial_epoch=2, verbose=0)
    same(model.get_weights(), before)


# ------------------------------------------------------------------------------------------------------ SwapEMAWeights


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_the_validation_is_of_the_averages_and_the_training_of_the_weights(swap_on_epoch):
    plain, swapped = made(), made()
    losses = []

    def validated(epoch, logs):
        kept = plain.get_weights()
        plain.set_weights([slot["average"] for slot in plain.optimizer.slots.values()])
        losses.append(plain.evaluate(X, Y, verbose=0))
        plain.set_weights(kept)

    fit(plain, 4, [LambdaCallback(on_epoch_end=validated)])
    history = fit(swapped, 4, [SwapEMAWeights(swap_on_epoch)], validation_data=(X, Y)).history
    assert_close(np.array(history["val_loss"]), np.array(losses))
    same(plain.get_weights(), swapped.get_weights())
    assert swapped.optimizer.swapped is False


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("stop", [EarlyStopping("loss", patience=0, min_delta=100), None])
def test_however_it_ends_the_model_has_the_averages(swap_on_epoch, stop):
    model, followed = made(), Followed(0.8)
    fit(model, 3, [followed, SwapEMAWeights(swap_on_epoch), *([stop] if stop else [])], validation_data=(X, Y))
    for own, expected in zip(model.get_weights(), followed.averages, strict=True):
        assert_close(own, expected)


def test_a_checkpoint_of_the_averages(tmp_path):
    model, followed = made(), Followed(0.8)
    seen = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(followed.averages))
    path = tmp_path / "{epoch}.safetensors"
    fit(model, 2, [followed, SwapEMAWeights(True), ModelCheckpoint(path), keep])
    for epoch in (1, 2):
        loaded = models.load_model(tmp_path / f"{epoch}.safetensors")
        assert loaded.optimizer.use_ema
        for own, expected in zip(loaded.get_weights(), seen[epoch - 1], strict=True):
            assert_close(own, expected)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_a_checkpoint_goes_on_as_if_the_training_had_not_stopped(swap_on_epoch, tmp_path):
    """Also where the averages stand in the parameters' place when it is written."""
    path, whole = tmp_path / "{epoch}.safetensors", made()
    fit(whole, 4, [SwapEMAWeights(swap_on_epoch), ModelCheckpoint(path)], validation_data=(X, Y))
    loaded = models.load_model(tmp_path / "2.safetensors")
    assert loaded.optimizer.swapped is swap_on_epoch
    fit(loaded, 4, [SwapEMAWeights(swap_on_epoch)], validation_data=(X, Y), initial_epoch=2)
    same(loaded.get_weights(), whole.get_weights())


@pytest.mark.parametrize(("optimizer", "swapped"), [(Adam(use_ema=True), 1), (Adam(), True), (SGD(use_ema=True), None)])
def test_a_state_that_no_averages_can_have_is_refused(optimizer, swapped):
    model = made(optimizer)
    fit(model)
    counters, arrays = state.get_state(model)
    with pytest.raises(ValueError, match="swapped must be true or false, and false where no averages are kept, found"):
        state.set_state(model, counters | {"swapped": swapped}, arrays)


def test_predict_and_evaluate_alone():
    model = made()
    keep = {}
    fit(model, 2, [LambdaCallback(on_train_batch_end=lambda batch, logs: keep.update(last=model.get_weights()))])
    averages = model.predict(X, verbose=0)
    model.set_weights(keep["last"])
    assert not np.array_equal(model.predict(X, verbose=0), averages)
    np.testing.assert_array_equal(model.predict(X, verbose=0, callbacks=[SwapEMAWeights()]), averages)
    same(model.get_weights(), keep["last"])
    before = made()
    before.build((5,))
    before.predict(X, verbose=0, callbacks=[SwapEMAWeights()])  # no step has been made, and there is nothing to swap


@pytest.fixture(params=[False, True], ids=["parameters", "averages"])
def checkpoint(request, tmp_path):
    """load() makes a model whose checkpoint was written with these in the parameters' place."""
    path = tmp_path / "m.safetensors"
    model = made(SGD(0.1, use_ema=True, ema_momentum=0.8))
    fit(model, 2, [SwapEMAWeights(request.param), ModelCheckpoint(path)])
    assert models.load_model(path).optimizer.swapped is request.param
    return lambda: models.load_model(path)


def test_an_evaluation_leaves_the_model_as_it_was(checkpoint):
    model, untouched = checkpoint(), checkpoint()
    swap = SwapEMAWeights()
    seen = [model.predict(X, verbose=0, callbacks=[swap]), model.evaluate(X, Y, verbose=0, callbacks=[swap])]
    same(model.get_weights(), untouched.get_weights())
    if not untouched.optimizer.swapped:
        untouched.set_weights([slot["average"] for slot in untouched.optimizer.slots.values()])
    np.testing.assert_array_equal(untouched.predict(X, verbose=0), seen[0])
    assert untouched.evaluate(X, Y, verbose=0) == seen[1]


def test_a_single_step_is_one_of_the_parameters_themselves(checkpoint):
    """As SGD alone would make it: parameters − rate · gradient, and then the averages move."""
    model, plain = checkpoint(), checkpoint()
    if plain.optimizer.swapped:
        plain.optimizer.swap_averages(plain.params)
    parameters, averages = plain.get_weights(), [slot["average"].copy() for slot in plain.optimizer.slots.values()]
    _, gradients = plain.loss_and_gradients(X, Y, training=True)
    model.train_on_batch(X, Y)
    assert model.optimizer.swapped is False
    for name, before, average in zip(model.params, parameters, averages, strict=True):
        after = before - np.float32(0.1) * gradients[name]
        assert_close(model.params[name], after)
        assert_close(model.optimizer.slots[name]["average"], 0.8 * average + 0.2 * after)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_the_weights_of_the_best_epoch_are_its_averages_where_these_stay(swap_on_epoch):
    """EarlyStopping puts them back at the very end: only averages give the loss that its validation of averages had."""
    model = made(SGD(0.5, use_ema=True, ema_momentum=0.8))
    stop = EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    history = fit(model, 6, [SwapEMAWeights(swap_on_epoch), stop], validation_data=(X[::-1], Y)).history["val_loss"]
    assert history.index(min(history)) < 5
    assert (model.evaluate(X[::-1], Y, verbose=0) == pytest.approx(min(history))) is swap_on_epoch


class Halt(Exception):
    """Ends a pass in the middle."""


def test_an_interrupted_validation_does_no_harm():
    """The next fit goes on as after a validation that was interrupted without the averages in the parameters' place."""

    def halt(batch, logs):
        raise Halt

    results = []
    for callbacks in ([], [SwapEMAWeights()]):
        model = made()
        with pytest.raises(Halt):
            fit(model, 1, [*callbacks, LambdaCallback(on_test_batch_end=halt)], validation_data=(X, Y))
        assert model.optimizer.swapped is bool(callbacks)
        fit(model, 1)
        results.append(model.get_weights())
    same(*results)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_begin", "on_epoch_end"])
def test_a_training_that_died_ends_the_same(hook, swap_on_epoch, tmp_path):
    def training(model, *others):
        backup = BackupAndRestore(tmp_path / "backup", save_freq=3)
        fit(model, 4, [SwapEMAWeights(swap_on_epoch), *others, backup], validation_data=(X, Y))

    whole = made()
    training(whole)
    dying, calls = made(), []

    def die(*_):
        calls.append(None)
        if len(calls) == 3:
            raise Halt

    with pytest.raises(Halt):
        training(dying, LambdaCallback(**{hook: die}))
    resumed = made(seed=9)
    training(resumed)
    same(resumed.get_weights(), whole.get_weights())


def test_an_optimizer_without_averages_is_refused():
    with pytest.raises(ValueError, match=r"keeps none: compile with optimizer=SGD\(use_ema=True\)"):
        fit(made(SGD()), callbacks=[SwapEMAWeights()])
