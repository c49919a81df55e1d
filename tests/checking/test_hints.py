"""Hints name the mistake where the evidence for it is plain, and nothing where it could be another one."""

import numpy as np
import pytest
from checking import zoo

from minidl import gradcheck


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
