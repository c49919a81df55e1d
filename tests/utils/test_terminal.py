"""What reaches a terminal: names as they are, whatever they hold, and nothing that a terminal would obey."""

import io
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import Sequential
from minidl.checking.report import GradientError, Record, Report
from minidl.layers import Dense
from minidl.metrics import Metric
from minidl.models import load_model
from minidl.utils.terminal import is_terminal, printable

SET_TITLE, RED = "\x1b]0;owned\x07", "\x1b[31m"
NAMES = [
    "[red]a",
    "a[bold]b",
    "[/x]",
    ":smile:",
    f"b{RED}",
    f"c{SET_TITLE}",
    "d\re",
    "f\u202eg",
    "h\ni",
    "\x9b2J",
    "ü[0]ö",
]
SHOWN = [
    "[red]a", "a[bold]b", "[/x]", ":smile:", r"b\x1b[31m", r"c\x1b]0;owned\x07", r"d\re", r"f\u202eg", r"h\ni", r"\x9b2J",
    "ü[0]ö",
]  # fmt: skip


@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True)))
def test_printable(name, shown):
    assert printable(name) == shown


def test_a_terminal_is_what_says_so():
    assert not is_terminal(None)
    assert not is_terminal(io.StringIO())
    assert not is_terminal(SimpleNamespace(write=print))
    assert is_terminal(SimpleNamespace(isatty=lambda: True))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def model(name="m", layer="d"):
    return Sequential([Dense(2, name=layer, input_shape=(3,))], name=name, seed=0)


@pytest.fixture(params=[Terminal, io.StringIO])
def stream(request, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")  # so that nothing but a name brings an ESC
    return request.param()


@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True)))
def test_the_summary_shows_names_as_they_are_those_of_a_file_too(tmp_path, stream, name, shown):
    path = tmp_path / "model.safetensors"
    made = model(name, name.replace("/", "|"))  # a layer's name has no "/"
    made.save(path)
    for each in (made, load_model(path)):
        with redirect_stdout(stream):
            each.summary()
        text = stream.getvalue()
        assert f'Model: "{shown}"' in text
        assert f" {shown.replace('/', '|')} (Dense) " in text
        assert not set(text) & set("\x1b\x07\x9b\r\u202e")
        stream.seek(0)
        stream.truncate()


class Named(Metric):
    def sums(self, y_true, y_pred):
        return np.array([0.5 * len(y_true), len(y_true)])

    def result(self, sums):
        return float(sums[0] / sums[1])


@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True)))
@pytest.mark.parametrize("verbose", [1, 2])
def test_a_metrics_name_ends_no_training_and_moves_no_cursor(stream, name, shown, verbose):
    watched = model()
    watched.compile("sgd", "mse", metrics=[Named(name)])
    with redirect_stdout(stream):
        watched.fit(np.ones((8, 3)), np.ones((8, 2)), batch_size=2, verbose=verbose)
    last = stream.getvalue().rstrip("\n").split("\n")[-1]
    assert f" - {shown}: 0.5000" in last
    assert not set(last) & set("\x07\x9b\u202e")
    assert RED not in last


@pytest.mark.parametrize(("name", "shown"), list(zip(NAMES, SHOWN, strict=True)))
def test_the_trace_and_the_report_of_a_check(name, shown):
    traced = model(layer=name.replace("/", "|"))
    traced.compile("sgd", "mse")
    text = str(traced.trace(np.ones((2, 3)), np.ones((2, 2))))
    assert f" {shown.replace('/', '|')} (Dense) " in text
    report = Report(f"layer {name}", [Record(name, 1)])
    assert f"gradcheck layer {shown}: " in " ".join(str(report).split())
    assert f" {shown} " in str(report)
    for shows in (text, str(report), str(GradientError(report))):
        assert not set(shows) & set("\x1b\x07\x9b\r\u202e")


def test_what_a_refused_file_holds_is_no_command(tmp_path):
    path = tmp_path / "weights.safetensors"
    model(layer=f"x{SET_TITLE}").save_weights(path)
    with pytest.raises(ValueError, match="unexpected") as caught:
        model(layer="y").load_weights(path)
    assert str(caught.value).isprintable()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"F32", b"\x1b[m"))
    with pytest.raises(ValueError, match="is damaged") as caught:
        load_model(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("methods", [["write", "flush"], ["write"]])
def test_whatever_has_a_write_may_stand_in_for_stdout(monkeypatch, methods):
    """A logger that writes to two places, for one."""
    written = []
    stand_in = SimpleNamespace(write=written.append, flush=lambda: None)
    for name in {"write", "flush"} - {*methods}:
        delattr(stand_in, name)
    monkeypatch.setattr(sys, "stdout", stand_in)
    watched = model()
    watched.compile("sgd", "mse")
    x = np.ones((8, 3))
    watched.fit(x, x[:, :2], epochs=2)
    watched.evaluate(x, x[:, :2])
    watched.predict(x)
    watched.summary(print_fn=print)
    lines = "".join(written).split("\n")
    assert [line[:9] for line in lines[:3]] == ["Epoch 1/2", "Epoch 2/2", "1/1 - 0s "]
    assert lines[3].startswith("1/1 - 0s ")
    assert any("Total params: 8" in line for line in lines)
