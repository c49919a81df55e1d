"""What is shown while a model works: nothing, Keras's lines, one line an epoch in a log, or a bar on a terminal."""

import io
import re
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest

from minidl import Sequential
from minidl.callbacks import LambdaCallback, LearningRateScheduler, ReduceLROnPlateau
from minidl.callbacks.progress import check_verbose, format_logs, format_time
from minidl.layers import Dense

TIME = r"\d+/\d+ - \d+s - \d+(s|ms|us)/step"
NUMBER = r"(\d+\.\d{4}|\d\.\d{4}e[+-]\d\d)"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor of a terminal


def small():
    model = Sequential([Dense(2, activation="softmax", input_dim=3)], seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
    return model


def samples(n=8):
    return np.random.default_rng(0).random((n, 3)), np.arange(n) % 2


class Terminal(io.StringIO):
    """A stdout that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, to stand in for stdout: ``with redirect_stdout(terminal)``."""
    import rich

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(rich, "_console", None)  # rich's console asks the environment once
    return Terminal()


def plain(text):
    """The text without what colours it or moves the cursor."""
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text)


def lines_of(text):
    assert text.endswith("\n")
    return text[:-1].split("\n")


# ------------------------------------------------------------------------------------------------------- not a terminal


def test_verbose_0_prints_nothing(capfd):
    model = small()
    x, y = samples()
    model.fit(x, y, epochs=2, validation_split=0.25, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.train_on_batch(x, y)
    model.loss_and_gradients(x, y)
    assert capfd.readouterr() == ("", "")


def test_verbose_2_prints_keras_two_lines_an_epoch(capfd):
    model = small()
    x, y = samples()
    history = model.fit(x, y, batch_size=2, epochs=2, verbose=2)
    out, err = capfd.readouterr()
    assert err == ""
    assert len(lines_of(out)) == 4
    for epoch, (title, line) in enumerate(zip(lines_of(out)[::2], lines_of(out)[1::2], strict=True)):
        assert title == f"Epoch {epoch + 1}/2"
        accuracy, loss = (history.history[name][epoch] for name in ("accuracy", "loss"))
        assert re.fullmatch(rf"4/4 - \d+s - \d+(s|ms|us)/step - accuracy: {accuracy:.4f} - loss: {loss:.4f}", line), (
            line
        )


def test_verbose_2_shows_the_validation(capfd):
    x, y = samples()
    small().fit(x, y, epochs=1, validation_split=0.25, verbose=2)
    line = lines_of(capfd.readouterr().out)[1]
    names = "".join(f" - {name}: {NUMBER}" for name in ("accuracy", "loss", "val_accuracy", "val_loss"))
    assert re.fullmatch(TIME + names, line), line


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize(
    ("callback", "rates"),
    [
        (LearningRateScheduler(lambda epoch: 0.5 / 2**epoch), ["0.5000", "0.2500", "0.1250"]),
        # an epoch without an improvement halves the rate of the next one
        (ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=99), ["0.5000", "0.5000", "0.2500"]),
    ],
)
def test_what_callbacks_add_to_the_logs_is_shown(capfd, verbose, callback, rates):
    model = small()
    model.optimizer.learning_rate = 0.5
    x, y = samples()
    model.fit(x, y, epochs=3, verbose=verbose, callbacks=[callback])
    lines = [line for line in lines_of(capfd.readouterr().out) if "loss" in line]
    assert [line.rsplit(" - ", 1)[1] for line in lines] == [f"learning_rate: {rate}" for rate in rates]


@pytest.mark.parametrize("verbose", [1, "auto", True])
def test_verbose_1_is_one_line_an_epoch_in_a_log(capfd, verbose):
    x, y = samples()
    small().fit(x, y, batch_size=3, epochs=5, initial_epoch=3, verbose=verbose)
    out, err = capfd.readouterr()
    assert err == ""
    assert re.fullmatch(
        rf"Epoch 4/5 - {TIME} - accuracy: {NUMBER} - loss: {NUMBER}\n"
        rf"Epoch 5/5 - {TIME} - accuracy: {NUMBER} - loss: {NUMBER}\n",
        out,
    ), out
    assert " 3/3 - " in out
    assert out.isprintable() or set(out) - {"\n"} == {c for c in out if c.isprintable()}  # no control characters


@pytest.mark.parametrize("verbose", [1, 2])
def test_evaluate_and_predict_print_one_line(capfd, verbose):
    model = small()
    x, y = samples()
    loss, accuracy = model.evaluate(x, y, batch_size=4, verbose=verbose)
    out = capfd.readouterr().out
    assert re.fullmatch(rf"2/2 - \d+s - \d+(s|ms|us)/step - accuracy: {accuracy:.4f} - loss: {loss:.4f}\n", out), out
    model.predict(x, batch_size=3, verbose=verbose)
    out = capfd.readouterr().out
    assert re.fullmatch(r"3/3 - \d+s - \d+(s|ms|us)/step\n", out), out


def test_verbose_is_auto_by_default(capfd):
    model = small()
    x, y = samples()
    model.fit(x, y)
    model.evaluate(x, y)
    model.predict(x)
    assert len(lines_of(capfd.readouterr().out)) == 3


def test_an_epoch_that_is_stopped_shows_how_far_it_came(capfd):
    model = small()
    x, y = samples()

    def stop(batch, logs):
        model.stop_training = batch == 1

    model.fit(x, y, batch_size=2, epochs=9, callbacks=[LambdaCallback(on_train_batch_end=stop)], verbose=2)
    title, line = lines_of(capfd.readouterr().out)
    assert title == "Epoch 1/9"
    assert line.startswith("2/4 - ")


def test_no_stdout_at_all(monkeypatch):
    """A program without a console, e.g. one started by pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    x, y = samples()
    assert small().fit(x, y, verbose=1).epoch == [0]


# ----------------------------------------------------------------------------------------------------------- a terminal


def test_a_terminal_shows_a_bar_while_it_runs_and_keras_line_at_the_end(terminal):
    model = small()
    x, y = samples()
    with redirect_stdout(terminal):
        history = model.fit(x, y, batch_size=2, epochs=2, verbose=1)
    text = terminal.getvalue()
    assert text.count(HIDE) == text.count(SHOW) == 2  # once an epoch
    first, second = plain(text).split("Epoch 2/2\n")
    for part, epoch in ((first.removeprefix("Epoch 1/2\n"), 0), (second, 1)):
        *frames, line = part.rstrip("\n").replace("\r", "\n").split("\n")
        numbers = "accuracy: {:.4f} - loss: {:.4f}".format(
            *(history.history[name][epoch] for name in ("accuracy", "loss"))
        )
        assert re.fullmatch(rf"4/4 - \d+s - \d+(s|ms|us)/step - {numbers}", line), line
        frames = [frame for frame in frames if "━" in frame]
        assert frames[0].startswith("0/4 ")
        assert re.fullmatch(rf"4/4 ━{{20}} +\d\d:\d\d +- {numbers} *", frames[-1]), frames[
            -1
        ]  # count, bar, ETA, metrics


@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
def test_a_terminal_gets_its_cursor_back_after_an_error(terminal, call):
    model = small()
    x, y = samples()
    x[5, 1] = np.nan
    arguments = (x,) if call == "predict" else (x, y)
    with redirect_stdout(terminal):
        with pytest.raises(ValueError, match="NaN"):
            getattr(model, call)(*arguments, batch_size=2, verbose=1)
        assert sys.stdout is terminal  # rich has put its own stdout away
    text = terminal.getvalue()
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert text.index(SHOW) > text.index(HIDE)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_terminal_gets_its_cursor_back_after_an_error_in_a_callback(terminal, error):
    def fail(batch, logs):
        raise error

    model = small()
    x, y = samples()
    with redirect_stdout(terminal):
        with pytest.raises(error):
            model.fit(x, y, callbacks=[LambdaCallback(on_train_batch_end=fail)], verbose=1)
        assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 1
        model.fit(x, y, verbose=1)  # the next one has its bar
    assert terminal.getvalue().count(HIDE) == terminal.getvalue().count(SHOW) == 2


def test_a_call_within_a_callback_leaves_the_bar_and_the_training_alone(terminal):
    model, other = small(), small()
    x, y = samples()
    ask = LambdaCallback(on_train_batch_end=lambda batch, logs: model.predict(x, verbose=1))
    with redirect_stdout(terminal):
        model.fit(x, y, batch_size=4, callbacks=[ask], verbose=1)
        assert sys.stdout is terminal
    other.fit(x, y, batch_size=4, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])
    text = terminal.getvalue()
    assert 0 < text.count(HIDE) == text.count(SHOW)
    assert re.search(rf"\r2/2 - \d+s - \d+(s|ms|us)/step - accuracy: {NUMBER} - loss: {NUMBER}\n$", plain(text))


def test_what_a_callback_prints_stands_above_the_bar(terminal):
    x, y = samples()
    with redirect_stdout(terminal):
        say = LambdaCallback(on_train_batch_end=lambda batch, logs: print(f"hello from batch {batch}"))
        small().fit(x, y, batch_size=4, callbacks=[say], verbose=1)
    assert re.findall("hello from batch [01](?=\n)", plain(terminal.getvalue())) == [
        "hello from batch 0",
        "hello from batch 1",
    ]


def test_verbose_2_on_a_terminal_is_plain_text(terminal):
    x, y = samples()
    with redirect_stdout(terminal):
        small().fit(x, y, verbose=2)
    assert re.fullmatch(rf"Epoch 1/1\n{TIME} - accuracy: {NUMBER} - loss: {NUMBER}\n", terminal.getvalue())


# -------------------------------------------------------------------------------------------------------------- numbers


def test_numbers_have_four_decimals_or_an_exponent_at_or_below_a_thousandth():
    logs = {
        "a": 0.97644,
        "b": 0.001,
        "c": 0.0010001,
        "d": 0.0,
        "e": 123.456,
        "f": -0.0004,
        "g": -0.5,
        "h": float("nan"),
    }
    assert format_logs(logs) == (
        " - a: 0.9764 - b: 1.0000e-03 - c: 0.0010 - d: 0.0000e+00 - e: 123.4560 - f: -4.0000e-04 - g: -0.5000 - h: nan"
    )
    assert format_logs({}) == ""


def test_a_steps_time_is_in_the_unit_that_suits_it():
    times = [format_time(seconds) for seconds in (75.2, 1.0, 0.0294, 0.001, 0.00025, 0.0)]
    assert times == ["75s", "1s", "29ms", "1ms", "250us", "0us"]


@pytest.mark.parametrize(
    ("verbose", "level"), [("auto", 1), (0, 0), (1, 1), (2, 2), (True, 1), (False, 0), (np.int64(2), 2)]
)
def test_verbose_has_four_values(verbose, level):
    assert check_verbose(verbose) == level


@pytest.mark.parametrize("verbose", [3, -1, "1", "silent", None, 0.5, [1]])
def test_any_other_verbose_is_refused(verbose):
    text = f"verbose must be 'auto', 0 (silent), 1 (a bar) or 2 (a line an epoch), received {verbose!r}."
    with pytest.raises(ValueError, match=re.escape(text)):
        check_verbose(verbose)
