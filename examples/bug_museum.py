"""A museum of bugs: faulty layers, losses and optimizers, what training with them looks like, and the check that finds them.

You learn that training proves nothing. Most of these networks learn in spite of their bug, many as well as the correct one
beside it, so the accuracy tells nothing; yet each of them is caught by a check that takes less than a second. Most of the bugs
were found in libraries that people use, and are rewritten here as small as possible. The others are the classics that
everybody makes once.

No single check finds them all. ``gradcheck`` proves that a backward is the derivative of its forward. So it cannot know that the
forward computes the wrong thing, what an optimizer makes of the gradient, or what differs between training and evaluation;
for these there are values worked out by hand, reference steps, and statistics.

    python examples/bug_museum.py                                     all exhibits, in half a minute
    python examples/bug_museum.py --no-training                       only which check finds which bug, in seconds
    python examples/bug_museum.py --exhibit elu-precedence            one in detail: its code, and the check's full report
    python examples/bug_museum.py --samples 10000 --plot museum.png   trained on more digits, and drawn
"""

import argparse
import importlib.util
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import minidl
from minidl.datasets import mnist
from minidl.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
    Rescaling,
)
from minidl.losses import MeanSquaredError, SparseCategoricalCrossentropy
from minidl.ops.geometry import pad_images
from minidl.optimizers import SGD, Adam
from minidl.utils import to_categorical

BATCH = 20  # digits per step


class Exhibit(NamedTuple):
    """A bug on show.

    name: how to select it. seen_at: the library that had it, or "practice". faulty, correct: two classes, made with the same
    settings. check: finds the bug. blind: a check that one might expect to find it, but does not; or None. network: builds a
    network around the part, to train it.
    """

    name: str
    seen_at: str
    faulty: type
    correct: type
    settings: dict[str, Any]
    check: "Check"
    blind: "Check | None"
    network: Callable[[Any], dict[str, Any]]

    @property
    def wrong(self):
        """What is wrong, in one line: the first line of the faulty class's docstring."""
        return inspect.getdoc(self.faulty).partition("\n\n")[0].replace("\n", " ")


class Check(NamedTuple):
    """kind: the kind of check. run: part → Verdict."""

    kind: str
    run: Callable[[Any], "Verdict"]


class Verdict(NamedTuple):
    """passed: whether the part is right as far as the check can tell. says: why, or why not. report: the check's full output."""

    passed: bool
    says: str
    report: str


EXHIBITS: dict[str, Exhibit] = {}


def exhibit(name, seen_at, *, correct, check, network, blind=None, **settings):
    """A decorator that adds the class to the museum."""

    def add(faulty):
        EXHIBITS[name] = Exhibit(name, seen_at, faulty, correct, settings, check, blind, network)
        return faulty

    return add


# ---------------------------------------------------------------------------------------------------------- 1. the checks


def normal(*shape, mean=0.0):
    """The same random numbers each time."""
    return np.random.default_rng(0).normal(mean, size=shape)


def verdict_of(report):
    """What a report of gradcheck says."""
    proved = sum(record.proved for record in report.records)
    says = f"{proved} entries are proved." if report.passed else " ".join(report.explanations())
    return Verdict(report.passed, says, str(report))


def verdict(passed, says):
    """The verdict of a check whose report is what it says."""
    return Verdict(bool(passed), says, says)


def gradients(*shape, mean=0.0, kind="gradcheck"):
    """gradcheck of a layer, on random samples of this shape (the first number is how many samples)."""
    return Check(kind, lambda layer: verdict_of(minidl.gradcheck(layer, normal(*shape, mean=mean))))


def loss_gradients(y_true):
    """gradcheck of a loss, on random predictions for four classes."""
    return Check("gradcheck", lambda loss: verdict_of(minidl.gradcheck(loss, y_true, normal(len(y_true), 4))))


def gradients_of_ties(*shape):
    """gradcheck of a pool on uniformly grey images, each of which is made brighter as a whole.

    Where all pixels of a window are equal, each one alone stands at a kink: upward its slope is 1, downward 0, and no gradient
    is wrong. But when they move together, the maximum just moves with them.
    """
    return Check("gradcheck of ties", lambda layer: verdict_of(minidl.gradcheck(layer, np.ones(shape), mode="ties")))


def values(x, expected):
    """The output of a layer against numbers worked out by hand; axes of length 1 are dropped."""

    def run(layer):
        with np.errstate(all="ignore"):
            y = layer.forward(np.array(x))[0].squeeze()
        passed = y.shape == np.shape(expected) and np.allclose(y, expected)
        return verdict(passed, f"forward gives {y.tolist()}, by hand it is {expected}.")

    return Check("values", run)


def evaluation():
    """Outside training, dropout returns its input."""

    def run(layer):
        y, _ = layer.forward(np.ones((10, 100)), training=False)
        says = f"outside training, {(y == 0).sum()} of 1,000 ones become 0, and their mean becomes {y.mean():.2f}."
        return verdict((y == 1).all(), says)

    return Check("evaluation mode", run)


def alone():
    """A sample among others and on its own, outside training."""

    def run(layer):
        x = np.random.default_rng(0).normal(size=(50, 4))
        layer.build((4,), np.random.default_rng(0), np.dtype(np.float64))
        for _ in range(500):
            layer.learn(layer.measure(x))
        among, own = (layer.forward(each)[0][0] for each in (x, x[:1]))
        if np.allclose(among, own):
            return verdict(True, "")
        return verdict(False, f"outside training, a sample gives {np.round(among, 2)} among others and {own} alone.")

    return Check("single samples", run)


def masks(forwards=200, units=100):
    """Each forward of a dropout draws a new mask, so each unit is dropped in about the share ``rate`` of them."""

    def run(layer):
        keys = [minidl.RandomKey(key, 0) for key in range(forwards)]
        drawn = [layer.forward(np.ones((1, units)), training=True, rng=key)[0] == 0 for key in keys]
        different = len({mask.tobytes() for mask in drawn})
        times = np.sum(drawn, axis=0)  # how often each unit was dropped; six deviations from the mean are no accident
        deviation = np.sqrt(forwards * layer.rate * (1 - layer.rate))
        passed = different == forwards and np.abs(times - forwards * layer.rate).max() < 6 * deviation
        says = f"different masks in {forwards} forwards: {different}; each unit was dropped {times.min()} to {times.max()} times."
        return verdict(passed, says)

    return Check("statistics", run)


def orders(epochs=5):
    """Each epoch goes through the samples in a different order."""

    def run(shuffler):
        different = len({shuffler.order(100, epoch).tobytes() for epoch in range(epochs)})
        return verdict(different == epochs, f"different orders in {epochs} epochs: {different}.")

    return Check("statistics", run)


def reference_steps(count=5000):
    """The lengths of Adam's steps, for made-up gradients, against what they should be.

    A step is η · m / √v, where m is a weighted mean of all gradients so far, and v one of their squares; each step back in time
    counts beta times less. An optimizer keeps running sums, and its bias correction makes the weights add up to 1. Here, both
    means are computed from their definition at each step.
    """
    gradients = np.random.default_rng(0).uniform(0.5, 1.5, count)

    def weighted_means(history, beta):
        weights = beta ** np.arange(count)[::-1]  # the last one counts 1, the one before beta, then beta², …
        return np.array([weights[-t:] @ history[:t] / weights[-t:].sum() for t in range(1, count + 1)])

    def run(adam):
        param, places = np.zeros(1), [0.0]
        with np.errstate(all="ignore"):
            for gradient in gradients:
                adam.step({"param": param}, {"param": np.array([gradient])})
                places.append(param.item())
        m, v = weighted_means(gradients, adam.beta_1), weighted_means(gradients**2, adam.beta_2)
        ratio = -np.diff(places) / (adam.learning_rate * m / np.sqrt(v))
        shown = ", ".join(f"{ratio[t - 1]:.2f} at step {t:,}" for t in (1, 2, 10, 100, count))
        return verdict(np.allclose(ratio, 1, atol=1e-4), f"the length of a step, of what it should be, is {shown}.")

    return Check("reference steps", run)


# -------------------------------------------------------------------------------------------------------- 2. the networks

# Where a network does not say otherwise, it is trained by plain gradient descent, which takes gradients as they are; others,
# like Adam, hide a wrong size.


def in_a_network(*layers):
    return {"layers": [Flatten(), Dense(64, activation="relu"), *layers, Dense(10, activation="softmax")]}


def as_activation(layer):
    return {"layers": [Flatten(), Dense(64), layer, Dense(10, activation="softmax")]}


def at_the_end(layer):
    return {"layers": [Flatten(), Dense(64, activation="relu"), Dense(10), layer]}


def at_the_end_without_rescaling(layer):
    return {**at_the_end(layer), "scale": 1.0, "optimizer": Adam()}


def behind_a_convolution(pool):
    # Maps of 25 x 25, so that windows of 3 x 3 need padding; tanh, because a ReLU turns what is negative to 0 anyway.
    return {"layers": [Conv2D(8, 4), pool, Activation("tanh"), Flatten(), Dense(10, activation="softmax")]}


def as_second_convolution(conv):
    first = Conv2D(8, 5, strides=2, activation="relu")
    return {"layers": [first, conv, Activation("relu"), Flatten(), Dense(10, activation="softmax")]}


def as_embedding(layer):
    # A row is looked up by hundreds of pixels, whose gradients add up.
    return {"layers": [Flatten(), layer, Flatten(), Dense(10, activation="softmax")], "optimizer": SGD(0.01)}


class Rows(Layer):
    """An image of one channel as a sequence of its rows."""

    def build(self, input_shape, rng, dtype):
        return input_shape[:2]

    def forward(self, x, *, training=False, rng=None):
        return x[..., 0].copy(), None

    def backward(self, dy, cache):
        return dy[..., None].copy(), {}


def as_reader(layer):
    return {"layers": [Rows(), layer, Dense(10, activation="softmax")], "optimizer": Adam(0.01)}


def as_loss(loss):
    return {"layers": [Flatten(), Dense(64, activation="relu"), Dense(10)], "loss": loss}


def as_loss_for_adam(loss):
    return {**as_loss(loss), "optimizer": Adam(), "one_hot": True}


def as_optimizer(optimizer):
    return {**in_a_network(), "optimizer": optimizer}


def as_shuffler(shuffler):
    return {**in_a_network(), "shuffler": shuffler}


# ------------------------------------------------------------------------------------------- 3. the exhibits: dropout

of_dropout = partial(exhibit, correct=Dropout, network=in_a_network, rate=0.5)


@of_dropout("dropout-without-mask", "numpy-ml, issue 94", check=gradients(3, 8))
class DropoutWithoutMask(Dropout):
    """Its backward scales the gradient but does not apply the mask: dropped units learn all the same."""

    def backward(self, dy, cache):
        return dy / (1 - self.rate), {}  # right: times the mask


@of_dropout("dropout-overwrites-dy", "numpy-ml, issue 94", check=gradients(3, 8))
class DropoutOverwritesDy(Dropout):
    """Its backward writes the result into its argument: whoever else needs dy finds it changed."""

    def backward(self, dy, cache):
        dy *= self.ops.dropout(np.ones_like(dy), self.rate, cache)  # right: dx = dy * …
        return dy, {}


@of_dropout("dropout-scales-twice", "npdl", check=evaluation(), blind=gradients(3, 8))
class DropoutScalesTwice(Dropout):
    """It divides by 1 − rate in training and multiplies by 1 − rate in evaluation: one of the two is too many."""

    def forward(self, x, *, training=False, rng=None):
        if not training:
            return x * (1 - self.rate), None  # right: x.copy()
        return super().forward(x, training=training, rng=rng)


@of_dropout("dropout-in-evaluation", "practice", check=evaluation(), blind=gradients(3, 8))
class DropoutInEvaluation(Dropout):
    """It does not look at ``training``, so it still drops when the network is used."""

    def forward(self, x, *, training=False, rng=None):
        return super().forward(x, training=True, rng=rng or minidl.RandomKey(0, 0))  # right: training=training


@of_dropout("dropout-same-mask", "neuralnetlib", check=masks(), blind=gradients(3, 8))
class DropoutSameMask(Dropout):
    """It recreates its random generator from the same seed in every forward: always the same units are dropped."""

    def forward(self, x, *, training=False, rng=None):
        return super().forward(x, training=training, rng=minidl.RandomKey(0, 0))  # right: rng=rng


# ------------------------------------------------------------------------------------------- 4. the exhibits: pooling

of_pool = partial(exhibit, correct=MaxPooling2D, network=behind_a_convolution)
of_padded_pool = partial(of_pool, pool_size=3, padding="same")

# 1 2 3 4 / 5 6 7 8 / 9 10 11 12 / 13 14 15 16, as a sample with one channel
SIXTEEN = np.arange(1.0, 17).reshape(1, 4, 4, 1)


@of_padded_pool("pool-ignores-padding", "numpy-ml", check=gradients(2, 4, 4, 2))
class PoolIgnoresPadding(MaxPooling2D):
    """Its backward forgets that the image was padded: every gradient arrives a row and a column off."""

    def backward(self, dy, cache):
        index, (samples, height, width, channels) = cache
        (rows, columns), (down, right), window = dy.shape[1:3], self.strides, self.pool_size
        padded = samples, (rows - 1) * down + window[0], (columns - 1) * right + window[1], channels
        dpadded = self.ops.max_pool2d_backward(dy, index, padded, window, self.strides, "valid")
        return dpadded[:, :height, :width].copy(), {}  # right: [:, top : top + height, left : left + width]


@of_pool("pool-without-stride", "npdl", check=values(SIXTEEN, [[6, 8], [14, 16]]), blind=gradients(2, 4, 4, 2))
class PoolWithoutStride(MaxPooling2D):
    """Its windows move by one pixel instead of by the stride, so it sees only a corner of the image."""

    def forward(self, x, *, training=False, rng=None):
        rows, columns = x.shape[1] // self.strides[0], x.shape[2] // self.strides[1]
        corner = x[:, : rows + self.pool_size[0] - 1, : columns + self.pool_size[1] - 1]
        y, index = self.ops.max_pool2d_forward(corner, self.pool_size, (1, 1), "valid")  # right: x and self.strides
        return y, (index, corner.shape, x.shape)

    def backward(self, dy, cache):
        index, corner, x_shape = cache
        dcorner = self.ops.max_pool2d_backward(dy, index, corner, self.pool_size, (1, 1), "valid")
        dx = np.zeros(x_shape, dy.dtype)
        dx[:, : corner[1], : corner[2]] = dcorner
        return dx, {}


@of_pool("pool-sample-as-row", "npdl", check=gradients(2, 4, 4, 2))
class PoolSampleAsRow(MaxPooling2D):
    """Its backward uses the sample's number as a row of the gradient: every row of a map gets that row's gradient."""

    def backward(self, dy, cache):
        samples = np.arange(len(dy))
        row = dy[samples, samples % dy.shape[1]][:, None]  # right: dy[samples], all rows
        return super().backward(np.broadcast_to(row, dy.shape), cache)


@of_padded_pool(
    "pool-pads-with-zero", "tinynn", check=values(-SIXTEEN, [[-1, -3], [-9, -11]]), blind=gradients(2, 4, 4, 2)
)
class PoolPadsWithZero(MaxPooling2D):
    """It pads with 0, which is larger than any negative number: at the border the padding becomes the maximum."""

    def forward(self, x, *, training=False, rng=None):
        padded, _, corner = pad_images(x, self.pool_size, self.strides, self.padding, value=0.0)  # right: -np.inf
        y, index = self.ops.max_pool2d_forward(padded, self.pool_size, self.strides, "valid")
        return y, (index, padded.shape, corner, x.shape)

    def backward(self, dy, cache):
        index, padded, (top, left), (_, height, width, _) = cache
        dpadded = self.ops.max_pool2d_backward(dy, index, padded, self.pool_size, self.strides, "valid")
        return dpadded[:, top : top + height, left : left + width].copy(), {}


@of_padded_pool("pool-gradient-to-padding", "practice", check=gradients(2, 4, 4, 2, mean=-1.0))
class PoolGradientToPadding(PoolPadsWithZero):
    """Its forward is right, but its backward looks for the maximum among the padding too, and drops the gradient there."""

    def forward(self, x, *, training=False, rng=None):
        y, _ = self.ops.max_pool2d_forward(x, self.pool_size, self.strides, self.padding)
        return y, x

    def backward(self, dy, cache):
        _, found = super().forward(cache)  # right: the index of the first forward
        return super().backward(dy, found)


@of_pool(
    "pool-ties-all-win",
    "neuralnetlib",
    check=gradients_of_ties(3, 4, 4, 1),
    blind=gradients(2, 4, 4, 2, kind="gradcheck without ties"),
)
class PoolTiesAllWin(MaxPooling2D):
    """Where several pixels share the maximum, its backward gives each of them the whole gradient."""

    def forward(self, x, *, training=False, rng=None):
        y, _ = super().forward(x)
        return y, (x, y)

    def backward(self, dy, cache):
        x, y = cache
        (height, width), (rows, columns) = self.pool_size, y.shape[1:3]

        def spread(maps):
            return maps.repeat(height, axis=1).repeat(width, axis=2)

        dx = np.zeros_like(x)
        inside = np.s_[:, : rows * height, : columns * width]
        dx[inside] = np.where(x[inside] == spread(y), spread(dy), 0)  # right: the first one of each window alone
        return dx, {}


# ------------------------------------------------------------------- 5. the exhibits: activations, dense, convolution


class Elu(Layer):
    """y = x where x > 0, else e^x − 1 (Clevert, Unterthiner and Hochreiter 2016). Its slope is 1, else e^x."""

    def forward(self, x, *, training=False, rng=None):
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0))), x

    def backward(self, dy, cache):
        x = cache
        return dy * ((x > 0) + (x <= 0) * np.exp(np.minimum(x, 0))), {}


@exhibit("elu-precedence", "tinynn", correct=Elu, check=gradients(3, 8), network=as_activation)
class EluPrecedence(Elu):
    """Brackets are missing around x > 0: "+" binds more tightly than ">", so the slope is True or False."""

    def backward(self, dy, cache):
        x = cache
        return dy * (x > 0 + (x <= 0) * np.exp(np.minimum(x, 0))), {}  # right: (x > 0) + …


@exhibit(
    "softmax-passes-dy", "thinc", correct=Activation, check=gradients(3, 5), network=at_the_end, activation="softmax"
)
class SoftmaxPassesDy(Activation):
    """Its backward passes on dy, as if it were p − y already: that is right only with one special loss."""

    def backward(self, dy, cache):
        return dy.copy(), {}  # right: y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@exhibit(
    "softmax-overflows",
    "practice",
    correct=Activation,
    check=values([[1000.0, 0.0]], [1, 0]),
    blind=gradients(3, 5),
    network=at_the_end_without_rescaling,
    activation="softmax",
)
class SoftmaxOverflows(Activation):
    """It does not subtract the maximum first, so large inputs overflow and become NaN."""

    def forward(self, x, *, training=False, rng=None):
        y = np.exp(x)  # right: np.exp(x - x.max(axis=-1, keepdims=True))
        y /= y.sum(axis=-1, keepdims=True)
        return y, y


@exhibit(
    "sigmoid-overwrites-cache",
    "practice",
    correct=Activation,
    check=gradients(3, 5),
    network=as_activation,
    activation="sigmoid",
)
class SigmoidOverwritesCache(Activation):
    """Its backward works on a view of the cached output, so it is right once, and wrong when it is called again."""

    def backward(self, dy, cache):
        y = cache[:]  # a list would be copied by this, an array is not; right: cache.copy()
        y *= 1 - y
        return dy * y, {}


@exhibit("dense-clips-error", "neuralnetlib", correct=Dense, check=gradients(3, 5), network=in_a_network, units=64)
class DenseClipsError(Dense):
    """It clips the gradient that it is given to norm 1, so what it returns is no longer the gradient."""

    def backward(self, dy, cache):
        return super().backward(dy / max(1, np.linalg.norm(dy)), cache)  # right: dy; clip in the optimizer, if at all


class Skip(Layer):
    """A dense layer with a connection around it: y = x + x · kernel."""

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": rng.normal(0, 0.1, size=(input_shape[0], input_shape[0])).astype(dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x + x @ self.params["kernel"], x

    def backward(self, dy, cache):
        dx = dy + dy @ self.params["kernel"].T
        return dx, {"kernel": cache.T @ dy}


@exhibit("skip-adds-into-dy", "practice", correct=Skip, check=gradients(3, 5), network=in_a_network)
class SkipAddsIntoDy(Skip):
    """Its dx is a second name for dy, not a copy: adding to it spoils dy for the gradient of the kernel."""

    def backward(self, dy, cache):
        dx = dy  # right: dy.copy()
        dx += dy @ self.params["kernel"].T
        return dx, {"kernel": cache.T @ dy}


@exhibit(
    "conv-swaps-rows",
    "practice",
    correct=Conv2D,
    check=gradients(2, 5, 7, 2),
    blind=gradients(2, 6, 6, 2, kind="gradcheck of square images"),
    network=as_second_convolution,
    filters=8,
    kernel_size=3,
)
class ConvSwapsRows(Conv2D):
    """Its backward confuses the number of rows with the number of columns: right on square images, wrong on all others."""

    def backward(self, dy, cache):
        (x, _), kernel = cache, self.params["kernel"]
        _, grads = super().backward(dy, cache)
        height, width, channels, filters = kernel.shape
        samples, rows, columns, _ = dy.shape
        dwindows = dy.reshape(samples, -1, filters) @ kernel.reshape(-1, filters).T  # a row of numbers for each window
        dx = np.zeros_like(x)
        for i in range(rows):
            for j in range(columns):
                dwindow = dwindows[:, i * rows + j]  # right: i * columns + j
                dx[:, i : i + height, j : j + width] += dwindow.reshape(samples, height, width, channels)
        return dx, grads


# ------------------------------------------------------------------- 6. the exhibits: what was reported in public issues


@exhibit(
    "conv-disconnected",
    "neural-fortran, pull request 142",
    correct=Conv2D,
    check=gradients(2, 5, 6, 2),
    network=as_second_convolution,
    filters=8,
    kernel_size=3,
)
class ConvDisconnected(Conv2D):
    """Its backward passes nothing on: the layers below never learn, yet the network is good enough for nobody to notice."""

    def backward(self, dy, cache):
        dx, grads = super().backward(dy, cache)
        return np.zeros_like(dx), grads  # right: dx


class LoopConv2D(Conv2D):
    """The library's convolution without padding, with a backward in loops over the places of the window."""

    def place(self, i, j):
        """Where the window of row i and column j begins in the image."""
        return i * self.strides[0], j * self.strides[1]

    def backward(self, dy, cache):
        (x, _), kernel = cache, self.params["kernel"]
        _, grads = super().backward(dy, cache)
        dx = np.zeros_like(x)
        for i, j in np.ndindex(dy.shape[1:3]):
            top, left = self.place(i, j)
            window = dx[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
            window += np.tensordot(dy[:, i, j], kernel, ([1], [3]))
        return dx, grads


of_strided = partial(exhibit, correct=LoopConv2D, network=as_second_convolution, filters=8, kernel_size=3)


@of_strided(
    "conv-stride-left-out",
    "Kulbear/deep-learning-coursera, issue 34",
    check=gradients(2, 7, 9, 2),
    strides=2,
)
class ConvStrideLeftOut(LoopConv2D):
    """Its backward moves the window by one pixel, whatever the stride: right as long as the stride is 1."""

    def place(self, i, j):
        return i, j  # right: times the strides


@of_strided("conv-wrong-index", "neon, issue 111", check=gradients(2, 5, 6, 2))
class ConvWrongIndex(LoopConv2D):
    """Its backward writes every window beyond the third row or column to the third: an index left over from another loop."""

    def place(self, i, j):
        rows = 2  # the last value of a finished loop
        return min(i, rows), min(rows, j)  # right: i, j


class Grouped(Layer):
    """A dense layer in two groups: each half of the features has its own weights."""

    def build(self, input_shape, rng, dtype):
        half = input_shape[0] // 2
        self.params = {"kernel": rng.normal(0, half**-0.5, size=(2, half, half)).astype(dtype)}
        return (2 * half,)

    def forward(self, x, *, training=False, rng=None):
        groups = x.reshape(len(x), 2, -1)
        return np.einsum("ngi,gij->ngj", groups, self.params["kernel"]).reshape(x.shape), groups

    def dkernel(self, groups, dy):
        return np.einsum("ngi,ngj->gij", groups, dy)

    def backward(self, dy, cache):
        dgroups = dy.reshape(cache.shape)
        dx = np.einsum("ngj,gij->ngi", dgroups, self.params["kernel"]).reshape(dy.shape)
        return dx, {"kernel": self.dkernel(cache, dgroups)}


@exhibit("groups-mixed", "PyTorch, issue 51430", correct=Grouped, check=gradients(4, 6), network=in_a_network)
class GroupsMixed(Grouped):
    """Its weights get gradients with the groups in the wrong order: those of one group from the errors of the other."""

    def dkernel(self, groups, dy):
        return super().dkernel(groups, dy[:, ::-1])  # right: dy


class BatchNorm(Layer):
    """Each feature less its mean over the batch, divided by its deviation; always those of the batch."""

    def forward(self, x, *, training=False, rng=None):
        centred = x - x.mean(axis=0)
        scale = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-3)
        return centred * scale, (centred * scale, scale)

    def backward(self, dy, cache):
        y, scale = cache
        return (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) * scale, {}


@exhibit(
    "batch-norm-without-mean",
    "mlpack, pull request 2474",
    correct=BatchNorm,
    check=gradients(5, 4),
    network=in_a_network,
)
class BatchNormWithoutMean(BatchNorm):
    """One of the sums through the batch mean is left out: the gradient has a part that shifts all samples."""

    def backward(self, dy, cache):
        y, scale = cache
        return (dy - y * (dy * y).mean(axis=0)) * scale, {}  # right: dy - dy.mean(axis=0) - …


@exhibit(
    "batch-norm-in-evaluation",
    "practice",
    correct=BatchNormalization,
    check=alone(),
    blind=gradients(5, 4),
    network=in_a_network,
)
class BatchNormInEvaluation(BatchNormalization):
    """It uses the moments of the batch outside training too: a prediction depends on what else is in the batch."""

    def forward(self, x, *, training=False, rng=None, sums=None):
        return super().forward(x, training=True, rng=rng, sums=sums)  # right: training=training


class AveragePool(Layer):
    """The mean of every window of 2 by 2 pixels."""

    def build(self, input_shape, rng, dtype):
        return input_shape[0] // 2, input_shape[1] // 2, input_shape[2]

    def forward(self, x, *, training=False, rng=None):
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        windows = x[:, : 2 * rows, : 2 * columns].reshape(len(x), rows, 2, columns, 2, -1)
        return windows.mean(axis=(2, 4)), x.shape

    def backward(self, dy, cache):
        dx = np.zeros(cache, dy.dtype)
        spread = (dy / 4).repeat(2, axis=1).repeat(2, axis=2)
        dx[:, : spread.shape[1], : spread.shape[2]] = spread
        return dx, {}


@exhibit(
    "average-pool-lost",
    "TinyTorch, pull request 1917",
    correct=AveragePool,
    check=gradients(2, 4, 6, 2),
    network=behind_a_convolution,
)
class AveragePoolLost(AveragePool):
    """It has no real backward: the gradient ends here, and the layers below keep their initial random weights."""

    def backward(self, dy, cache):
        return np.zeros(cache, dy.dtype), {}  # right: a quarter of dy for each pixel of the window


class GreyEmbedding(Layer):
    """A row of two learned numbers for each of four levels of grey."""

    def build(self, input_shape, rng, dtype):
        self.params = {"table": rng.normal(size=(4, 2)).astype(dtype)}
        return (*input_shape, 2)

    def forward(self, x, *, training=False, rng=None):
        levels = np.clip(np.rint(3 * x), 0, 3).astype(int)
        return self.params["table"][levels], levels

    def backward(self, dy, cache):
        dtable = np.zeros_like(self.params["table"])
        np.add.at(dtable, cache, dy)
        return np.zeros(cache.shape, dy.dtype), {"table": dtable}


@exhibit(
    "embedding-rows-that-repeat",
    "nn-zero-to-hero, issue 57",
    correct=GreyEmbedding,
    check=gradients(3, 8),
    network=as_embedding,
)
class EmbeddingRowsThatRepeat(GreyEmbedding):
    """Where a row is looked up twice, the second gradient replaces the first: NumPy's += with a list of indices does that."""

    def backward(self, dy, cache):
        dtable = np.zeros_like(self.params["table"])
        dtable[cache] += dy  # right: np.add.at(dtable, cache, dy)
        return np.zeros(cache.shape, dy.dtype), {"table": dtable}


@exhibit(
    "softmax-diagonal",
    "libnd4j, issue 440",
    correct=Activation,
    check=gradients(5, 3),
    network=at_the_end,
    activation="softmax",
)
class SoftmaxDiagonal(Activation):
    """Its gradient is that of a sigmoid, p · (1 − p): what each score does to the other outputs is left out."""

    def backward(self, dy, cache):
        return dy * cache * (1 - cache), {}  # right: p · (dy − Σ dy · p)


class LSTM(Layer):
    """A recurrent network of 16 cells that reads an image row by row; its last state is the output."""

    def build(self, input_shape, rng, dtype):
        size = input_shape[1] + 16
        self.params = {"kernel": rng.normal(0, size**-0.5, size=(size, 64)).astype(dtype)}
        return (16,)

    def slope(self, gate):
        """The derivative of a sigmoid, by its value."""
        return gate * (1 - gate)

    def forward(self, x, *, training=False, rng=None):
        state, cell, steps = np.zeros((len(x), 16), x.dtype), np.zeros((len(x), 16), x.dtype), []
        for t in range(x.shape[1]):
            joined = np.concatenate([x[:, t], state], axis=1)
            z = joined @ self.params["kernel"]
            (keep, write, read), new = (
                (1 / (1 + np.exp(-part)) for part in np.split(z[:, :48], 3, 1)),
                np.tanh(z[:, 48:]),
            )
            before, cell = cell, keep * cell + write * new
            state = read * np.tanh(cell)
            steps.append((joined, keep, write, read, new, before, cell))
        return state, (x, steps)

    def backward(self, dy, cache):
        x, steps = cache
        kernel = self.params["kernel"]
        dx, dkernel, dstate, dcell = np.zeros_like(x), np.zeros_like(kernel), dy, np.zeros_like(dy)
        for t in reversed(range(x.shape[1])):
            joined, keep, write, read, new, before, cell = steps[t]
            dcell = dcell + dstate * read * (1 - np.tanh(cell) ** 2)
            dgates = [dcell * before * self.slope(keep), dcell * new * self.slope(write)]
            dgates += [dstate * np.tanh(cell) * self.slope(read), dcell * write * (1 - new**2)]
            dz = np.concatenate(dgates, axis=1)
            dkernel += joined.T @ dz
            djoined = dz @ kernel.T
            dx[:, t], dstate, dcell = djoined[:, :-16], djoined[:, -16:], dcell * keep
        return dx, {"kernel": dkernel}


@exhibit(
    "lstm-slope-of-a-gate",
    "rnn_lstm_from_scratch, issue 1",
    correct=LSTM,
    check=gradients(2, 3, 2),
    network=as_reader,
)
class LSTMSlopeOfAGate(LSTM):
    """Its backward uses a gate's value as if it were the gate's input, and so applies the sigmoid twice."""

    def slope(self, gate):
        return super().slope(1 / (1 + np.exp(-gate)))  # right: super().slope(gate)


# --------------------------------------------------------------------- 7. the exhibits: losses, optimizers, shuffling


@exhibit(
    "crossentropy-without-mean",
    "neuralnetlib",
    correct=SparseCategoricalCrossentropy,
    check=loss_gradients(np.array([0, 3, 1, 1, 2, 0])),
    network=as_loss,
    from_logits=True,
)
class CrossentropyWithoutMean(SparseCategoricalCrossentropy):
    """The value is a mean over the batch, the gradient is p − y without 1 / N: it grows with the batch."""

    def backward(self, cache):
        gradients, _ = cache
        return gradients.copy()  # right: gradients / N


@exhibit(
    "squared-error-without-mean",
    "practice",
    correct=MeanSquaredError,
    check=loss_gradients(normal(6, 4) ** 2),
    network=as_loss_for_adam,
)
class SquaredErrorWithoutMean(MeanSquaredError):
    """Its gradient was derived for one sample: the 1 / N of the mean over the batch is forgotten."""

    def backward(self, cache):
        gradients, _ = cache
        return gradients.copy()  # right: gradients / N


class CorrectedAdam(Adam):
    """The library's Adam, with its bias correction in a separate method."""

    def correction(self, t):
        """The means started at 0, so after t steps they lack the shares beta_1^t and beta_2^t."""
        return np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t)

    def apply_gradient(self, param, grad, slots, learning_rate, ops):
        rate = learning_rate * self.correction(np.float64(self.iterations))
        ops.adam_update(param, grad, slots["mean"], slots["mean_square"], rate, self.beta_1, self.beta_2, self.epsilon)


@exhibit(
    "adam-without-power",
    "ML-From-Scratch, issue 35",
    correct=CorrectedAdam,
    check=reference_steps(),
    network=as_optimizer,
)
class AdamWithoutPower(CorrectedAdam):
    """It divides by 1 − beta instead of 1 − beta^t: right once, then too large, and far too small in the long run."""

    def correction(self, t):
        return np.sqrt(1 - self.beta_2) / (1 - self.beta_1)  # right: to the power of t


@exhibit(
    "adam-multiplies",
    "ConvNetJS, pull request 70",
    correct=CorrectedAdam,
    check=reference_steps(),
    network=as_optimizer,
)
class AdamMultiplies(CorrectedAdam):
    """It multiplies by 1 − beta^t instead of dividing: far too large steps in the beginning."""

    def correction(self, t):
        return (1 - self.beta_1**t) / np.sqrt(1 - self.beta_2**t)  # right: one over it


@exhibit("adam-starts-at-zero", "practice", correct=CorrectedAdam, check=reference_steps(), network=as_optimizer)
class AdamStartsAtZero(CorrectedAdam):
    """Its t is 0 at the first step: the correction is 0 / 0, and every parameter becomes NaN."""

    def correction(self, t):
        return super().correction(t - 1)  # right: t


class Shuffler:
    """The order in which an epoch goes through the samples."""

    def order(self, samples, epoch):
        """The numbers 0 … samples − 1, shuffled."""
        return np.random.default_rng([0, epoch]).permutation(samples)


@exhibit("shuffle-same-order", "neuralnetlib", correct=Shuffler, check=orders(), network=as_shuffler)
class ShuffleSameOrder(Shuffler):
    """It shuffles with the same seed in each epoch: the batches are always the same."""

    def order(self, samples, epoch):
        return np.random.default_rng(0).permutation(samples)  # right: [0, epoch]


# ----------------------------------------------------------------------------------------------- 8. training with them


class Outcome(NamedTuple):
    """accuracy: on the test digits, 0 … 1. stopped: why training could not continue; empty if it could."""

    accuracy: float
    stopped: str = ""

    def __str__(self):
        return "stopped" if self.stopped else f"{100 * self.accuracy:.1f} %"


@cache
def digits():
    """The digits of MNIST as (images, labels), to train and to test; with a channel axis."""
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    return (x_train[..., None], y_train), (x_test[..., None], y_test)


@cache
def train(network, part_class, settings, samples, epochs, seed):
    """Train a network with this part on the first digits. Two exhibits with the same correct twin train it once."""
    (x, y), (x_test, y_test) = digits()
    x, y = x[:samples], y[:samples]
    plan = network(part_class(**dict(settings)))
    if plan.get("one_hot"):
        y, y_test = to_categorical(y, 10), to_categorical(y_test, 10)
    scale = plan.get("scale", 1 / 255)
    model = minidl.Sequential([Input((28, 28, 1)), Rescaling(scale), *plan["layers"]], seed=seed)
    model.compile(
        optimizer=plan.get("optimizer") or SGD(0.1),
        loss=plan.get("loss") or "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    shuffler = plan.get("shuffler") or Shuffler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some exhibits are here because they overflow
        try:
            for epoch in range(epochs):
                order = shuffler.order(len(x), epoch)
                model.fit(x[order], y[order], batch_size=BATCH, shuffle=False, verbose=0)
        except FloatingPointError as error:
            return Outcome(0.0, str(error))
        return Outcome(model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"])


def train_both(shown, samples, epochs, seed):
    """The outcomes of the faulty and of the correct part, everything else being the same."""
    settings = tuple(shown.settings.items())
    return tuple(train(shown.network, part, settings, samples, epochs, seed) for part in (shown.faulty, shown.correct))


def in_words(faulty, correct):
    """What a learner would notice of the bug. Less than a point may be chance: another seed changes as much."""
    assert not correct.stopped, "nothing can be said where the right part does not learn"
    lost = 100 * (correct.accuracy - faulty.accuracy)
    if faulty.stopped:
        return "it stops: NaN"
    if faulty.accuracy < 0.2 < correct.accuracy:
        return "it learns nothing"
    if abs(lost) < 1:
        return "it learns as well"
    return f"{abs(lost):.1f} points {'worse' if lost > 0 else 'better'}"


# ------------------------------------------------------------------------------------------------------ 9. the guided tour


def verdicts(shown):
    """(of the faulty part, of the correct one, of the faulty one by the blind check or None)."""
    faulty, correct = shown.check.run(shown.faulty(**shown.settings)), shown.check.run(shown.correct(**shown.settings))
    return faulty, correct, shown.blind and shown.blind.run(shown.faulty(**shown.settings))


def source_of(part, compared_with=None):
    """The code of a class of this file, without its decorator; of a library's class the methods that the other one has too."""
    if part.__module__ == __name__:
        code = inspect.getsource(part)
        return textwrap.indent(code[code.index("class ") :].rstrip(), "    ")
    methods = [inspect.getsource(getattr(part, method)).rstrip() for method in vars(compared_with) if method[0] != "_"]
    return "\n\n".join([f"    class {part.__name__}: …  # in {part.__module__}", *methods])


def show_one(shown, outcomes):
    """Print everything about one exhibit."""
    faulty, correct, blind = verdicts(shown)
    print(f"{shown.name}, seen at: {shown.seen_at}\n\n{shown.wrong}\n")
    print(f"The faulty one\n\n{source_of(shown.faulty)}\n")
    print(f"The correct one\n\n{source_of(shown.correct, shown.faulty)}\n")
    if outcomes:
        print(f"Accuracy after training: {outcomes[0]}, of the correct one {outcomes[1]}: {in_words(*outcomes)}")
        print(f"{outcomes[0].stopped}\n" if outcomes[0].stopped else "")
    if blind:
        print(f"{shown.blind.kind}: the faulty one {'passes; it is blind to the bug' if blind.passed else 'fails'}\n")
        print(f"{blind.report.rstrip()}\n")
    print(f"{shown.check.kind}: the faulty one {'passes, NOT FOUND' if faulty.passed else 'fails'}\n")
    print(f"{faulty.report.rstrip()}\n")
    print(f"{shown.check.kind}: the correct one {'passes' if correct.passed else 'FAILS'}\n")
    print(correct.report.rstrip())


def show_all(outcomes):
    """Print a row for each exhibit. outcomes: name → (of the faulty part, of the correct one); empty without training."""
    table = Table(title="A museum of bugs", show_lines=True)
    table.add_column("exhibit\nseen at", width=26)
    table.add_column("what is wrong", ratio=5)
    if outcomes:
        table.add_column("test accuracy\n(of the correct one)", width=20)
    table.add_column("found by", width=19)
    table.add_column("which says", ratio=7)
    found, accused = 0, 0
    for shown in EXHIBITS.values():
        faulty, correct, blind = verdicts(shown)
        found, accused = found + (not faulty.passed), accused + (not correct.passed)
        row = [f"{shown.name}\n{shown.seen_at}", shown.wrong]
        if outcomes:
            own, twin = outcomes[shown.name]
            row.append(f"{own} ({twin})\n{in_words(own, twin)}")
        row.append("NOT FOUND" if faulty.passed else shown.check.kind)
        if blind and blind.passed:
            row[-1] += f",\nnot by {shown.blind.kind}"
        table.add_row(*row, faulty.says)
    Console(width=None if sys.stdout.isatty() else 150, highlight=False, markup=False).print(table)
    print(f"{found} of {len(EXHIBITS)} bugs were found; {accused} of the correct parts were accused.")


def plot(outcomes, path):
    """Draw the accuracies of all exhibits."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.32 * len(outcomes) + 1), layout="constrained")
    places = np.arange(len(outcomes))
    for offset, side, label in ((-0.2, 1, "correct"), (0.2, 0, "faulty")):
        axis.barh(places + offset, [100 * both[side].accuracy for both in outcomes.values()], 0.4, label=label)
    axis.set_yticks(places, outcomes)
    axis.invert_yaxis()
    axis.set(xlabel="test accuracy in %", xlim=(0, 100))
    axis.margins(y=0.01)
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    print(f"Wrote {path}")


def main():
    parser = argparse.ArgumentParser(description="Faulty parts of neural networks, and the checks that find them.")
    parser.add_argument("--exhibit", metavar="NAME", choices=EXHIBITS, help="show this one in detail, instead of all")
    parser.add_argument("--no-training", action="store_true", help="only check, without training")
    parser.add_argument("--samples", type=int, default=3000, help="train on the first so many digits (default: 3000)")
    parser.add_argument("--epochs", type=int, default=3, help="passes over these digits (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="initial weights and dropout follow from it (default: 0)")
    parser.add_argument("--threads", type=int, help="how many to use; they change no result (default: one per core)")
    parser.add_argument("--plot", metavar="PATH", help="draw the accuracies to this file, e.g. museum.png")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:  # better now than after the training
        parser.error("--plot needs matplotlib: pip install 'minidl[plot]'")
    if args.plot and args.no_training:
        parser.error("--plot draws what was trained, so it does not go with --no-training.")
    if args.threads is not None:
        minidl.set_num_threads(args.threads)
    sys.stdout.reconfigure(encoding="utf-8")  # for the lines of the tables, even if the output goes to a file

    chosen = [EXHIBITS[args.exhibit]] if args.exhibit else list(EXHIBITS.values())
    outcomes = {}
    if not args.no_training:
        print(
            f"Trained on {args.samples:,} digits (epochs: {args.epochs}, seed: {args.seed}), tested on 10,000 others.\n"
        )
        quiet = Console(stderr=True, quiet=not sys.stderr.isatty())
        learn = partial(train_both, samples=args.samples, epochs=args.epochs, seed=args.seed)
        outcomes = {shown.name: learn(shown) for shown in track(chosen, "Training", console=quiet, transient=True)}
    if args.exhibit:
        show_one(chosen[0], outcomes.get(args.exhibit))
    else:
        show_all(outcomes)
    if args.plot:
        plot(outcomes, args.plot)


if __name__ == "__main__":
    main()
