"""check_layer's rungs: values held to a reference, ties, small numbers, honesty; all kinds of fault, as data."""

import json
import time

import numpy as np
import pytest

from minidl.layers import Activation, Conv2D, Dense, Layer, MaxPooling2D
from minidl.testing import LayerError, check_layer


def results_of(factory, shapes, **settings):
    """What each rung found, by its name, of the first input shape."""
    try:
        results = check_layer(factory, shapes, **settings)
    except LayerError as error:
        results = error.results
    found = {}
    for result in results:
        found.setdefault(result.rung, result)
    return found


class Wrapped(Conv2D):
    def __init__(self):
        super().__init__(2, 3)


class Flipped(Wrapped):
    """Slides a kernel that is turned around, and has the derivative that goes with it: as a derivative it is right."""

    def turned(self):
        layer = Conv2D(2, 3)
        layer.params = {**self.params, "kernel": self.params["kernel"][::-1, ::-1].copy()}
        return layer

    def forward(self, x, *, training=False, rng=None):
        return self.turned().forward(x)

    def backward(self, dy, cache):
        dx, grads = self.turned().backward(dy, cache)
        return dx, {**grads, "kernel": grads["kernel"][::-1, ::-1].copy()}


class Halves(Layer):
    def forward(self, x, *, training=False, rng=None):
        return np.maximum(x, 0) / 2, x

    def backward(self, dy, x):
        return dy * (x > 0) / 2, {}


def test_a_right_layer_passes_with_a_reference():
    results = check_layer(Wrapped, (6, 5, 2), reference=lambda: Conv2D(2, 3))
    assert [result.rung for result in results] == [
        "shapes", "values", "gradients", "ties", "dtypes", "one by one", "fresh", "layouts", "honest",
    ]  # fmt: skip
    assert all(result.passed and result.points == 1 and result.seconds > 0 for result in results)
    assert [result.rung for result in check_layer(Wrapped, (3, 3, 1))].count("values") == 0


@pytest.mark.parametrize(
    ("layer", "shape", "reference", "words"),
    [
        (
            Flipped,
            (6, 5, 2),
            lambda: Conv2D(2, 3),
            "y: it would be right if kernel were flipped along its first two axes.",
        ),
        (Halves, (5,), lambda: Activation("relu"), "y: it is 0.5 times what it should be, everywhere."),
    ],
)
def test_a_forward_that_is_another_function(layer, shape, reference, words):
    assert check_layer(layer, shape)  # as a derivative it is right
    with pytest.raises(LayerError, match="from the reference") as caught:
        check_layer(layer, shape, reference=reference)
    assert words in str(caught.value)
    found = results_of(layer, shape, reference=reference)
    assert [rung for rung, result in found.items() if not result.passed] == ["values"]
    assert found["values"].points == 0
    assert found["values"].hint in words


class OfSome(Activation):
    """A ReLU; as a derivative it is right, but where ``wrong`` says so it is another function."""

    def __init__(self, wrong):
        super().__init__("relu")
        self.wrong = wrong

    def forward(self, x, *, training=False, rng=None):
        y, cache = super().forward(x)
        return (y + 1 if self.wrong(x) else y), cache


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda x: len(x) == 3 and (x < 0).any(), "y differs from the reference"),
        (lambda x: len(x) == 1, "y differs of a single sample from the reference"),
        (lambda x: (x < 0).all(), "y differs of negative numbers from the reference"),
        (lambda x: all(len(set(sample)) < 4 for sample in x), "y differs of equal numbers from the reference"),
    ],
)
def test_a_forward_that_is_wrong_for_some_inputs(wrong, what):
    found = results_of(lambda: OfSome(wrong), (5,), reference=lambda: Activation("relu"))["values"]
    assert found.faults[0].startswith(f"{what}: y[")
    assert len(found.faults) == 1  # and no hint


def test_negative_numbers_are_no_ids():
    class Embedding(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"table": rng.normal(size=(6, 2)).astype(dtype)}
            return (*input_shape, 2)

        def forward(self, x, *, training=False, rng=None):
            assert (x >= 0).all()
            return self.params["table"][x], x

        def backward(self, dy, x):
            dtable = np.zeros_like(self.params["table"])
            np.add.at(dtable, x, dy)
            return None, {"table": dtable}

    class Wrong(Embedding):
        def backward(self, dy, x):
            return None, {"table": 2 * super().backward(dy, x)[1]["table"]}

    def ids(rng, shape):
        return rng.integers(0, 6, shape)

    assert check_layer(Embedding, (4,), inputs=ids, reference=Embedding)
    found = results_of(Wrong, (4,), inputs=ids, reference=Embedding)
    assert [rung for rung, result in found.items() if not result.passed] == ["gradients"]


class Affine(Layer):
    """y = kernel · x + bias, with the kernel turned as it is told, and the derivative that goes with it."""

    def __init__(self, turn=lambda kernel: kernel, size=1.0):
        super().__init__()
        self.turn, self.size = turn, size

    def build(self, input_shape, rng, dtype):
        shape = (*input_shape, *input_shape)
        self.params = {
            "bias": rng.normal(size=input_shape).astype(dtype),
            "kernel": rng.normal(size=shape).astype(dtype),
        }
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return (x @ self.turn(self.params["kernel"]) + self.params["bias"]) * x.dtype.type(self.size), x

    def backward(self, dy, x):
        dy = dy * x.dtype.type(self.size)
        dkernel = self.turn(x.T @ dy)  # each of the turns is its own inverse
        return dy @ self.turn(self.params["kernel"]).T, {"bias": dy.sum(axis=0), "kernel": dkernel.copy()}


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        (lambda: Affine(lambda kernel: kernel.T), "it would be right if kernel were transposed."),
        (lambda: Affine(lambda kernel: kernel[::-1]), "it would be right if kernel were flipped."),
        (lambda: Affine(lambda kernel: kernel[:, ::-1]), "it would be right if kernel were flipped along axis 1."),
        (
            lambda: Affine(lambda kernel: kernel[::-1, ::-1]),
            "it would be right if kernel were flipped along its first two axes.",
        ),
        (lambda: Affine(size=1e-3), "it is 0.001 times what it should be, everywhere."),
        (lambda: Affine(size=-20), "it is -20 times what it should be, everywhere."),
    ],
)
def test_what_would_make_the_outputs_right(layer, hint):
    found = results_of(layer, (4,), reference=Affine)
    assert [rung for rung, result in found.items() if not result.passed] == ["values"]
    assert found["values"].hint == hint
    assert found["values"].faults[1:] == [f"y: {hint}"]
    found = results_of(Affine, (4,), reference=layer)  # a thousandth as large, and so on, on the other side
    assert found["values"].hint[:12] in (hint[:12], "it is 1000 t", "it is -0.05 ")


def test_nothing_is_guessed_of_tiny_outputs():
    class Other(Affine):
        """Another function, and its derivative."""

        def forward(self, x, *, training=False, rng=None):
            y, _ = super().forward(x)
            return y * np.linspace(1, 2, 4, dtype=y.dtype), x

        def backward(self, dy, x):
            return super().backward(dy * np.linspace(1, 2, 4, dtype=dy.dtype), x)

    found = results_of(lambda: Other(size=1e-12), (4,), reference=lambda: Affine(size=1e-12))["values"]
    assert found.faults[0].startswith("y differs from the reference")
    assert found.hint == ""


def test_parameters_of_another_shape_and_outputs_of_another_shape():
    found = results_of(lambda: Dense(2), (3,), reference=lambda: Dense(4))["values"]
    assert found.faults == [
        "the parameters are {'kernel': (3, 2), 'bias': (2,)}, those of the reference {'kernel': (3, 4), 'bias': (4,)}."
    ]

    class Sums(Layer):
        def forward(self, x, *, training=False, rng=None):
            return x.sum(axis=1), x

        def backward(self, dy, x):
            return np.repeat(dy[:, None], x.shape[1], axis=1), {}

    found = results_of(lambda: Activation("relu"), (3,), reference=Sums)["values"]
    assert found.faults == ["y differs from the reference: y: shape (3, 3), expected (3,)."]
    assert found.hint == ""


def test_samples_that_are_left_out():
    class Drops(Layer):
        def forward(self, x, *, training=False, rng=None):
            return x[1:].copy(), x

        def backward(self, dy, x):
            return np.concatenate([np.zeros_like(x[:1]), dy]), {}

    assert results_of(Drops, (4,))["shapes"].faults == ["forward gives 2 samples for 3."]


def test_a_reference_with_other_parameters():
    with pytest.raises(LayerError, match=r"the parameters are .*kernel.*, those of the reference \{\}"):
        check_layer(lambda: Dense(2), (3,), reference=lambda: Activation("relu"))
    with pytest.raises(
        TypeError, match=r"reference must make a new layer at each call, e\.g\. lambda: Dense\(4\), received 3"
    ):
        check_layer(lambda: Dense(2), (3,), reference=3)


def test_a_reference_whose_parameters_have_other_names():
    class Linear(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"w": rng.normal(size=(*input_shape, 2)).astype(dtype), "b": np.zeros(2, dtype)}
            return (2,)

        def forward(self, x, *, training=False, rng=None):
            return x @ self.params["w"] + self.params["b"], x

        def backward(self, dy, x):
            return dy @ self.params["w"].T, {"w": x.T @ dy, "b": dy.sum(axis=0)}

    assert check_layer(Linear, (3,), reference=lambda: Dense(2))


def test_a_pool_where_ties_all_win():
    class AllWin(MaxPooling2D):
        def forward(self, x, *, training=False, rng=None):
            y, _ = super().forward(x)
            return y, (x, y)

        def backward(self, dy, cache):
            x, y = cache
            return dy.repeat(2, 1).repeat(2, 2) * (x == y.repeat(2, 1).repeat(2, 2)), {}

    with pytest.raises(LayerError, match="where entries are equal, x group of equal entries") as caught:
        check_layer(AllWin, (4, 6, 2))
    assert [result.rung for result in caught.value.results if not result.passed] == ["ties"]


def test_a_mask_that_is_off_by_little():
    class Off(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"b": np.zeros(input_shape, dtype)}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            return np.maximum(x, 0) + self.params["b"], x

        def backward(self, dy, x):
            return dy * (x > -0.05), {"b": dy.sum(axis=0)}

    with pytest.raises(LayerError, match="for small x, x"):
        check_layer(Off, (8,))
    gradients = results_of(Off, (8,))["gradients"]
    assert gradients.worst["array"] == "x"
    assert gradients.worst["numeric"] == pytest.approx(0)
    assert 0.9 < gradients.points < 1
    # Where the inputs are the user's, they are not made small; and what is asked for is checked, no more.
    assert results_of(Off, (8,), inputs=lambda rng, shape: rng.normal(size=shape))["gradients"].passed
    assert results_of(Off, (8,), only="b")["gradients"].passed


class Convolution(Layer):
    """In loops, as it is taught; change: what is wrong."""

    def __init__(self, change=""):
        super().__init__()
        self.change = change

    def build(self, input_shape, rng, dtype):
        height, width, channels = input_shape
        self.params = {"k": rng.normal(size=(2, 2, channels, 2)).astype(dtype), "b": np.zeros(2, dtype)}
        return height - 1, width - 1, 2

    def forward(self, x, *, training=False, rng=None):
        n, height, width, _ = x.shape
        y = np.zeros((n, height - 1, width - 1, 2), x.dtype)
        for i in range(height - 1):
            for j in range(width - 1):
                y[:, i, j] = np.tensordot(x[:, i : i + 2, j : j + 2], self.params["k"], 3) + self.params["b"]
        return y, x

    def backward(self, dy, x):
        k = self.params["k"]
        dx, dk = np.zeros_like(x), np.zeros_like(k)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                part = np.tensordot(x[:, i : i + 2, j : j + 2], dy[:, i, j], ([0], [0]))
                dk = part if self.change == "dk =" else dk + part
                share = np.tensordot(dy[:, i, j], k, ([1], [3]))
                if self.change == "dx =":
                    dx[:, i : i + 2, j : j + 2] = share
                else:
                    dx[:, i : i + 2, j : j + 2] += share
        if self.change == "axes":
            dk = dk.swapaxes(0, 1).copy()
        db = dy.sum() if self.change == "bias" else dy.sum(axis=(0, 1, 2))
        return dx, {"k": dk, "b": np.asarray(db)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("dk =", 'k: only the last of its terms counts: is it "=" for "+="?'),
        ("dx =", 'x: only the last of its terms counts: is it "=" for "+="?'),
        ("axes", "k: it is transposed: its axes 0 and 1 are swapped."),
        ("bias", "b: the gradient has shape (), expected (2,). It was summed over too much"),
    ],
)
def test_what_students_write(change, words):
    assert check_layer(Convolution, (3, 4, 2))
    with pytest.raises(LayerError) as caught:
        check_layer(lambda: Convolution(change), (3, 4, 2))
    assert words in str(caught.value)


def test_a_missing_transpose_and_an_unfinished_method():
    class NoTranspose(Dense):
        def backward(self, dy, cache):
            return dy @ self.params["kernel"], {}

    with pytest.raises(
        LayerError, match=r"backward fails: matmul.* Is a \.T missing, or too much\? The shapes are: dy \(3, 2\)"
    ):
        check_layer(lambda: NoTranspose(2), (5,))

    class Unfinished(Dense):
        def backward(self, dy, cache):
            raise NotImplementedError

    with pytest.raises(LayerError) as caught:
        check_layer(lambda: Unfinished(2), (5,))
    assert str(caught.value).splitlines() == [
        "Unfinished is not right yet.",
        "input shape (5,): gradients: NotImplementedError: backward is still to be written",
    ]
    assert caught.value.results[-1].notes == []  # nothing is known of what backward calls


class Numeric(Layer):
    """Right to many digits, and no derivation."""

    def forward(self, x, *, training=False, rng=None):
        return np.tanh(x), x

    def backward(self, dy, x):
        dx = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = 1e-5 if x.dtype == np.float64 else 1e-2
            dx[place] = (dy * (self.forward(x + step)[0] - self.forward(x - step)[0])).sum() / (2 * step[place])
        return dx, {}


class Recomputes(Layer):
    def forward(self, x, *, training=False, rng=None):
        return np.tanh(x), x

    def backward(self, dy, x):
        y, _ = self.forward(x)
        return dy * (1 - y**2), {}


def test_a_numeric_gradient_and_a_forward_in_backward_are_told_apart():
    found = results_of(Numeric, (4,))
    assert "backward calls forward 24 times: it is a numeric gradient. Derive it" in found["honest"].faults[0]
    found = results_of(Numeric, (1,), samples=1)  # of a single number
    assert "backward calls forward 2 times: it is a numeric gradient" in found["honest"].faults[0]
    found = results_of(Recomputes, (4,))
    assert all(result.passed for result in found.values())
    assert found["honest"].notes == ["backward calls forward (1)."]


def test_every_kind_of_fault_is_told():
    class Several(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"w": np.ones(input_shape)}  # not in dtype
            return (7,)  # not the shape

        def forward(self, x, *, training=False, rng=None):
            return x * self.params["w"], x

        def backward(self, dy, x):
            return -dy * self.params["w"], {"w": (dy * x).sum(axis=0)}

    with pytest.raises(LayerError) as caught:
        check_layer(Several, (4,))
    text, results = str(caught.value), caught.value.results
    assert "build returns the output shape (7,), but forward gives (4,)" in text
    assert "x: the sign is wrong." in text
    assert "build makes the parameter 'w' as float64 for dtype float32" in text
    assert [result.rung for result in results if not result.passed] == ["shapes", "gradients", "ties", "dtypes"]
    (gradients,) = [result for result in results if result.rung == "gradients"]
    assert gradients.points == pytest.approx(4 / 16)  # 12 of the numbers of x are wrong, 4 of w are right
    assert gradients.hint == "the sign is wrong."
    assert gradients.worst["array"] == "x"
    assert gradients.worst["analytic"] == pytest.approx(-gradients.worst["numeric"], rel=1e-4)
    assert all(result.seconds > 0 for result in results)
    data = json.loads(json.dumps([result.to_dict() for result in results]))
    assert data[0]["input_shape"] == [4]
    assert data[1]["worst"]["where"] == gradients.worst["where"]


class Slow(Layer):
    """The sum of squares of the features, in a time that grows with their number."""

    wrong_from = 10_000

    def forward(self, x, *, training=False, rng=None):
        flat = x.reshape(len(x), -1)
        time.sleep(1e-6 * flat.shape[1])
        return (flat**2).sum(axis=1, keepdims=True), x

    def backward(self, dy, x):
        dx = (2 * x.reshape(len(x), -1) * dy).astype(x.dtype)
        dx[:, self.wrong_from :] = 0
        return dx.reshape(x.shape), {}


class SlowAndWrong(Slow):
    """Wrong for large shapes alone."""

    wrong_from = 100


def test_a_slow_layer_is_tried_at_a_small_shape(monkeypatch):
    from minidl.checking import rungs

    monkeypatch.setattr(rungs, "SECONDS", 0.02)
    found = results_of(Slow, (40, 40, 1), samples=2)
    assert found["gradients"].passed
    small = "forward is slow, so the gradients were tried for the input shape (8, 7, 1)."
    assert small in found["gradients"].notes
    with pytest.raises(LayerError, match=r"for the input shape \(40, 40, 1\), x direction") as caught:
        check_layer(SlowAndWrong, (40, 40, 1), samples=2)
    (gradients,) = [result for result in caught.value.results if result.rung == "gradients"]
    assert small in gradients.notes
    assert gradients.worst["array"] == "x"
    assert 0 < gradients.points < 1


def test_a_slow_layer_that_is_wrong_at_a_small_shape_is_told_so_once(monkeypatch):
    from minidl.checking import rungs

    class Wrong(Slow):
        wrong_from = 0

    monkeypatch.setattr(rungs, "SECONDS", 0.02)
    gradients = results_of(Wrong, (40, 40, 1), samples=2)["gradients"]
    assert len(gradients.faults) == 2
    assert gradients.faults[0].startswith("x[")
    assert gradients.faults[1] == "x: it is 0 everywhere: was the gradient computed, and passed on?"


def test_what_is_wrong_in_training_and_outside_is_told_once():
    class Wrong(Dense):
        def backward(self, dy, cache):
            dx, grads = super().backward(dy, cache)
            return -dx, {**grads, "bias": -grads["bias"]}

    faults = results_of(lambda: Wrong(2), (3,))["gradients"].faults
    assert [fault.partition("[")[0] for fault in faults] == [
        "x",
        "x: the sign is wrong.",
        "bias",
        "bias: the sign is wrong.",
    ]

    class Spoils(Dense):
        def backward(self, dy, cache):
            found = super().backward(dy, cache)
            dy *= 2
            return found

    gradients = results_of(lambda: Spoils(2), (3,))["gradients"]
    assert gradients.points == 0  # though no number is wrong
    faults = gradients.faults
    assert [fault.partition(":")[0] for fault in faults] == ["backward changes its argument dy"]


def test_a_slow_layer_that_takes_no_small_shape_is_tried_in_part(monkeypatch):
    from minidl.checking import rungs

    class Refuses(Slow):
        def build(self, input_shape, rng, dtype):
            if input_shape != (400,):
                raise ValueError("another shape")
            return (1,)

    monkeypatch.setattr(rungs, "SECONDS", 0.02)
    found = results_of(Refuses, (400,), samples=2)
    with_entries = results_of(Refuses, (400,), samples=2, max_entries=3)
    assert with_entries["gradients"].notes == []  # as many as was asked for
    assert "so only 10 entries of each array were tried." in found["gradients"].notes[0]


def test_without_the_kernels_of_the_library():
    """x and the parameters are other numbers, though both are drawn."""
    seen = []

    class Notes(Layer):
        def build(self, input_shape, rng, dtype):
            self.params = {"w": rng.normal(size=(3, *input_shape)).astype(dtype)}
            return input_shape

        def forward(self, x, *, training=False, rng=None):
            seen.append((x.copy(), self.params["w"].copy()))
            return x * self.params["w"].sum(axis=0), x

        def backward(self, dy, x):
            return dy * self.params["w"].sum(axis=0), {"w": np.repeat((dy * x).sum(axis=0)[None], 3, axis=0)}

    check_layer(Notes, (50,))
    x, w = seen[0]
    assert abs(np.corrcoef(x.ravel(), w.ravel())[0, 1]) < 0.3


def test_a_reference_sees_only_numbers_that_the_layer_accepts():
    """Warnings are errors in these tests, and the logarithm of a negative number warns."""

    class Logarithm(Layer):
        def forward(self, x, *, training=False, rng=None):
            return np.log(x), x

        def backward(self, dy, x):
            return dy / x, {}

    class Shifted(Logarithm):
        def forward(self, x, *, training=False, rng=None):
            return np.log(x) + (x[:, :1] == x[:, 1:2]), x

    def draw(rng, shape):
        return rng.uniform(1, 2, shape)

    assert check_layer(Logarithm, (3,), inputs=draw, reference=Logarithm)
    with pytest.raises(LayerError, match="differs of equal numbers from the reference"):
        check_layer(Shifted, (3,), inputs=draw, reference=Logarithm, samples=9)
