"""Wrong gradients that look right: behind a dy that is x, on a flat place near a kink, below a large offset, and where all calls
see the same data."""

import numpy as np
import pytest

from minidl import gradcheck
from minidl.layers import Activation, Conv2D, Dense
from minidl.testing import check_layer

# What people write for x. Whatever it is, dy is none of it.
IDIOMS = {
    "default_rng": lambda shape: np.random.default_rng(0).normal(size=shape),
    "standard_normal": lambda shape: np.random.default_rng(42).standard_normal(shape),
    "random": lambda shape: np.random.default_rng(0).random(shape),
    "uniform": lambda shape: np.random.default_rng(0).uniform(-1, 1, shape),
    "RandomState": lambda shape: np.random.RandomState(0).randn(*shape),
    "linspace": lambda shape: np.linspace(-1, 1, int(np.prod(shape))).reshape(shape),
    "sum of ids": lambda shape: np.arange(1.0, 1 + np.prod(shape)).reshape(shape),
    "positive": lambda shape: np.abs(np.random.default_rng(0).normal(size=shape)) + 0.1,
    "negative": lambda shape: -np.abs(np.random.default_rng(0).normal(size=shape)) - 0.1,
}


class Bare:
    """A layer of two functions, whose params are the same numbers as x where it has any."""

    def __init__(self, forward, backward, **params):
        self.of, self.back, self.params = forward, backward, params

    def forward(self, x, *, training=False, rng=None):
        return self.of(x, **self.params), x

    def backward(self, dy, x):
        return self.back(dy, x, **self.params)


def relu(mask):
    return Bare(lambda x: np.maximum(x, 0), lambda dy, x: (dy * mask(dy, x), {}))


def square(dx, dw):
    """y = x · w with a square kernel, of a batch as large as it has features."""
    w = np.random.default_rng(0).normal(size=(4, 4))
    return Bare(lambda x, w: x @ w, lambda dy, x, w: (dx(dy, x, w), {"w": dw(dy, x, w)}), w=w)


# Wrong, and right where dy is x, or has the signs of x, or is the parameter.
WRONG = {
    "relu by dy": relu(lambda dy, x: dy > 0),
    "relu by product": relu(lambda dy, x: x * dy > 0),
    "square by dy": Bare(lambda x: x**2, lambda dy, x: (2 * dy * dy, {})),
    "square by x": Bare(lambda x: x**2, lambda dy, x: (2 * x * x, {})),
    "product": Bare(lambda x: x**3 / 3, lambda dy, x: (x * dy * dy, {})),
    "abs": Bare(np.abs, lambda dy, x: (np.abs(dy), {})),
    "abs by dy": Bare(np.abs, lambda dy, x: (dy * np.sign(dy), {})),
    "tanh by dy": Bare(np.tanh, lambda dy, x: (dy * (1 - np.tanh(dy) ** 2), {})),
    "dw transposed": square(lambda dy, x, w: dy @ w.T, lambda dy, x, w: dy.T @ x),
    "dw of dy": square(lambda dy, x, w: dy @ w.T, lambda dy, x, w: dy.T @ dy),
    "dw of x": square(lambda dy, x, w: dy @ w.T, lambda dy, x, w: x.T @ x),
    "dx of x": square(lambda dy, x, w: x @ w.T, lambda dy, x, w: x.T @ dy),
    "dx of w": square(lambda dy, x, w: dy @ dy.T, lambda dy, x, w: x.T @ dy),
    "softmax by dy": Bare(
        lambda x: 1 / (1 + np.exp(-x)), lambda dy, x: (dy / (1 + np.exp(-dy)) ** 2 * np.exp(-dy), {})
    ),
    "scale": Bare(
        lambda x, w: x * w, lambda dy, x, w: (dy * w, {"w": (dy * dy).sum(axis=0)}), w=np.array([1.0, 2, 3, 4])
    ),
}


@pytest.mark.parametrize("idiom", IDIOMS)
@pytest.mark.parametrize("wrong", WRONG)
def test_dy_is_not_x(wrong, idiom):
    x = IDIOMS[idiom]((4, 4))
    if idiom == "positive" and wrong == "relu by product":
        pytest.skip("x · dy > 0 is dy > 0 there")
    for training, seed in ((True, 0), (False, 1)):
        report = gradcheck(WRONG[wrong], x, training=training, seed=seed)
        assert not report.passed, str(report)


def test_check_layer_says_once_what_several_rungs_find():
    """dx / N is another slope, and differs for samples one by one, too."""
    mean = Bare(np.tanh, lambda dy, x: (dy * (1 - np.tanh(x) ** 2) / len(x), {}))
    with pytest.raises(AssertionError) as caught:
        check_layer(lambda: mean, (4,))
    assert "x: it is 3 times too small, the number of samples" in str(caught.value)
    assert "one by one" not in str(caught.value)
    assert "one by one" in [result.rung for result in caught.value.results if not result.passed]


@pytest.mark.parametrize("wrong", WRONG)
def test_check_layer_finds_them_too(wrong):
    with pytest.raises(AssertionError):
        check_layer(lambda: WRONG[wrong], [(4,)], samples=4)


def upstreams(shape, training=True, seed=0):
    """The two dys that a layer without effect is given, apart from multiples of them."""
    given = []

    class Notes:
        def forward(self, x, *, training=False, rng=None):
            return x.copy(), None

        def backward(self, dy, cache):
            given.append(dy.copy())
            return dy.copy(), {}

    assert gradcheck(Notes(), np.ones(shape), training=training, seed=seed, max_entries=3).passed
    bounded = [dy for dy in given if np.abs(dy).min() >= 0.5 and np.abs(dy).max() <= 2]
    return bounded[0], next(dy for dy in bounded if not np.isin(dy, [bounded[0], -bounded[0]]).any())


def test_dys_are_independent_and_of_both_signs():
    first, second = upstreams((40, 50))
    assert (first * second < 0).all()
    for dy in (first, second):
        assert np.quantile(np.abs(dy), [0, 0.5, 1]) == pytest.approx([0.5, 1.25, 2], abs=0.1)
    assert abs(np.corrcoef(np.abs(first).ravel(), np.abs(second).ravel())[0, 1]) < 0.1
    for idiom in IDIOMS.values():
        x = idiom((40, 50)).ravel()
        for dy in (first, second):
            assert abs(np.corrcoef(x, dy.ravel())[0, 1]) < 0.1
    evaluated, other = upstreams((40, 50), training=False)[0], upstreams((40, 50), seed=1)[0]
    assert abs(np.corrcoef(first.ravel(), evaluated.ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.1


def test_right_layers_are_not_accused_where_x_would_have_been_dy():
    """The slope of x/|x| along x is 0: as dy, x itself leaves nothing to prove."""

    def unit(x):
        return x / np.sqrt((x**2).sum(axis=1, keepdims=True))

    def unit_backward(dy, x):
        length, y = np.sqrt((x**2).sum(axis=1, keepdims=True)), unit(x)
        return (dy - y * (dy * y).sum(axis=1, keepdims=True)) / length, {}

    def norm(x):
        return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-8)

    def norm_backward(dy, x):
        y = norm(x)
        return (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-8), {}

    for layer in (Bare(unit, unit_backward), Bare(norm, norm_backward)):
        for idiom in ("default_rng", "standard_normal", "uniform"):
            report = gradcheck(layer, IDIOMS[idiom]((5, 3)))
            assert report.passed, str(report)
            assert report.records[0].proved == 15


# ------------------------------------------------------------------------------------------------ flat places near a kink

DISTANCES = [2e-6, 5e-6, 1e-5, 4e-5, 1e-4, 5e-4, 1e-3, 5e-3, 9e-3, 2e-2, 0.3]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_a_wrong_mask_on_the_flat_side(distance, offset):
    x = np.array([[-distance, 1.0, -distance, 2.0]])
    wrong = Bare(lambda x: np.maximum(x, 0) + offset, lambda dy, x: (dy * (x > -1), {}))
    report = gradcheck(wrong, x)
    assert report.records[0].failed == 2, str(report)
    right = Bare(lambda x: np.maximum(x, 0) + offset, lambda dy, x: (dy * (x > 0), {}))
    report = gradcheck(right, x)
    assert (report.records[0].proved, report.records[0].zero) == (2, 2), str(report)


def test_a_mask_that_is_a_little_off_among_a_thousand():
    x = np.random.default_rng(0).normal(size=(10, 100))
    report = gradcheck(relu(lambda dy, x: x > -0.01), x)
    assert report.records[0].failed == ((x > -0.01) & (x < 0)).sum() > 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_dead_zone(distance):
    """Flat to both sides, so that long steps see one slope to the right and to the left: it is not the slope here."""
    x = np.array([[0.0, distance / 2, -distance / 3, 1.0]])

    def shrink(x):
        return np.where(np.abs(x) > distance, x - distance * np.sign(x), 0)

    right = Bare(shrink, lambda dy, x: (dy * (np.abs(x) > distance), {}))
    report = gradcheck(right, x)
    assert report.records[0].failed == 0, str(report)
    assert report.records[0].proved == 0 + (distance < 1)
    wrong = Bare(shrink, lambda dy, x: (dy.copy(), {}))
    report = gradcheck(wrong, x)
    assert not report.passed or distance < 1e-4, str(report)
    assert report.records[0].failed == 3 or distance < 1e-3


# ---------------------------------------------------------------------------------------------- small beside a large offset


def regression(factor):
    """Σ (x · w − t)² of numbers as they come, at w = 0; the second gradient times factor."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.uniform(500, 4000, 50), rng.uniform(0, 1e-3, 50), np.ones(50)])
    targets = rng.uniform(1e5, 9e5, 50)

    def value(w):
        return ((x @ w - targets) ** 2).sum()

    def gradient(w):
        return 2 * x.T @ (x @ w - targets) * np.array([1.0, factor, 1.0])

    return value, gradient


@pytest.mark.parametrize("factor", [0.0, 2.0, 0.5, -1.0, 1.1])
def test_a_slope_that_is_small_beside_the_others(factor):
    assert gradcheck(regression(1.0), np.zeros(3)).passed
    report = gradcheck(regression(factor), np.zeros(3))
    assert not report.passed, str(report)
    assert (report.records[0].failed, report.records[0].where) == (1, (1,))


@pytest.mark.parametrize("offset", [0, 1e4, 1e8, 1e10])
def test_a_slope_under_an_offset(offset):
    factors = np.array([1e6, 1.0, 1.0, 1.0])

    def value(x):
        return offset + (x * factors).sum()

    report = gradcheck((value, lambda x: factors), np.random.default_rng(0).normal(size=4))
    assert report.passed, str(report)
    assert report.records[0].failed == 0
    for wrong in (5.0, 0.0, -1.0, 1.5):
        gradient = factors.copy()
        gradient[2] = wrong
        report = gradcheck((value, lambda x, gradient=gradient: gradient), np.random.default_rng(0).normal(size=4))
        assert report.records[0].failed == 1, str(report)


def test_rounding_is_not_taken_for_a_slope():
    """Right gradients of functions that lose their digits: nothing is proved, and nothing held against them."""
    for size in (1e4, 1e6, 1e8, 1e9, 1e10):

        def value(x, size=size):
            return (((x + size) - size) ** 2).sum()

        for seed in range(8):
            report = gradcheck((value, lambda x: 2 * x), np.random.default_rng(seed).normal(size=6))
            assert report.records[0].failed == 0, (size, seed, str(report))


def test_what_backward_rounds_is_not_held_against_it_along_directions_either():
    """Each number is off by what was rounded, and along a direction through n of them, up to √n times as much."""

    class Rounds:
        def __init__(self, wrong):
            self.wrong, self.params = wrong, {"w": np.ones(1000)}

        def forward(self, x):
            return x + 0 * self.params["w"][:3], None

        def backward(self, dy, cache):
            left = (dy * 1e5 + dy * 2e5 / 3 - dy * 5e5 / 3).sum()
            return dy.copy(), {"w": np.full(1000, left + self.wrong * dy.sum())}

    x = np.random.default_rng(0).normal(size=(4, 3))
    report = gradcheck(Rounds(0), x, only="w", mode="direction")
    assert (report.records[0].failed, report.records[0].small) == (0, 8), str(report)
    assert gradcheck(Rounds(1e-6), x, only="w", mode="direction").records[0].failed == 8


def test_a_ripple_of_the_slope_is_seen_by_short_steps_alone():
    """The slope is 1 from afar, and 1.0001 at 0: too little between them to disprove before all steps were tried."""

    def value(x):
        return (x + 1e-11 * np.sin(1e7 * x)).sum()

    report = gradcheck((value, lambda x: 1 + 1e-4 * np.cos(1e7 * x)), np.zeros(2))
    assert report.records[0].proved == 2, str(report)
    assert gradcheck((value, lambda x: 1.001 + 0 * x), np.zeros(2)).records[0].failed == 2


def test_the_bottom_of_a_parabola():
    """f(h) − f(−h) is exactly 0, as the gradient is: nothing is proved by it, nor disproved."""
    square = (lambda x: (x**2).sum()), (lambda x: 2 * x)
    record = gradcheck(square, np.zeros(1)).records[0]
    assert (record.small, record.failed, record.proved) == (1, 0, 0)


def test_a_small_error_where_nothing_is_rounded():
    """Of x, at 0, all steps see the slope 1, with no doubt at all."""
    report = gradcheck((lambda x: x.sum(), lambda x: 1.0001 + 0 * x), np.zeros(2))
    assert report.records[0].failed == 2, str(report)


def test_the_bottom_of_a_parabola_between_two_slopes():
    """Longer steps see the slope 1, but the gradient at 0 is 0."""

    def value(x):
        return (np.where(np.abs(x) > 1e-7, x - 1e-7 * np.sign(x), 0) + x**2).sum()

    record = gradcheck((value, lambda x: 2 * x), np.zeros(1)).records[0]
    assert (record.small, record.failed, record.proved) == (1, 0, 0)


def test_a_gradient_far_outside_of_the_slopes_of_a_layer_made_of_layers():
    """At several kinks a gradient may be outside of both slopes, but not by fifty times what lies between them."""

    def layer(at_zero):
        made = Bare(
            lambda x: np.maximum(x, 0), lambda dy, x: (dy * np.where(x > 0, 1, np.where(x == 0, at_zero, 0)), {})
        )
        made.part = Bare(lambda x: x.copy(), lambda dy, x: (dy.copy(), {}))
        return made

    x = np.maximum(np.random.default_rng(0).normal(size=(6, 4)), 0)
    assert gradcheck(layer(50), x).records[0].failed == (x == 0).sum() > 0
    for right in (0, 0.5, 1):
        assert gradcheck(layer(right), x).passed


# --------------------------------------------------------------------------------------------- left by the last forward


class Stateful:
    """Its backward uses what forward left in self: right only if the last forward was its own."""

    def __init__(self, left, of, back, **params):
        self.left, self.of, self.back, self.params = left, of, back, params

    def forward(self, x, *, training=False, rng=None):
        self.state = self.left(x, training)
        return self.of(x, training, **self.params), x

    def backward(self, dy, x):
        return self.back(dy, x, self.state, **self.params)


def looked_up(dy, ids, w):
    dw = np.zeros_like(w)
    np.add.at(dw, ids, dy)
    return None, {"w": dw}


def stateful(name, stale=True):
    """(a layer, x). Where it is not stale, the state is not used."""
    rng = np.random.default_rng(0)
    positive = rng.random((4, 3)) + 0.1
    if name == "a mask of positive numbers":
        back = lambda dy, x, mask: (dy * (mask if stale else x > 0), {})  # noqa: E731
        return Stateful(lambda x, training: x > 0, lambda x, training: np.maximum(x, 0), back), positive
    if name == "ids":
        back = lambda dy, x, ids, w: looked_up(dy, ids if stale else x, w)  # noqa: E731
        layer = Stateful(lambda x, training: x, lambda x, training, w: w[x], back, w=rng.normal(size=(5, 2)))
        return layer, np.array([[0, 1, 1], [3, 2, 2]])
    if name == "the number of samples":
        back = lambda dy, x, n: (2 * x * dy / (n if stale else len(x)), {})  # noqa: E731
        return Stateful(lambda x, training: len(x), lambda x, training: x**2 / len(x), back), positive
    if name == "the shape":
        back = lambda dy, x, shape: (2 * dy.reshape(shape if stale else x.shape), {})  # noqa: E731
        return Stateful(lambda x, training: x.shape, lambda x, training: 2 * x.reshape(len(x), -1), back), positive
    back = lambda dy, x, mode: (dy * (2 * x if (mode if stale else True) else 3 * x**2), {})  # noqa: E731
    return Stateful(lambda x, training: training, lambda x, training: x**2 if training else x**3, back), positive


@pytest.mark.parametrize(
    "name", ["a mask of positive numbers", "ids", "the number of samples", "the shape", "the mode"]
)
def test_what_the_last_forward_left(name):
    report = gradcheck(*stateful(name))
    assert len(report.problems) == 1, str(report)
    assert "seen other data in between" in report.problems[0]
    assert gradcheck(*stateful(name, stale=False)).passed


def test_statistics_that_change_in_training_may_be_read_in_evaluation_mode():
    class Centred:
        def __init__(self):
            self.mean, self.params = np.ones(3), {}

        def forward(self, x, *, training=False, rng=None):
            if training:
                self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
            return (x - (x.mean(axis=0) if training else self.mean)) ** 2, (x, training)

        def backward(self, dy, cache):
            x, training = cache
            dx = 2 * dy * (x - (x.mean(axis=0) if training else self.mean))
            return dx - dx.mean(axis=0) if training else dx, {}

    for training in (True, False):
        assert gradcheck(Centred(), np.random.default_rng(0).normal(size=(4, 3)), training=training).passed


def test_a_loss_that_counts_its_samples_once_more():
    class Mean:
        def forward(self, y_true, y_pred):
            self.samples = len(y_pred)
            return ((y_pred - y_true) ** 2).sum() / len(y_pred), y_pred - y_true

        def backward(self, cache):
            return 2 * cache / self.samples

    rng = np.random.default_rng(0)
    report = gradcheck(Mean(), rng.normal(size=(4, 3)), rng.normal(size=(4, 3)))
    assert len(report.problems) == 1
    assert "seen other data in between" in report.problems[0]


def test_what_the_sums_over_ties_leave_open_is_told():
    """dx is reversed, which no sum over all of a sample shows; where no entries are equal, all of them are checked."""
    w = np.array([1.0, 2.0, 3.0])
    layer = Bare(lambda x: x * w, lambda dy, x: ((dy * w)[:, ::-1].copy(), {}))
    report = gradcheck(layer, np.zeros((4, 3)), mode="ties")
    assert report.passed
    assert report.remarks() == [
        "x: only the sums over equal entries are proved, 4 of them for 12 entries: check it with other inputs, too, which are "
        "not equal."
    ]
    assert not gradcheck(layer, np.random.default_rng(0).normal(size=(4, 3)), mode="ties").passed
    right = Bare(lambda x: x * w, lambda dy, x: (dy * w, {}))
    assert gradcheck(right, np.random.default_rng(0).normal(size=(4, 3)), mode="ties").remarks() == []


class Reuses:
    """Writes its gradients into the arrays that it returned before."""

    def __init__(self):
        self.params, self.kept = {"w": np.array([1.0, -2.0, 3.0])}, {}

    def build(self, input_shape, rng, dtype):
        self.params = {"w": rng.normal(size=input_shape).astype(dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["w"], x

    def backward(self, dy, x):
        dw = self.kept.setdefault(dy.dtype, np.zeros(3, dy.dtype))
        dw[...] = (dy * x).sum(axis=0)
        return dy * self.params["w"], {"w": dw}


def test_a_gradient_that_is_written_into_later():
    said = "backward writes into a gradient that it returned before: it must return fresh arrays each time"
    x = np.random.default_rng(0).normal(size=(4, 3))
    for given in ({}, {"dy": np.ones((4, 3))}):
        (problem,) = gradcheck(Reuses(), x, **given).problems
        assert problem.startswith(said)
    with pytest.raises(AssertionError) as caught:
        check_layer(Reuses, (3,))
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith(f"input shape (3,): {said}")
    assert [result.rung for result in caught.value.results if not result.passed] == ["gradients", "fresh"]

    class Loss:
        kept = np.zeros((4, 3))

        def forward(self, y_true, y_pred):
            return ((y_pred - y_true) ** 2).sum(), y_pred - y_true

        def backward(self, cache):
            self.kept[: len(cache)] = 2 * cache
            return self.kept[: len(cache)]

    (problem,) = gradcheck(Loss(), x, np.flip(x)).problems
    assert problem.startswith(said)


def test_a_gradient_of_what_the_value_left():
    seen = {}

    def value(x):
        seen["x"] = x.copy()
        return (x**2).sum()

    report = gradcheck((value, lambda x: 2 * seen["x"]), np.array([0.3, -1.0, 2.0]))
    assert report.problems == [
        "gradient gives a different result when the function has been called with other x in between: it must follow from its "
        "arguments alone, and be computed anew each time."
    ]


def test_a_gradient_that_is_kept_from_the_first_call():
    """It is right at the first x only, which is not the one that is checked."""
    first = {}

    def gradient(x):
        return first.setdefault("gradient", 2 * x)

    x = np.array([0.3, -1.0, 2.0])
    assert gradcheck((lambda x: (x**2).sum(), gradient), x).records[0].failed == 3
    first.clear()
    assert gradcheck(lambda x: ((x**2).sum(), gradient(x)), x).records[0].failed == 3
    first.clear()
    assert (
        gradcheck(lambda table: ((table["x"] ** 2).sum(), {"x": gradient(table["x"])}), {"x": x}).records[0].failed == 3
    )


@pytest.mark.parametrize("kept", ["first", "last"])
def test_a_network_that_returns_the_gradient_of_another_call(kept):
    class Net:
        def __init__(self):
            self.params, self.gradients = {"w": np.array([0.3, -1.0, 2.0])}, []

        def loss(self, x):
            error = x @ self.params["w"]
            self.gradients.append(2 * error @ x)
            return (error**2).sum(), {"w": self.gradients[0] if kept == "first" else self.gradients[-2:][0]}

    net = Net()
    before = net.params["w"].copy()
    report = gradcheck(net, np.random.default_rng(0).normal(size=(4, 3)))
    assert not report.passed, str(report)
    assert np.array_equal(net.params["w"], before)


def test_a_model_that_returns_the_gradient_of_the_call_before():
    class Model:
        def __init__(self):
            self.params, self.gradients = {"w": np.array([0.3, -1.0, 2.0])}, []

        def loss_and_gradients(self, x, y, *, training):
            error = x @ self.params["w"] - y
            self.gradients.append(2 * error @ x)
            return (error**2).sum(), {"w": self.gradients[-2:][0]}

    rng = np.random.default_rng(0)
    (problem,) = gradcheck(Model(), rng.normal(size=(4, 3)), rng.normal(size=4)).problems
    assert problem.startswith(
        "loss_and_gradients gives a different result when it has been called with other parameters"
    )


# ---------------------------------------------------------------------------------------------- what the library has itself


@pytest.mark.parametrize("layer", [Dense(4), Conv2D(2, 3, activation="relu"), Activation("softmax")])
def test_right_ones_of_the_library(layer):
    shape = (3, 6, 5, 2) if isinstance(layer, Conv2D) else (3, 4)
    for idiom in IDIOMS.values():
        report = gradcheck(layer, idiom(shape), max_entries=60)
        assert not report.problems
        assert not any(record.failed for record in report.records), str(report)
