"""check_layer tells a student what is wrong, the strategies draw what they promise, and the documentation is true."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from minidl import RandomKey, testing
from minidl.checking.closeness import LAYOUTS, differences
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Rescaling
from minidl.testing import KINDS, assert_close, check_layer, inputs, layer_configurations, shapes

DOCUMENT = Path(__file__).parent.parent / "docs" / "checking.md"


class Scale(Layer):
    """The right one; each of the faulty ones below changes one thing."""

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)}


# ----------------------------------------------------------------------------------------------------------- right layers


@settings(max_examples=30)
@given(layer_configurations())
def test_every_layer_of_the_library_is_right(configuration):
    factory, shape = configuration
    check_layer(factory, shape, max_entries=20)


def test_right_layers():
    check_layer(Scale, [(4,), (1,), (2, 3)])
    check_layer(Scale, (2, 3, 1))
    check_layer(lambda: Dense(1, activation="relu"), (1,))  # off on all samples of the first attempt, or of another
    check_layer(lambda: Dropout(0.5), [(1,), (7,)])

    class Bare:
        def forward(self, x, *, training=False, rng=None):
            return np.log(x), x

        def backward(self, dy, cache):
            return dy / cache, {}

    check_layer(Bare, (4,), inputs=lambda rng, shape: rng.uniform(0.5, 2, shape))


# ---------------------------------------------------------------------------------------------------------- faulty layers


class WrongShape(Scale):
    def build(self, input_shape, rng, dtype):
        super().build(input_shape, rng, dtype)
        return (input_shape[0] + 1,)


class IgnoresDtype(Scale):
    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape)}
        return input_shape


class LosesDtype(Scale):
    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"] + np.zeros(x.shape), x


class CoupledSamples(Scale):
    """Subtracts the mean of the batch: right as a derivative, but a sample depends on its neighbours."""

    def forward(self, x, *, training=False, rng=None):
        return (x - x.mean(axis=0)) * self.params["factor"], x - x.mean(axis=0)

    def backward(self, dy, cache):
        dx = dy * self.params["factor"]
        return dx - dx.mean(axis=0), {"factor": (dy * cache).sum(axis=0)}


class Views(Flatten):
    def forward(self, x, *, training=False, rng=None):
        return x.reshape(len(x), -1), x.shape


class ViewsBack(Flatten):
    def backward(self, dy, cache):
        return dy.reshape(cache), {}


class ParamAsGradient(Scale):
    """y = x + factor, whose gradient for x is dy itself."""

    def forward(self, x, *, training=False, rng=None):
        return x + self.params["factor"], None

    def backward(self, dy, cache):
        return dy, {"factor": dy.sum(axis=0)}


class NeedsContiguous(Scale):
    def forward(self, x, *, training=False, rng=None):
        if not x.flags.c_contiguous:
            raise ValueError("not contiguous")
        return super().forward(x)


class InMemoryOrder(Scale):
    def forward(self, x, *, training=False, rng=None):
        return x.ravel(order="K").reshape(x.shape) * self.params["factor"], x


class WrongOutsideTraining(Dropout):
    def backward(self, dy, cache):
        return super().backward(dy, cache or RandomKey(1, 0))


class OnlyInTheBatch(Scale):
    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"] * len(x), x * len(x)

    def backward(self, dy, cache):
        return dy * self.params["factor"] * len(dy), {"factor": (dy * cache).sum(axis=0)}


class Unfinished(Scale):
    def backward(self, dy, cache):
        raise NotImplementedError("write me")


class ForgetsTheFirst(Scale):
    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": (dy * cache)[1:].sum(axis=0)}


FAULTS = {
    WrongShape: r"input shape \(4,\): build returns the output shape \(5,\), but forward gives \(4,\) for a sample",
    IgnoresDtype: "build makes the parameter 'factor' as float64 for dtype float32: use the dtype",
    LosesDtype: r"y is float64 for float32 input and parameters: keep the dtype, e.g. by np.zeros\(…, x.dtype\)",
    CoupledSamples: r"y differs for samples one by one and for the batch: y\[\d, \d\]: -?0, expected",
    Views: "y shares its memory with x: return a fresh array",
    ViewsBack: "dx shares its memory with dy: return a fresh array",
    ParamAsGradient: "dx shares its memory with dy",
    NeedsContiguous: "arrays with gaps in memory make a ValueError: not contiguous",
    InMemoryOrder: "y differs for arrays in Fortran's order",
    OnlyInTheBatch: "differs for samples one by one and for the batch",
    Unfinished: "gradients: NotImplementedError: write me",
    ForgetsTheFirst: r"factor\[\d\]: the gradient says .* the slope is",
}


@pytest.mark.parametrize("layer", FAULTS)
def test_faulty_layers(layer):
    with pytest.raises(AssertionError, match=FAULTS[layer]) as caught:
        check_layer(layer, [(4,)])
    assert str(caught.value).startswith(f"{layer.__name__} is not right yet.\ninput shape (4,): ")


def test_what_check_layer_does_not_take():
    with pytest.raises(
        TypeError, match=r"factory must make a new layer .* e\.g\. lambda: Dense\(4\), received <.*Scale"
    ):
        check_layer(Scale(), (4,))
    for shapes_given in (4, [], [4], "odd", None):
        with pytest.raises(TypeError, match=re.escape(f"or a list of such, received {shapes_given!r}.")):
            check_layer(Scale, shapes_given)
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_entris'"):
        check_layer(Scale, (4,), max_entris=3)


def test_outside_training_counts_too():
    with pytest.raises(AssertionError, match="the gradient says"):
        check_layer(lambda: WrongOutsideTraining(0.5), (8,))


def test_a_layer_with_nothing_to_prove_is_told_so():
    class Off(Activation):
        def __init__(self):
            super().__init__("relu")

    with pytest.raises(
        AssertionError,
        match=r"only 0 of 9 entries could be proved .* behind a ReLU that is off: choose inputs where it is",
    ):
        check_layer(Off, (3,), inputs=lambda rng, shape: -np.ones(shape))


def test_assert_close_holds_to_the_dtype():
    ones = np.ones(3)
    assert_close(ones, ones + 1e-13)
    assert_close(ones.astype(np.float32), ones + 1e-6)
    assert_close(np.array([1e6, 0.0]), np.array([1e6, 1e-7]))  # relative to the largest
    for actual, expected, message in (
        (ones, ones + 1e-11, r"the arrays\[0\]: 1, expected 1 ± 1.0e-12"),
        (ones.astype(np.float32), ones + 1e-4, "expected 1.0001 ±"),
        (ones, np.ones(4), r"shape \(3,\), expected \(4,\)"),
        (ones * np.nan, ones, "nan, expected 1"),
    ):
        with pytest.raises(AssertionError, match=message):
            assert_close(actual, expected)


def test_assert_close_names_the_worst_place_and_what_it_was():
    actual, expected = np.array([[0.0, -8.0], [2.0, 4.0]]), np.array([[0.5, -10.0], [1.0, 4.0]])
    with pytest.raises(AssertionError, match=r"^y\[0, 1\]: -8, expected -10 ± 1\.0e-11\.$"):
        assert_close(actual, expected, "y")
    assert_close(np.float64(2), 2 + 1e-13)
    assert_close(np.zeros((0, 2)), np.zeros((0, 2)))
    assert_close(np.array([1.0, -1e4 + 1e-9]), np.array([1.0, -1e4]))  # at most 1e-12 of the largest, without its sign
    with pytest.raises(AssertionError, match=r"^the arrays\[0\]: 1\.00000001, expected 1 ± 1\.0e-08\.$"):
        assert_close(np.array([1 + 1.1e-8, -1e4]), np.array([1.0, -1e4]))


def test_differences_has_a_line_for_each_array_that_is_not_close():
    right = {"y": np.ones(2), "dx": np.ones(2)}
    assert differences(right, right, "from it") == []
    assert differences({"y": np.ones(2), "dx": np.array([1.0, 3.0])}, right, "from it") == [
        "dx differs from it: dx[1]: 3, expected 1 ± 1.0e-12."
    ]


def test_layouts_are_what_they_are_called():
    x = np.arange(6.0).reshape(2, 3)
    views = {layout: view(x) for layout, view in LAYOUTS.items()}
    assert {layout: view.strides for layout, view in views.items()} == {
        "with gaps in memory": (48, 16),
        "in Fortran's order": (8, 16),
        "stored backwards": (24, -8),
    }
    for view in views.values():
        np.testing.assert_array_equal(view, x)
        assert not np.shares_memory(view, x)
    gaps = views["with gaps in memory"].base
    assert np.isnan(gaps[..., 1::2]).all()  # whoever reads over them notices


# ----------------------------------------------------------------------------------------------------------- strategies


@given(st.data())
def test_inputs(data):
    shape = data.draw(shapes(data.draw(st.integers(1, 3))))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x = data.draw(inputs(shape, dtype=dtype))
    assert x.dtype == dtype
    assert x.shape[1:] == shape
    assert 1 <= len(x) <= 4
    assert np.isfinite(x).all()


IS = {
    "a batch of one": lambda x: len(x) == 1,
    "more": lambda x: len(x) > 1,
    "gaps": lambda x: x.strides[-1] > x.itemsize,
    "Fortran's order": lambda x: x.flags.f_contiguous and not x.flags.c_contiguous,
    "backwards": lambda x: x.strides[-1] < 0,
    "zeros": lambda x: not x.any(),
    "constant": lambda x: x.any() and (x == x.flat[0]).all(),
    "ties": lambda x: x.any() and set(x.flat) <= {-2, -1, 0, 1, 2} and len(set(x.flat)) > 2,
    "large": lambda x: np.abs(x).max() > 1e5,
    "small": lambda x: 0 < np.abs(x).max() < 1e-4,
    "mixed": lambda x: np.abs(x).max() > 1e6 * np.abs(x).min() > 0,
}


@pytest.mark.parametrize("what", IS)
def test_inputs_can_be(what):
    find(inputs((3, 2)), IS[what], settings=settings(max_examples=500, database=None))


def test_kinds_can_be_chosen():
    with pytest.raises(ValueError, match=r"kinds must be among normal, ties, .* received 'odd'"):
        inputs((2,), kinds=["odd"])

    @settings(max_examples=10)
    @given(inputs((2,), kinds=["zeros"]))
    def all_are_zeros(x):
        assert not x.any()

    all_are_zeros()
    assert set(KINDS) == {"normal", "ties", "constant", "zeros", "large", "small", "mixed"}


@pytest.mark.parametrize("layer", [Dense, Conv2D, MaxPooling2D, Activation, Dropout, Flatten, Rescaling])
def test_configurations_of_every_layer_are_drawn(layer):
    factory, shape = find(
        layer_configurations(),
        lambda drawn: type(drawn[0]()) is layer,
        settings=settings(max_examples=500, database=None),
    )
    assert factory() is not factory()
    assert isinstance(shape, tuple)


def test_without_hypothesis_check_layer_works_and_a_strategy_names_the_extra():
    code = (
        "import sys; sys.modules['hypothesis'] = sys.modules['hypothesis.strategies'] = None\n"
        "from minidl.layers import Flatten; from minidl.testing import check_layer, inputs\n"
        "check_layer(Flatten, (2, 3)); print('fine'); inputs((2,))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.stdout.strip() == "fine"
    assert "the strategies of minidl.testing need Hypothesis: pip install 'minidl[test]'." in done.stderr


# -------------------------------------------------------------------------------------------------------- the document


def test_the_document_shows_what_there_is():
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in (
        "gradcheck",
        "assert_gradients",
        "check_layer",
        "layer_configurations",
        "inputs",
        "max_entries",
    ):
        assert f"`{name}" in text or f"{name}(" in text
    assert all(kind in text for kind in KINDS)
    assert f"{testing.TOLERANCES[np.dtype(np.float32)]:.0e}".replace("e-0", "e-") in text
