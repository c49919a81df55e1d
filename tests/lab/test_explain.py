"""``Trace.explain``: sums that are the numbers, slopes that are the gradients, and plain answers to wrong questions."""

import math

import numpy as np
import pytest

from minidl import Sequential
from minidl.cases import LAYERS as CASES
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Residual


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_by_two():
    """x = [2, −1] through a kernel [[3, −1], [1, 2]] and a ReLU, against the targets [1, 1]: worked out by hand below."""
    model = Sequential([Dense(2, activation="relu")], seed=0, dtype="float64")
    model.build((2,))
    model.compile(loss="mse", optimizer="sgd")
    model.set_weights([np.array([[3.0, -1.0], [1.0, 2.0]]), np.zeros(2)])
    return model.trace(np.array([[2.0, -1.0]]), np.array([[1.0, 1.0]]))


def test_numbers_worked_out_by_hand():
    # z = [2·3 − 1·1, −2·1 − 1·2] = [5, −4]; y = [5, 0]; loss = (4² + 1²) / 2; dy = y − 1 = [4, −1]; dz = [4, 0]
    trace = two_by_two()
    z = trace.explain("dense:z", (0, 1))
    assert [term.value for term in z.terms] == [-2, -2]
    assert [factor.value for factor in z.terms[0].factors] in ([2, -1], [-1, 2])
    assert z.total == z.value == -4
    dead = trace.explain("dense:dz", (0, 1))
    assert dead.value == dead.total == 0
    assert dead.zeros == {"dense:slope is 0": 1}
    kernel = trace.explain("dense/kernel", (0, 0))
    assert kernel.value == 8
    assert kernel.terms[0].factors[0].address == "dense:x"
    assert kernel.slope.value == pytest.approx(8, rel=1e-7)
    assert trace.explain("loss").value == 8.5
    assert trace.explain("loss:dy", (0, 0)).value == 4


def test_its_text():
    assert str(two_by_two().explain("dense/kernel", (0, 0))).splitlines()[:-1] == [
        "dense/kernel[0, 0] = 8  ∂loss/∂kernel",
        "  dkernel[d, u] = Σ_n x[n, d] · dz[n, u]",
        "  1 term",
        "            +8 = dense:x[0, 0] 2 · dense:dz[0, 0] 4",
        "  sum 8, computed 8, slope by central differences 8",
    ]


def test_the_line_of_source_is_that_of_the_formula():
    source = two_by_two().explain("dense/kernel", (0, 0)).source
    assert source.file == "minidl/ops/reference/dense.py"
    assert "x.T @ dy" in source.code


def test_one_can_walk_from_a_weight_to_the_loss_and_to_a_pixel(rng):
    model = Sequential([Conv2D(2, 3, activation="relu"), MaxPooling2D(), Flatten(), Dense(3, "softmax")], seed=1)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="sgd")
    trace = model.trace(rng.random((1, 8, 8, 1)), [2])
    number, seen = trace.explain("conv2d/kernel", (1, 1, 0, 0)), []
    while number.address != "dense:dy":
        upstream = next(f for f in number.terms[0].factors if f.address.rpartition(":")[2].startswith("d"))
        seen.append(upstream.address)
        number = trace.explain(upstream.address, upstream.index)
    assert seen == ["conv2d:dz", "conv2d:dy", "max_pooling2d:dy", "flatten:dy", "dense:dy"]
    assert {factor.address for term in number.terms for factor in term.factors} == {"loss:p", "loss:t"}
    pixel = trace.explain("conv2d/kernel", (1, 1, 0, 0)).terms[0].factors[0]
    assert pixel.address == "conv2d:x"
    assert pixel.value == trace["conv2d"].x[pixel.index]


@pytest.mark.parametrize("name", CASES)
def test_slopes_are_the_gradients(name, rng):
    make, shape = CASES[name].examples[0]
    model = Sequential([make()], seed=1, dtype="float64")
    model.build(shape)
    model.compile(loss="mse", optimizer="sgd")
    for weights in model.weights.values():
        weights[...] = rng.normal(size=weights.shape)
    x, y = rng.normal(size=(2, *shape)), rng.normal(size=(2, *model.output_shape))
    trace = model.trace(x, y, training=True)
    top = model.layers[0].name
    for address in (f"{top}:dx", f"{top}:dy", *trace.gradients):
        array = trace.gradients[address] if address in trace.gradients else getattr(trace[top], address[-2:])
        for flat in rng.integers(0, array.size, 5):
            found = trace.explain(address, np.unravel_index(flat, array.shape))
            assert found.value == array.reshape(-1)[flat]
            if found.formula:
                assert found.total == pytest.approx(found.value, rel=1e-9, abs=1e-12)
                assert found.arguments or math.fsum(t.value for t in found.terms) == pytest.approx(
                    found.total, abs=1e-12
                )
            assert found.slope.value == pytest.approx(found.value, rel=1e-5, abs=1e-8)


class Tripled(Layer):
    def forward(self, x, *, training=False, rng=None):
        return 3 * x, None

    def backward(self, dy, cache):
        return 3 * dy, {}


def test_your_own_layer_gets_the_slope_without_terms(rng):
    model = Sequential([Tripled(name="mine"), Dense(2)], seed=1, dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    trace = model.trace(rng.normal(size=(2, 3)), rng.normal(size=(2, 2)))
    found = trace.explain("mine:dx", (1, 2))
    assert found.terms == []
    assert found.formula == ""
    assert found.slope.value == pytest.approx(found.value, rel=1e-7)
    assert found.source.code == "def backward(self, dy, cache):"
    assert trace.explain("mine:y", (1, 2)).slope is None


def test_a_parameter_that_your_layer_also_holds_by_another_name_is_moved(rng):
    class Scale(Layer):
        def build(self, input_shape, rng, dtype):
            self.factor = np.full(input_shape, 1.5, dtype)
            self.params = {"factor": self.factor}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x * self.factor, x

        def backward(self, dy, cache):
            return dy * self.factor, {"factor": (dy * cache).sum(axis=0)}

    for dtype in ("float32", "float64"):
        model = Sequential([Scale(name="mine"), Dense(2)], seed=1, dtype=dtype)
        model.compile(loss="mse", optimizer="sgd")
        found = model.trace(rng.normal(size=(2, 3)), rng.normal(size=(2, 2))).explain("mine/factor", (1,))
        assert found.slope.value == pytest.approx(found.value, rel=1e-5)


def test_a_wrong_gradient_and_its_slope_stand_side_by_side(rng):
    class Wrong(Tripled):
        def backward(self, dy, cache):
            return 2 * dy, {}

    model = Sequential([Wrong(name="mine"), Dense(2)], seed=1, dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    found = model.trace(rng.normal(size=(2, 3)), rng.normal(size=(2, 2))).explain("mine:dx", (0, 0))
    assert found.slope.value == pytest.approx(1.5 * found.value, rel=1e-7)


def test_penalties_and_tied_weights_are_terms_of_their_own(rng):
    first, second = Dense(3, kernel_regularizer="l2", name="first"), Dense(3, name="second")
    model = Sequential([first, second], seed=1, dtype="float64")
    model.build((3,))
    second.params = {**second.params, "kernel": first.params["kernel"]}
    model.compile(loss="mse", optimizer="sgd")
    found = model.trace(rng.normal(size=(2, 3)), rng.normal(size=(2, 3))).explain("first/kernel", (0, 1))
    assert sorted(term.factors[0].address for term in found.terms) == [
        "first/kernel:penalty",
        "first:dkernel",
        "second:dkernel",
    ]
    assert found.total == pytest.approx(found.value, rel=1e-12)
    assert found.slope.value == pytest.approx(found.value, rel=1e-7)


def test_layers_inside_a_residual(rng):
    model = Sequential([Residual([Dense(3, "tanh"), Dense(4)], name="block"), Dense(2)], seed=1, dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    trace = model.trace(rng.normal(size=(2, 4)), rng.normal(size=(2, 2)))
    for address, index in (("block/dense/kernel", (1, 2)), ("block/dense_1:dx", (0, 1)), ("block:dx", (0, 1))):
        found = trace.explain(address, index)
        assert found.total == pytest.approx(found.value, rel=1e-12)
        assert found.slope.value == pytest.approx(found.value, rel=1e-7)
    assert len(trace.explain("block:dx", (0, 1)).terms) == 2  # the skip, and what came through the layers


def test_the_mask_of_a_dropout_is_the_one_of_the_trace(rng):
    model = Sequential([Dropout(0.5), Dense(2)], seed=1, dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    trace = model.trace(np.ones((1, 40)), rng.normal(size=(1, 2)), training=True)
    masks = [trace.explain("dropout:y", (0, i)).value for i in range(40)]
    assert set(masks) == {0.0, 2.0}
    dropped = masks.index(0.0)
    assert trace.explain("dropout:dx", (0, dropped)).slope.value == 0


def test_what_is_trained_meanwhile_does_not_change_a_trace(rng):
    model = Sequential([Dense(3)], seed=1, dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    x, y = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    trace = model.trace(x, y)
    before = str(trace.explain("dense/kernel", (0, 0)))
    model.fit(x, y, epochs=3, verbose=0)
    assert str(trace.explain("dense/kernel", (0, 0))) == before


def test_a_kink_is_called_one():
    model = Sequential([Dense(1, activation="relu", use_bias=False)], seed=1, dtype="float64")
    model.build((1,))
    model.compile(loss="mae", optimizer="sgd")
    model.set_weights([np.zeros((1, 1))])
    found = model.trace(np.ones((1, 1)), np.full((1, 1), 5.0)).explain("dense/kernel", (0, 0))
    assert found.slope.kink
    assert "a kink: 0 on the left, -1 on the right" in str(found)


@pytest.mark.parametrize("distance", [1.0, 0.01, 1e-4])
def test_the_bottom_of_a_parabola_is_no_kink(distance, rng):
    """Nearly all of the difference of the two sides is curvature there."""
    model = Sequential([Dense(1, use_bias=False)], dtype="float64")
    model.compile(loss="mse", optimizer="sgd")
    model.build((5,))
    model.set_weights([np.ones((5, 1))])
    x = rng.normal(size=(4, 5))
    trace = model.trace(x, x.sum(axis=1, keepdims=True) + distance)
    for d in range(5):
        found = trace.explain("dense/kernel", (d, 0))
        assert found.slope.value == pytest.approx(found.value, rel=1e-6)
        assert not found.slope.kink


class Gated(Layer):
    """A layer of the user's made of another one, whose parameters are also its own, under other names."""

    def __init__(self, **common):
        super().__init__(**common)
        self.layers = [Dense(4)]

    def build(self, input_shape, rng, dtype):
        inner = self.layers[0]
        inner.build(input_shape, rng, dtype)
        self.params = {"gate": np.full(4, 0.5, dtype), "w": inner.params["kernel"], "b": inner.params["bias"]}
        return (4,)

    def forward(self, x, *, training=False, rng=None):
        h, cache = self.layers[0].forward(x)
        return self.params["gate"] * h, (h, cache)

    def backward(self, dy, cache):
        h, cache = cache
        dx, grads = self.layers[0].backward(dy * self.params["gate"], cache)
        return dx, {"gate": (dy * h).sum(axis=0), "w": grads["kernel"], "b": grads["bias"]}


def test_a_layer_made_of_layers_has_parameters_of_its_own(rng):
    """Their slopes are the gradients, and those that they were traced with after more training, too."""
    model = Sequential([Gated(name="gated")], dtype="float64", seed=0)
    model.compile(loss="mse", optimizer="sgd")
    x, y = rng.normal(size=(4, 5)), rng.normal(size=(4, 4))
    trace = model.trace(x, y)
    for _ in range(2):
        for address, index in (("gated/gate", (0,)), ("gated/w", (1, 2)), ("gated/b", (3,))):
            found = trace.explain(address, index)
            assert found.value == trace.gradients[address][index]
            assert found.slope.value == pytest.approx(found.value, rel=1e-6)
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize(
    ("address", "index", "error", "words"),
    [
        ("dense/kernal", (0, 0), KeyError, "There is 'dense/kernel'"),
        ("dense:dq", (0, 0), KeyError, "'dense:d"),
        ("nonsense", (), KeyError, "There is"),
        ("dense/kernel", (0,), IndexError, r"shape \(2, 2\), received index \(0,\)"),
        ("dense/kernel", (0, 2), IndexError, "one number for each axis"),
    ],
)
def test_wrong_addresses(address, index, error, words):
    with pytest.raises(error, match=words):
        two_by_two().explain(address, index)


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_that_is_called_as_the_loss_is(place):
    """The numbers of both would stand under one address; and behind the last layer, one would be the other's origin."""
    names = ["loss", "other"] if place == 0 else ["other", "loss"]
    model = Sequential([Dense(3, name=names[0], input_dim=2), Dense(2, name=names[1])], seed=1)
    model.compile("sgd", "mse")
    trace = model.trace(np.ones((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"a layer is called 'loss', .* give the layer another name"):
        trace.explain("other:dkernel", (0, 0))


def test_indices_may_count_from_the_end():
    assert two_by_two().explain("dense/bias", -1).index == (1,)
