"""The ready-made callbacks, fed with sequences of numbers that were worked out by hand or given to Keras 3.15.

Where a test says "as in Keras", the expected numbers are what Keras's callback of that name did with the same sequence.
"""

import errno
import math
import os
import re

import numpy as np
import pytest

import minidl
from minidl.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minidl.layers import Dense
from minidl.optimizers import SGD

nan = math.nan


class FakeModel:
    """What these callbacks use of a model. Its only weight is the number of the epoch."""

    def __init__(self):
        self.optimizer = SGD(0.1)
        self.stop_training = False
        self.weight = None
        self.saved = []

    @property
    def params(self):
        return {"epoch": np.array(self.weight)}

    def get_weights(self):
        return [np.array(self.weight)]

    def set_weights(self, weights):
        self.weight = int(weights[0])

    def save(self, path):
        self.saved.append(path)

    def save_weights(self, path):
        self.saved.append(f"{path} weights")


class Fed:
    """A callback, fed with the numbers of so many epochs, until it stops the training.

    stopped: the epoch at whose end it did. weight: the epoch whose weights the model has at the end. rates: the learning rate
    after each epoch. logged: the learning rate in each epoch's logs.
    """

    def __init__(self, callback, numbers, monitor="val_loss"):
        model = self.model = FakeModel()
        callback.set_model(model)
        callback.on_train_begin({})
        self.stopped, self.rates, self.logged = None, [], []
        for epoch, number in enumerate(numbers):
            logs = {monitor: number}
            callback.on_epoch_begin(epoch, {})
            model.weight = epoch
            callback.on_epoch_end(epoch, logs)
            self.rates.append(model.optimizer.learning_rate)
            self.logged.append(logs.get("learning_rate"))
            if model.stop_training:
                self.stopped = epoch
                break
        callback.on_train_end({})
        self.weight, self.saved = model.weight, model.saved


# ------------------------------------------------------------------------------------------------------- EarlyStopping


@pytest.mark.parametrize(
    ("arguments", "losses", "stopped", "weight"),
    [
        ({}, [3, 2, 2, 1], 2, 2),
        ({"patience": 1}, [1, 1, 1], 1, 1),  # patience counts epochs without improvement, and 0 and 1 are the same
        ({"patience": 2}, [5, 4, 4.5, 4.2, 3, 9], 3, 3),
        ({"patience": 2, "restore_best_weights": True}, [5, 4, 4.5, 4.2, 3, 9], 3, 1),
        (
            {"patience": 2, "min_delta": 0.5},
            [5, 4.6, 4.4, 4.3, 4.2, 4.1],
            4,
            4,
        ),  # 4.4 is the last to be better by > 0.5
        ({"patience": 2, "min_delta": -0.5}, [5, 4.6, 4.4, 4.3, 4.2, 4.1], 4, 4),
        ({"patience": 3, "baseline": 2, "restore_best_weights": True}, [5, 4, 3, 2.5, 1, 1], None, 4),
        ({"patience": 3, "baseline": 2, "restore_best_weights": True}, [5, 4, 1, 2.5, 3, 1.5, 0], 5, 2),
        ({"patience": 1, "start_from_epoch": 3, "restore_best_weights": True}, [1, 2, 3, 4, 5, 6], 4, 3),
        ({"patience": 10, "restore_best_weights": True}, [3, 1, 2], None, 1),  # also where nothing stopped it
        ({"patience": 2, "restore_best_weights": True}, [nan, 2, 1, 0.5], 2, 0),  # nothing is better than a first NaN
        ({"patience": 2, "restore_best_weights": True}, [3, nan, nan, 0.5], 2, 0),
    ],
)
def test_early_stopping_as_in_keras(arguments, losses, stopped, weight):
    fed = Fed(EarlyStopping(**arguments), losses)
    assert (fed.stopped, fed.weight) == (stopped, weight)


@pytest.mark.parametrize("restore_best_weights", [True, False])
def test_early_stopping_knows_its_best_epoch_as_in_keras(restore_best_weights):
    callback = EarlyStopping(patience=2, restore_best_weights=restore_best_weights)
    assert Fed(callback, [5, 4, 4.5, 4.2, 3]).stopped == 3
    assert (callback.best_epoch, callback.best) == (1, 4)


def test_early_stopping_with_a_number_that_should_grow():
    """0.5 is better than 0.4; the next two are not."""
    for arguments in ({"monitor": "val_accuracy"}, {"monitor": "val_accuracy", "mode": "max"}):
        assert Fed(EarlyStopping(patience=2, **arguments), [0.4, 0.5, 0.5, 0.3, 0.9], "val_accuracy").stopped == 3
    assert Fed(EarlyStopping("val_accuracy", patience=2, mode="min"), [0.4, 0.5, 0.5, 0.3], "val_accuracy").stopped == 2
    slow = EarlyStopping("val_accuracy", patience=2, min_delta=0.125)  # 0.5 is the last to be better by more than that
    assert Fed(slow, [0.25, 0.5, 0.5625, 0.625, 1.0], "val_accuracy").stopped == 3


def test_early_stopping_begins_anew_with_each_training():
    callback = EarlyStopping(patience=1)
    assert Fed(callback, [1, 2]).stopped == 1
    assert Fed(callback, [5, 4, 3]).stopped is None


def test_early_stopping_says_what_it_does(capsys):
    Fed(EarlyStopping(patience=2, restore_best_weights=True, verbose=1), [5, 4, 4.5, 4.2])
    assert capsys.readouterr().out == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    )
    Fed(EarlyStopping(patience=2, restore_best_weights=True), [5, 4, 4.5, 4.2])
    assert capsys.readouterr().out == ""


def test_early_stopping_in_a_fit_ends_it_and_gives_back_the_best_weights():
    """From epoch 2 on the rate is far too large, so that the loss grows."""
    model, x, y = small()
    weights = []
    callbacks = [
        LearningRateScheduler(lambda epoch: 0.1 if epoch < 2 else 50.0),
        LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights())),
        EarlyStopping("val_loss", patience=2, restore_best_weights=True),
    ]
    history = model.fit(x, y, epochs=9, validation_data=(x, y), callbacks=callbacks, verbose=0)
    best = int(np.argmin(history.history["val_loss"]))
    assert len(history.epoch) == best + 3 < 9
    for now, then in zip(model.get_weights(), weights[best], strict=True):
        np.testing.assert_array_equal(now, then)


# -------------------------------------------------------------------------------------------------- ReduceLROnPlateau


@pytest.mark.parametrize(
    ("arguments", "losses", "rates"),
    [
        ({"patience": 2, "factor": 0.5}, [1, 1, 1, 1, 1, 1], [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]),
        (
            {"patience": 1, "factor": 0.5, "cooldown": 2},
            [1, 1, 1, 1, 1, 1, 1, 1],
            [0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.00625],
        ),
        (
            {"patience": 1, "factor": 0.5, "cooldown": 1, "min_delta": 0},
            [4, 4, 3, 3, 3, 2, 2],
            [0.1, 0.05, 0.05, 0.025, 0.0125, 0.0125, 0.00625],
        ),
        ({"patience": 1, "factor": 0.1, "min_lr": 0.003}, [1, 1, 1, 1, 1], [0.1, 0.01, 0.003, 0.003, 0.003]),
        ({"patience": 2, "factor": 0.5}, [1, 0.99995, 0.9999, 0.99985, 0.9995], [0.1, 0.1, 0.05, 0.05, 0.05]),
        ({"patience": 0, "factor": 0.5}, [1, 1, 0.5, 1], [0.1, 0.05, 0.05, 0.025]),
    ],
)
def test_reduce_lr_on_plateau_as_in_keras(arguments, losses, rates):
    fed = Fed(ReduceLROnPlateau(**arguments), losses)
    assert fed.rates == pytest.approx(rates, rel=1e-12)
    assert fed.logged == [0.1, *fed.rates[:-1]]  # the rate that the epoch was trained with


def test_reduce_lr_on_plateau_says_what_it_does(capsys):
    Fed(ReduceLROnPlateau(patience=1, factor=0.5, verbose=1), [1, 1])
    assert capsys.readouterr().out == "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.05.\n"


def test_reduce_lr_on_plateau_refuses_a_factor_that_does_not_reduce():
    with pytest.raises(ValueError, match=re.escape("factor must be a number in [0, 1), received 1.0")):
        ReduceLROnPlateau(factor=1.0)


# ---------------------------------------------------------------------------------------------- LearningRateScheduler


def test_a_schedule_of_epoch_and_rate():
    fed = Fed(LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch else rate), [0, 0, 0])
    assert fed.rates == fed.logged == [0.1, 0.05, 0.025]


def test_a_schedule_of_the_epoch_alone(capsys):
    fed = Fed(LearningRateScheduler(lambda epoch: 1 / (epoch + 1), verbose=1), [0, 0])
    assert fed.rates == fed.logged == [1.0, 0.5]
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: LearningRateScheduler setting learning rate to 1.0.",
        "Epoch 2: LearningRateScheduler setting learning rate to 0.5.",
    ]


def test_a_schedule_without_a_signature_gets_epoch_and_rate():
    """Python cannot say what its max takes."""
    assert Fed(LearningRateScheduler(max), [0, 0, 0]).rates == [0.1, 1, 2]


def test_the_rate_that_was_set_is_the_one_that_trains():
    """Plain gradient descent: an epoch of one batch moves the weights by rate · gradient."""
    model, x, y = small()
    _, gradients = model.loss_and_gradients(x, y)
    before = model.get_weights()
    history = model.fit(x, y, batch_size=len(x), callbacks=LearningRateScheduler(lambda epoch: 0.25), verbose=0)
    for value, start, gradient in zip(model.get_weights(), before, gradients.values(), strict=True):
        np.testing.assert_allclose(value, start - 0.25 * gradient, rtol=1e-12)
    assert history.history["learning_rate"] == [0.25]


def test_a_schedule_that_returns_no_rate_is_refused():
    model, x, y = small()
    with pytest.raises(ValueError, match="learning_rate must be a number in"):
        model.fit(x, y, callbacks=LearningRateScheduler(lambda epoch, rate: None), verbose=0)
    with pytest.raises(TypeError, match="schedule must return a number, received <built-in function len>"):
        model.fit(x, y, callbacks=LearningRateScheduler(lambda epoch, rate: len), verbose=0)
    with pytest.raises(TypeError, match=r"schedule must be a function of the epoch, received 0\.1"):
        LearningRateScheduler(0.1)
    assert model.steps_trained == 0


@pytest.mark.parametrize("callback", [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("loss")])
def test_a_rate_that_is_a_function_cannot_be_set(callback):
    model, x, y = small(SGD(lambda step: 0.1))
    with pytest.raises(TypeError, match=r"this optimizer's is a function of the step: use one of the two"):
        model.fit(x, y, callbacks=callback, verbose=0)
    assert model.steps_trained == 0


# --------------------------------------------------------------------------------------------------- what is monitored


@pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda: ModelCheckpoint("x", save_best_only=True)])
def test_a_number_that_is_not_there_is_a_warning_as_in_keras(make):
    callback = make()
    with pytest.warns(UserWarning, match=r"watches 'val_loss', which this training does not have. There are: loss"):
        fed = Fed(callback, [1, 1], "loss")
    assert fed.stopped is None
    assert fed.rates == [0.1, 0.1]
    assert fed.saved == (["x", "x"] if isinstance(callback, ModelCheckpoint) else [])


def test_auto_does_not_guess():
    with pytest.raises(
        ValueError, match=r"EarlyStopping cannot know whether 'val_lss' should become larger or smaller"
    ):
        EarlyStopping("val_lss")
    with pytest.raises(ValueError, match=r"pass mode='max' or mode='min'"):
        ModelCheckpoint("x", "top5", save_best_only=True)
    with pytest.raises(ValueError, match=r"mode must be 'auto', 'min' or 'max', received 'maximum'"):
        ReduceLROnPlateau(mode="maximum")


# ----------------------------------------------------------------------------------------------------- ModelCheckpoint


@pytest.mark.parametrize(
    ("arguments", "losses", "saved"),
    [
        ({}, [3, 2, 2, nan, 1], ["01-3.00", "02-2.00", "03-2.00", "04-nan", "05-1.00"]),
        ({"save_best_only": True}, [3, 2, 2, nan, 1], ["01-3.00", "02-2.00", "05-1.00"]),
        ({"save_best_only": True}, [nan, 2, 1], ["01-nan"]),
        ({"save_best_only": True, "initial_value_threshold": 2.5}, [3, 2, 2, nan, 1], ["02-2.00", "05-1.00"]),
        ({"save_best_only": True, "initial_value_threshold": 2.5}, [nan, 2, 1], ["02-2.00", "03-1.00"]),
        ({"save_best_only": True, "mode": "max"}, [1, 3, 2], ["01-1.00", "02-3.00"]),
        ({"save_weights_only": True}, [1], ["01-1.00 weights"]),
    ],
)
def test_model_checkpoint_as_in_keras(arguments, losses, saved):
    fed = Fed(ModelCheckpoint("{epoch:02d}-{val_loss:.2f}", **arguments), losses)
    assert fed.saved == saved


def test_model_checkpoint_by_batches_counts_over_the_epochs_as_in_keras():
    model, callback = FakeModel(), ModelCheckpoint("x{epoch:02d}-{batch:02d}-{loss:.1f}", save_freq=4)
    callback.set_model(model)
    for epoch in range(3):
        callback.on_epoch_begin(epoch, {})
        for batch in range(3):
            callback.on_train_batch_end(batch, {"loss": 10 * epoch + batch})
        callback.on_epoch_end(epoch, {"loss": 0.0})
    assert model.saved == ["x02-01-10.0", "x03-02-21.0"]


def test_the_best_value_stays_from_one_training_to_the_next_as_in_keras():
    callback = ModelCheckpoint("x", save_best_only=True)
    assert Fed(callback, [3, 2]).saved == ["x", "x"]
    assert Fed(callback, [2.5, 1]).saved == ["x"]


def test_model_checkpoint_says_what_it_does(capsys):
    Fed(ModelCheckpoint("x", save_best_only=True, verbose=1), [3, 4, 2])
    Fed(ModelCheckpoint("y", verbose=1), [3])
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: val_loss improved from None to 3.00000, saving model to x",
        "Epoch 2: val_loss did not improve from 3.00000",
        "Epoch 3: val_loss improved from 3.00000 to 2.00000, saving model to x",
        "Epoch 1: saving model to y",
    ]


def test_the_files_hold_the_model_of_their_epoch(tmp_path):
    model, x, y = small()
    weights = []
    callbacks = [
        ModelCheckpoint(tmp_path / "new folder" / "{epoch}.safetensors"),
        ModelCheckpoint(tmp_path / "weights {epoch}.safetensors", save_weights_only=True),
        LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights())),
    ]
    model.fit(x, y, epochs=2, callbacks=callbacks, verbose=0)
    for epoch in (1, 2):
        whole = minidl.load_model(tmp_path / "new folder" / f"{epoch}.safetensors")
        alone, _, _ = small()
        alone.load_weights(tmp_path / f"weights {epoch}.safetensors")
        for loaded in (whole, alone):
            for value, expected in zip(loaded.get_weights(), weights[epoch - 1], strict=True):
                np.testing.assert_array_equal(value, expected)
        assert whole.epochs_trained == epoch


def test_a_name_that_the_logs_do_not_have_is_an_error_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'{val_los}' names 'val_los'. There are: epoch, val_loss\."):
        Fed(ModelCheckpoint("{val_los}"), [1])


def test_a_name_for_a_file_of_keras_is_refused_before_the_training():
    with pytest.raises(
        ValueError, match=r"the model is saved as a safetensors file, received the name of a .keras file"
    ):
        ModelCheckpoint("{epoch}.keras")


def test_save_freq_is_checked():
    for wrong in (0, 2.5, True, "batch", None):
        with pytest.raises(ValueError, match="save_freq must be 'epoch' or a number of batches, received"):
            ModelCheckpoint("x", save_freq=wrong)
    assert ModelCheckpoint("x", save_freq=np.int64(3)).save_freq == 3


# ----------------------------------------------------------------------------------------------------------- CSVLogger


def test_csv_logger_writes_what_keras_writes(tmp_path):
    """Keras wrote 'epoch,loss,mae,val_loss,val_mae\\r\\n0,2.09…,1.44…,NA,NA\\r\\n…' here."""
    path = tmp_path / "log.csv"
    model, x, y = small()
    history = model.fit(x, y, epochs=2, callbacks=CSVLogger(path), verbose=0).history
    loss, accuracy = history["loss"], history["accuracy"]
    first = (
        "epoch,accuracy,loss,val_accuracy,val_loss\r\n"
        f"0,{accuracy[0]!r},{loss[0]!r},NA,NA\r\n1,{accuracy[1]!r},{loss[1]!r},NA,NA\r\n"
    )
    assert path.read_bytes().decode() == first
    more = model.fit(x, y, validation_data=(x, y), callbacks=CSVLogger(path, append=True), verbose=0).history
    row = ",".join(repr(more[name][0]) for name in ("accuracy", "loss", "val_accuracy", "val_loss"))
    assert path.read_bytes().decode() == f"{first}0,{row}\r\n"
    new = model.fit(x, y, initial_epoch=4, epochs=5, callbacks=CSVLogger(path, separator=";"), verbose=0).history
    assert path.read_bytes().decode() == (
        f"epoch;accuracy;loss;val_accuracy;val_loss\r\n4;{new['accuracy'][0]!r};{new['loss'][0]!r};NA;NA\r\n"
    )


@pytest.mark.parametrize(
    ("before", "ended"), [(b"epoch,loss\r\n0,0.5", b"\r\n"), (b"epoch,loss\n0,0.5\n", b""), (b"", b"")]
)
def test_csv_logger_appends_no_number_to_a_line_that_was_cut_short(tmp_path, before, ended):
    """By a kill or a full disk: 0.5 and the epoch 0 would be one number, 0.50."""
    path = tmp_path / "log.csv"
    path.write_bytes(before)
    model, x, y = small()
    model.fit(x, y, callbacks=CSVLogger(path, append=True), verbose=0)
    rest = path.read_bytes().removeprefix(before + ended)
    assert rest.startswith(b"0," if before else b"epoch,accuracy,")
    assert rest != path.read_bytes() or not before


def test_csv_logger_says_at_once_that_it_cannot_write(tmp_path):
    model, x, y = small()
    with pytest.raises(FileNotFoundError, match=r"CSVLogger cannot write: .*missing"):
        model.fit(x, y, callbacks=CSVLogger(tmp_path / "missing" / "log.csv"), verbose=0)
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        model.fit(x, y, callbacks=CSVLogger(tmp_path), verbose=0)
    assert model.steps_trained == 0


@pytest.mark.parametrize("how", ["emptied", "removed", "renamed"])
@pytest.mark.parametrize("moment", ["on_epoch_begin", "on_epoch_end", "on_train_batch_end"])
def test_csv_logger_begins_a_file_anew_that_another_program_has_taken(tmp_path, how, moment):
    """As `> log.csv` in a shell does, or logrotate: what follows is a whole file again, and no gap of NUL bytes."""
    path = tmp_path / "log.csv"
    model, x, y = small()

    def take(epoch, logs):
        if model.epochs_trained == 2:
            path.write_bytes(b"") if how == "emptied" else path.unlink() if how == "removed" else path.rename(
                f"{path}.1"
            )

    taker = LambdaCallback(**{moment: take})
    history = model.fit(x, y, epochs=4, callbacks=[taker, CSVLogger(path)], verbose=0).history
    first = 1 if moment == "on_epoch_end" else 2  # of which epoch the line comes after that
    rows = [f"{i},{history['accuracy'][i]!r},{history['loss'][i]!r},NA,NA\r\n" for i in range(first, 4)]
    assert path.read_bytes().decode() == "epoch,accuracy,loss,val_accuracy,val_loss\r\n" + "".join(rows)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="this system has no such device")
def test_csv_logger_writes_to_what_cannot_be_cut():
    model, x, y = small()
    model.fit(x, y, epochs=2, callbacks=CSVLogger("/dev/null"), verbose=0)
    assert model.epochs_trained == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_csv_logger_writes_a_header_and_every_line_to_a_pipe(tmp_path):
    model, x, y = small()
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        history = model.fit(x, y, epochs=2, callbacks=CSVLogger(tmp_path / "log"), verbose=0).history
        text = os.read(reader, 2**16).decode()
    finally:
        os.close(reader)
    rows = [f"{i},{history['accuracy'][i]!r},{history['loss'][i]!r},NA,NA\r\n" for i in range(2)]
    assert text == "epoch,accuracy,loss,val_accuracy,val_loss\r\n" + "".join(rows)


def test_csv_logger_has_each_line_on_disk_when_its_epoch_has_ended(tmp_path, monkeypatch):
    """What the system is asked to put on disk is all of the file, and not only what has left Python's buffer."""
    model, x, y = small()
    path, synced, ended = tmp_path / "log.csv", [], []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    after = LambdaCallback(on_epoch_end=lambda epoch, logs: ended.append((synced[-1], path.read_bytes())))
    model.fit(x, y, epochs=2, callbacks=[CSVLogger(path), after], verbose=0)
    assert [on_disk.count(b"\r\n") for on_disk, _ in ended] == [2, 3]  # with the header
    assert all(on_disk == written for on_disk, written in ended)


def test_csv_logger_on_a_full_disk_names_its_file(tmp_path, monkeypatch):
    model, x, y = small()
    path, calls = tmp_path / "log.csv", []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"CSVLogger cannot write: No space left on device: '.*log\.csv'") as caught:
        model.fit(x, y, callbacks=CSVLogger(path), verbose=0)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))


# ------------------------------------------------------------------------------------------------------ TerminateOnNaN


def diverging():
    """A model of one weight, 1 or so, that its first step makes 1e30 or so; times inputs of 1e10 that is too much for float32."""
    model = minidl.Sequential([Dense(1, use_bias=False, input_dim=1)], seed=0)
    model.compile(SGD(1e10), "mse", metrics=["accuracy"])
    return model, np.full((40, 1), 1e10, np.float32), np.zeros((40, 1))


def test_without_it_a_loss_that_is_not_finite_is_an_error():
    model, x, y = diverging()
    with pytest.raises(FloatingPointError, match="in epoch 1, batch 2: the loss is inf"):
        model.fit(x, y, batch_size=10, verbose=0)


def test_terminate_on_nan_stops_quietly_with_the_weights_before(capsys):
    model, x, y = diverging()
    stepped = []
    after = LambdaCallback(on_train_batch_end=lambda batch, logs: stepped.append((model.get_weights()[0], logs)))
    history = model.fit(
        x, y, batch_size=10, epochs=3, validation_data=(x, y), callbacks=[after, TerminateOnNaN()], verbose=0
    )
    assert capsys.readouterr().out == "Batch 1: Invalid loss, terminating training\n"
    (first, good), (second, bad) = stepped
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(model.get_weights()[0], first)
    assert (model.steps_trained, model.optimizer.iterations, model.epochs_trained) == (1, 1, 1)
    assert math.isfinite(good["loss"])
    assert math.isnan(bad["loss"])
    assert history.epoch == [0]
    assert math.isnan(history.history["loss"][0])  # as in Keras
    assert history.history["accuracy"] == [good["accuracy"]]  # of the batches that were trained on
    assert math.isinf(history.history["val_loss"][0])  # the validation runs all the same, as in Keras


def test_terminate_on_nan_in_the_first_batch():
    model, x, y = diverging()
    model.set_weights([np.full((1, 1), 1e30)])
    history = model.fit(x, y, callbacks=TerminateOnNaN(), verbose=0)
    assert math.isnan(history.history["loss"][0])
    assert math.isnan(history.history["accuracy"][0])
    assert model.steps_trained == 0


def test_terminate_on_nan_can_raise_as_in_keras():
    model, x, y = diverging()
    with pytest.raises(RuntimeError, match=r"batch 1: the loss is nan. This batch made no step"):
        model.fit(x, y, batch_size=10, callbacks=TerminateOnNaN(raise_error=True), verbose=0)


# ---------------------------------------------------------------------------------------------------------- small helper


def small(optimizer=None):
    """A model in float64 with two weights, samples and labels."""
    model = minidl.Sequential([Dense(2, activation="softmax", input_dim=3)], seed=0, dtype="float64")
    model.compile(optimizer or SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    return model, rng.random((12, 3)), rng.integers(0, 2, 12)


def test_model_history_is_the_one_of_the_last_fit():
    model, x, y = small()
    assert model.history is None
    seen = []
    look = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(list(model.history.epoch)))
    history = model.fit(x, y, epochs=3, callbacks=look, verbose=0)
    assert model.history is history
    assert seen == [[], [0], [0, 1]]  # History comes after the user's callbacks
