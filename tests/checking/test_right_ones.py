"""What is right is proved, or its pass says on how little it rests; nothing right is called wrong."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import Sequential, gradcheck
from minidl.layers import Activation, BatchNormalization, Dense, MaxPooling2D
from minidl.testing import check_layer


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


class Embedding:
    """Rows of a table, by ids; dx as it is asked for."""

    def __init__(self, dx="none", add=True):
        self.params, self.dx, self.add = {"table": normal(7, 3)}, dx, add

    def build(self, input_shape, rng, dtype):
        self.params = {"table": rng.normal(size=(7, 3)).astype(dtype)}
        return (*input_shape, 3)

    def forward(self, ids, *, training=False, rng=None):
        return self.params["table"][ids], ids

    def backward(self, dy, ids):
        grads = np.zeros_like(self.params["table"])
        if self.add:
            np.add.at(grads, ids, dy)
        else:
            grads[ids] += dy  # a row that is used twice gets the last one alone
        dx = {
            "none": None,
            "zeros": np.zeros(ids.shape),
            "integer zeros": np.zeros_like(ids),
            "ones": np.ones(ids.shape),
        }
        return dx[self.dx], {"table": grads}


@pytest.mark.parametrize("dx", ["none", "zeros", "integer zeros"])
def test_ids_stay_integers(dx):
    ids = np.array([[1, 2, 1], [6, 0, 0]])
    report = gradcheck(Embedding(dx), ids)
    assert report.passed, str(report)
    assert [(r.name, r.proved, r.zero) for r in report.records] == [("table", 12, 9)]
    assert gradcheck(Embedding(dx, add=False), ids).records[0].failed == 6
    check_layer(lambda: Embedding(dx), [(3,), (2, 2)], inputs=lambda rng, shape: rng.integers(7, size=shape))
    with pytest.raises(AssertionError, match="the gradient says"):
        check_layer(lambda: Embedding(dx, add=False), (5,), inputs=lambda rng, shape: rng.integers(7, size=shape))


def test_ids_have_no_gradient():
    report = gradcheck(Embedding("ones"), np.array([[1, 2], [0, 0]]))
    assert report.problems == ["x: it holds integers, which cannot be moved: its gradient must be None or zeros."]


def test_integers_that_are_numbers_are_moved():
    report = gradcheck(Dense(2), np.array([[1, 2, 3], [4, 5, 6]]))
    assert report.passed
    assert report.records[0].proved == 6
    report = gradcheck((lambda x: (x**2).sum(), lambda x: 2 * x), np.array([1, 2, 3]))
    assert report.records[0].proved == 3


def test_a_table_of_integers_among_the_params():
    class Gather:
        def __init__(self):
            self.params = {"order": np.array([2, 0, 1]), "scale": normal(3)}

        def forward(self, x, *, training=False, rng=None):
            return x[:, self.params["order"]] * self.params["scale"], x

        def backward(self, dy, x):
            dx = np.zeros_like(x)
            dx[:, self.params["order"]] = dy * self.params["scale"]
            return dx, {"scale": (dy * x[:, self.params["order"]]).sum(axis=0)}

    report = gradcheck(Gather(), normal(4, 3))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["x", "scale"]
    assert report.notes == ["order: integers without a gradient, and not checked."]


def test_zeros_as_the_gradient_of_integers_are_no_proof_that_they_are_ids():
    class Square:
        def forward(self, x, *, training=False, rng=None):
            return x**2, x

        def backward(self, dy, x):
            return np.zeros(x.shape), {}

    report = gradcheck(Square(), np.array([[1, 2], [3, 4]]))
    assert report.records[0].failed == 4


@pytest.mark.parametrize("turned", [False, True])
def test_one_array_in_two_layers(turned):
    """Tied weights: a slope is that of both places together, so the two gradients are added up."""

    class Linear:
        def __init__(self, weight, wrong=False):
            self.params, self.wrong = {"kernel": weight}, wrong

        def forward(self, x, *, training=False, rng=None):
            return x @ self.params["kernel"], x

        def backward(self, dy, x):
            return dy @ self.params["kernel"].T, {"kernel": x.T @ dy * (2 if self.wrong else 1)}

    weight = normal(3, 4) if turned else normal(3, 3)
    other = weight.T if turned else weight
    report = gradcheck(SimpleNamespace(layers=[Linear(weight), Linear(other)]), normal(5, 3))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["x", "layers[0]/kernel"]
    report = gradcheck(SimpleNamespace(layers=[Linear(weight), Linear(other, wrong=True)]), normal(5, 3))
    assert report.records[1].failed == weight.size


def test_one_layer_in_two_places():
    dense = Dense(3)
    dense.build((3,), np.random.default_rng(0), np.dtype(np.float64))
    report = gradcheck(SimpleNamespace(layers=[dense, dense]), normal(5, 3))
    assert report.passed, str(report)


def test_a_sample_of_entries_holds_some_whose_gradient_is_not_0():
    ids = np.array([[3, 4]])
    large = Embedding()
    large.params["table"] = normal(5000, 2)
    for seed in range(5):
        report = gradcheck(large, ids, max_entries=6, seed=seed)
        assert report.passed, str(report)
        assert report.records[0].proved >= 3
        assert report.records[0].tried == 6


class WithBuffer:
    """A parameter of no effect, with the gradient 0; and, as in a recurrent layer at its first step, a weight times 0."""

    def __init__(self, gradient=0.0):
        self.params, self.gradient = {"buffer": normal(3), "recurrent": normal(3, 3), "w": normal(3)}, gradient

    def forward(self, x, *, training=False, rng=None):
        state = np.zeros_like(x)
        return x * self.params["w"] + state @ self.params["recurrent"], x

    def backward(self, dy, x):
        grads = {"buffer": np.full(3, self.gradient), "recurrent": np.zeros((3, 3)), "w": (dy * x).sum(axis=0)}
        return dy * self.params["w"], grads


def test_an_array_whose_gradient_is_0_everywhere():
    report = gradcheck(WithBuffer(), normal(4, 3))
    assert report.passed, str(report)
    assert [note.partition(":")[0] for note in report.remarks()] == ["buffer", "recurrent"]
    assert "its gradient is 0 everywhere, and so is the slope" in str(report)
    assert not gradcheck(WithBuffer(1e-3), normal(4, 3)).passed


def test_floor_is_flat_and_a_relu_that_is_off_is_not():
    class Floor:
        def forward(self, x, *, training=False, rng=None):
            return np.floor(x), None

        def backward(self, dy, cache):
            return np.zeros_like(dy), {}

    report = gradcheck(Floor(), normal(4, 3))
    assert report.passed, str(report)
    assert "its gradient is 0 everywhere" in str(report)
    assert gradcheck((lambda x: np.floor(x).sum(), np.zeros_like), normal(5)).passed
    assert not gradcheck((lambda x: np.maximum(x, 0).sum(), lambda x: (x > 0) * 1.0), -np.ones(5)).passed
    assert not gradcheck((lambda x: np.floor(x).sum(), np.ones_like), normal(5)).passed


@pytest.mark.parametrize("jitter", [1e-16, 1e-14])
def test_jitter_may_be_allowed(jitter):
    class Jitters:
        calls = 0

        def forward(self, x, *, training=False, rng=None):
            return np.exp(x), x

        def backward(self, dy, x):
            Jitters.calls += 1
            return dy * np.exp(x) * (1 + jitter * 3 * (Jitters.calls % 2)), {}

    assert "called twice" in gradcheck(Jitters(), normal(3, 4)).problems[0]
    report = gradcheck(Jitters(), normal(3, 4), nondet_tol=1e-12)
    assert report.passed, str(report)
    with pytest.raises(ValueError, match="nondet_tol must be 0 or more"):
        gradcheck(Jitters(), normal(3, 4), nondet_tol=-1)


class Softmax:
    def forward(self, x, *, training=False, rng=None):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        return p, p

    def backward(self, dy, p):
        return p * (dy - (dy * p).sum(axis=-1, keepdims=True)), {}


class SoftmaxAlone(Softmax):
    def backward(self, dy, p):
        return dy * p * (1 - p), {}


@pytest.mark.parametrize("scale", [30.0, 100.0, 300.0])
def test_a_saturated_softmax(scale):
    x = normal(5, 3) * scale
    report = gradcheck(Softmax(), x)
    assert report.passed, str(report)
    assert not any(record.failed for record in report.records)
    assert not gradcheck(SoftmaxAlone(), x).passed


def test_what_is_left_of_larger_numbers_is_not_held_against_a_right_gradient():
    """Far to the left, GELU is 0.5 · x · (1 + t) with t = −1 but for a few roundings: it moves in steps."""

    class Gelu:
        def forward(self, x, *, training=False, rng=None):
            t = np.tanh(0.7978845608 * (x + 0.044715 * x**3))
            return 0.5 * x * (1 + t), (x, t)

        def backward(self, dy, cache):
            x, t = cache
            inner = 0.7978845608 * (1 + 3 * 0.044715 * x**2)
            return dy * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner), {}

    for seed in range(10):
        x = normal(1, 5, seed=seed)
        x[0, :3] = [-5.2 - seed / 20, -5.6 - seed / 30, -6.0]
        assert gradcheck(Gelu(), x).records[0].failed == 0


@pytest.mark.parametrize("size", [1e-6, 1e-9, 1e-12, 1e-15])
def test_log_beside_0(size):
    x = np.full((2, 3), size) * [1, 2, 3]
    report = gradcheck((lambda x: np.log(x).sum(), lambda x: 1 / x), x)
    assert report.passed, str(report)
    assert report.records[0].proved == 6
    assert gradcheck((lambda x: np.log(x).sum(), lambda x: 2 / x), x).records[0].failed == 6


class BatchNorm:
    """The running statistics stand among the params, as in many a textbook."""

    def __init__(self, wrong=1.0):
        self.params = {"gamma": normal(3), "beta": normal(3), "mean": np.zeros(3), "var": np.ones(3)}
        self.wrong = wrong

    def forward(self, x, *, training=False, rng=None):
        p = self.params
        mean, var = (x.mean(axis=0), x.var(axis=0)) if training else (p["mean"], p["var"])
        if training:
            p["mean"] = 0.9 * p["mean"] + 0.1 * mean
            p["var"][...] = 0.9 * p["var"] + 0.1 * var
        scale = 1 / np.sqrt(var + 1e-8)
        normed = (x - mean) * scale
        return normed * p["gamma"] + p["beta"], (normed, scale, training)

    def backward(self, dy, cache):
        normed, scale, training = cache
        dnormed = dy * self.params["gamma"]
        centred = dnormed - dnormed.mean(axis=0) - normed * (dnormed * normed).mean(axis=0) if training else dnormed
        return centred * scale * self.wrong, {"gamma": (dy * normed).sum(axis=0), "beta": dy.sum(axis=0)}


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_among_the_params_are_no_parameters(training):
    layer = BatchNorm()
    held = dict(layer.params)
    report = gradcheck(layer, normal(6, 3), training=training)
    assert report.passed, str(report)
    assert [(r.name, r.proved) for r in report.records] == [("x", 18), ("gamma", 3), ("beta", 3)]
    assert "mean, var" in str(report)
    assert all(layer.params[name] is value for name, value in held.items())
    assert not layer.params["mean"].any()
    assert not gradcheck(BatchNorm(wrong=1.01), normal(6, 3), training=training).passed


class Spectral:
    """y = x · W / σ, where σ is found by a step of the power method, from where the last one stopped."""

    def __init__(self, key=None):
        self.params, self.u = {"w": normal(4, 3)}, normal(3, seed=1)

    def forward(self, x, *, training=False, rng=None):
        w = self.params["w"]
        v = w @ self.u
        v = v / np.linalg.norm(v)
        if training:
            u = v @ w
            self.u = u / np.linalg.norm(u)
        sigma = 10 * np.abs(np.linalg.norm(self.u)) + self.u[0]
        return x * sigma, sigma

    def backward(self, dy, sigma):
        return dy * sigma, {"w": np.zeros((4, 3))}


def test_a_layer_that_changes_itself_in_training():
    layer = Spectral()
    before = layer.u
    report = gradcheck(layer, normal(5, 4), only="x")
    assert report.passed, str(report)
    assert "its state was put back before each call" in str(report)
    assert layer.u is before

    class Random(Spectral):
        def forward(self, x, *, training=False, rng=None):
            return x * np.random.default_rng().normal(), 1.0

    assert "must follow from rng" in gradcheck(Random(), normal(5, 4)).problems[0]


def test_a_pass_that_rests_on_little_says_so():
    x = np.zeros((4, 10))
    x[0, :3] = 1.0
    report = gradcheck((lambda x: np.abs(x).sum(), np.sign), x)
    assert report.passed
    assert "gradcheck <lambda>: passed, but little of it is proved" in str(report)
    assert "x: only 3 of 40 entries are proved (0 are too small, 37 at a kink), so a mistake" in str(report)
    assert report.to_dict()["notes"] == report.remarks()
    assert str(gradcheck(Dense(3), normal(4, 3))).partition("passed")[2].strip().startswith("┏")


# ------------------------------------------------------------------------------------------------------------- messages


class Two:
    """y = a · w + b, of two inputs."""

    def __init__(self, dtype=np.float64):
        self.params = {"w": normal(3)}

    def forward(self, a, b, *, training=False, rng=None):
        return a * self.params["w"] + b**2, (a, b)

    def backward(self, dy, cache):
        a, b = cache
        return (dy * self.params["w"], 2 * dy * b), {"w": (dy * a).sum(axis=0)}


def test_how_many_inputs_a_layer_takes():
    with pytest.raises(
        ValueError, match=r"forward of Two takes 2 inputs \(a, b\), received 1: call gradcheck\(layer, a, b\)"
    ):
        gradcheck(Two(), normal(2, 3))
    report = gradcheck(Two(), normal(4, 3), normal(4, 3, seed=1))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["a", "b", "w"]


def test_a_forward_without_keywords():
    class Bare:
        def forward(self, x):
            return x**2, x

        def backward(self, dy, x):
            return 2 * x * dy, {}

    assert gradcheck(Bare(), normal(2, 3)).passed


def test_rng_is_no_generator():
    class Noise:
        def forward(self, x, *, training=False, rng=None):
            return x * rng.random(x.shape), x

        def backward(self, dy, x):
            return dy, {}

    (problem,) = gradcheck(Noise(), normal(2, 3)).problems
    assert "'RandomKey' object has no attribute 'random'. rng is a RandomKey" in problem
    assert "np.random.default_rng(rng.key)" in problem

    class Keyed(Noise):
        def forward(self, x, *, training=False, rng=None):
            factors = np.random.default_rng(rng.key).random(x.shape)
            return x * factors, factors

        def backward(self, dy, factors):
            return dy * factors, {}

    assert gradcheck(Keyed(), normal(2, 3)).passed


def test_a_backward_that_rebinds_a_parameter():
    class Rebinds:
        def __init__(self):
            self.params = {"w": normal(3)}

        def forward(self, x, *, training=False, rng=None):
            return x * self.params["w"], x

        def backward(self, dy, x):
            dx, dw = dy * self.params["w"], (dy * x).sum(axis=0)
            self.params["w"] = self.params["w"] - 0.1 * dw
            return dx, {"w": dw}

    layer = Rebinds()
    kept = layer.params["w"]
    (problem,) = gradcheck(layer, normal(2, 3)).problems
    assert problem.startswith("backward puts another array in the place of the parameter 'w'")
    assert layer.params["w"] is kept


def test_shapes_that_do_not_fit_in_backward():
    class NoTranspose:
        def __init__(self):
            self.params = {"w": normal(3, 5)}

        def forward(self, x, *, training=False, rng=None):
            return x @ self.params["w"], x

        def backward(self, dy, x):
            return dy @ self.params["w"], {"w": x.T @ dy}

    (problem,) = gradcheck(NoTranspose(), normal(2, 3)).problems
    assert problem.startswith("backward fails: matmul")
    assert problem.endswith("Is a .T missing, or too much? The shapes are: dy (2, 5), x (2, 3), w (3, 5).")


def test_what_is_missing_is_told():
    class Nothing:
        def forward(self, x, *, training=False, rng=None):
            return x**2, x

        def backward(self, dy, x):
            dx = 2 * x * dy  # noqa: F841

    assert gradcheck(Nothing(), normal(2, 3)).problems == [
        "backward must return (dx, {name: gradient}), received NoneType. Is a return missing?"
    ]


def test_a_way_out_that_fits():
    for value, gradient, x, words in (
        (np.abs, np.sign, np.zeros(4), "At a kink"),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, -1 - np.abs(normal(9)), "behind a ReLU that is off"),
        (lambda x: 1 + 1e-18 * x, lambda x: np.full_like(x, 1e-18), normal(9), "drown in the rounding"),
    ):
        report = gradcheck((lambda x, value=value: value(x).sum(), gradient), x)
        assert not report.passed
        assert words in report.explanations()[0]
        assert "random" not in report.explanations()[0]


def test_kinks_of_several_outputs_that_cancel_out_are_kinks():
    """All windows of a constant image are tied. Along a direction each output jumps, and the sum of the jumps may be nearly 0."""
    pool = MaxPooling2D((1, 3), (4, 2), "same")
    for number in (107, 5407, 5517):
        x = np.zeros((3, 3, 4, 3)) + number
        report = gradcheck(pool, x, mode="direction", directions=40, seed=number)
        assert not report.records[0].failed, str(report)


def test_numbers_that_are_nearly_too_small_to_be_written():
    """p is 1e-310: twice of what was rounded there is not quite twice."""
    report = gradcheck(Softmax(), np.array([[0.0, 726.0], [0.0, 726.3]]))
    assert not report.problems, str(report)


def test_long_steps_that_agree_across_kinks_do_not_disprove():
    """Beside 0 the slope changes from 1 to 1.5. Farther out are kinks in pairs, which long steps do not see in the slope."""
    far, weights = 3e-3 * 10.0 ** -np.arange(6), 10 * 0.4 ** np.arange(6)

    def value(x):
        pairs = weights * (np.abs(x - far) + np.abs(x + far))
        return float((x + np.maximum(x - 1e-9, 0) / 2).sum() + pairs.sum())

    assert gradcheck((value, np.ones_like), np.zeros(1)).passed
    assert gradcheck((value, lambda x: 1.2 * np.ones_like(x)), np.zeros(1)).records[0].failed


def test_a_step_that_is_steeper_than_the_steps_are_short():
    """Long steps see slopes of 100, 1,000 and 10,000, which beside a gradient of 1e9 all seem the same."""
    report = gradcheck((lambda x: np.tanh(1e9 * x).sum(), lambda x: 1e9 / np.cosh(1e9 * x) ** 2), np.zeros(2))
    assert report.passed, str(report)
    assert report.records[0].proved == 2
    report = gradcheck((lambda x: np.tanh(1e9 * x).sum(), lambda x: 2e9 / np.cosh(1e9 * x) ** 2), np.zeros(2))
    assert report.records[0].failed == 2


class Rounds:
    """w has no effect, and its gradient is what is left of numbers that cancel out; or, where ``wrong`` is not 0, it is not."""

    def __init__(self, wrong):
        self.wrong, self.params = wrong, {"w": np.ones(3)}

    def forward(self, x, *, training=False, rng=None):
        return x + 0 * self.params["w"], None

    def backward(self, dy, cache):
        left = dy * 1e5 + dy * 2e5 / 3 - dy * 5e5 / 3
        return dy.copy(), {"w": left.sum(axis=0) + self.wrong * dy.sum(axis=0)}


def test_what_backward_rounds_is_not_held_against_it():
    report = gradcheck(Rounds(0), normal(4, 3))
    assert report.problems == []
    assert (report.records[1].small, report.records[1].failed) == (3, 0), str(report)
    assert gradcheck(Rounds(1e-8), normal(4, 3)).records[1].failed == 3


class NearlyOpen:
    """y = (a · exp(1e8 · (g − 1)), b · w₁), g = sigmoid(w₀ / 100). Rounded to the number beside 1, g does not move."""

    def __init__(self):
        self.params = {"w": np.array([3620.0, 100.0])}

    def forward(self, x, *, training=False, rng=None):
        gate = 1 / (1 + np.exp(-self.params["w"][0] / 100))
        open_ = np.exp(1e8 * (gate - 1))
        return np.stack([x[:, 0] * open_, x[:, 1] * self.params["w"][1]], axis=1), (x, gate, open_)

    def backward(self, dy, cache):
        x, gate, open_ = cache
        dgate = (dy[:, 0] * x[:, 0]).sum() * 1e8 * open_
        dx = np.stack([dy[:, 0] * open_, dy[:, 1] * self.params["w"][1]], axis=1)
        return dx, {"w": np.array([dgate * gate * (1 - gate) / 100, (dy[:, 1] * x[:, 1]).sum()])}


def test_a_gate_that_no_longer_moves():
    report = gradcheck(NearlyOpen(), normal(3, 2) * [1e-6, 1])
    assert report.problems == []
    assert (report.records[1].proved, report.records[1].small) == (1, 1), str(report)


# ------------------------------------------------------------------------------------------------ a gradient of exactly 0


@pytest.mark.parametrize("mode", ["entries", "direction"])
def test_a_bias_before_a_normalization(mode):
    """The batch's mean takes it away again: its gradient is 0, of which rounding leaves something."""
    layers = [Dense(4, input_shape=(3,)), BatchNormalization(), Activation("relu"), Dense(2)]
    model = Sequential(layers, seed=0, dtype="float64")
    model.compile("sgd", "mean_squared_error")
    for given in ((normal(6, 3), normal(6, 2, seed=1)), (normal(6, 3),)):
        report = gradcheck(model, *given, mode=mode)
        assert report.passed, str(report)
        assert [r.name for r in report.records if r.zero == r.tried] == ["dense/bias"]
        (remark,) = report.remarks()
        assert remark == "dense/bias: its gradient is 0 everywhere, and so is the slope: it has no effect here."


class Beside:
    """y = x · w, and a parameter without effect, whose gradient is ``wrong`` times the sum of dy."""

    def __init__(self, wrong, of=lambda b: 0 * b):
        self.params, self.wrong, self.of = {"w": np.ones(3), "b": np.zeros(3)}, wrong, of

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["w"] + self.of(self.params["b"]), x

    def backward(self, dy, x):
        return dy * self.params["w"], {"w": (dy * x).sum(axis=0), "b": np.full(3, self.wrong) * dy.sum()}


def test_a_gradient_that_should_be_0_and_a_0_that_should_be_a_gradient():
    x = normal(6, 3)
    assert gradcheck(Beside(1e-14), x).passed
    for wrong in (1e-8, 1e-5, 1.0):
        assert not gradcheck(Beside(wrong), x).passed, wrong
    for of in (lambda b: 1e-7 * b, np.abs):  # the latter has equal values on both sides
        report = gradcheck(Beside(0.0, of), x, only="b")
        assert report.records[0].zero == 0, str(report)
        assert not report.passed


# ------------------------------------------------------------------------------------- functions with a domain of their own


@pytest.mark.parametrize("error", [None, ValueError, AssertionError, IndexError, ZeroDivisionError])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_step_may_leave_the_domain(error, factor):
    """Near its end, long steps raise an error, and short ones prove, or disprove."""

    def value(x):
        if error is not None and not (x > 0).all():
            raise error("x must be positive")
        return sum(math.log(number) for number in x)

    report = gradcheck((value, lambda x: factor / x), np.array([1e-7, 5e-3, 0.5]))
    assert report.passed == (factor == 1), str(report)
    assert (report.records[0].proved, report.records[0].failed) == ((3, 0) if factor == 1 else (0, 3))


def test_any_other_error_ends_the_check():
    def value(x):
        if x[0] != 1:
            raise KeyError("x")
        return x[0]

    with pytest.raises(KeyError):
        gradcheck((value, np.ones_like), np.ones(1))
