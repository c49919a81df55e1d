"""The ways in which people write what has a gradient, and the arguments that say what is checked and how."""

import json
import re
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from minidl import assert_gradients, gradcheck
from minidl.checking import nested
from minidl.checking.lines import entries, random_directions
from minidl.checking.pictures import heat_map
from minidl.checking.report import Record, Report
from minidl.layers import Conv2D, Dense, MaxPooling2D
from minidl.losses import MeanSquaredError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# --------------------------------------------------------------------------------------------- forward and backward pairs


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, _ = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def test_forward_and_backward_as_functions():
    arrays = normal(4, 2, 3), normal(6, 5, seed=1), normal(5, seed=2)
    report = gradcheck((affine_forward, affine_backward), *arrays)
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("x", 24), ("w", 30), ("b", 5)]
    assert report.target == "affine_forward"

    def swapped(dout, cache):
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw / 4, db

    report = gradcheck((affine_forward, swapped), *arrays)
    assert report.hints == {"w": "it is 4 times too small, the number of samples: mean or sum over the batch?"}
    named = gradcheck((affine_forward, lambda d, c: dict(zip("xwb", affine_backward(d, c), strict=True))), *arrays)
    assert named.passed
    assert "changes its argument dy" in gradcheck((affine_forward, spoils_dout), *arrays).problems[0]


def spoils_dout(dout, cache):
    grads = affine_backward(dout, cache)
    dout *= 2
    return grads


def test_a_pair_whose_backward_calls_forward():
    def forward(x):
        return np.tanh(x), x

    def numeric(dy, x):
        slopes = [(forward(x + 1e-5 * one)[0] - forward(x - 1e-5 * one)[0]) / 2e-5 for one in np.eye(x.size)]
        return np.array([(dy * slope).sum() for slope in slopes])

    def again(dy, x):
        return dy * (1 - forward(x)[0] ** 2)

    for backward, note in ((again, "backward calls forward (1)"), (numeric, "backward calls forward 6 times")):
        report = gradcheck((forward, backward), normal(3))
        assert report.passed, str(report)
        assert [one.partition(":")[0] for one in report.notes] == [note]


def test_a_pair_with_settings_and_labels():
    def forward(x, w, stride, settings):
        return x[:, ::stride] * w * settings["scale"], (x, w, stride, settings)

    def backward(dout, cache):
        x, w, stride, settings = cache
        dx = np.zeros_like(x)
        dx[:, ::stride] = dout * w * settings["scale"]
        return dx, (dout * x[:, ::stride]).sum(axis=0) * settings["scale"]

    report = gradcheck((forward, backward), normal(4, 6), normal(3), 2, {"scale": 3.0})
    assert report.passed, str(report)
    assert [(r.name, r.proved, r.zero) for r in report.records] == [("x", 12, 12), ("w", 3, 0)]


@pytest.mark.parametrize("name", ["x", "scale"])
def test_integers_and_single_numbers_of_a_pair_that_have_a_gradient(name):
    def forward(x, scale, labels):
        return x * scale + np.eye(3)[labels], (x, scale)

    def backward(dout, cache, wrong=""):
        x, scale = cache
        dscale = (dout * x).sum()
        return dout * scale * (7 if wrong == "x" else 1), dscale + (99 if wrong == "scale" else 0) * dout.sum()

    given = np.arange(12).reshape(4, 3), 1.5, np.array([0, 2, 1, 1])
    report = gradcheck((forward, backward), *given)
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("x", 12), ("scale", 1)]
    report = gradcheck((forward, lambda dout, cache: backward(dout, cache, name)), *given)
    assert [r.name for r in report.records if r.failed] == [name]


def test_a_gradient_of_ids_and_one_in_the_place_of_a_setting():
    """They are left as they are: ids cannot be moved, and what has another shape is not the setting's gradient."""

    def forward(ids, w, rate):
        return w[ids] * rate, (ids, w, rate)

    def backward(dout, cache):
        ids, w, rate = cache
        dw = np.zeros_like(w)
        np.add.at(dw, ids, dout * rate)
        return np.ones(ids.shape), dw, np.ones(3)

    report = gradcheck((forward, backward), np.array([0, 2, 1]), normal(4, 2), 0.5)
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["w"]


def test_a_single_gradient_is_that_of_the_first_array_of_floats():
    """As the word embedding of Stanford's CS231n, whose ids have none."""

    def forward(ids, w):
        return w[ids], (ids, w)

    def backward(dout, cache, wrong=1):
        ids, w = cache
        dw = np.zeros_like(w)
        np.add.at(dw, ids, dout)
        return wrong * dw

    given = np.array([[0, 1, 1], [3, 2, 2]]), normal(5, 3)
    report = gradcheck((forward, backward), *given)
    assert report.passed, str(report)
    assert [(r.name, r.proved, r.zero) for r in report.records] == [("w", 12, 3)]
    assert gradcheck((forward, lambda dout, cache: backward(dout, cache, 2)), *given).records[0].failed == 12
    assert not gradcheck((forward, lambda dout, cache: ()), *given).passed  # nothing is returned, and nothing checked
    whole = gradcheck((lambda x: (x**2, x), lambda dout, x: 2 * x * dout), np.arange(6).reshape(2, 3))
    assert [(r.name, r.tried) for r in whole.records] == [("x", 6)]


def masked_attention(q, mask):
    scores = q @ q.T + mask
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return p, (q, p)


def masked_attention_backward(dy, cache):
    q, p = cache
    dscores = p * (dy - (dy * p).sum(axis=1, keepdims=True))
    return dscores @ q + dscores.T @ q


def test_constants_may_hold_infinity_or_nan():
    """A mask of -inf, and labels that are missing."""
    mask = np.triu(np.full((3, 3), -np.inf), 1)
    report = gradcheck((masked_attention, masked_attention_backward), normal(3, 2), mask)
    assert report.passed, str(report)
    with pytest.raises(ValueError, match="q must be finite, received NaN or infinity"), np.errstate(all="ignore"):
        gradcheck((masked_attention, masked_attention_backward), normal(3, 2) + np.inf, mask)

    class Attention:
        def forward(self, q, mask):
            return masked_attention(q, mask)

        def backward(self, dy, cache):
            return (masked_attention_backward(dy, cache), None), {}

    assert gradcheck(Attention(), normal(3, 2), mask, without="mask").passed
    with pytest.raises(ValueError, match="mask must be finite, received NaN or infinity"):
        gradcheck(Attention(), normal(3, 2), mask)

    def loss(p, y):
        error = np.where(np.isnan(y), 0, p - np.nan_to_num(y))
        return (error**2).sum(), 2 * error

    report = gradcheck(loss, normal(3), np.array([1.0, np.nan, 2.0]))
    assert report.passed, str(report)
    assert (report.records[0].proved, report.records[0].zero) == (2, 1)


def test_a_gradient_that_a_pair_does_not_return_is_noted():
    report = gradcheck(
        (affine_forward, lambda dout, cache: affine_backward(dout, cache)[:2]), normal(4, 6), normal(6, 5), normal(5)
    )
    assert report.passed
    assert report.remarks() == ["b: no gradient returned, not checked."]


def in_parts(p):
    """(w, b) of a dictionary, a list, a tuple, or a list with a pair in it."""
    return p.values() if isinstance(p, dict) else p[0] if len(p) == 1 else p


PARTS = {
    "dictionary": (lambda w, b: {"w": w, "b": b}, ["p['w']", "p['b']"]),
    "list": (lambda w, b: [w, b], ["p[0]", "p[1]"]),
    "tuple": (lambda w, b: (w, b), ["p[0]", "p[1]"]),
    "list of pairs": (lambda w, b: [(w, b)], ["p[0][0]", "p[0][1]"]),
}


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("factor", [1, 7])
def test_the_arrays_in_an_argument_are_checked_each(parts, factor):
    """Where they are wrong by a factor, that is said of the one that is wrong."""
    put, names = PARTS[parts]

    def forward(x, p):
        w, b = in_parts(p)
        return np.tanh(x @ w + b), (x, w, np.tanh(x @ w + b))

    def backward(dy, cache):
        x, w, y = cache
        dz = dy * (1 - y * y)
        return dz @ w.T, put(factor * (x.T @ dz), dz.sum(axis=0))

    report = gradcheck((forward, backward), normal(4, 6), put(normal(6, 5, seed=1), normal(5, seed=2)))
    assert [(r.name, r.proved) for r in report.records] == [
        ("x", 24),
        (names[0], 30 if factor == 1 else 0),
        (names[1], 5),
    ]
    assert report.passed is (factor == 1)
    assert ("it is 7 times what it should be" in str(report)) is (factor == 7)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("factor", [1, 7])
def test_a_function_of_arrays_in_an_argument(parts, alone, factor):
    put, names = PARTS[parts]

    def loss(p, x):
        w, b = in_parts(p)
        y = x @ w + b
        dp = put(factor * 2 * x.T @ y, 2 * y.sum(axis=0))
        return (y**2).sum(), dp if alone else (dp, 2 * y @ w.T)

    report = gradcheck(loss, put(normal(6, 5, seed=1), normal(5, seed=2)), normal(4, 6))
    names = ["w", "b"] if parts == "dictionary" else names
    assert [r.name for r in report.records] == (names if alone else [*names, "x"])
    assert report.passed is (factor == 1)


def test_of_a_function_what_has_no_gradient_is_noted():
    report = gradcheck(
        lambda w, x: ((x @ w).sum(), np.repeat(x.sum(axis=0)[:, None], 5, 1)), normal(6, 5), normal(4, 6)
    )
    assert report.passed
    assert report.notes == ["x: no gradient returned, not checked."]


def test_a_parameter_that_the_layer_knows_by_another_name_as_well():
    """In float32, so that it is replaced by an array in float64: under both names, and afterwards back."""

    class Scale:
        def __init__(self):
            self.w = np.full(3, 1.5, np.float32)
            self.params, self.both = {"w": self.w}, [self.w]

        def forward(self, x):
            return x * self.w * self.both[0], (x, self.w)

        def backward(self, dy, cache):
            x, w = cache
            return dy * w * w, {"w": (2 * dy * x * w).sum(axis=0)}

    layer = Scale()
    report = gradcheck(layer, normal(4, 3))
    assert report.passed, str(report)
    assert layer.w is layer.params["w"] is layer.both[0]
    assert layer.w.dtype == np.float32


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (lambda: gradcheck(Dense(3), normal(4, 5), per_sample=True), "leave per_sample out"),
        (lambda: gradcheck(MeanSquaredError(), normal(4, 1), normal(4, 1), dy=np.ones(9)), "Leave dy out"),
        (lambda: gradcheck(lambda x: ((x**2).sum(), 2 * x), normal(4), dy=np.ones(9)), "Leave dy out"),
        (lambda: gradcheck(MeanSquaredError(), normal(4, 1), normal(4, 1), without="y_pred"), "leave none of y_pred"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(check, text):
    with pytest.raises(ValueError, match=text):
        check()


def test_lists_are_restored_as_well():
    class Seen(Dense):
        def forward(self, x, **how):
            self.seen.append(x)
            return super().forward(x, **how)

    layer = Seen(3)
    layer.seen = ["before"]
    assert gradcheck(layer, normal(4, 5)).passed
    assert layer.seen == ["before"]


def test_functions_of_several_arrays():
    def value(x, w):
        return np.tanh(x @ w).sum()

    def gradient(x, w):
        slope = 1 - np.tanh(x @ w) ** 2
        return slope @ w.T, x.T @ slope

    report = gradcheck((value, gradient), normal(4, 3), normal(3, 2, seed=1))
    assert report.passed
    assert [r.name for r in report.records] == ["x", "w"]
    report = gradcheck((value, lambda x, w: gradient(x, w)[::-1]), normal(3, 3), normal(3, 3, seed=1))
    assert report.hints["x"] == "it is the gradient of w."


def test_one_function_with_its_gradients():
    """As the losses of Stanford's CS231n: (loss, dx); labels are integers, and not moved."""

    def softmax_loss(x, y):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(x)), y]).mean()
        p[np.arange(len(x)), y] -= 1
        return loss, p / len(x)

    report = gradcheck(softmax_loss, normal(5, 3), np.array([0, 2, 1, 1, 0]))
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("x", 15)]
    report = gradcheck(lambda x, y: (softmax_loss(x, y)[0], softmax_loss(x, y)[1] * 5), normal(5, 3), np.arange(5) % 3)
    assert "5 times too large, the number of samples" in report.hints["x"]


def test_a_function_of_a_dictionary():
    def loss(params, x):
        hidden = np.maximum(x @ params["w"] + params["b"], 0)
        dhidden = 2 * hidden / hidden.size
        return (hidden**2).mean(), {"w": x.T @ dhidden, "b": dhidden.sum(axis=0)}

    params = {"w": normal(3, 4), "b": normal(4, seed=1)}
    report = gradcheck(loss, params, normal(6, 3, seed=2))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["w", "b"]

    def forgets(params, x):
        value, grads = loss(params, x)
        return value, {"w": grads["w"]}

    assert gradcheck(forgets, params, normal(6, 3)).problems == ["b: the gradient is missing."]


class TwoLayerNet:
    """As in Stanford's CS231n: params, and loss(X, y) → (loss, grads)."""

    def __init__(self, reg=0.1, factor=1.0):
        self.params = {"W1": normal(4, 5), "b1": normal(5), "W2": normal(5, 3, seed=1), "b2": normal(3)}
        self.reg, self.factor = reg, factor

    def loss(self, X, y=None):
        p = self.params
        hidden = np.maximum(X @ p["W1"] + p["b1"], 0)
        scores = hidden @ p["W2"] + p["b2"]
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(probs[np.arange(len(y)), y]).mean() + 0.5 * self.reg * (
            (p["W1"] ** 2).sum() + (p["W2"] ** 2).sum()
        )
        dscores = probs
        dscores[np.arange(len(y)), y] -= 1
        dscores /= len(y)
        dhidden = dscores @ p["W2"].T * (hidden > 0)
        grads = {"W2": hidden.T @ dscores + self.factor * self.reg * p["W2"], "b2": dscores.sum(axis=0)}
        grads |= {"W1": X.T @ dhidden + self.reg * p["W1"], "b1": dhidden.sum(axis=0)}
        return loss, grads


def test_a_network_with_a_loss():
    x, y = normal(6, 4), np.arange(6) % 3
    net = TwoLayerNet()
    before = {name: value.copy() for name, value in net.params.items()}
    report = gradcheck(net, x, y)
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["W1", "b1", "W2", "b2"]
    for name, value in before.items():
        np.testing.assert_array_equal(net.params[name], value)
    report = gradcheck(TwoLayerNet(factor=2.0), x, y)
    assert [r.name for r in report.records if r.failed] == ["W2"]


@pytest.mark.parametrize(
    ("gradients", "words"),
    [
        (lambda x: [x.sum(axis=0)], "received a list for the latter"),
        (lambda x: x.sum(axis=0), "received a ndarray for the latter"),
        (lambda x: None, "received a NoneType for the latter"),
    ],
)
def test_gradients_that_are_not_by_name(gradients, words):
    class Net:
        def __init__(self):
            self.params = {"w": np.ones(3)}

        def loss(self, x):
            return (x @ self.params["w"]).sum(), gradients(x)

    class Model:
        params = Net().params

        def loss_and_gradients(self, x, y, training):
            return Net().loss(x)

    x = normal(2, 3)
    assert gradcheck(Net(), x).problems == [f"loss(x, y) must return (loss, gradients by name), {words}."]
    (problem,) = gradcheck(Model(), x, x).problems
    assert problem == f"loss_and_gradients must return (loss, gradients by address), {words}."


def test_the_losses_of_a_network_for_each_sample():
    class Losses:
        def __init__(self, factor):
            self.params, self.factor = {"w": normal(3)}, factor

        def loss(self, x):
            return (x @ self.params["w"]) ** 2, {"w": self.factor * 2 * (x @ self.params["w"]) @ x}

    x = normal(4, 3)
    assert gradcheck(Losses(1), x, per_sample=True).passed
    assert gradcheck(Losses(1 / 4), x, per_sample=True).records[0].failed == 3
    assert gradcheck(Losses(1), x).problems[0].startswith("the loss must be one number in float64")


def test_jitter_of_a_network_may_be_allowed():
    class Jitters(TwoLayerNet):
        calls = 0

        def loss(self, X, y=None):
            value, grads = super().loss(X, y)
            Jitters.calls += 1
            return value, {name: grad * (1 + 1e-14 * (Jitters.calls % 2)) for name, grad in grads.items()}

    x, y = normal(6, 4), np.arange(6) % 3
    assert gradcheck(Jitters(), x, y).problems == ["loss gives a different result when called twice."]
    assert gradcheck(Jitters(), x, y, nondet_tol=1e-12).passed
    assert gradcheck(Jitters(), x, y, nondet_tol=1e-15).problems


def test_a_random_value_is_called_so():
    rng = np.random.default_rng(0)

    def noisy(x):
        return (x**2 * (rng.random(x.shape) < 0.5)).sum()

    class Loss:
        def forward(self, y_true, y_pred):
            return noisy(y_pred - y_true), y_pred - y_true

        def backward(self, error):
            return 2 * error

    class Net:
        def __init__(self):
            self.params = {"w": normal(5)}

        def loss(self, x):
            return noisy(x * self.params["w"]), {"w": 2 * (x**2).sum(axis=0) * self.params["w"]}

    x = normal(4, 5)
    for given in (((noisy, lambda x: 2 * x), x), (lambda x: (noisy(x), 2 * x), x), (Loss(), x, x[::-1]), (Net(), x)):
        (problem,) = gradcheck(*given).problems
        assert "gives a different value when called twice with the same arguments: its random numbers" in problem


def test_what_is_returned_in_another_form_is_named():
    class Layer:
        def __init__(self, y):
            self.y = y

        def forward(self, x):
            return self.y(x)

        def backward(self, dy, cache):
            return dy, {}

    def indices(x):
        return (x, x.argmax(axis=1)), None

    assert gradcheck(Layer(lambda x: (x, x, x)), normal(4, 3)).problems == [
        "forward must return (y, cache), received a tuple of 3."
    ]
    assert "forward returns int64 for float64" in gradcheck(Layer(indices), normal(4, 3)).problems[0]


def test_the_losses_of_the_samples():
    def losses(x):
        return (x**2).sum(axis=1)

    x = normal(4, 3)
    (problem,) = gradcheck((losses, lambda x: 2 * x), x).problems
    assert problem.startswith(
        "value(x) must be one number in float64, received float64 of shape (4,). If these are the"
    )
    assert gradcheck((losses, lambda x: 2 * x), x, per_sample=True).passed
    assert not gradcheck((losses, lambda x: 2 * x / 4), x, per_sample=True).passed


# --------------------------------------------------------------------------------------------- several inputs and outputs


class Bilinear:
    """(a, b) → (a · w, b², a · b): outputs of different shapes."""

    def __init__(self, wrong=1.0):
        self.params, self.wrong = {"w": normal(3, 2, seed=3)}, wrong

    def forward(self, a, b, training=False):
        return (a @ self.params["w"], b**2, (a * b).sum(axis=1)), (a, b)

    def backward(self, dys, cache):
        (one, two, three), (a, b) = dys, cache
        da = one @ self.params["w"].T + three[:, None] * b
        return (da, 2 * two * b * self.wrong + three[:, None] * a), {"w": a.T @ one}


def test_several_inputs_and_outputs():
    a, b = normal(4, 3), normal(4, 3, seed=1)
    report = gradcheck(Bilinear(), a, b)
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("a", 12), ("b", 12), ("w", 6)]
    report = gradcheck(Bilinear(wrong=0.5), a, b)
    assert [r.name for r in report.records if r.failed] == ["b"]


def test_inputs_in_a_tuple():
    class Add:
        def forward(self, xs, *, training=False, rng=None):
            a, b = xs
            return {"sum": a + b, "product": a * b}, xs

        def backward(self, dy, xs):
            a, b = xs
            return (dy["sum"] + dy["product"] * b, dy["sum"] + dy["product"] * a), {}

    report = gradcheck(Add(), (normal(4, 3), normal(4, 3, seed=1)))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["x0", "x1"]


def test_a_tuple_of_gradients_that_is_too_short():
    class Short(Bilinear):
        def backward(self, dys, cache):
            dx, grads = super().backward(dys, cache)
            return dx[:1], grads

    assert gradcheck(Short(), normal(4, 3), normal(4, 3)).problems == [
        "backward must return as dx a tuple, with a gradient for each of a, b."
    ]


def test_a_layer_of_several_inputs_is_built_for_the_shapes_of_their_samples():
    class Joined(Dense):
        """Two inputs side by side."""

        def build(self, input_shapes, rng, dtype):
            (one,), (two,) = input_shapes
            return super().build((one + two,), rng, dtype)

        def forward(self, a, b):
            y, cache = super().forward(np.concatenate([a, b], axis=1))
            return y, (cache, a.shape[1])

        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache[0])
            return (dx[:, : cache[1]], dx[:, cache[1] :]), grads

    report = gradcheck(Joined(2), normal(4, 3), normal(4, 5, seed=1))
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("a", 12), ("b", 20), ("kernel", 16), ("bias", 2)]


def test_a_forward_that_its_class_does_not_have():
    """As an attribute, behind a wrapper, and as an object that is called."""

    class Square:
        def forward(self, x):
            return x**2, x

        def backward(self, dy, x):
            return 2 * x * dy, {}

    class Wrapper:
        layers = 3  # whatever that may be: no list of layers

        def __init__(self, layer):
            self.layer = layer

        def __getattr__(self, name):
            return getattr(self.layer, name)

    class Called(Square):
        class Forward:
            def __call__(self, x):
                return x**2, x

        forward = Forward()

    square = Square()
    for layer in (SimpleNamespace(forward=square.forward, backward=square.backward), Wrapper(square), Called()):
        assert gradcheck(layer, normal(3, 4)).passed
    recomputes = SimpleNamespace(forward=square.forward, backward=lambda dy, x: (2 * square.forward(x)[1] * dy, {}))
    assert gradcheck(recomputes, normal(3, 4)).notes == [
        "backward calls forward (1): what it needs should be in the cache."
    ]


class Bare:
    """A layer without params, and without keywords."""

    def forward(self, x):
        return x**2, x

    def backward(self, dy, x):
        return 2 * x * dy, {}


class Trained(Bare):
    def forward(self, x, training):
        return (x**2 if training else x**3 / 3), (x, training)

    def backward(self, dy, cache):
        x, training = cache
        return dy * (2 * x if training else x**2), {}


class Keyed(Bare):
    def forward(self, x, rng):
        factor = 1 + np.random.default_rng(rng.key).random()
        return x * factor, factor

    def backward(self, dy, factor):
        return dy * factor, {}


def test_layers_of_a_model_may_lack_keywords_and_params():
    for training in (True, False):
        model = SimpleNamespace(layers=[Bare(), Trained(), Keyed(), Dense(2)])
        report = gradcheck(model, np.linspace(0.5, 1.6, 12).reshape(3, 4), training=training)
        assert report.passed, str(report)
        assert [(r.name.partition("/")[2], r.proved) for r in report.records] == [("", 12), ("kernel", 8), ("bias", 2)]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda dx: None, "received NoneType. Is a return missing?"),
        (lambda dx: dx, "received ndarray."),
        (lambda dx: (dx, [dx]), "received a list for the latter."),
    ],
)
def test_a_layer_of_a_model_that_returns_something_else_is_named(returned, words):
    class Wrong(Bare):
        def backward(self, dy, x):
            return returned(super().backward(dy, x)[0])

    model = SimpleNamespace(layers=[Bare(), Wrong(), Dense(2)])
    assert gradcheck(model, normal(2, 3)).problems == [
        f"layers[1]: backward must return (dx, {{name: gradient}}), {words}"
    ]


def test_what_is_no_layer_in_a_model():
    with pytest.raises(
        TypeError, match=r"must have forward and backward, received namespace\(layers=\[\]\) as layers\[1\]"
    ):
        gradcheck(SimpleNamespace(layers=[Bare(), SimpleNamespace(layers=[])]), normal(2, 3))


def test_a_batch_of_no_samples():
    none = np.zeros((0, 3))
    for layer, arrays in ((Bare(), [none]), (Dense(2), [none]), (Lookup(), [np.zeros(0, int)])):
        with pytest.raises(ValueError, match=r"x must hold a sample at least, received an array of shape \(0,"):
            gradcheck(layer, *arrays)
    with pytest.raises(ValueError, match=r"a must hold a sample at least, received an array of shape \(0, 3\)"):
        gradcheck(Bilinear(), none, none)
    with pytest.raises(ValueError, match=r"y_pred must hold a sample at least, received an array of shape \(0, 3\)"):
        gradcheck(SumOfSquares(), none, none)


def test_a_parameter_without_numbers_beside_a_wrong_gradient():
    class Wrong(Bare):
        params = {"none": np.zeros(0)}  # noqa: RUF012

        def backward(self, dy, x):
            return x * dy, {"none": np.zeros(0)}

    report = gradcheck(Wrong(), normal(4, 3))
    assert [(r.name, r.tried, r.failed) for r in report.records] == [("x", 12, 12), ("none", 0, 0)]


class SumOfSquares:
    def forward(self, y_true, y_pred):
        return float(((y_pred - y_true) ** 2).sum()), y_pred - y_true

    def backward(self, error):
        return 2 * error


class Lookup:
    """Rows of a table, by ids that are compared, as a float may be, too."""

    def __init__(self):
        self.params = {"table": normal(4, 3)}

    def forward(self, ids):
        chosen = 1.0 * (ids[:, None] == np.arange(4))
        return chosen @ self.params["table"], chosen

    def backward(self, dy, chosen):
        return None, {"table": chosen.T @ dy}


def test_that_ids_are_not_checked_is_noted():
    assert gradcheck(Lookup(), np.array([0, 1, 2, 2])).notes == ["x: integers without a gradient, and not checked."]


def test_integers_that_could_be_floats_and_have_no_gradient_are_not_moved():
    report = gradcheck(Lookup(), np.array([0, 2, 2, 1, 0]))
    assert report.passed, str(report)
    assert [(r.name, r.proved, r.zero) for r in report.records] == [("table", 9, 3)]


def test_a_layer_that_keeps_to_the_first_dtype_it_has_seen():
    class Picky(Lookup):
        dtype = None

        def forward(self, ids):
            self.dtype = self.dtype or ids.dtype
            if ids.dtype != self.dtype:
                raise TypeError("another dtype")
            return self.params["table"][ids], np.eye(4)[ids]

    assert gradcheck(Picky(), np.array([0, 2, 2, 1, 0])).passed


@pytest.mark.parametrize("wrong", [1, 2])
def test_parameters_that_are_written_as_integers(wrong):
    class Scale:
        def __init__(self):
            self.params = {"w": np.array([1, -2, 3])}

        def forward(self, x):
            return x * self.params["w"], x

        def backward(self, dy, x):
            return dy * self.params["w"], {"w": wrong * (dy * x).sum(axis=0)}

    layer = Scale()
    report = gradcheck(layer, normal(4, 3))
    assert [(r.name, r.proved, r.failed) for r in report.records] == [
        ("x", 12, 0),
        ("w", 3, 0) if wrong == 1 else ("w", 0, 3),
    ]
    assert layer.params["w"].dtype == np.array([1]).dtype


def test_state_may_be_given_zeros_for_a_gradient():
    class Counted:
        def __init__(self):
            self.params = {"w": normal(3), "seen": np.zeros(1)}

        def forward(self, x):
            self.params["seen"] += len(x)
            return x * self.params["w"], x

        def backward(self, dy, x):
            return dy * self.params["w"], {"w": (dy * x).sum(axis=0), "seen": np.zeros(1)}

    report = gradcheck(Counted(), normal(4, 3))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["x", "w"]
    assert report.notes == ["forward changes seen among the params: taken for state, and not checked."]


def test_a_parameter_that_has_a_gradient_is_no_state():
    """This forward brings its weights to length 1 in their place: the second time, it does next to nothing."""

    class Normed:
        def __init__(self):
            self.params = {"w": normal(3)}

        def forward(self, x):
            self.params["w"] /= np.linalg.norm(self.params["w"])
            return x * self.params["w"], x

        def backward(self, dy, x):
            return dy * self.params["w"], {"w": (dy * x).sum(axis=0)}

    layer = Normed()
    assert "changes the parameters: that is the optimizer's part" in gradcheck(layer, normal(4, 3)).problems[0]
    np.testing.assert_array_equal(layer.params["w"], normal(3))


def test_arguments_without_a_name():
    def value(*arrays):
        return sum((array**2).sum() for array in arrays)

    def gradient(*arrays):
        return [2 * array for array in arrays] if len(arrays) > 1 else 2 * arrays[0]

    def both(*arrays):
        return value(*arrays), gradient(*arrays)

    for target in ((value, gradient), both):
        for arrays, names in (([normal(2)], ["x"]), ([normal(2), normal(3, seed=1)], ["x0", "x1"])):
            report = gradcheck(target, *arrays)
            assert report.passed, str(report)
            assert [r.name for r in report.records] == names


def test_directions_have_length_1_and_differ():
    drawn = list(random_directions(np.ones((4, 5)), 3, np.random.default_rng(0)))
    assert [where for where, _ in drawn] == [(0,), (1,), (2,)]
    rows = np.array([direction.reshape(-1) for _, direction in drawn])
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-12)
    assert np.abs(rows @ rows.T - np.eye(3)).max() < 0.9
    assert list(random_directions(np.ones((0, 5)), 3, np.random.default_rng(0))) == []


def test_a_sample_of_entries_is_drawn_without_repetition():
    """Of 30 entries, 4 have a gradient that is not 0: half of a sample is of those, or all that there are."""
    gradient = np.zeros((5, 6))
    gradient[[0, 1, 3, 4], [5, 0, 2, 1]] = [1.0, -2.0, 3.0, 1e-9]
    live = set(zip(*np.nonzero(gradient), strict=True))
    for seed in range(20):
        for count, least in ((1, 1), (2, 1), (3, 2), (8, 4), (9, 4), (29, 4), (30, 4), (31, 4)):
            drawn = [
                where
                for where, direction in entries(np.ones((5, 6)), [gradient], count, np.random.default_rng(seed))
                if direction is None
            ]
            assert len(drawn) == len(set(drawn)) == min(count, 30)
            assert len(live & set(drawn)) >= least
            assert drawn == sorted(drawn)


# ------------------------------------------------------------------------------------------------------------- arguments


def test_which_arrays():
    x = normal(3, 4)
    assert [r.name for r in gradcheck(Dense(2), x, only="kernel").records] == ["kernel"]
    assert [r.name for r in gradcheck(Dense(2), x, only=["x", "bias"]).records] == ["x", "bias"]
    assert [r.name for r in gradcheck(Dense(2), x, without="x").records] == ["kernel", "bias"]
    assert [r.name for r in gradcheck(TwoLayerNet(), x, np.arange(3), without=["W1", "b1"]).records] == ["W2", "b2"]
    functions = (lambda a, b: (a * b).sum()), (lambda a, b: (b, a))
    assert [r.name for r in gradcheck(functions, normal(3), normal(3, seed=1), only="b").records] == ["b"]
    with pytest.raises(ValueError, match="only and without must name arrays of x, kernel, bias, received 'weights'"):
        gradcheck(Dense(2), x, without="weights")

    class Frozen(Bilinear):
        def backward(self, dys, cache):
            return super().backward(dys, cache)[0], {}

    assert gradcheck(Frozen(), x[:, :3], x[:, :3] + 1, without="w").passed


def test_your_own_dy():
    x, given = normal(3, 4), []

    class Notes(Dense):
        def backward(self, dy, cache):
            given.append(dy.copy())
            return super().backward(dy, cache)

    dy = np.arange(6.0).reshape(3, 2)
    assert gradcheck(Notes(2), x, dy=dy).passed
    assert any(np.array_equal(one, dy) for one in given)
    with pytest.raises(ValueError, match=r"dy must have the shape of y, \(3, 2\), received \[\(2, 2\)\]"):
        gradcheck(Dense(2), x, dy=np.ones((2, 2)))
    with pytest.raises(ValueError, match="dy must be finite, received NaN or infinity"):
        gradcheck(Dense(2), x, dy=np.full((3, 2), np.inf))


class TiesAllWin(MaxPooling2D):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return np.where(dx.any(axis=(1, 2), keepdims=True), np.repeat(np.repeat(dy, 2, 1), 2, 2), dx), grads


def test_ties_move_together():
    """In windows of equal numbers each one alone is at a kink; together, the maximum moves with them."""
    x = np.zeros((2, 4, 4, 1))
    x[:, 2:] = 1
    entries = gradcheck(TiesAllWin(), x)
    assert not entries.records[0].failed
    report = gradcheck(TiesAllWin(), x, mode="ties")
    assert (report.records[0].failed, report.records[0].tried) == (4, 4), str(report)
    assert "group of equal entries 0: the gradient says" in report.explanations()[0]
    assert "(4 of 4 groups of equal entries are wrong)" in report.explanations()[0]
    report = gradcheck(MaxPooling2D(), x, mode="ties")
    assert report.passed, str(report)
    assert report.records[0].proved == 4


def test_auto_tries_all_or_says_what_it_leaves_out(monkeypatch):
    report = gradcheck(Dense(2), normal(3, 4), mode="auto")
    assert report.passed
    assert [(r.name, r.tries, r.tried) for r in report.records] == [
        ("x", "entries", 12),
        ("kernel", "entries", 8),
        ("bias", "entries", 2),
    ]
    assert report.notes == ["mode='auto': all 22 entries were tried."]
    monkeypatch.setattr("minidl.checking.trying.SECONDS", 1e-9)
    report = gradcheck(Dense(20), normal(3, 4), mode="auto")
    assert report.passed
    assert [(r.name, r.tries, r.tried) for r in report.records][2:4] == [
        ("kernel", "entries", 5),
        ("kernel", "direction", 8),
    ]
    assert "5 entries of each array and 8 directions" in report.notes[0]
    assert "All 112 entries, by mode='entries', would take about" in report.notes[0]


@pytest.mark.parametrize(
    ("seconds", "size", "entries", "duration"),
    [
        (1 / 16, 40, None, None),  # which takes just the five seconds
        (1 / 16, 41, 20, "5 seconds"),
        (1 / 16, 959, 20, "120 seconds"),
        (1 / 16, 960, 20, "2 minutes"),
        (64, 56, 5, "119 minutes"),
        (64, 57, 5, "2 hours"),
        (64, 1350, 5, "2 days"),
    ],
)
def test_auto_divides_the_time_that_there_is(monkeypatch, seconds, size, entries, duration):
    """An entry takes two evaluations: where one takes 1/16 s, half of the five seconds is enough for 20 entries."""
    clock = SimpleNamespace(perf_counter=iter([10.0, 10.0 + seconds]).__next__)
    monkeypatch.setattr("minidl.checking.trying.time", clock)
    report = gradcheck((lambda x: x[:50].sum(), lambda x: 1.0 * (np.arange(x.size) < 50)), np.ones(size), mode="auto")
    assert report.passed, str(report)
    if entries is None:
        assert report.notes == [f"mode='auto': all {size:,} entries were tried."]
        assert [(r.tries, r.tried) for r in report.records] == [("entries", size)]
    else:
        assert report.notes == [
            f"mode='auto': {entries} entries of each array and 8 directions through it were tried. All {size:,} entries, by "
            f"mode='entries', would take about {duration}."
        ]
        assert [(r.tries, r.tried) for r in report.records] == [("entries", entries), ("direction", 8)]


def test_auto_divides_the_time_among_the_arrays(monkeypatch):
    functions = (lambda a, b: a.sum() + b.sum()), (lambda a, b: (np.ones_like(a), np.ones_like(b)))
    for dt, settings, count in ((1 / 16, {}, 10), (1, {}, 5), (1e-9, {"max_entries": 3}, 3)):
        monkeypatch.setattr("minidl.checking.trying.time", SimpleNamespace(perf_counter=iter([0, dt]).__next__))
        report = gradcheck(functions, np.ones(100), np.ones(200), mode="auto", **settings)
        assert [r.tried for r in report.records] == [count, 8, count, 8], report.notes


def test_evaluations_of_a_scalar_function():
    """Two an entry, and a few for the first one that needs another step."""
    for size, offset in ((50, 0.0), (300, 0.0), (300, 1e3)):
        x = normal(size)
        report = gradcheck((lambda x, c=offset: (np.sin(x) * x).sum() + c, lambda x: np.cos(x) * x + np.sin(x)), x)
        assert report.passed
        assert report.records[0].proved == size
        assert report.evaluations <= 3 * size, report.evaluations / size
    assert gradcheck(Conv2D(2, 3), normal(2, 5, 5, 1)).evaluations < 2.1 * (50 + 18 + 2) + 5


# ------------------------------------------------------------------------------------------------------------- as data


def test_a_report_as_data():
    report = gradcheck(Bilinear(wrong=0.5), normal(4, 3), normal(4, 3, seed=1))
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["target"], data["passed"], data["verdict"]) == ("Bilinear", False, "FAILED")
    (b,) = [record for record in data["records"] if record["name"] == "b"]
    assert b["failed"] == 12
    assert b["shape"] == [4, 3]
    assert b["where"] == list(report.records[1].where)
    assert b["analytic"] == report.records[1].analytic
    assert data["seconds"] > 0
    assert data["evaluations"] == report.evaluations > 60


def test_a_report_in_a_notebook():
    class Wrong(Conv2D):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            grads["kernel"][1, 2, :, 0] *= 2
            return dx, grads

    page = gradcheck(Wrong(2, 3), normal(2, 5, 6, 3))._repr_html_()
    assert "<b>gradcheck wrong: FAILED</b>" in page.replace("Wrong", "wrong")
    assert page.count("<figure>") == 1
    assert "3 × 3 by 2 (the largest of 3 in between)" in page
    cells = [part.split('"')[0] for part in page.split('fill="')[1:]][:-1]
    assert len(cells) == 18
    assert [place for place, colour in enumerate(cells) if colour != "#fff"] == [5 * 2]  # the tap (1, 2), the filter 0
    assert "<figure>" not in gradcheck(Conv2D(2, 3), normal(2, 5, 6, 3))._repr_html_()

    def value(x):
        return (x**2).sum()

    large = gradcheck((value, lambda x: np.where(np.arange(x.size) == 77, 0, 2 * x)), normal(100))
    assert "100 in a row" in large._repr_html_()
    assert "&lt;lambda&gt;" in gradcheck((lambda x: x.sum(), np.zeros_like), normal(3, 3, 2))._repr_html_()


def cells_of(picture):
    """[(x, y, width, height, colour)] of a picture's cells, and the last one, of its frame."""
    rects = re.findall(r'<rect (?:x="(\d+)" y="(\d+)" )?width="(\d+)" height="(\d+)" fill="(.*?)"', picture)
    return [(*(int(number or 0) for number in rect[:4]), rect[4]) for rect in rects]


def test_a_picture_by_hand():
    """The errors relative to the larger number: 2/4, 1e-3, 1e-7, and of two opposite signs 2, which counts as 1."""
    failures = [((0, 1), 2.0, 4.0), ((1, 0), 0.999, 1.0), ((1, 2), 0.9999999, 1.0), ((0, 2), 1.0, -1.0)]
    picture = heat_map("a<b", (2, 3), failures)
    white, half, thousandth, least, all_of_it = (
        "#fff",
        "rgb(164,10,9)",
        "rgb(195,100,90)",
        "rgb(230,200,180)",
        "rgb(160,0,0)",
    )
    colours = [[white, half, all_of_it], [thousandth, white, least]]
    assert cells_of(picture) == [
        *((12 * column, 12 * row, 12, 12, colours[row][column]) for row in range(2) for column in range(3)),
        (0, 0, 36, 24, "none"),
    ]
    assert re.findall("<title>(.*?)</title>", picture) == [
        "a&lt;b: 0.0e+00", "a&lt;b: 5.0e-01", "a&lt;b: 1.0e+00", "a&lt;b: 1.0e-03", "a&lt;b: 0.0e+00", "a&lt;b: 1.0e-07",
    ]  # fmt: skip
    assert picture.startswith("<figure><figcaption>a&lt;b: the error, 2 × 3</figcaption>")
    assert '<svg xmlns="http://www.w3.org/2000/svg" width="36" height="24">' in picture


@pytest.mark.parametrize(
    ("shape", "where", "rows", "columns", "place", "axes"),
    [
        ((), (), 1, 1, 0, "1 in a row"),
        ((4,), (2,), 1, 4, 2, "4 in a row"),
        ((48,), (47,), 1, 48, 47, "48 in a row"),
        ((100,), (77,), 1, 48, 37, "100 in a row"),  # 37 · 100/48 = 77.08
        ((100,), (99,), 1, 48, 47, "100 in a row"),
        ((3, 2, 2), (1, 1, 0), 3, 4, 6, "3 × 2 × 2"),
        ((2, 3, 5, 4), (1, 0, 4, 3), 6, 4, 15, "2 × 3 by 4 (the largest of 5 in between)"),
        ((96, 2), (50, 1), 48, 2, 51, "96 × 2"),
    ],
)
def test_where_a_picture_shows_an_error(shape, where, rows, columns, place, axes):
    picture = heat_map("w", shape, [(where, 1.0, 2.0)])
    *cells, frame = cells_of(picture)
    assert frame[2:4] == (12 * columns, 12 * rows)
    assert len(cells) == rows * columns
    assert [number for number, cell in enumerate(cells) if cell[4] != "#fff"] == [place]
    assert f"w: the error, {axes}</figcaption>" in picture


@pytest.mark.parametrize(
    ("counts", "passed", "little"),
    [
        ({"proved": 10}, True, False),
        ({"proved": 5, "kink": 5}, True, False),  # half is enough
        ({"proved": 4, "kink": 6}, True, True),
        ({"proved": 2, "small": 38}, True, True),  # 5 %
        ({"proved": 1, "small": 38}, False, True),
        ({"proved": 1, "small": 39, "zero": 20}, True, True),  # 5 % of the 20 that have an effect
        ({"proved": 0, "kink": 1}, False, True),
        ({"proved": 9, "failed": 1}, False, False),
        ({"small": 4, "zero": 4}, True, False),
        ({"small": 4, "zero": 3}, False, True),
    ],
)
def test_how_much_has_to_be_proved(counts, passed, little):
    record = Record("w", 100, **counts)
    assert record.tried == sum(counts.values()) - counts.get("zero", 0)
    assert (record.passed, record.little) == (passed, little)
    assert Record("w", 0).passed  # of nothing


def test_what_a_record_counts():
    record = Record("w", 9)
    record.count("proved", (0,), 1.0, 1.0 + 1e-6)
    record.count("proved", (1,), 4.0, 4.0)
    assert (record.where, record.worst_absolute) == ((0,), pytest.approx(1e-6))
    record.count("kink", (2,), 1.0, 9.0)
    record.count("small", (3,), 1e-9, 0.0)
    record.count("zero", (4,), 0.0, 0.0)
    assert record.where == (0,)
    record.count("failed", (5,), 3.0, 2.0)  # from here on, what is right is not shown
    assert (record.where, record.analytic, record.numeric) == ((5,), 3.0, 2.0)
    assert (record.worst_relative, record.worst_absolute) == (pytest.approx(1 / 3), 1.0)
    record.count("failed", (6,), 30.0, 20.0)  # as wrong as the first, which stays
    assert (record.where, record.worst_absolute) == ((5,), 10.0)
    record.count("failed", (7,), -1.0, 1.0)
    assert (record.where, record.worst_relative, record.worst_absolute) == ((7,), 2.0, 10.0)
    record.count("proved", (8,), 100.0, 200.0)
    assert (record.where, record.worst_absolute) == ((7,), 10.0)
    assert (record.proved, record.kink, record.small, record.zero, record.failed) == (3, 1, 2, 1, 3)
    assert record.failures == [((5,), 3.0, 2.0), ((6,), 30.0, 20.0), ((7,), -1.0, 1.0)]


@pytest.mark.parametrize("share", [1 / 3, 2 / 3])
def test_of_equally_wrong_entries_rounding_does_not_choose(share):
    record = Record("w", 3)
    record.count("proved", (0,), 0.0, 0.0)
    assert (record.worst_relative, record.worst_absolute) == (0, 0)
    for place, further in enumerate((0.0, 1e-8, 1e-5)):
        record.count("failed", (place,), 1.0, 1 - share - further)
        assert record.where == ((0,) if further < 1e-6 else (place,))
        assert record.worst_relative == pytest.approx(share + further, rel=1e-12)


def test_a_failure_is_shown_though_something_right_was_further_off():
    record = Record("w", 2)
    record.count("proved", (0,), 100.0, 50.0)
    record.count("failed", (1,), 1.0, 1.001)
    assert (record.where, record.worst_absolute) == ((1,), pytest.approx(0.001))
    assert record.worst_relative == pytest.approx(0.001, rel=0.01)


KINK, OFF, DROWNS = (
    "At a kink, like ReLU at 0",
    "Nothing happens there, as behind a ReLU",
    "The slopes drown in the rounding",
)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"kink": 3, "small": 3}, KINK),
        ({"kink": 2, "small": 3, "zero": 2}, OFF),
        ({"kink": 1, "small": 4, "zero": 2}, OFF),
        ({"kink": 1, "small": 4, "zero": 1}, DROWNS),
    ],
)
def test_the_way_out_is_of_what_there_is_most(counts, words):
    (line,) = Report("f", [Record("w", 9, **counts)]).explanations()
    small, kink, tried = counts["small"], counts["kink"], counts["small"] + counts["kink"]
    proved = f"w: only 0 of {tried} entries could be proved ({small} are too small, {kink} at a kink). "
    assert line.startswith(proved + words)


def test_what_a_report_says():
    assert Report("f").explanations() == ["There is nothing to check."]
    assert Report("f", [Record("w", 0)]).explanations() == ["There is nothing to check."]
    assert Report("f", problems=["p"]).explanations() == ["p"]
    right = Record("w", 4, proved=4)
    assert (Report("f", [right]).verdict, Report("f", [right]).explanations()) == ("passed", [])
    assert Report("f", [right], problems=["p"]).verdict == "FAILED"

    none = Record("b", 4, small=4, zero=4)
    assert Report("f", [right, none], notes=["n"]).passed
    assert Report("f", [right, none], notes=["n"]).remarks() == [
        "n",
        "b: its gradient is 0 everywhere, and so is the slope: it has no effect here.",
    ]
    assert not Report("f", [none]).passed  # where nothing has an effect, nothing is proved; it may be flat
    assert Report("f", [none]).remarks() == []
    assert Report("f", [none]).explanations()[0].startswith("b: only 0 of 4 entries could be proved")
    assert Report("f", [none], problems=["p"]).explanations() == ["p"]
    flat = Report("f", [none], flat=True)
    assert (flat.passed, flat.explanations(), len(flat.remarks())) == (True, [], 1)

    for tries, place, words in (
        ("entries", "[1, 2]", "entries"),
        ("direction", " direction 1", "directions"),
        ("ties", " group of equal entries 1", "groups of equal entries"),
    ):
        where = (1, 2) if tries == "entries" else (1,)
        wrong = Record("w", 9, proved=1, failed=3, where=where, analytic=0.5, numeric=1.5, tries=tries)
        report = Report("f", [none, wrong, right], hints={"w": "h"})
        assert report.explanations()[:2] == [
            f"w{place}: the gradient says 0.5, the slope is 1.5 (3 of 4 {words} are wrong).",
            "w: h",
        ]
        assert ("<figure>" in report._repr_html_()) == (tries == "entries")


def test_a_reports_table_and_data():
    right = Record(
        "b", 4, proved=3, kink=1, worst_relative=1.5e-9, worst_absolute=0.5e-9, where=(0,), analytic=2, numeric=2
    )
    wrong = Record(
        "w", 4, failed=3, small=1, zero=1, worst_relative=1.0, worst_absolute=2.0, where=(1, 2), analytic=0.5
    )
    report = Report("f", [right, wrong, Record("c", 4)], mode="entries", evaluations=7)
    assert list(report.table())[1:] == [
        ["b", "4", "3", "1", "0", "0", "1.5e-09", "5.0e-10", "", "", ""],
        ["w", "4", "0", "0", "1", "3", "1.0e+00", "2.0e+00", "[1, 2]", "0.5", "nan"],
        ["c", "4", "0", "0", "0", "0", "", "", "", "", ""],
    ]
    data = report.to_dict()
    assert data["evaluations"] == 7
    assert data["records"][1] == {
        "name": "w", "shape": [], "tries": "entries", "passed": False, "entries": 4, "tried": 4, "proved": 0, "kink": 0,
        "small": 1, "zero": 1, "failed": 3, "where": [1, 2], "analytic": 0.5, "numeric": None, "worst_relative": 1.0,
        "worst_absolute": 2.0,
    }  # fmt: skip
    assert data["records"][2]["where"] is None
    text = str(report)
    assert text.splitlines()[0].strip() == "gradcheck f: FAILED"
    assert (
        len(str(Report("f", [Record("w" * 100, 4, proved=4)])).splitlines()) == 6
    )  # title, head, one row, three rules


def test_assert_gradients_takes_all_of_it():
    assert_gradients((affine_forward, affine_backward), normal(4, 6), normal(6, 5), normal(5), only="w")
    assert_gradients(SimpleNamespace(layers=[Dense(2)]), normal(3, 4), mode="direction")


# -------------------------------------------------------------------------------------------------------- nested arrays


class Pair(NamedTuple):
    first: np.ndarray
    second: tuple


def test_the_leaves_of_what_is_nested():
    a, b, c = normal(2), normal(3, 2), normal()
    held = SimpleNamespace(a=a, f=np.sin, kind=SimpleNamespace)
    around = [1, {"k": (b, [True, "t"]), "none": None}, held, 2.5, np.float32(3), 1j, c]
    around.append(around)  # it holds itself
    found = list(nested.leaves_of(around))
    assert [leaf if np.ndim(leaf) == 0 else leaf.shape for leaf in found] == [
        1, "k", (3, 2), True, "t", "none", "a", (2,), "f", "kind", 2.5, 3, 1j, c,
    ]  # fmt: skip
    assert list(nested.leaves_of([held, 1], objects=False)) == [1]
    assert len(list(nested.leaves_of((a, [a])))) == 2  # what is shared counts wherever it is


def test_nan_is_told_once_also_where_calls_may_differ():
    class HoldsNan:
        def __init__(self):
            self.params = {}

        def forward(self, x):
            return x**2, x

        def backward(self, dy, x):
            return np.where(x == x.max(), np.nan, 2 * x * dy), {}

    for tolerance in (0, 1e-9):
        report = gradcheck(HoldsNan(), normal(2, 3), nondet_tol=tolerance)
        assert report.problems == ["x: the gradient holds NaN or infinity."]


def test_each_of_several_dictionaries_is_looked_into():
    kinds = [type(base.__name__, (base,), {}) for base in (dict, list, tuple)]  # with a __dict__ of their own
    many = [{"a": 1}, {"b": 2}, SimpleNamespace(c=3), {"d": 4}, kinds[0](e=5), kinds[1]([6]), kinds[2]([7])]
    assert list(nested.leaves_of(many)) == ["a", 1, "b", 2, "c", 3, "d", 4, "e", 5, 6, 7]

    class ChangesTheSecond:
        def __init__(self):
            self.params = {}

        def forward(self, x):
            return x**2, ({"x": x.copy()}, {"slope": 2 * x})

        def backward(self, dy, cache):
            dx = dy * cache[1]["slope"]
            cache[1]["slope"] += 1
            return dx, {}

    assert gradcheck(ChangesTheSecond(), normal(2, 3)).problems == [
        "backward changes its cache: it may be called twice, so it must work on copies."
    ]


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "same"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], 0.0, True),
        ({"a": 1.0}, {"a": 1.0 + 1e-15}, 0.0, False),
        ({"a": 1.0}, {"b": 1.0}, 0.0, False),
        ([1.0, 2.0], [1.0], 0.0, False),
        (np.ones(2), np.ones((2, 1)), 0.0, False),
        (np.ones(2), np.ones(2, int), 0.0, False),
        (np.array(["s"]), np.array(["s"]), 0.0, True),
        (np.array([100.0, 0.0]), np.array([100.0, 0.9]), 0.01, True),  # relative to the largest number
        (np.array([-100.0, 0.0]), np.array([-100.0, 1.1]), 0.01, False),
        (np.array([np.nan, 100.0]), np.array([np.nan, 100.5]), 0.01, True),
        (np.array([np.inf, 1.0]), np.array([np.inf, 2.0]), 0.01, False),
        (np.array([np.inf, 1.0]), np.array([np.inf, 1.0]), 0.01, True),
        (np.array([1j]), np.array([1.005j]), 0.01, True),
        (np.array([100]), np.array([101]), 0.1, False),  # integers are exact
        (np.zeros(0), np.zeros(0), 0.01, True),
        (np.zeros(2), np.zeros(2), 0.01, True),
    ],
)
def test_what_is_the_same(a, b, tolerance, same):
    assert nested.same(a, b, tolerance) is same
    assert nested.same(b, a, tolerance) is same


def test_numbers_in_a_row_and_back():
    value = {"a": normal(2, 3), "b": Pair(normal(4), ([normal(1), normal()],))}
    row = nested.in_a_row(value)
    expected = [value["a"].ravel(), value["b"].first, value["b"].second[0][0], [value["b"].second[0][1]]]
    np.testing.assert_array_equal(row, np.concatenate(expected))
    back = nested.like(row * 2, value)
    assert list(back) == ["a", "b"]
    assert type(back["b"]) is Pair
    assert type(back["b"].second[0]) is list
    np.testing.assert_array_equal(back["a"], 2 * value["a"])
    np.testing.assert_array_equal(back["b"].second[0][0], 2 * value["b"].second[0][0])
    np.testing.assert_array_equal(nested.like(row[:6], value["a"]), value["a"])
    assert not np.shares_memory(nested.like(row, value)["a"], row)
    assert not np.shares_memory(nested.in_a_row(value["a"]), value["a"])
    # a list of numbers is one array, as is a list of them; a tuple or a list of arrays is several
    assert [part.shape for part in nested.parts_of([1.0, 2.0])] == [(2,)]
    assert [part.shape for part in nested.parts_of([1.0, np.ones(3)])] == [(), (3,)]
    assert [part.shape for part in nested.parts_of((1.0, [2.0, 3.0]))] == [(), (2,)]


def test_copies_of_a_cache():
    x = normal(3)
    cache, leaves = nested.kept_copies((x, {"y": x}))
    x[...] = 0
    assert cache[0].all()
    assert cache[1]["y"] is cache[0]
    assert leaves[0].all()

    class Refuses:
        def __init__(self):
            self.x = normal(2)

        def __deepcopy__(self, memo):
            raise TypeError

    refusing = Refuses()
    kept, leaves = nested.kept_copies([refusing])
    refusing.x[...] = 0
    assert kept[0] is refusing
    assert leaves[1].all()
