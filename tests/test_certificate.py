"""The certificate says of every part whether it is proved, the page says the same, and a wrong gradient shows."""

import sys
from pathlib import Path

import numpy as np
import pytest

from minidl import certificate, layers, losses, optimizers
from minidl.layers import Dense, Layer
from minidl.layers.activation import ACTIVATIONS

PAGE = Path(__file__).parent.parent / "docs" / "certificate.md"
PARTS = ("layer", "activation", "loss", "optimizer", "model")


@pytest.fixture(scope="module")
def small():
    """All rows, once for all tests. The models are small ones here: the real ones take seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        with_small_models(patch)
        return list(certificate.rows())


def with_small_models(monkeypatch):
    small = {name: lambda: [Dense(10, activation="softmax", input_shape=(784,))] for name in certificate.MODELS}
    monkeypatch.setattr(certificate, "MODELS", small)

    def check(make, seed):
        model = certificate.Sequential(make(), seed=seed, dtype="float64")
        model.compile(loss="sparse_categorical_crossentropy")
        rng = np.random.default_rng(seed)
        return [certificate.gradcheck(model, rng.random((3, 784)), rng.integers(10, size=3), mode="direction")]

    monkeypatch.setattr(certificate, "_check_model", check)


def page_rows():
    """(kind, name, verdict) of every line of the page's table."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(head) == certificate.HEAD
    return [(row[0], row[1], row[head.index("verdict")]) for row in rows]


def test_the_page_says_what_the_code_says(small):
    assert page_rows() == [(row.kind, row.name, "proved" if row.passed else "WRONG") for row in small]
    assert all(row.passed and row.proved > 0 and row.cases > 0 for row in small)


def test_the_real_models_are_those_of_the_page():
    """The three of the tutorial whole, dropout on: fused, unfused and in reference operations."""
    found = list(certificate.model_rows())
    assert [(row.name, "proved" if row.passed else "WRONG") for row in found] == [
        (name, verdict) for kind, name, verdict in page_rows() if kind == "model"
    ]
    arrays = {"MLP": 4, "CNN": 6, "larger CNN": 10, "MLP with penalties": 4, "residual CNN": 12}
    assert {row.name: (row.cases, row.proved) for row in found} == {
        name: (3, 3 * 4 * count) for name, count in arrays.items()
    }


def test_nothing_is_left_out():
    rows = [(kind, name) for kind, name, _ in page_rows()]
    ours = {name for name in vars(layers) if isinstance(getattr(layers, name), type)} - {"Layer", "Input"}
    assert {name for kind, name in rows if kind == "layer"} == {
        getattr(layers, name).__name__ for name in ours if issubclass(getattr(layers, name), Layer)
    }
    assert {name for kind, name in rows if kind == "activation"} == set(ACTIVATIONS)
    classes = {cls.__name__ for cls in losses.LOSSES.values()}
    assert {type(make()).__name__ for make in certificate.LOSSES.values()} == classes
    steppers = {type(make()).__name__ for make, _ in certificate.OPTIMIZERS.values()}
    assert steppers == {cls.__name__ for cls in optimizers.OPTIMIZERS.values()}
    assert [kind for kind in PARTS if any(row[0] == kind for row in rows)] == list(PARTS)


def run(monkeypatch, capsys, *arguments):
    """(the exit code, what was printed) of the command."""
    monkeypatch.setattr(sys, "argv", ["certificate", *map(str, arguments)])
    code = certificate.main()
    printed = capsys.readouterr()
    assert printed.err == ""  # how far it is, is for a terminal
    return code, printed.out


def test_the_command_writes_the_page(small, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(certificate, "rows", lambda: iter(small))
    path = tmp_path / "page.md"
    code, printed = run(monkeypatch, capsys, "--write", path)
    assert code == 0
    assert "WRONG" not in printed
    written, kept = (text.read_text(encoding="utf-8").partition("| kind")[0] for text in (path, PAGE))
    assert written == kept


def test_a_wrong_gradient_is_wrong_in_the_certificate(monkeypatch, capsys, tmp_path):
    with_small_models(monkeypatch)
    few = {name: certificate.LAYERS[name] for name in ("Dense", "Dropout", "Stack", "Residual")}
    monkeypatch.setattr(certificate, "LAYERS", few)
    right = Dense.backward

    def backward(self, dy, cache):
        dx, grads = right(self, dy, cache)
        return dx, {**grads, "kernel": grads["kernel"] * 1.001}

    monkeypatch.setattr(Dense, "backward", backward)
    path = tmp_path / "page.md"
    code, printed = run(monkeypatch, capsys, "--write", path)
    assert code == 1
    wrong = [line for line in path.read_text(encoding="utf-8").splitlines() if "WRONG" in line]
    assert [line.split("|")[2].strip() for line in wrong] == [
        "Dense",
        "Stack",
        "Residual",
    ]  # those with a Dense in them
    assert printed.count("WRONG") == 3


def test_a_gradient_that_is_wrong_outside_of_training_is_wrong_in_the_certificate(monkeypatch):
    monkeypatch.setattr(certificate, "LAYERS", {"BatchNormalization": certificate.LAYERS["BatchNormalization"]})
    assert [row.passed for row in certificate.layer_rows()] == [True]
    right = layers.BatchNormalization.backward

    def backward(self, dy, cache, **sums):
        dx, grads = right(self, dy, cache, **sums)
        return dx if cache.m else 1.001 * dx, grads

    monkeypatch.setattr(layers.BatchNormalization, "backward", backward)
    assert [row.passed for row in certificate.layer_rows()] == [False]


def test_a_wrong_optimizer_is_wrong_in_the_certificate(monkeypatch):
    monkeypatch.setattr(optimizers.SGD, "__init__", wrong_rate(optimizers.SGD.__init__))
    verdicts = {row.name: row.passed for row in certificate.optimizer_rows()}
    assert not verdicts["SGD"]
    assert verdicts["RMSprop"]


def wrong_rate(init):
    def changed(self, learning_rate=0.0101, **settings):
        init(self, learning_rate, **settings)

    return changed
