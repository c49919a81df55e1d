"""gradcheck finds what is wrong, says what it is, and does not accuse what is right."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import GradientError, RandomKey, Sequential, assert_gradients, checking, gradcheck
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from minidl.losses import MeanSquaredError, SparseCategoricalCrossentropy
from minidl.testing import inputs, layer_configurations


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


class Linear:
    """y = x² · kernel + bias, with no more than the contract; the faulty ones below change one thing."""

    def __init__(self, features=5, units=5):
        self.params = {"kernel": normal(features, units, seed=1), "bias": normal(units, seed=2)}

    def forward(self, x, *, training=False, rng=None):
        return x**2 @ self.params["kernel"] + self.params["bias"], x

    def backward(self, dy, cache):
        x = cache
        return 2 * x * (dy @ self.params["kernel"].T), {"kernel": (x**2).T @ dy, "bias": dy.sum(axis=0)}


def faulty(change, base=Linear):
    """A Linear whose backward returns change(dx, grads, dy, cache)."""

    class Faulty(base):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return change(dx, grads, dy, cache)

    return Faulty()


def only(report):
    """The one record of a report."""
    (record,) = report.records
    return record


def check(value, gradient, x, **settings):
    """gradcheck of a function that is a sum over entries, and its only record."""
    report = gradcheck((lambda x: value(x).sum(), gradient), np.asarray(x, np.float64), **settings)
    return report, only(report)


# ------------------------------------------------------------------------------------------------- what it is used on


def test_a_layer_with_no_more_than_the_contract():
    report = gradcheck(Linear(4, 3), normal(6, 4))
    assert report.passed
    assert [(r.name, r.entries, r.proved, r.failed) for r in report.records] == [
        ("x", 24, 24, 0),
        ("kernel", 12, 12, 0),
        ("bias", 3, 3, 0),
    ]
    assert all(0 < r.worst_relative < 1e-6 for r in report.records[:2])
    assert report.target == "Linear"


def test_a_layer_that_reads_its_parameters_by_another_name():
    class Aliased(Linear):
        def __init__(self):
            super().__init__()
            self.kernel = self.params["kernel"]

        def forward(self, x, *, training=False, rng=None):
            return x**2 @ self.kernel + self.params["bias"], x

    assert gradcheck(Aliased(), normal(3, 5)).passed


def test_build_is_called_in_float64_and_undone():
    built = []

    class Scale:
        def __init__(self):
            self.params = {}

        def build(self, input_shape, rng, dtype):
            built.append((input_shape, dtype))
            self.params["factor"] = rng.normal(size=input_shape).astype(dtype)
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return x * self.params["factor"], x

        def backward(self, dy, cache):
            return dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)}

    layer = Scale()
    params = layer.params
    assert gradcheck(layer, normal(3, 4)).passed
    assert built == [((4,), np.float64)]
    assert layer.params is params
    assert params == {}


def test_a_loss():
    labels = np.array([0, 2, 1, 1])
    report = gradcheck(SparseCategoricalCrossentropy(from_logits=True), labels, normal(4, 3))
    assert report.passed
    assert only(report).proved == 12
    report = gradcheck(MeanSquaredError(), normal(4, 3, seed=1), normal(4, 3).astype(np.float32))
    assert report.passed
    assert report.notes == [
        "y_pred is float32, and was checked as float64: its rounding is larger than the differences to be judged."
    ]


class SquareLoss:
    """Σ (y − t)² / N."""

    def forward(self, y_true, y_pred):
        return float(((y_pred - y_true) ** 2).sum() / len(y_pred)), (y_true, y_pred)

    def backward(self, cache):
        y_true, y_pred = cache
        return 2 * (y_pred - y_true) / len(y_pred)


def test_faulty_losses():
    class Vector(SquareLoss):
        def forward(self, y_true, y_pred):
            return ((y_pred - y_true) ** 2).sum(axis=1), (y_true, y_pred)

    class Stale(SquareLoss):
        def forward(self, y_true, y_pred):
            self.y_true, self.y_pred = y_true, y_pred
            return super().forward(y_true, y_pred)

        def backward(self, cache):
            return super().backward((self.y_true, self.y_pred))

    class Spoils(SquareLoss):
        def backward(self, cache):
            dy = super().backward(cache)
            cache[1][...] = 0
            return dy

    y_true, y_pred = normal(3, 4), normal(3, 4, seed=1)
    assert gradcheck(SquareLoss(), y_true, y_pred).passed
    assert gradcheck(Vector(), y_true, y_pred).problems == [
        "the loss must be one number in float64, received float64 of shape (3,). If these are the losses of the samples, say "
        "per_sample=True: the gradient is that of their sum."
    ]
    assert "seen other data in between" in gradcheck(Stale(), y_true, y_pred).problems[0]
    assert "changes its cache" in gradcheck(Spoils(), y_true, y_pred).problems[0]


def small_model(**settings):
    layers = [Dense(4, activation="tanh", input_shape=(3,)), Dropout(0.3), Dense(2)]
    return Sequential(layers, seed=3, **settings)


def test_a_compiled_model():
    model = small_model(dtype="float64")
    model.compile(loss="mean_squared_error")
    before = model.get_weights()
    report = gradcheck(model, normal(5, 3), normal(5, 2))
    assert report.passed
    assert [r.name for r in report.records] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_compiled_model_that_is_not_built_stays_so():
    model = Sequential([Dense(2)], dtype="float64")
    model.compile(loss="mean_squared_error")
    assert gradcheck(model, normal(5, 3), normal(5, 2)).passed
    assert not model.built
    assert model.input_shape is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("known", [True, False])
def test_a_plain_model_is_checked_from_input_to_output(dtype, known):
    model = Sequential(
        [Conv2D(2, 2, activation="tanh"), MaxPooling2D(), Flatten(), Dropout(0.3), Dense(2)], dtype=dtype
    )
    if known:
        model.build((5, 6, 1))
    params = [(layer, layer.params) for layer in model.layers]
    before = model.get_weights()
    report = gradcheck(model, normal(3, 5, 6, 1))
    assert report.passed, str(report)
    assert [r.name for r in report.records] == ["x", "conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    assert len(report.notes) == (4 if known and dtype == "float32" else 0)
    assert model.built == known
    assert all(layer.params is held for layer, held in params)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then, strict=True)


def test_a_model_with_a_faulty_layer_is_found():
    model = Sequential([Dense(3, input_shape=(5,)), faulty(lambda dx, grads, *_: (dx / 2, grads), Unbuilt)])
    report = gradcheck(model, normal(4, 5))
    assert [r.name for r in report.records if r.failed] == ["x", "dense/kernel", "dense/bias"]


def test_a_model_of_layers_without_names():
    model = SimpleNamespace(layers=[Linear(4, 3), Linear(3, 2)])
    report = gradcheck(model, normal(3, 4))
    assert report.passed
    assert [r.name for r in report.records] == [
        "x",
        "layers[0]/kernel",
        "layers[0]/bias",
        "layers[1]/kernel",
        "layers[1]/bias",
    ]


def test_a_layer_of_a_model_that_changes_dy_is_named():
    model = Sequential([Dense(5, input_shape=(4,)), faulty(spoil("dy"), Unbuilt), Dense(2)])
    report = gradcheck(model, normal(3, 4))
    assert report.problems == ["faulty: backward changes its argument dy: it must work on a copy."]
    model = Sequential([Dense(5, input_shape=(4,)), faulty(spoil("cache"), Unbuilt), Dense(2)])
    assert "backward changes its cache" in gradcheck(model, normal(3, 4)).problems[0]


class Unbuilt(Linear):
    def __init__(self):
        self.params = {}

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": rng.normal(size=(*input_shape, 2)), "bias": np.zeros(2)}
        return (2,)


def test_what_cannot_be_checked():
    with pytest.raises(TypeError, match=r"expects a layer or a loss .* received 3"):
        gradcheck(3, normal(2, 2))
    with pytest.raises(TypeError, match="received <class"):
        gradcheck(Linear, normal(2, 2))
    with pytest.raises(ValueError, match="a layer expects x, received 0 arrays"):
        gradcheck(Linear())
    with pytest.raises(ValueError, match="compile it first, or leave y out"):
        gradcheck(small_model(), normal(2, 3), normal(2, 2))
    with pytest.raises(TypeError, match="x must hold real numbers, received dtype complex128"):
        gradcheck(Linear(), normal(2, 5) * 1j)
    with pytest.raises(ValueError, match="x must be finite"):
        gradcheck(Linear(), np.full((2, 5), np.nan))
    with pytest.raises(ValueError, match="mode must be"):
        gradcheck(Linear(), normal(2, 5), mode="all")
    with pytest.raises(ValueError, match="max_entries must be at least 1, received 0"):
        gradcheck(Linear(), normal(2, 5), max_entries=0)
    with pytest.raises(ValueError, match="eps must be above 0, received 0"):
        gradcheck(Linear(), normal(2, 5), eps=0)
    with pytest.raises(ValueError, match="rtol must be above 0, received -1"):
        gradcheck(Linear(), normal(2, 5), rtol=-1)
    with pytest.raises(ValueError, match=r"x must have a batch axis, .* received the number 1\.0"):
        gradcheck(Linear(), np.array(1.0))

    class Listed(Linear):
        def __init__(self):
            super().__init__()
            self.params = list(self.params.values())

    with pytest.raises(TypeError, match=r"params of a layer must be a dictionary {name: array}, received a list"):
        gradcheck(Listed(), normal(2, 5))


def test_float32_is_refused_or_promoted_and_says_why():
    model = small_model()
    model.compile(loss="mean_squared_error")
    with pytest.raises(TypeError, match=r"dense/kernel in float32: its rounding is larger .* dtype='float64'"):
        gradcheck(model, normal(5, 3), normal(5, 2))

    layer = Linear()
    layer.params = {name: value.astype(np.float32) for name, value in layer.params.items()}
    params = dict(layer.params)
    report = gradcheck(layer, normal(3, 5).astype(np.float32))
    assert report.passed
    assert [note.split(",")[0] for note in report.notes] == [
        "x is float32",
        "the parameter 'kernel' is float32",
        "the parameter 'bias' is float32",
    ]
    assert "its rounding is larger" in str(report)
    assert all(layer.params[name] is value for name, value in params.items())

    class Fixed(Linear):
        params = property(lambda self: {"kernel": np.ones((5, 5), np.float32)})

        def __init__(self):
            pass

    with pytest.raises(TypeError, match=r"build .* in float64"):
        gradcheck(Fixed(), normal(3, 5))


def test_everything_is_put_back_also_after_an_exception():
    class Fails(Linear):
        calls = 0

        def __init__(self):
            super().__init__()
            self.mean = np.zeros(5)

        def forward(self, x, *, training=False, rng=None):
            self.calls += 1
            self.mean += 1
            if self.calls > 20:
                raise RuntimeError("enough")
            return super().forward(x)

    layer = Fails()
    params, kept = layer.params, {name: value.copy() for name, value in layer.params.items()}
    arrays = dict(params)
    x = normal(3, 5)
    with pytest.raises(RuntimeError, match="enough"):
        gradcheck(layer, x)
    assert layer.calls == 0
    assert not layer.mean.any()
    assert layer.params is params
    assert all(params[name] is value for name, value in arrays.items())
    for name, value in kept.items():
        np.testing.assert_array_equal(params[name], value)
    np.testing.assert_array_equal(x, normal(3, 5))


def test_ctrl_c_puts_everything_back_too():
    class Interrupted(Linear):
        calls = 0

        def forward(self, x, *, training=False, rng=None):
            self.calls += 1
            if self.calls == 60:  # in the middle of the kernel, one entry of which is moved
                raise KeyboardInterrupt
            return super().forward(x)

    layer = Interrupted()
    kept = {name: value.copy() for name, value in layer.params.items()}
    with pytest.raises(KeyboardInterrupt):
        gradcheck(layer, normal(3, 5))
    for name, value in kept.items():
        np.testing.assert_array_equal(layer.params[name], value)


class TwoDense:
    """A layer made of two others, whose parameters are collected when they are asked for."""

    def __init__(self):
        self.parts = [Dense(3), Dense(2)]

    @property
    def params(self):
        return {f"{i}/{name}": value for i, part in enumerate(self.parts) for name, value in part.params.items()}

    def build(self, input_shape, rng, dtype):
        for part in self.parts:
            input_shape = part.build(input_shape, rng, dtype)
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        y, first = self.parts[0].forward(x)
        z, second = self.parts[1].forward(y)
        return z, (first, second)

    def backward(self, dy, cache):
        dy, second = self.parts[1].backward(dy, cache[1])
        dx, first = self.parts[0].backward(dy, cache[0])
        return dx, {f"{i}/{name}": value for i, part in enumerate((first, second)) for name, value in part.items()}


def test_a_layer_made_of_layers_is_put_back_with_them():
    layer = TwoDense()
    report = gradcheck(layer, normal(3, 4))
    assert report.passed
    assert [r.name for r in report.records] == ["x", "0/kernel", "0/bias", "1/kernel", "1/bias"]
    assert layer.params == {}
    layer.build((4,), np.random.default_rng(0), np.dtype(np.float64))
    before = {name: (value, value.copy()) for name, value in layer.params.items()}
    assert gradcheck(layer, normal(3, 4)).passed
    for name, value in layer.params.items():
        assert value is before[name][0]
        np.testing.assert_array_equal(value, before[name][1])


def test_parameters_that_may_not_be_written_are_moved_in_copies():
    layer = Linear()
    layer.params["bias"].flags.writeable = False
    params = dict(layer.params)
    assert gradcheck(layer, normal(3, 5)).passed
    assert all(layer.params[name] is value for name, value in params.items())


class Uncopyable(Linear):
    """The cache holds an object that cannot be copied, as a graph of another framework."""

    class Graph:
        def __init__(self, x):
            self.x = x

        def __deepcopy__(self, memo):
            raise RuntimeError("a graph cannot be copied")

    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0], self.Graph(x)

    def backward(self, dy, cache):
        return super().backward(dy, cache.x)


def test_a_cache_that_cannot_be_copied():
    report = gradcheck(Uncopyable(), normal(3, 5))
    assert report.passed, str(report)

    class Spoils(Uncopyable):
        def backward(self, dy, cache):
            result = super().backward(dy, cache)
            cache.x *= 2
            return result

    assert "changes its cache" in gradcheck(Spoils(), normal(3, 5)).problems[0]


def test_results_in_lists_are_arrays_too():
    class Lists(Linear):
        def forward(self, x, *, training=False, rng=None):
            return super().forward(x)[0].tolist(), x

        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return dx.tolist(), {name: value.tolist() for name, value in grads.items()}

    report = gradcheck(Lists(), normal(3, 5))
    assert report.passed, str(report)
    assert gradcheck((lambda x: (x**2).sum(), lambda x: (2 * x).tolist()), normal(3)).passed


def test_it_imports_nothing_of_the_layers():
    code = (
        "import sys, types; package = types.ModuleType('minidl'); package.__path__ = ['minidl'];"
        "sys.modules['minidl'] = package; import minidl.checking;"
        "print(sorted(name for name in sys.modules if name.startswith(('minidl.layers', 'minidl.models', 'minidl.losses'))))"
    )
    root = checking.__file__.rpartition("minidl")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------- every entry, a sample, or directions


def test_a_sample_is_drawn_within_each_array_and_repeatable():
    reports = [gradcheck(Linear(7, 8), normal(4, 7), max_entries=6, seed=seed) for seed in (1, 1, 2)]
    assert [r.tried for r in reports[0].records] == [6, 6, 6]
    assert reports[0] == reports[1]
    assert [r.where for r in reports[0].records] != [r.where for r in reports[2].records]


def test_directions_find_a_single_wrong_entry_among_many():
    def forget(dx, grads, dy, cache):
        grads["kernel"][20, 30] *= 1.1
        return dx, grads

    class Large(Linear):
        def __init__(self):
            super().__init__(50, 60)

    x = normal(3, 50)
    report = gradcheck(Large(), x, mode="direction")
    assert report.passed
    assert [r.proved for r in report.records] == [8, 8, 8]
    report = gradcheck(faulty(forget, Large), x, mode="direction", directions=3)
    assert [r.failed for r in report.records] == [0, 3, 0]
    assert "kernel direction " in report.explanations()[0]
    assert "3 of 3 directions are wrong" in report.explanations()[0]
    report = gradcheck(faulty(lambda dx, grads, *_: (-dx, grads), Large), x, mode="direction")
    assert report.hints == {"x": "the sign is wrong."}


def test_progress_is_shown_on_a_terminal_after_two_seconds(monkeypatch):
    written = []
    clock = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(checking.time, "monotonic", lambda: next(clock))
    terminal = SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None)
    monkeypatch.setattr(checking.sys, "stderr", terminal)
    assert gradcheck(Linear(), normal(1, 5)).passed
    text = "".join(written)
    assert "\r\033[Kgradcheck Linear: x, 5 of 5" in text
    assert "x, 3 of 5" not in text  # that was before two seconds were over
    assert text.endswith("\r\033[K")
    written.clear()
    terminal.isatty = lambda: False
    assert gradcheck(Linear(), normal(1, 5)).passed
    assert written == []


def test_progress_says_how_much_there_is_and_its_line_is_cleared_after_an_exception_too(monkeypatch):
    written = []
    monkeypatch.setattr(checking.time, "monotonic", iter(np.arange(0, 10000, 3.0)).__next__)
    monkeypatch.setattr(
        checking.sys, "stderr", SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None)
    )
    assert gradcheck(Linear(), normal(250, 5), max_entries=3).passed
    assert "x, 3 of 3" in "".join(written)
    assert gradcheck(Linear(), normal(250, 5), mode="direction", directions=2).passed
    assert "kernel, 1 of 2\r" in "".join(written)
    written.clear()

    def value(x):
        if written:
            raise KeyboardInterrupt
        return x.sum()

    with pytest.raises(KeyboardInterrupt):
        gradcheck((value, np.ones_like), np.ones(2000))
    assert "".join(written) == "\r\033[Kgradcheck value: x, 1 of 2,000\r\033[K"


# --------------------------------------------------------------------------------------- kinks, and what is too small


def test_kinks_are_neither_proved_nor_failed():
    report, record = check(np.abs, np.sign, [0.0, 1.0, -1.0, 0.0])
    assert report.passed
    assert (record.proved, record.kink, record.failed) == (2, 2, 0)
    # ... also where the gradient is the mean of both sides
    _, record = check(lambda x: np.maximum(x, 0), lambda x: (np.sign(x) + 1) / 2, [0.0, 1.0])
    assert (record.proved, record.kink) == (1, 1)


def test_a_gradient_outside_of_both_slopes_is_wrong_at_a_kink_too():
    _, record = check(np.abs, lambda x: np.where(x == 0, 1.5, np.sign(x)), [0.0, 1.0])
    assert (record.proved, record.failed, record.where) == (1, 1, (0,))


@pytest.mark.parametrize("distance", [1e-4, 3e-7, 1e-7])
def test_near_a_kink_a_shorter_step_proves_or_disproves(distance):
    x = [distance, -distance, 1.0]
    _, record = check(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, x)
    assert (record.proved, record.zero, record.kink) == (2, 1, 0)
    _, record = check(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 0.5, x)
    assert (record.failed, record.kink) == (2, 0)


def test_ties_in_a_pool():
    x = np.zeros((1, 4, 4, 1))
    x[0, 2:, 2:, 0] = [[1, 2], [3, 4]]
    report = gradcheck(MaxPooling2D(), x)
    assert report.passed
    assert (report.records[0].proved, report.records[0].kink, report.records[0].zero) == (1, 12, 3)


def test_a_model_at_several_kinks_at_once_is_not_accused():
    """x = 0: z = 0 in all eight ReLUs. Moving x opens some of them to the right, the others to the left, and what they add to
    the slope may be of one sign on both sides: then the gradient, 0 by convention, is not between the two slopes."""
    model = Sequential([Dense(8, activation="relu", input_shape=(4,)), Dense(3)], seed=0, dtype="float64")
    for mode in ("entries", "direction"):
        report = gradcheck(model, np.zeros((2, 4)), mode=mode)
        record = report.records[0]
        assert (record.kink, record.failed, record.proved) == (8, 0, 0)
        assert not report.passed
        words = "entries" if mode == "entries" else "directions"
        assert f"x: only 0 of 8 {words} could be proved (0 are too small, 8 at a kink)." in str(report)
        assert "or biases that are not 0. In another check beside that one, mode=" in str(report)


@pytest.mark.parametrize("mode", ["entries", "direction"])
def test_a_model_that_sees_blank_images(mode):
    """The blank part of an image is at the kink of every ReLU and a tie in every pool while the biases are 0."""

    def model(layer=Conv2D):
        layers = [layer(6, 3, activation="relu", input_shape=(8, 8, 1)), MaxPooling2D(), Flatten(), Dense(3, "softmax")]
        model = Sequential(layers, seed=0, dtype="float64")
        model.compile(loss="sparse_categorical_crossentropy")
        return model

    images, labels = normal(6, 8, 8, 1), np.arange(6) % 3
    images[:, :5] = 0
    report = gradcheck(model(), images, labels, mode=mode)
    kernel, bias, *dense = report.records
    assert all(record.failed == record.kink == 0 for record in (kernel, *dense))
    assert (bias.kink, bias.failed) == (bias.tried, 0)
    assert "conv2d/bias: only 0 of" in str(report)

    class Halved(Conv2D):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return dx, {name: value / 2 for name, value in grads.items()}

    report = gradcheck(model(Halved), images, labels, mode=mode)
    assert report.records[0].failed > 0.9 * report.records[0].tried
    assert not report.records[1].passed
    assert all(record.passed for record in report.records[2:])


def test_too_little_proved_does_not_pass():
    for value, gradient, x in (
        (np.abs, np.sign, np.zeros(4)),
        (lambda x: x**3, lambda x: 3 * x**2, np.zeros(4)),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, -np.ones(4)),
        (np.abs, np.sign, [1.0] + [0.0] * 30),
    ):
        report, record = check(value, gradient, x)
        assert record.failed == 0
        assert not report.passed
        assert "entries could be proved" in report.explanations()[0]
    report, _ = check(np.abs, np.sign, np.zeros(0))
    assert report.explanations() == ["There is nothing to check."]
    assert not report.passed


def test_what_a_pool_passes_over_is_not_held_against_it():
    report = gradcheck(MaxPooling2D(12), normal(2, 12, 12, 1))
    assert report.passed
    assert (report.records[0].proved, report.records[0].zero) == (2, 286)


@pytest.mark.parametrize(
    ("value", "gradient"),
    [(np.log, lambda x: 1 / x), (lambda x: 1 / x, lambda x: -1 / x**2), (np.sqrt, lambda x: 0.5 / np.sqrt(x))],
    ids=["log", "1/x", "root"],
)
@pytest.mark.parametrize("distance", [1e-6, 1e-8, 1e-9])
def test_beside_a_pole(value, gradient, distance):
    """A step leads just onto the pole, where the function is infinite, or over it, or to where there is no function."""
    report, record = check(value, gradient, [distance, 0.5])
    assert report.passed, str(report)
    assert record.failed == 0
    assert np.isfinite(record.worst_relative)
    report, record = check(value, lambda x: 7 * gradient(x), [distance, 0.5])
    assert not report.passed
    assert record.proved == record.kink == 0


def test_numbers_of_any_size_raise_no_warning():
    """Warnings are errors in these tests."""
    x = np.array([-700.0, 0.0, 700.0])
    report, _ = check(np.exp, np.exp, x)
    assert report.passed
    report, _ = check(lambda x: 1e200 * x**2, lambda x: 1e200 * x, normal(3))
    assert report.hints == {"x": "it is half as large as it should be: a factor of 2, as of a square's derivative?"}


# ---------------------------------------------------------------------------------- right ones that are hard to prove


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_right_gradients_of_every_scale_are_proved(scale):
    x = normal(12)
    for value, gradient, places in (
        (lambda x: x**2, lambda x: 2 * x, x * scale),
        (lambda x: scale * x**2, lambda x: 2 * scale * x, x),
        (np.log, lambda x: 1 / x, np.abs(x) * scale),
        (np.sin, np.cos, x * scale),
        (lambda x: np.tanh(x * scale), lambda x: scale / np.cosh(x * scale) ** 2, x / scale),
        (lambda x: x**2 + scale, lambda x: 2 * x, x),  # a constant offset
        (lambda x: ((x + scale) - scale) ** 2, lambda x: 2 * x, x),  # one that only costs digits
    ):
        report, record = check(value, gradient, places)
        assert report.passed, str(report)
        assert record.proved == 12
        wrong, record = check(value, lambda x, gradient=gradient: gradient(x) * 1.001, places)
        assert record.failed >= 11, str(wrong)


def test_saturated_and_mixed():
    report, record = check(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), [-12.0, 12.0, 0.0, 9.0])
    assert report.passed
    assert record.proved == 4
    factors = np.array([1e-4, 1.0, 1e4])
    report, record = check(lambda x: x * factors, lambda x: factors, normal(3))
    assert record.proved == 3


@pytest.mark.parametrize("error", [1e-4, 3e-5, -1e-4])
def test_small_relative_errors_are_found(error):
    def change(dx, grads, dy, cache):
        return dx, {**grads, "kernel": grads["kernel"] * (1 + error)}

    report = gradcheck(faulty(change), normal(3, 5))
    assert [r.failed for r in report.records] == [0, 25, 0]
    assert report.records[1].worst_relative == pytest.approx(abs(error), rel=1e-2)


def test_the_place_of_a_single_wrong_entry_is_told():
    def change(dx, grads, dy, cache):
        grads["kernel"][3, 1] += 1e-3
        return dx, grads

    report = gradcheck(faulty(change), normal(3, 5))
    record = report.records[1]
    assert (record.failed, record.where) == (1, (3, 1))
    assert record.worst_absolute == pytest.approx(1e-3, rel=1e-4)
    assert record.analytic - record.numeric == pytest.approx(1e-3, rel=1e-4)


# ------------------------------------------------------------------------------------------------- more than slopes


def spoil(what):
    def change(dx, grads, dy, cache):
        (dy if what == "dy" else cache)[...] *= 2
        return dx, grads

    return change


class Random(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x + np.random.default_rng().normal(size=x.shape))


class Stale(Linear):
    def forward(self, x, *, training=False, rng=None):
        self.x = x
        return super().forward(x)[0], None

    def backward(self, dy, cache):
        return super().backward(dy, self.x)


class Counting(Linear):
    calls = 0

    def backward(self, dy, cache):
        self.calls += 1
        dx, grads = super().backward(dy, cache)
        return dx * self.calls, grads


class Pops(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0], [x]

    def backward(self, dy, cache):
        return super().backward(dy, cache.pop())


class Once(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0], iter([x])

    def backward(self, dy, cache):
        return super().backward(dy, next(cache))


class InObject(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0], SimpleNamespace(x=x)

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache.x.copy())
        cache.x += 1
        return dx, grads


class Buffer(Linear):
    out = np.zeros((3, 5))

    def forward(self, x, *, training=False, rng=None):
        self.out[...] = super().forward(x)[0]
        return self.out, x


class ChangesX(Linear):
    def forward(self, x, *, training=False, rng=None):
        y, _ = super().forward(x)
        cache = x.copy()
        x *= 2
        return y, cache


class Steps(Linear):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        self.params["bias"] -= 0.1 * grads["bias"]
        return dx, grads


class InFloat32(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0].astype(np.float32).astype(np.float64), x


class ReturnsFloat32(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0].astype(np.float32), x


class OnlyY(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0]


class Infinite(Linear):
    def forward(self, x, *, training=False, rng=None):
        return super().forward(x)[0] + np.inf, x


def with_grads(**changed):
    return faulty(lambda dx, grads, dy, cache: (dx, {**grads, **{name: f(grads, dy) for name, f in changed.items()}}))


FAULTS = {
    "changes dy": (faulty(spoil("dy")), "backward changes its argument dy"),
    "changes the cache": (faulty(spoil("cache")), "backward changes its cache"),
    "changes an object in the cache": (InObject(), "backward changes its cache"),
    "empties the cache": (Pops(), "backward changes its cache"),
    "fails the second time": (
        Once(),
        "backward fails when it is called twice with the same dy and cache: StopIteration",
    ),
    "no dx": (
        faulty(lambda dx, grads, *_: (None, grads)),
        "x: the gradient must be an array of numbers, received array(None",
    ),
    "not the same twice": (Counting(), "a different result when called twice with the same dy and cache"),
    "uses what forward left": (Stale(), "all that it uses must be in its cache"),
    "draws its own numbers": (Random(), "all its random numbers must follow from rng"),
    "the same y again": (Buffer(), "it must return a fresh array each time"),
    "changes x": (ChangesX(), "forward changes its argument x"),
    "changes parameters": (Steps(), "changes the parameters: that is the optimizer's part"),
    "ignores the scale of dy": (
        faulty(lambda dx, grads, dy, cache: (dx / np.abs(dy).max(), grads)),
        "x: twice the dy does not give twice the gradient: backward must be linear in dy.",
    ),
    "clips": (
        faulty(lambda dx, grads, *_: (np.clip(dx, -500, 500), grads)),
        "x: 1024 times the dy does not give 1024 times the",
    ),
    "wrong shape": (
        with_grads(bias=lambda g, dy: dy.sum(axis=0, keepdims=True)),
        "bias: the gradient has shape (1, 5)",
    ),
    "scalar": (with_grads(bias=lambda g, dy: dy.sum()), "bias: the gradient has shape (), expected (5,)"),
    "wrong dtype": (with_grads(bias=lambda g, dy: g["bias"].astype(np.float32)), "bias: the gradient is float32"),
    "NaN": (with_grads(bias=lambda g, dy: g["bias"] * np.nan), "bias: the gradient holds NaN or infinity"),
    "wrong name": (
        with_grads(offset=lambda g, dy: g["bias"]),
        "offset: a gradient of something that is not a parameter",
    ),
    "left out": (faulty(lambda dx, grads, *_: (dx, {"kernel": grads["kernel"]})), "bias: the gradient is missing"),
    "dx alone": (faulty(lambda dx, *_: dx), "backward must return (dx, {name: gradient}), received ndarray"),
    "grads in a list": (faulty(lambda dx, grads, *_: (dx, list(grads.values()))), "received a list for the latter"),
    "y alone": (OnlyY(), "forward must return (y, cache), received ndarray"),
    "infinite": (Infinite(), "forward returns NaN or infinity"),
    "returns float32": (ReturnsFloat32(), "forward returns float32 for float64"),
    "computes in float32": (InFloat32(), "forward computes in float32"),
}


@pytest.mark.parametrize("x", [np.zeros((3, 4)), np.full((2, 4), 0.7)], ids=["zeros", "constant"])
def test_outputs_that_float32_happens_to_have_are_not_taken_for_float32(x):
    """The softmax of equal numbers is 1/4, the sigmoid of 0 is 1/2."""
    for layer in (Activation("softmax"), Dense(3, activation="sigmoid", use_bias=False), Activation("linear")):
        assert gradcheck(layer, x).problems == []
    assert gradcheck((lambda x: 1 / (1 + np.exp(-x.sum())), lambda x: np.full(4, 0.25)), np.zeros(4)).passed


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_other_than_slopes(fault):
    layer, message = FAULTS[fault]
    report = gradcheck(layer, normal(3, 5))
    assert not report.passed
    assert message in report.problems[0]
    assert len(report.problems) <= 2


def test_other_data_need_not_suit_the_layer():
    """A layer is shown other numbers, and may warn of them: that is nobody's business, and ends nothing. Warnings are errors in
    these tests."""

    class Logarithm:
        def forward(self, x):
            y = np.log(x - 1)
            self.x = x
            return y, None

        def backward(self, dy, cache):
            return dy / (self.x - 1), {}

    report = gradcheck(Logarithm(), np.array([[1.1, 1.2], [1.3, 1.2]]))
    assert "all that it uses must be in its cache" in report.problems[0]


NOT_LINEAR = {  # dx → (what is said, and what for)
    "a term": (lambda dy, slope: dy * slope + slope, "twice", "something is added that does not depend on dy"),
    "no dy": (lambda dy, slope: slope.copy(), "twice", "it is the same for every dy"),
    "squared": (lambda dy, slope: dy**2 * slope, "twice", "it grows with the square of dy"),
    "cubed": (lambda dy, slope: dy**3 * slope, "twice", "it is not linear in dy"),
    "brought to length 1": (lambda dy, slope: dy / np.linalg.norm(dy) * slope, "twice", "it does not grow with dy"),
    "clipped": (lambda dy, slope: np.clip(dy, -100, 100) * slope, "1024 times", ""),
    "a mask of dy": (lambda dy, slope: dy * (dy > 0) * slope, "minus", "it depends on the signs of dy"),
}


@pytest.mark.parametrize("mistake", NOT_LINEAR)
def test_how_a_gradient_depends_on_dy_where_not_linearly(mistake):
    wrong, times, hint = NOT_LINEAR[mistake]

    class Wrong(Activation):
        def backward(self, dy, cache):
            return wrong(dy, super().backward(np.ones_like(dy), cache)[0]), {}

    report = gradcheck(Wrong("tanh"), normal(3, 4))
    assert report.problems == [f"x: {times} the dy does not give {times} the gradient: backward must be linear in dy."]
    assert hint in report.hints["x"]


def test_a_gradient_of_no_dy_is_zero():
    """A loss is often independent of some outputs, and 0 / 0 is NaN."""

    class Scaled(Activation):
        def backward(self, dy, cache):
            size = np.abs(dy).max()
            dx, grads = super().backward(dy / size, cache)
            return dx * size, grads

    report = gradcheck(Scaled("relu"), normal(3, 4))
    assert report.problems == ["x: where dy is 0, the gradient is not: backward must be linear in dy."]
    assert report.hints == {}


def test_gradients_of_two_dys_have_to_add_up():
    """Multiples of one dy do not show a mask that is made of the sizes of dy."""

    class Largest(Activation):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return dx * (np.abs(dy) == np.abs(dy).max(axis=1, keepdims=True)), grads

    report = gradcheck(Largest("tanh"), normal(3, 4))
    assert report.problems == [
        "x: the gradients of two dys do not add up to the gradient of their sum: backward must be linear in dy."
    ]


def test_a_fault_does_not_hide_the_slopes():
    layer = faulty(lambda dx, grads, dy, cache: (-dx, {"kernel": grads["kernel"]}))
    report = gradcheck(layer, normal(3, 5))
    assert report.problems == ["bias: the gradient is missing."]
    assert report.hints == {"x": "the sign is wrong."}
    assert [r.name for r in report.records] == ["x", "kernel"]


def test_faulty_functions():
    x = normal(4)

    def spoils(x):
        x *= 2
        return x

    assert gradcheck((lambda x: (x**2).sum(), lambda x: 2 * x), x).passed
    for value, gradient, message in (
        (lambda x: x, np.ones_like, "value(x) must be one number in float64, received float64 of shape (4,)."),
        (lambda x: np.nan * x.sum(), np.ones_like, "value(x) must be finite, received nan."),
        (lambda x: np.float32(x.sum()), np.ones_like, "value(x) must be one number in float64, received float32"),
        (lambda x: float(np.float32(x.sum())), np.ones_like, "value computes in float32"),
        (lambda x: (x**2).sum(), spoils, "changes its argument x"),
        (lambda x: x.sum(), lambda x: normal(4, seed=None), "called twice"),
        (lambda x: x.sum(), lambda x: np.ones(3), "x: the gradient has shape (3,), expected (4,)"),
    ):
        report = gradcheck((value, gradient), x)
        assert message in report.problems[0]
        assert not report.passed


def test_a_parameter_named_x_is_not_taken_for_the_input():
    class Named(Linear):
        def __init__(self):
            self.params = {"x": normal(5)}

        def forward(self, x, *, training=False, rng=None):
            return x * self.params["x"], x

        def backward(self, dy, cache):
            return dy, {"x": (dy * cache).sum(axis=0)}  # dx lacks the factor

    report = gradcheck(Named(), normal(3, 5))
    assert [(r.name, r.failed) for r in report.records] == [("input", 15), ("x", 0)]


def test_dropout_is_frozen():
    report = gradcheck(Dropout(0.5), normal(6, 8))
    assert report.passed
    record = only(report)
    assert record.proved + record.zero == 48
    assert 10 < record.zero < 38
    assert only(gradcheck(Dropout(0.5), normal(6, 8), training=False)).proved == 48
    keys = []

    class Noting(Linear):
        def forward(self, x, *, training=False, rng=None):
            keys.append((training, rng))
            return super().forward(x)

    gradcheck(Noting(), normal(2, 5), seed=9)
    # all but those with other data: of other numbers, signs, fewer samples, and in evaluation mode
    assert keys.count((True, RandomKey(9, 0))) == len(keys) - 4
    assert [training for training, rng in keys if rng != RandomKey(9, 0)] == [True, True, True, False]


# ------------------------------------------------------------------------------------------------------- hints, texts


class Relu(Linear):
    """ReLU after it, whose mask is part of the cache."""

    def forward(self, x, *, training=False, rng=None):
        y, _ = super().forward(x)
        return np.maximum(y, 0), (x, y > 0)

    def backward(self, dy, cache):
        x, mask = cache
        return super().backward(dy * mask, x)


class MaskForgotten(Activation):
    def __init__(self):
        super().__init__("relu")

    def backward(self, dy, cache):
        return dy.copy(), {}


class MaskMisplaced(Activation):
    def __init__(self):
        super().__init__("relu")

    def backward(self, dy, cache):
        return dy * (cache <= 0), {}


class Unused(Linear):
    def forward(self, x, *, training=False, rng=None):
        return x**2 @ self.params["kernel"], x


class ConvTransposed(Conv2D):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return dx, {**grads, "kernel": grads["kernel"].transpose(1, 0, 2, 3).copy()}


HINTS = {
    "sign": (with_grads(kernel=lambda g, dy: -g["kernel"]), "kernel", "the sign is wrong."),
    "factor of N": (with_grads(bias=lambda g, dy: 3 * g["bias"]), "bias", "3 times too large, the number of samples"),
    "1/N": (
        with_grads(bias=lambda g, dy: dy.mean(axis=0)),
        "bias",
        "3 times too small, the number of samples: mean or",
    ),
    "2": (faulty(lambda dx, grads, *_: (2 * dx, grads)), "x", "twice too large: a factor of 2, as of a square's"),
    "1/2": (faulty(lambda dx, grads, *_: (dx / 2, grads)), "x", "half as large as it should be: a factor of 2"),
    "constant": (faulty(lambda dx, grads, *_: (dx * 0.7, grads)), "x", "it is 0.7 times what it should be, everywhere"),
    "transpose": (with_grads(kernel=lambda g, dy: g["kernel"].T), "kernel", "it is transposed: its axes 0 and 1"),
    "zero": (with_grads(kernel=lambda g, dy: 0 * g["kernel"]), "kernel", "it is 0 everywhere"),
    "no effect": (Unused(), "bias", "does forward use it, and read it from self.params?"),
    "mask": (MaskForgotten(), "x", "a mask (of a ReLU, a pool or a dropout) not applied?"),
    "wrong mask": (MaskMisplaced(), "x", "it is not 0 where it should be: is a mask"),
}


@pytest.mark.parametrize("mistake", HINTS)
def test_hints(mistake):
    layer, name, hint = HINTS[mistake]
    report = gradcheck(layer, normal(3, 5))
    assert list(report.hints) == [name]
    assert hint in report.hints[name]
    assert f"{name}: {report.hints[name]}" in str(report)


def test_hints_of_images_shapes_and_two_samples():
    report = gradcheck(ConvTransposed(2, 2), normal(3, 4, 5, 3))
    assert report.hints == {"kernel": "it is transposed: its axes 0 and 1 are swapped."}
    two = gradcheck(with_grads(bias=lambda g, dy: 2 * g["bias"]), normal(2, 5)).hints["bias"]
    assert "number of samples" in two
    assert "square's derivative" in two
    for change, words in (
        (lambda g, dy: dy, "It was not summed over the batch: it needs .sum(axis=0)."),
        (lambda g, dy: np.ones((2, 3, 5)), "It was not summed over the batch: it needs .sum(axis=(0, 1))."),
        (lambda g, dy: g["bias"][:, None], "(5, 1), expected (5,). The numbers may be right: reshape it."),
        (lambda g, dy: g["bias"][None], "(1, 5), expected (5,). The numbers may be right: reshape it."),
    ):
        assert words in gradcheck(with_grads(bias=change), normal(3, 5)).problems[0]

    class Wide(Linear):
        def __init__(self):
            super().__init__(5, 4)

    layer = faulty(lambda dx, grads, *_: (dx, {**grads, "kernel": grads["kernel"].T}), Wide)
    assert "expected (5, 4). Is it transposed?" in gradcheck(layer, normal(3, 5)).problems[0]


def test_a_right_one_gets_no_hint_and_a_single_wrong_entry_no_guess():
    def change(dx, grads, dy, cache):
        grads["kernel"][3, 1] *= 1.0001
        return dx, grads

    assert gradcheck(Relu(), normal(3, 5)).hints == {}
    report = gradcheck(faulty(change), normal(3, 5))
    assert report.records[1].failed == 1
    assert report.hints == {}


def test_assert_gradients():
    assert_gradients(Linear(), normal(3, 5))
    layer = with_grads(bias=lambda g, dy: dy.mean(axis=0))
    with pytest.raises(GradientError) as caught:
        assert_gradients(layer, normal(3, 5), max_entries=4)
    lines = str(caught.value).splitlines()
    record = caught.value.report.records[2]
    assert lines[0] == "gradcheck did not accept the gradients of Faulty."
    assert lines[1] == (
        f"bias[{record.where[0]}]: the gradient says {record.analytic:.6g}, the slope is {record.numeric:.6g} "
        "(4 of 4 entries are wrong)."
    )
    assert lines[2] == "bias: it is 3 times too small, the number of samples: mean or sum over the batch?"
    assert isinstance(caught.value, AssertionError)


def test_the_table():
    text = str(gradcheck(with_grads(kernel=lambda g, dy: -g["kernel"]), normal(3, 5)))
    assert "gradcheck Faulty: FAILED" in text
    row = next(line for line in text.splitlines() if "kernel" in line)
    cells = [cell.strip() for cell in row.replace("│", "|").split("|")[1:-1]]
    assert cells[:6] == ["kernel", "25", "0", "0", "0", "25"]
    assert float(cells[6]) == pytest.approx(2)
    assert float(cells[9]) == pytest.approx(-float(cells[10]), rel=1e-5)
    assert "gradcheck Linear: passed" in str(gradcheck(Linear(), normal(3, 5)))


def test_a_batch_of_one_hides_a_mean_and_is_told_so():
    note = " is a batch of one: with two or more samples, it would also be checked how they are summed."
    model = small_model(dtype="float64")
    model.compile(loss="mean_squared_error")
    for name, target, arrays in (
        ("x", Linear(), (normal(2, 5),)),
        ("y_pred", SquareLoss(), (normal(2, 4), normal(2, 4, seed=1))),
        ("x", model, (normal(2, 3), normal(2, 2))),
    ):
        assert gradcheck(target, *arrays).notes == []
        report = gradcheck(target, *(array[:1] for array in arrays))
        assert report.notes == [name + note]
        assert str(report).endswith(name + note)


def test_of_equally_wrong_entries_the_first_one_is_shown():
    _, record = check(lambda x: x**2, lambda x: x, [0.5, -3.0, 2.0, 1.0])
    assert (record.where, record.failed) == ((0,), 4)
    assert record.analytic == 0.5
    assert record.numeric == pytest.approx(1)
    assert record.worst_absolute == pytest.approx(3)


def test_a_spoiled_cache_or_output_does_not_spoil_the_rest_of_the_report():
    report = gradcheck(faulty(spoil("cache")), normal(3, 5))
    assert len(report.problems) == 1
    assert [r.failed for r in report.records] == [0, 0, 0]
    assert [r.proved for r in gradcheck(Buffer(), normal(3, 5)).records] == [15, 25, 5]


def test_progress_does_not_flood_the_terminal(monkeypatch):
    written = []
    clock = iter(np.arange(0, 1000, 0.05))
    monkeypatch.setattr(checking.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(
        checking.sys, "stderr", SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None)
    )
    assert gradcheck(Linear(), normal(21, 5)).passed  # 105 + 25 + 5 entries, the first 40 of them in two seconds
    assert 10 < sum(" of " in text for text in written) < 40


def test_right_layers_are_never_accused():
    """Whatever they are given: ties, constants, zeros, large and small numbers, in any memory layout, with biases of 0 or not."""

    @settings(max_examples=150)
    @given(
        layer_configurations(), st.data(), st.sampled_from(["entries", "direction"]), st.booleans(), st.integers(0, 99)
    )
    def never(configuration, data, mode, training, seed):
        factory, shape = configuration
        layer, rng = factory(), np.random.default_rng(seed)
        layer.build(shape, rng, np.dtype(np.float64))
        for value in layer.params.values():
            value += rng.normal(size=value.shape) * (seed % 2)
        report = gradcheck(layer, data.draw(inputs(shape)), mode=mode, training=training, max_entries=8, seed=seed)
        assert report.problems == []
        assert not any(record.failed for record in report.records), str(report)

    never()


@pytest.mark.parametrize("mode", ["entries", "direction"])
def test_ties_under_a_mixed_upstream_are_kinks(mode):
    """A pixel tied in several windows: each window's share lies between its own slopes, though their sum may be outside."""
    tied = np.random.default_rng(0).integers(0, 3, size=(2, 7, 7, 2)).astype(float)
    (record,) = gradcheck(MaxPooling2D(3, strides=1), tied, mode=mode).records
    assert record.failed == 0
    assert record.kink > 0
