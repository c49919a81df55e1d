"""What a notebook shows of a trace, a model, a history and a report: what ``print`` shows, with the user's names escaped."""

from html.parser import HTMLParser

import numpy as np
import pytest

from minidl import Sequential, gradcheck
from minidl.layers import Dense

HOSTILE = "<script>alert(1)</script>"


class Cells(HTMLParser):
    """The text of all cells, and every tag."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.tags = [], set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.cells += [data.strip()] if data.strip() else []


@pytest.fixture
def model():
    model = Sequential(
        [Dense(2, name=HOSTILE.replace("/", "")), Dense(3, name="second")], seed=1, name=HOSTILE, dtype="float64"
    )
    model.build((4,))
    model.compile(loss="mse", optimizer="sgd", metrics=["mae"])
    return model


def test_a_model_shows_its_summary(model):
    shown = Cells(model._repr_html_())
    assert "script" not in shown.tags
    lines = []
    model.summary(lines.append)
    assert {"second (Dense)", "(None, 3)", "9"} <= set(shown.cells)
    assert lines[-3].strip() in shown.cells


def test_a_model_without_weights_shows_its_name():
    assert Sequential([Dense(2)])._repr_html_() is None


def test_a_trace_shows_its_table(model):
    trace = model.trace(np.ones((2, 4)), np.ones((2, 3)))
    shown = Cells(trace._repr_html_())
    assert "script" not in shown.tags
    assert {"second (Dense)", "dkernel", "2×3"} <= set(shown.cells)
    for cell in shown.cells:
        if "script" not in cell:  # print may break what is long
            assert cell in str(trace)


def test_a_history_shows_its_epochs(model):
    history = model.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=2, verbose=0)
    shown = Cells(history._repr_html_())
    names = list(history.history)
    assert shown.cells[: 2 + len(names)] == ["History", "epoch", *names]
    assert shown.cells[2 + len(names)] == "1"
    assert shown.cells[3 + len(names)] == f"{history.history[names[0]][0]:.4g}"


def test_a_report_shows_its_table(model):
    report = gradcheck(model, np.ones((2, 4)), np.ones((2, 3)))
    shown = Cells(report._repr_html_())
    assert "script" not in shown.tags
    assert "second/kernel" in shown.cells
