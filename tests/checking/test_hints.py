"""Hints name the mistake where the evidence for it is plain, and nothing where it could be another one."""

import numpy as np
import pytest
from checking import zoo

from minidl import gradcheck
from minidl.checking.hints import of_degree


class UntransposedKernel(zoo.Dense):
    def backward(self, dy, cache):
        return dy @ self.params["kernel"], super().backward(dy, cache)[1]


class SumOverTheBatchToo(zoo.Softmax):
    def backward(self, dy, p):
        return p * (dy - (dy * p).sum(keepdims=True)), {}


class SumLeftOut(zoo.Softmax):
    def backward(self, dy, p):
        return p * (dy - dy * p), {}


class WrongSignThroughTime(zoo.SimpleRNN):
    def backward(self, dy, cache):
        x, states = cache
        dx, dh = np.zeros_like(x), dy
        for t in reversed(range(x.shape[1])):
            dz = dh * (1 - states[t + 1] ** 2)
            dx[:, t] = dz @ self.params["wx"].T
            dh = -dz @ self.params["wh"].T
        return dx, super().backward(dy, cache)[1]


class MaskAboveOne(zoo.Relu):
    def backward(self, dy, x):
        return dy * (x > 1), {}


class EndsTwoTooEarly(zoo.TransposedConv1D):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        dx[:, -2:] = 0
        return dx, grads


class EndsOneRowTooEarly(zoo.Depthwise):
    def backward(self, dy, cache):
        fewer = dy.copy()
        fewer[:, -1] = 0
        return super().backward(fewer, cache)


class GradientsSwapped(zoo.GatedLinear):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return dx, {"a": grads["b"], "b": grads["a"]}


class ClipsItsError(zoo.Dense):
    def backward(self, dy, cache):
        return super().backward(dy / np.linalg.norm(dy), cache)


class MeanLeftOut(zoo.LayerNorm):
    def backward(self, dy, cache):
        normed, scale = cache
        dnormed = dy * self.params["gamma"]
        along = (dnormed * normed).mean(axis=-1, keepdims=True)
        return (dnormed - normed * along) * scale, super().backward(dy, cache)[1]


class GroupsInTheWrongOrder(zoo.GroupedConv1D):
    def backward(self, dy, cache):
        return super().backward(dy, cache)[0], super().backward(np.roll(dy, 2, axis=2), cache)[1]


CLIPPED = "it does not grow with dy: is dy clipped, or brought to some size?"
MASK = "it is 0 where it should not be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
LOOP = "left out: does a loop end too early, or begin too late?"
SAID = [
    (UntransposedKernel, (4, 4), {"x": "a matrix in it is transposed: is a .T missing, or too much?"}),
    (
        SumOverTheBatchToo,
        (3, 4),
        {"x": "the dy of other samples contributes to it: is an axis of a sum, or of a mean, left out?"},
    ),
    (
        SumLeftOut,
        (3, 4),
        {"x": "each entry's part in the other outputs is missing: they are coupled, so a sum over them belongs to it."},
    ),
    (
        WrongSignThroughTime,
        (3, 4, 3),
        {
            "x": "from each place along axis 1 to the one before, its error is multiplied by -1: is what a step passes back "
            "off by a factor, or of the wrong sign?"
        },
    ),
    (MaskAboveOne, (5, 4), {"x": MASK}),
    (EndsTwoTooEarly, (3, 4, 2), {"x": f"the last 2 along axis 1 are {LOOP}"}),
    (EndsOneRowTooEarly, (3, 4, 3, 3), dict.fromkeys(("x", "kernel"), f"the last along axis 1 of y is {LOOP}")),
    (ClipsItsError, (5, 4), dict.fromkeys(("x", "kernel", "bias"), CLIPPED)),
    (
        MeanLeftOut,
        (3, 5),
        {"x": "what is wrong in it is the same all along axis 1: is a mean, or a sum, over it wrong or left out?"},
    ),
    (
        GroupsInTheWrongOrder,
        (3, 5, 2),
        {"kernel": "dy is taken 2 places off along axis 2: is an offset wrong, or are groups in the wrong order?"},
    ),
    (GradientsSwapped, (5, 4), {"a": "it is the gradient of b.", "b": "it is the gradient of a."}),
]


@pytest.mark.parametrize(("layer", "shape", "hints"), SAID, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_said(layer, shape, hints):
    report = gradcheck(layer(), np.random.default_rng(0).normal(size=shape))
    assert report.hints == hints


class Dies(zoo.Residual):
    """A mask that leaves only the first unit on, by chance: not all but the first of the terms of a sum were replaced."""

    def backward(self, dy, cache):
        x, z = cache
        dz = dy * (z > 0) * np.array([1, 0, 0, 0])
        return super().backward(dy, cache)[0], {"kernel": x.T @ dz}


class Backwards(zoo.Relu):
    def backward(self, dy, x):
        return -dy * (x > 0), {}


def test_entries_at_a_kink_do_not_hide_what_holds_of_the_others():
    x = np.random.default_rng(0).normal(size=(4, 5))
    x[:, 0] = 0
    assert gradcheck(Backwards(), x).hints == {"x": "the sign is wrong."}


@pytest.mark.parametrize("wrong", [0, -1])
def test_what_holds_of_the_entries_that_are_wrong_is_not_said_of_a_large_array(wrong):
    class Square(zoo.Relu):
        def forward(self, x):
            return x**2, x

        def backward(self, dy, x):
            dx = 2 * x * dy
            dx[0] *= wrong
            return dx, {}

    report = gradcheck(Square(), np.random.default_rng(0).normal(size=(4, 101)))
    assert report.records[0].failed == 101
    assert report.hints == {}


@pytest.mark.parametrize("clip", [lambda dy: np.clip(dy, -5, 5), lambda dy: dy * min(1, 5 / np.abs(dy).max())])
def test_clipping_is_called_so(clip):
    class Clipped(zoo.Relu):
        def forward(self, x):
            return np.tanh(x), np.tanh(x)

        def backward(self, dy, y):
            return clip(dy) * (1 - y * y), {}

    hints = gradcheck(Clipped(), np.random.default_rng(0).normal(size=(4, 5))).hints
    assert hints == {"x": "it does not grow with a large dy: is dy clipped, or brought to some size?"}


def test_a_dead_unit_is_no_loop():
    report = gradcheck(Dies(), np.random.default_rng(0).normal(size=(5, 4)))
    assert '"=" for "+="' not in report.hints.get("kernel", "")


class AddsToItsCache(zoo.Depthwise):
    def backward(self, dy, cache):
        x, dx = cache, np.zeros_like(cache)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                x[:, i : i + 2, j : j + 2] += self.params["kernel"] * dy[:, i, j][:, None, None, :]  # right: dx
        return dx, super().backward(dy, cache)[1]


def test_nothing_is_guessed_of_a_backward_that_spoils_its_cache():
    report = gradcheck(AddsToItsCache(), np.random.default_rng(0).normal(size=(3, 4, 3, 3)))
    assert report.problems == ["backward changes its cache: it may be called twice, so it must work on copies."]
    assert report.hints == {}
    assert report.records[0].failed


class Explodes(zoo.Plain):
    """Its gradient is 1e12 times too large, so that beside it the slope is nothing; but moving x does move the output."""

    def forward(self, x, *, training=False, rng=None):
        return np.tanh(x), x

    def backward(self, dy, x):
        return dy * (1 - np.tanh(x) ** 2) * 1e12 * np.exp(x), {}


def test_no_effect_is_said_only_where_there_is_none():
    hint = gradcheck(Explodes(), np.random.default_rng(0).normal(size=(3, 4))).hints["x"]
    assert "does not change the output" not in hint


def test_a_large_array_that_is_off_by_little_gets_no_factor():
    """Of a single sample, least of all that of the number of samples, 1."""
    x = np.random.default_rng(0).normal(size=(1, 500))
    report = gradcheck((lambda x: float(np.sin(x).sum()), lambda x: 1.00005 * np.cos(x)), x)
    assert report.records[0].failed == 500
    assert report.hints == {}


class Slopes:
    """y = right · x, whose backward multiplies by another matrix: the slopes of each output, written out."""

    def __init__(self, right, wrong, outputs):
        self.params, self.outputs = {}, outputs
        self.right, self.wrong = (slopes.reshape(np.prod(outputs, dtype=int), -1) for slopes in (right, wrong))

    def forward(self, x):
        return (self.right @ x.reshape(-1)).reshape(self.outputs), x.shape

    def backward(self, dy, shape):
        return (dy.reshape(-1) @ self.wrong).reshape(shape), {}


def hint_for(right, wrong, axes):
    """axes: of right and of wrong, how many are those of y; the others are those of x."""
    layer = Slopes(right, wrong, right.shape[:axes])
    report = gradcheck(layer, np.random.default_rng(0).normal(size=right.shape[axes:]))
    assert report.problems == []
    assert report.records[0].failed
    return report.hints.get("x", "")


def slopes(*shape):
    return np.random.default_rng(1).normal(size=shape)


def without(right, *where):
    wrong = right.copy()
    wrong[where] = 0
    return wrong


def with_only(right, *where):
    return right - without(right, *where)


ALL = slice(None)
PLACE = "is an index one too large or too small?"
TURNED = "a matrix in it is transposed: is a .T missing, or too much?"
OFFSET = "is an offset wrong, or are groups in the wrong order?"
ASSIGNED = 'is it "=" for "+="?'
LAST = f"only the last of its terms counts: {ASSIGNED}"
OTHER_SAMPLES = "the dy of other samples contributes to it: is an axis of a sum, or of a mean, left out?"
NOT_MASKED = "it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
NOT_ZERO = "it is not 0 where it should be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
PART = "a part of the sum is missing: it is 0 for some outputs where it should not be."
WRONG_PLACES = "the right numbers are in the wrong places: is an index, an offset or the padding wrong?"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda right: right.swapaxes(0, 2), TURNED),
        (lambda right: right.swapaxes(1, 3), TURNED),
        (lambda right: right[:, :, ::-1], "it is reversed along axis 0."),
        (lambda right: right[..., ::-1], "it is reversed along axis 1."),
        (lambda right: np.roll(right, 1, axis=2), f"its numbers are a place off along axis 0: {PLACE}"),
        (lambda right: np.roll(right, 1, axis=3), f"its numbers are a place off along axis 1: {PLACE}"),
        (lambda right: np.roll(right, -1, axis=3), f"its numbers are a place off along axis 1: {PLACE}"),
        (lambda right: np.roll(right, 2, axis=3), ""),
        (lambda right: np.roll(right, 1, axis=0), f"dy is taken a place off along axis 0: {PLACE}"),
        (lambda right: np.roll(right, -1, axis=0), f"dy is taken a place off along axis 0: {PLACE}"),
        (lambda right: np.roll(right, 1, axis=1), f"dy is taken a place off along axis 1: {PLACE}"),
        (lambda right: np.roll(right, 2, axis=1), f"dy is taken 2 places off along axis 1: {OFFSET}"),
        (lambda right: np.roll(right, 3, axis=1), f"dy is taken 2 places off along axis 1: {OFFSET}"),
        (lambda right: np.roll(right, 4, axis=1), f"dy is taken a place off along axis 1: {PLACE}"),
    ],
)
def test_the_right_numbers_in_the_wrong_order(change, hint):
    right = slopes(3, 5, 3, 5)
    assert hint_for(right, change(right), 2) == hint


def test_two_places_are_reversed_and_not_moved_around():
    right = slopes(2, 4, 2, 4)
    assert hint_for(right, np.roll(right, 1, axis=2), 2) == "it is reversed along axis 0."
    assert hint_for(right, np.roll(right, 1, axis=0), 2) == ""
    right = slopes(3, 2, 4, 4)
    assert hint_for(right, right.swapaxes(2, 3), 2) == "it is transposed: its axes 0 and 1 are swapped."


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        # of y, of the shape (samples, rows, columns, channels), x being what a parameter is: all of y depends on it
        ((-1,), LAST),  # of the samples
        ((0,), LAST),
        ((ALL, -1), LAST),  # of the steps
        ((ALL, 0), LAST),
        ((ALL, -1, -1), LAST),  # of the places
        ((ALL, 0, 0), LAST),
        ((-1, -1, -1), LAST),  # of the places of all samples
        ((0, 0, 0), LAST),
        ((ALL, ALL, -1), f"only the last along axis 2 of y counts: {ASSIGNED}"),
        ((ALL, ALL, 0), f"only the first along axis 2 of y counts: {ASSIGNED}"),
        ((ALL, ALL, ALL, -1), f"only the last along axis 3 of y counts: {ASSIGNED}"),
        ((ALL, ALL, ALL, 0), f"only the first along axis 3 of y counts: {ASSIGNED}"),
        ((ALL, ALL, ALL, 1), PART),
        ((slice(0, 2),), f"the last along axis 0 of y is {LOOP}"),
        ((slice(1, 3),), f"the first along axis 0 of y is {LOOP}"),
        ((ALL, ALL, slice(0, 2)), f"the last 2 along axis 2 of y are {LOOP}"),
        ((ALL, ALL, slice(2, 4)), f"the first 2 along axis 2 of y are {LOOP}"),
        ((ALL, ALL, slice(1, 3)), PART),
        ((..., slice(0, 1), ALL), f"the last 2 along axis 0 are {LOOP}"),
        ((..., slice(1, 3), ALL), f"the first along axis 0 is {LOOP}"),
        ((..., slice(0, 3)), f"the last along axis 1 is {LOOP}"),
        ((..., slice(2, 4)), f"the first 2 along axis 1 are {LOOP}"),
        ((..., slice(1, 3)), PART),
    ],
)
def test_what_is_left_of_a_sum(where, hint):
    right = slopes(3, 2, 4, 3, 3, 4)
    assert hint_for(right, with_only(right, *where), 4) == hint


def test_windows_that_overwrite_each_other():
    """y[t] depends on x[t] and x[t + 1], of which the later, or where the loop runs backwards the earlier, one stays."""
    right = slopes(4, 5) * (np.eye(4, 5) + np.eye(4, 5, 1))
    assert hint_for(right[:, None], with_only(right, np.arange(4), np.arange(4))[:, None], 2).startswith("a part")
    later, earlier = without(right, np.arange(3), np.arange(1, 4)), without(right, np.arange(1, 4), np.arange(1, 4))
    for wrong in (later, earlier):
        batch = [np.einsum("sr,te->stre", np.eye(3), one) for one in (right, wrong)]
        assert hint_for(*batch, 2) == LAST


@pytest.mark.parametrize("shape", [(3, 4), (12,)])
def test_zeros_of_a_function_of_each_entry(shape):
    right = np.diag([1.0, 2, 0, 3, 0, 4, 0, 5, 6, 0, 7, 8])
    axes = len(shape)
    unmasked = right + np.diag(right.diagonal() == 0)
    masked = without(right, [1, 8], [1, 8])
    misplaced = unmasked - np.diag(right.diagonal() * [0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0])
    for wrong, hint in ((unmasked, NOT_MASKED), (masked, MASK), (misplaced, NOT_ZERO)):
        assert hint_for(right.reshape(shape * 2), wrong.reshape(shape * 2), axes) == hint


def test_zeros_of_a_function_of_each_sample():
    right = np.einsum("sr,ie->sire", np.eye(3), slopes(4, 4))
    others = slopes(3, 4, 3, 4) * (right == 0)
    assert hint_for(right, right + others, 2) == OTHER_SAMPLES
    right[0, 1, 0, 2] = right[2, 0, 2, 0] = 0  # and of its own sample, too
    assert hint_for(right, right + others + 0.5 * (right == 0), 2) == NOT_MASKED


def test_which_sample_is_which_is_known_only_where_y_has_them():
    right = np.zeros((4, 3, 2, 3))  # four rows of y, of two samples of x
    right[:2, :, 0], right[2:, :, 1] = slopes(2, 2, 3, 3)
    assert hint_for(right, right + slopes(*right.shape) * (right == 0), 2) == NOT_MASKED
    right = without(slopes(3, 140, 3, 2), ALL, ALL, slice(1, 3))  # so many outputs that only their sum is looked at
    assert hint_for(right, right + slopes(*right.shape) * (right == 0), 2) == NOT_MASKED


def test_a_single_number_that_some_outputs_do_not_depend_on():
    class Shift:
        def __init__(self):
            self.params = {"shift": np.array(0.5)}

        def forward(self, x):
            return x + self.params["shift"] * [[1, 0], [0, 1]], None

        def backward(self, dy, cache):
            return dy.copy(), {"shift": np.array(dy.sum())}  # right: of the diagonal alone

    assert gradcheck(Shift(), slopes(2, 2)).hints == {"shift": NOT_MASKED}


class BothGradients(zoo.GatedLinear):
    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return dx, {**grads, "a": grads["a"] + grads["b"]}


def test_a_sum_with_another_gradient_is_not_the_other_gradient():
    hints = gradcheck(BothGradients(), slopes(5, 4)).hints
    assert list(hints) == ["a"]
    assert hints["a"].startswith("each output's part is off by a factor of its own")  # 1 + (x · a) / (x · b)


def test_numbers_in_wrong_places():
    """y takes the entries 0, 3 and 1 of x, in two samples; backward gives them to 1, 3 and 0, or with other numbers."""
    right, wrong = np.zeros((2, 3, 2, 5)), np.zeros((2, 3, 2, 5))
    for sample in range(2):
        right[sample, [0, 1, 2], sample, [0, 3, 1]] = [1.0, 2.0, 3.0]
        wrong[sample, [0, 1, 2], sample, [1, 3, 0]] = [1.0, 2.0, 3.0]
    assert hint_for(right, wrong, 2) == WRONG_PLACES
    assert hint_for(right, wrong * [1.0, 1, 1, 2, 1], 2) == WRONG_PLACES  # two of three are only moved
    assert hint_for(right, wrong * [1.5, 1, 1, 2, 1], 2) == ""  # one of three


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda right: right * slopes(3, 4)[..., None, None], "each output's part is off by a factor of its own"),
        (lambda right: right * slopes(3, 4), "each entry is off by a factor of its own: is what dy is multiplied by"),
        (lambda right: right * (-2.0) ** np.arange(4), "from each place along axis 1 to the one before"),
        (lambda right: right * 2.0 ** np.arange(3)[:, None], "from each place along axis 0 to the one before"),
        (lambda right: right * np.array([1.0, 1, 2, 1]), "each entry is off by a factor of its own: is what dy"),
        (lambda right: right * np.eye(12).reshape(right.shape), "each entry's part in the other outputs is missing"),
        (lambda right: right + slopes(3, 4, 3)[..., None], "what is wrong in it is the same all along axis 1"),
        (lambda right: right + slopes(3, 4, 1, 4), "what is wrong in it is the same all along axis 0"),
        (lambda right: right + np.diag(slopes(12)).reshape(right.shape), "the part of each entry in its own output is"),
        (lambda right: right + slopes(4, 3, 4, 3).reshape(right.shape), ""),
        (lambda right: right + 0.1 * (slopes(12, 12) == slopes(12, 12).max()).reshape(right.shape), ""),
    ],
)
def test_factors_and_terms(wrong, hint):
    right = slopes(3, 4, 3, 4) + 3  # far from 0
    said = hint_for(right, wrong(right), 2)
    assert said.startswith(hint)
    assert hint or not said


def test_the_factor_of_a_step():
    right = slopes(3, 4, 3, 4)
    assert "its error is multiplied by 2:" in hint_for(right, right * 0.5 ** np.arange(4), 2)
    assert "its error is multiplied by -0.5:" in hint_for(right, right * (-2.0) ** np.arange(4), 2)
    nearly = 0.5 ** np.arange(4) * [1.0001, 1, 1, 0.9999]
    assert "its error is multiplied by 2:" in hint_for(right, right * nearly, 2)
    assert "from each place" not in hint_for(right, right * 0.5 ** np.array([0, 1, 2, 4]), 2)
    right = slopes(3, 2, 3, 2)  # of two places only
    assert "from each place" not in hint_for(right, right * 2.0 ** np.arange(2), 2)


def test_a_factor_of_each_entry_and_one_wrong_entry():
    right = np.diag(slopes(12)).reshape(3, 4, 3, 4)
    said = hint_for(right, right * slopes(3, 4), 2)
    assert said == "each entry is off by a factor of its own: is the slope at x wrong, or taken at another array?"
    one = right.copy()
    one[1, 2, 1, 2] *= 1.5
    assert (
        hint_for(right, one, 2) == "the part of each entry in its own output is wrong: is a term missing, or too much?"
    )


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_hints_of_any_size(size):
    right = size * slopes(3, 4, 3, 4)
    assert hint_for(right, -right, 2) == "the sign is wrong."
    assert hint_for(right, right[..., ::-1], 2) == "it is reversed along axis 1."
    assert hint_for(right, with_only(right, 0), 2) == LAST
    assert hint_for(right, right * slopes(3, 4)[..., None, None], 2).startswith("each output's part is off by a factor")


def test_factors_that_are_nearly_alike_are_no_steps():
    right = np.tile(np.eye(3), (4, 1))
    hint = hint_for(right, right * [1.0017, 1.002, 1.0023], 1)
    assert hint.startswith("each entry is off by a factor of its own: is what dy is multiplied by another array")


def test_factors_of_each_output_of_a_copy_are_none_of_the_entry():
    """Each entry twice in y, or the sum of each two in it: where every slope is off by its own, nothing is alike."""
    twice = np.repeat(np.diag(1 + np.arange(6.0)), 2, axis=0)
    for right in (twice, twice.T):
        assert hint_for(right, right * (2 + slopes(*right.shape)), 1) == ""


@pytest.mark.parametrize(
    ("gradient", "hint"),
    [
        (lambda dy: np.ones(2), "it is the same for every dy: is another array taken for dy?"),
        (lambda dy: dy / np.linalg.norm(dy), CLIPPED),
        (lambda dy: dy**2, "it grows with the square of dy: is dy taken for another array?"),
        (
            lambda dy: np.maximum(dy, 0),
            "it depends on the signs of dy: is a mask, or a comparison, made of dy and not of x?",
        ),
        (
            lambda dy: 3 * dy + [1, 2],
            "something is added that does not depend on dy: is another array taken for dy in a term?",
        ),
        (lambda dy: dy**3, "it is not linear in dy: is dy taken for another array?"),
        (lambda dy: dy**2 + dy, "it is not linear in dy: is dy taken for another array?"),
        (lambda dy: dy * [0, 1] + dy**2, "it is not linear in dy: is dy taken for another array?"),
        (lambda dy: np.exp(dy), "it is not linear in dy: is dy taken for another array?"),
    ],
)
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e12])
def test_how_a_gradient_depends_on_dy(gradient, hint, size):
    dy = np.array([0.5, -2.0])
    once, twice, minus = ({"w": size * gradient(factor * dy)} for factor in (1, 2, -1))
    assert of_degree(twice, once, minus) == {"w": hint}


def test_a_constant_factor_is_told_from_nearly_one():
    right = slopes(3, 4, 3, 4)
    sides = np.where(np.arange(12) % 2, 1, -1).reshape(3, 4)
    for factor, spread, constant in ((0.7, 5e-4, True), (0.7, 5e-3, False), (1.05, 1e-4, True), (1.002, 5e-4, False)):
        hint = hint_for(right, right * factor * (1 + spread * sides), 2)
        assert (
            hint.endswith("times what it should be, everywhere: a constant factor is missing or too much.") == constant
        )
    one = slopes(1, 1)
    assert "constant" not in hint_for(one, 0.7 * one, 1)  # of one number there is always a factor


def test_the_number_of_samples_or_a_factor_of_two():
    number = "the number of samples: mean or sum over the batch"
    square = "a factor of 2, as of a square's derivative"
    for samples, factor, said in (
        (2, 2.0, f"it is twice too large: {number}, or {square}?"),
        (2, 0.5, f"it is half as large as it should be: {number}, or {square}?"),
        (3, 2.0, f"it is twice too large: {square}?"),
        (4, 4.0, f"it is 4 times too large, {number}?"),
        (4, 0.25, f"it is 4 times too small, {number}?"),
    ):
        right = slopes(samples, 3, samples, 3)
        assert hint_for(right, factor * right, 2) == said


def test_of_many_outputs_their_sum_is_looked_at():
    right = slopes(3, 140, 3, 4)
    assert hint_for(right, right[..., ::-1], 2) == "it is reversed along axis 1."
    assert hint_for(right, np.roll(right, 1, axis=1), 2) == ""  # which output is which is not seen in a sum
    assert hint_for(right[:, :133], right[:, :133] * slopes(133, 1, 1), 2).startswith("each output's part")  # 399


def test_of_many_entries_those_that_failed_are_looked_at():
    x = np.random.default_rng(0).normal(size=(1, 401))
    for gradient, hint in (
        (lambda x: -np.cos(x), {"x": "the sign is wrong."}),
        (lambda x: np.cos(x[:, ::-1]), {}),
    ):
        assert gradcheck((lambda x: float(np.sin(x).sum()), gradient), x, max_entries=20).hints == hint
    reversed_ = gradcheck((lambda x: float(np.sin(x).sum()), lambda x: np.cos(x[:, ::-1])), x[:, :30])
    assert reversed_.hints == {"x": "it is reversed along axis 1."}
    no_slope = gradcheck((lambda x: float(np.sin(x[:, 0]).sum()), lambda x: np.ones_like(x)), x, max_entries=20)
    assert no_slope.hints == {}  # 20 entries say nothing of the others


def test_outputs_of_another_shape_nearby_get_no_hint():
    class Picks(zoo.Plain):
        """As many outputs as there are numbers above 0, of which one is a step away from it."""

        def forward(self, x, *, training=False, rng=None):
            return x[x > 0], x

        def backward(self, dy, x):
            dx = np.zeros_like(x)
            dx[x > 0] = -dy
            return dx, {}

    x = np.array([[1.0, 2.0, -1.0], [3.0, -2.0, 0.5]])
    assert gradcheck(Picks(), x).hints == {"x": "the sign is wrong."}
    x[1, 1] = -0.9e-5
    assert gradcheck(Picks(), x).hints == {}


def test_two_numbers_that_are_off_alike_say_nothing_of_a_mean():
    right = slopes(3, 2, 3, 2) + 3
    assert hint_for(right, right + slopes(3, 2, 3)[..., None], 2) == ""
