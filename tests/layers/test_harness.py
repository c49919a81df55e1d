"""One harness for every layer: each goes through the same checks, with both sets of operations.

A case is a Hypothesis strategy of subjects: a layer, the shape of its samples, and an oracle that computes the same forward in
another way, with plain loops over plain numbers. Gradients are compared with central differences of that layer's forward, which
the oracle has proved.
"""

import itertools
import math
import statistics
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_close, assert_gradient, assert_same, copied, numeric_gradient, well_separated

from minidl.cases import LAYERS
from minidl.layers import (
    Activation,
    Conv2D,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    ReLU,
    Rescaling,
    activation,
)
from minidl.ops import OPERATIONS
from minidl.ops.random import RandomKey

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
KINK = 1e-3  # no ReLU's input comes nearer to 0, so that no central difference reaches across


class Subject(NamedTuple):
    """create: () → a new layer. oracle: (params, x, rng or None) → (y, the distance of the nearest ReLU from its kink)."""

    create: Callable[[], Any]
    input_shape: tuple[int, ...]
    oracle: Callable[..., tuple[Any, float]]


# --------------------------------------------------------------------------------------------------------- the oracles


# where each activation's slope jumps
KINKS = {"relu": [0], "leaky_relu": [0], "selu": [0], "relu6": [0, 6], "hard_sigmoid": [-3, 3]}


def distance_to(kinks, z):
    """How near the nearest number comes to one of these."""
    return min((np.abs(z - kink).min(initial=math.inf) for kink in kinks), default=math.inf)


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def activation_oracle(name, z):
    """The activation of each row of plain numbers, and the distance of the nearest number from a kink."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    functions = {
        "linear": lambda row: row,
        "relu": lambda row: [v if v > 0 else 0.0 for v in row],
        "leaky_relu": lambda row: [v if v > 0 else v / 5 for v in row],
        "sigmoid": lambda row: [sigmoid(v) for v in row],
        "tanh": lambda row: [1 - 2 / (math.exp(2 * v) + 1) for v in row],
        "softmax": lambda row: [1 / math.fsum(math.exp(other - v) for other in row) for v in row],
        "log_softmax": lambda row: [-math.log(math.fsum(math.exp(other - v) for other in row)) for v in row],
        "elu": lambda row: [v if v > 0 else math.exp(v) - 1 for v in row],
        "selu": lambda row: [scale * (v if v > 0 else alpha * (math.exp(v) - 1)) for v in row],
        "softplus": lambda row: [math.log(1 + math.exp(v)) for v in row],
        "relu6": lambda row: [min(max(v, 0), 6) for v in row],
        "hard_sigmoid": lambda row: [min(max(v + 3, 0), 6) / 6 for v in row],
        "silu": lambda row: [v * sigmoid(v) for v in row],
        "gelu": lambda row: [v * NormalDist().cdf(v) for v in row],
    }
    rows = [functions[name](row) for row in z.reshape(-1, z.shape[-1]).tolist()]
    return np.array(rows).reshape(z.shape), distance_to(KINKS.get(name, []), z)


def dense_oracle(params, x):
    kernel, bias = params["kernel"].tolist(), params.get("bias")
    y = np.zeros((len(x), len(kernel[0])))
    for n, u in np.ndindex(y.shape):
        y[n, u] = 0.0 if bias is None else bias[u]
        for d, value in enumerate(x[n].tolist()):
            y[n, u] += value * kernel[d][u]
    return y


def window_starts(size, window, stride, padding):
    """Where the window stands along one axis; before 0 where it reaches into the padding.

    "same": the least padding with which ⌈size / stride⌉ windows fit, the odd cell at the end.
    """
    if padding == "valid":
        return list(range(0, size - window + 1, stride))
    count = math.ceil(size / stride)
    total = next(total for total in itertools.count() if len(range(0, size + total - window + 1, stride)) >= count)
    return [i * stride - total // 2 for i in range(count)]


def windows_of(shape, window, strides, padding):
    """For each output pixel (i, j): the cells (a, b, row, column) of its window that lie inside the image."""
    for i, top in enumerate(window_starts(shape[0], window[0], strides[0], padding)):
        for j, left in enumerate(window_starts(shape[1], window[1], strides[1], padding)):
            cells = itertools.product(range(window[0]), range(window[1]))
            inside = [
                (a, b, top + a, left + b) for a, b in cells if 0 <= top + a < shape[0] and 0 <= left + b < shape[1]
            ]
            yield i, j, inside


def conv2d_oracle(params, x, strides, padding):
    kernel, bias = params["kernel"], params.get("bias")
    taps, images = kernel.tolist(), x.tolist()
    places = list(windows_of(x.shape[1:], kernel.shape[:2], strides, padding))
    y = np.zeros((len(x), places[-1][0] + 1, places[-1][1] + 1, kernel.shape[3]))
    for n, (i, j, inside), f in itertools.product(range(len(x)), places, range(kernel.shape[3])):
        total = 0.0 if bias is None else float(bias[f])
        for a, b, row, column in inside:
            for c in range(x.shape[3]):
                total += images[n][row][column][c] * taps[a][b][c][f]
        y[n, i, j, f] = total
    return y


def max_pooling_oracle(x, pool_size, strides, padding, dy=None):
    """y, and dx: dy at the first cell of each window, row by row, that holds the maximum."""
    images = x.tolist()
    places = list(windows_of(x.shape[1:], pool_size, strides, padding))
    y, dx = np.zeros((len(x), places[-1][0] + 1, places[-1][1] + 1, x.shape[3])), np.zeros(x.shape)
    for n, (i, j, inside), c in itertools.product(range(len(x)), places, range(x.shape[3])):
        y[n, i, j, c] = best = max(images[n][row][column][c] for _, _, row, column in inside)
        if dy is not None:
            first = next((row, column) for _, _, row, column in inside if images[n][row][column][c] == best)
            dx[(n, *first, c)] += dy[n, i, j, c]
    return y, dx


def zero_padding_oracle(x, rows, columns):
    y = np.zeros((len(x), rows[0] + x.shape[1] + rows[1], columns[0] + x.shape[2] + columns[1], x.shape[3]))
    for n, i, j, c in np.ndindex(x.shape):
        y[n, rows[0] + i, columns[0] + j, c] = x[n, i, j, c]
    return y


def transposed_oracle(params, x, strides, padding):
    """Each pixel, times the kernel, is put down at the window that a convolution of the larger image would read it from."""
    kernel, bias = params["kernel"], params.get("bias")
    height, width, filters, channels = kernel.shape
    extra = [
        max(size - stride, 0) if padding == "valid" else 0
        for size, stride in zip((height, width), strides, strict=True)
    ]
    size = [x.shape[i + 1] * strides[i] + extra[i] for i in (0, 1)]
    y = np.zeros((len(x), *size, filters))
    for i, j, inside in windows_of(size, (height, width), strides, padding):
        for n, (a, b, row, column) in itertools.product(range(len(x)), inside):
            for f, c in np.ndindex(filters, channels):
                y[n, row, column, f] += x[n, i, j, c] * kernel[a, b, f, c]
    return y if bias is None else y + bias


def average_oracle(x, pool_size, strides, padding):
    places = list(windows_of(x.shape[1:], pool_size, strides, padding))
    y = np.zeros((len(x), places[-1][0] + 1, places[-1][1] + 1, x.shape[3]))
    for n, (i, j, inside), c in itertools.product(range(len(x)), places, range(x.shape[3])):
        y[n, i, j, c] = math.fsum(x[n, row, column, c] for _, _, row, column in inside) / len(inside)
    return y


def global_oracle(layer, x, of_all):
    y = np.array([[of_all(image[..., c].ravel().tolist()) for c in range(x.shape[3])] for image in x])
    return y[:, None, None] if layer.keepdims else y


def up_sampling_oracle(x, size):
    y = np.zeros((len(x), x.shape[1] * size[0], x.shape[2] * size[1], x.shape[3]))
    for n, i, j, c in np.ndindex(y.shape):
        y[n, i, j, c] = x[n, i // size[0], j // size[1], c]
    return y


def relu_oracle(layer, x):
    most = math.inf if layer.max_value is None else layer.max_value
    slope, threshold = layer.negative_slope, layer.threshold
    y = [min(v if v > threshold else slope * (v - threshold), most) for v in x.ravel().tolist()]
    kinks = [threshold] + ([] if layer.max_value is None else [most])
    return np.array(y).reshape(x.shape), distance_to(kinks, x)


def noise_oracle(x, stddev, rng):
    y = x.reshape(len(x), -1).copy()
    if rng is not None:
        for n, d in np.ndindex(y.shape):
            bits = (dropout_bits(rng.key, rng.first_sample + n, 2 * d + i) for i in (0, 1))
            u, v = ((number + 0.5) / 2**32 for number in bits)
            y[n, d] += stddev * math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)
    return y.reshape(x.shape)


def normalization_oracle(params, x, epsilon):
    size = x.shape[-1]
    gamma, beta = params.get("gamma", np.ones(size)), params.get("beta", np.zeros(size))
    rows = []
    for row in x.reshape(-1, size).tolist():
        mean = math.fsum(row) / size
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in row) / size + epsilon)
        rows.append([(v - mean) / deviation * g + b for v, g, b in zip(row, gamma, beta, strict=True)])
    return np.array(rows).reshape(x.shape)


def drawn_numbers(rng, sample, count):
    return [(dropout_bits(rng.key, rng.first_sample + sample, d) + 0.5) / 2**32 for d in range(count)]


def between(number, ends):
    return ends[0] + (ends[1] - ends[0]) * number


def places_oracle(layer, size, rng, sample):
    """{(i, j): (row, column)}: where each pixel is read."""
    height, width = size
    centre = complex((width - 1) / 2, (height - 1) / 2)  # x + iy: a turn is a multiplication
    name = type(layer).__name__
    if name == "RandomElasticTransform":
        return elastic_oracle(layer, size, drawn_numbers(rng, sample, 3 + 2 * height * width))
    u = drawn_numbers(rng, sample, 6)

    def place(i, j):
        if name == "RandomTranslation":
            return i - between(u[0], layer.height_factor) * height, j - between(u[1], layer.width_factor) * width
        if name == "RandomZoom":
            by_width = between(u[0], layer.height_factor) if layer.width_factor is None else None
            by_width = between(u[1], layer.width_factor) if by_width is None else by_width
            rows = (1 + between(u[0], layer.height_factor)) * (i - centre.imag) + centre.imag
            return rows, (1 + by_width) * (j - centre.real) + centre.real
        if name == "RandomShear":
            sign = -1 if u[0] > 0.5 else 1
            return i + sign * between(u[1], layer.y_factor) * j, j + sign * between(u[2], layer.x_factor) * i
        turn = layer.factor if name == "RandomRotation" else layer.rotation
        angle = 2 * math.pi * between(u[0], turn)
        z = (complex(j, i) - centre) * complex(math.cos(angle), math.sin(angle))
        if name == "RandomRotation":
            return (z + centre).imag, (z + centre).real
        z += between(u[1], layer.shear) * z.imag
        row, column = z.imag * (1 + between(u[2], layer.zoom)), z.real * (1 + between(u[3], layer.zoom))
        row, column = row + centre.imag, column + centre.real
        return row - between(u[4], layer.translation) * height, column - between(u[5], layer.translation) * width

    return {at: place(*at) for at in np.ndindex(size)}


def elastic_oracle(layer, size, u):
    """The sum over a Gaussian's window of the noise around each pixel, without shortcuts."""
    strength = between(u[1], layer.scale) if u[2] < between(u[0], layer.factor) else 0.0
    sigma, alpha = 0.05 * min(size) * strength, 0.1 * max(size) * strength
    half = int(6 * sigma) // 2
    window = {d: math.exp(-0.5 * (d / sigma) ** 2) if d else 1.0 for d in range(-half, half + 1)}
    total, noise = sum(window.values()), np.array(u[3:]).reshape(2, *size)
    places = {}
    for i, j in np.ndindex(size):
        moved = [0.0, 0.0]
        for (a, of_a), (b, of_b) in itertools.product(window.items(), window.items()):
            if 0 <= i + a < size[0] and 0 <= j + b < size[1]:
                for k in (0, 1):
                    moved[k] += (noise[k, i + a, j + b] - 0.5) * math.sqrt(12) * of_a * of_b / total**2
        places[i, j] = i + alpha * sigma * moved[0], j + alpha * sigma * moved[1]
    return places


def pixel_oracle(image, row, column, layer):
    """The pixel of any row and column, outside the image too."""

    def inside(index, length):
        line = list(range(length))
        if layer.fill_mode == "reflect":
            return (line + line[::-1])[index % (2 * length)]
        if layer.fill_mode == "wrap":
            return line[index % length]
        return line[max(0, min(index, length - 1))] if layer.fill_mode == "nearest" or index in line else None

    row, column = inside(row, image.shape[0]), inside(column, image.shape[1])
    return np.full(image.shape[2], layer.fill_value) if row is None or column is None else image[row, column]


def warp_oracle(layer, x, rng):
    if rng is None:
        return x
    y = np.zeros(x.shape)
    for n, image in enumerate(x):
        for at, (row, column) in places_oracle(layer, image.shape[:2], rng, n).items():
            if layer.interpolation == "nearest":
                y[(n, *at)] = pixel_oracle(image, math.floor(row + 0.5), math.floor(column + 0.5), layer)
                continue
            for r, c in itertools.product(
                (math.floor(row), math.floor(row) + 1), (math.floor(column) + d for d in (0, 1))
            ):
                y[(n, *at)] += (1 - abs(row - r)) * (1 - abs(column - c)) * pixel_oracle(image, r, c, layer)
    return y


def erasing_oracle(layer, x, rng):
    if rng is None:
        return x
    fill = np.full(x.shape, layer.fill_value or 0.0)
    if layer.fill_value is None:
        fill = noise_oracle(np.zeros(x.shape), layer.value_range[1], rng.layer(1))
    y = x.copy()
    for n, i, j, c in np.ndindex(x.shape):
        u = drawn_numbers(rng, n, 6)
        within = u[5] < between(u[4], layer.factor)
        for k, place in enumerate((i, j)):
            length = math.sqrt(between(u[k], layer.scale)) * x.shape[k + 1]
            start = u[2 + k] * (x.shape[k + 1] - length)
            within = within and start <= place < start + length
        if within:
            y[n, i, j, c] = min(max(fill[n, i, j, c], layer.value_range[0]), layer.value_range[1])
    return y


def batch_normalization_oracle(layer, x, training):
    """Each channel's numbers over the whole batch, or its moving averages outside of training."""
    y = np.zeros(x.shape)
    for c in range(x.shape[-1]):
        values = x[..., c].ravel().tolist()
        mean, variance = (float(layer.state[name][c]) for name in ("moving_mean", "moving_variance"))
        if training:
            mean = math.fsum(values) / len(values)
            variance = math.fsum((v - mean) ** 2 for v in values) / len(values)
        gamma, beta = (layer.params[name][c] if name in layer.params else i for i, name in ((1, "gamma"), (0, "beta")))
        y[..., c].flat = [(v - mean) / math.sqrt(variance + layer.epsilon) * gamma + beta for v in values]
    return y


def dropout_bits(key, sample, feature):
    """The 32 random bits of an entry, in unbounded integers: SplitMix64 of the key, of the sample, then a 32-bit mixer."""
    state = 0
    for part in (key, sample):
        state = (state + part) % 2**64
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    high, low = divmod(state, 2**32)
    bits = (feature * 0x9E3779B9 + low) % 2**32
    bits = (bits ^ bits >> 16) * 0x7FEB352D % 2**32
    bits = ((bits + high) % 2**32 ^ bits >> 15) * 0x846CA68B % 2**32
    return bits ^ bits >> 16


def dropout_oracle(x, rate, rng):
    y = x.reshape(len(x), -1).copy()
    if rng is not None:
        for n, d in np.ndindex(y.shape):
            kept = dropout_bits(rng.key, rng.first_sample + n, d) / 2**32 >= rate
            y[n, d] = y[n, d] / (1 - rate) if kept else 0.0
    return y.reshape(x.shape), math.inf


def spatial_dropout_oracle(x, rate, rng):
    """Every pixel of a channel meets the fate that dropout of the channels alone would give them."""
    y = x.copy()
    for n, i, j in np.ndindex(x.shape[:3]) if rng is not None else ():
        own = RandomKey(rng.key, rng.first_sample + n)
        y[n, i, j] = dropout_oracle(x[n, i, j][None], rate, own)[0][0]
    return y


def flatten_oracle(x):
    return np.array([[sample[place] for place in np.ndindex(sample.shape)] for sample in x])


# ----------------------------------------------------------------------------------------------------------- the cases

ACTIVATIONS = list(activation.ACTIVATIONS)
activations = st.sampled_from([None, *ACTIVATIONS])


@st.composite
def dense(draw, activation=activations, use_bias=True):
    name, units = draw(activation), draw(st.integers(1, 4))
    return Subject(
        lambda: Dense(units, activation=name, use_bias=use_bias),
        (draw(st.integers(1, 5)),),
        lambda params, x, rng: activation_oracle(name or "linear", dense_oracle(params, x)),
    )


@st.composite
def geometry(draw, padding, most):
    """(window, strides, size of the image), each (height, width): the window may be larger than an image that is padded."""
    window = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    strides = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    least = window if padding == "valid" else (1, 1)
    return window, strides, tuple(draw(st.integers(size, size + 5)) for size in least)


def argument(pair, draw):
    """The pair as a user may write it: (n, n) also as n."""
    return pair[0] if pair[0] == pair[1] and draw(st.booleans()) else pair


@st.composite
def conv2d(draw, padding=None, activation=activations, use_bias=True):
    padding = padding or draw(st.sampled_from(["valid", "same"]))
    window, strides, size = draw(geometry(padding, most=5))
    name, filters, channels = draw(activation), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel_size, steps = argument(window, draw), argument(strides, draw)
    return Subject(
        lambda: Conv2D(filters, kernel_size, steps, padding, activation=name, use_bias=use_bias),
        (*size, channels),
        lambda params, x, rng: activation_oracle(name or "linear", conv2d_oracle(params, x, strides, padding)),
    )


@st.composite
def max_pooling2d(draw, padding):
    """Windows that overlap (strides below the pool size), that touch, and with gaps between them."""
    pool_size, strides, size = draw(geometry(padding, most=3))
    strides = None if draw(st.booleans()) else strides
    pool = argument(pool_size, draw)
    return Subject(
        lambda: MaxPooling2D(pool, strides, padding),
        (*size, draw(st.integers(1, 3))),
        lambda params, x, rng: (max_pooling_oracle(x, pool_size, strides or pool_size, padding)[0], math.inf),
    )


shapes = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)


@st.composite
def activation_layer(draw, name):
    shape = draw(shapes)
    return Subject(lambda: Activation(name), shape, lambda params, x, rng: activation_oracle(name, x))


@st.composite
def dropout(draw):
    rate = draw(st.sampled_from([0.0, 0.125, 0.2, 0.5, 0.9]))
    return Subject(lambda: Dropout(rate), draw(shapes), lambda params, x, rng: dropout_oracle(x, rate, rng))


@st.composite
def rescaling(draw):
    scale, offset = draw(st.sampled_from([(1 / 255, 0.0), (2, -1), (np.float32(-0.5), 0.25)]))
    return Subject(
        lambda: Rescaling(scale, offset) if offset else Rescaling(scale),
        draw(shapes),
        lambda params, x, rng: (
            np.array([v * float(scale) + offset for v in x.ravel().tolist()]).reshape(x.shape),
            math.inf,
        ),
    )


class Scale(Layer):
    """The layer of a user's own that the documentation of ``Layer`` shows."""

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        x = cache
        return dy * self.params["factor"], {"factor": (dy * x).sum(axis=0)}


def scale_oracle(params, x, rng):
    factor = params["factor"]
    return np.array([[sample[p] * factor[p] for p in np.ndindex(factor.shape)] for sample in x]).reshape(
        x.shape
    ), math.inf


def activated(layer, z):
    return activation_oracle(layer.activation, z)


def transposed(layer, x):
    """Pixels that no window reaches are 0, whatever x is: that is no kink."""
    z = transposed_oracle(layer.params, x, layer.strides, layer.padding)
    return activated(layer, z)[0], distance_to(KINKS.get(layer.activation, []), z[z != 0])


# What computes y, and the distance of the nearest ReLU from its kink, of any layer of that class: (layer, x, rng or None).
ORACLES = {
    "Dense": lambda layer, x, rng: activated(layer, dense_oracle(layer.params, x)),
    "Conv2D": lambda layer, x, rng: activated(layer, conv2d_oracle(layer.params, x, layer.strides, layer.padding)),
    "MaxPooling2D": lambda layer, x, rng: (
        max_pooling_oracle(x, layer.pool_size, layer.strides, layer.padding)[0],
        math.inf,
    ),
    "Conv2DTranspose": lambda layer, x, rng: transposed(layer, x),
    "AveragePooling2D": lambda layer, x, rng: (
        average_oracle(x, layer.pool_size, layer.strides, layer.padding),
        math.inf,
    ),
    "GlobalAveragePooling2D": lambda layer, x, rng: (global_oracle(layer, x, statistics.fmean), math.inf),
    "GlobalMaxPooling2D": lambda layer, x, rng: (global_oracle(layer, x, max), math.inf),
    "UpSampling2D": lambda layer, x, rng: (up_sampling_oracle(x, layer.size), math.inf),
    "GaussianNoise": lambda layer, x, rng: (noise_oracle(x, layer.stddev, rng), math.inf),
    **{
        name: lambda layer, x, rng: (warp_oracle(layer, x, rng), math.inf)
        for name in LAYERS
        if name.startswith("Random") and name != "RandomErasing"
    },
    "RandomErasing": lambda layer, x, rng: (erasing_oracle(layer, x, rng), math.inf),
    "LayerNormalization": lambda layer, x, rng: (normalization_oracle(layer.params, x, layer.epsilon), math.inf),
    "BatchNormalization": lambda layer, x, rng: (batch_normalization_oracle(layer, x, rng is not None), math.inf),
    "SpatialDropout2D": lambda layer, x, rng: (spatial_dropout_oracle(x, layer.rate, rng), math.inf),
    "Reshape": lambda layer, x, rng: (flatten_oracle(x).reshape(len(x), *layer.target_shape), math.inf),
    "Softmax": lambda layer, x, rng: activation_oracle("softmax", x),
    "LeakyReLU": lambda layer, x, rng: (
        np.array([v if v > 0 else v * layer.negative_slope for v in x.ravel().tolist()]).reshape(x.shape),
        distance_to([0], x),
    ),
    "ReLU": lambda layer, x, rng: relu_oracle(layer, x),
    "ZeroPadding2D": lambda layer, x, rng: (zero_padding_oracle(x, *layer.padding), math.inf),
    "Dropout": lambda layer, x, rng: dropout_oracle(x, layer.rate, rng),
    "Flatten": lambda layer, x, rng: (flatten_oracle(x), math.inf),
    "Rescaling": lambda layer, x, rng: (
        np.array([v * layer.scale + layer.offset for v in x.ravel().tolist()]).reshape(x.shape),
        math.inf,
    ),
    "Activation": lambda layer, x, rng: activated(layer, x),
    "Stack": lambda layer, x, rng: chain_oracle(layer.layers, x, rng),
    "Residual": lambda layer, x, rng: residual_oracle(layer, x, rng),
}


def layer_oracle(layer, x, rng):
    return ORACLES[type(layer).__name__](layer, x, rng)


def chain_oracle(layers, x, rng):
    distance = math.inf
    for place, layer in enumerate(layers):
        x, own = layer_oracle(layer, x, None if rng is None else rng.layer(place))
        distance = min(distance, own)
    return x, distance


def residual_oracle(layer, x, rng):
    inner = layer.layers[:-1] if layer.projected else layer.layers
    y, distance = chain_oracle(inner, x, rng)
    if layer.projected:
        x, own = layer_oracle(layer.layers[-1], x, None if rng is None else rng.layer(len(inner)))
        distance = min(distance, own)
    return np.add(x, y), distance


@st.composite
def of_the_table(draw, name):
    """What the library's own table tries of this layer."""
    examples, random = LAYERS[name]
    drawn = st.integers(0, 2**32 - 1).map(lambda seed: random(np.random.default_rng(seed)))
    create, shape = draw(st.one_of(st.sampled_from(examples), drawn))
    made = []  # the layer whose settings the oracle reads

    def remembered():
        made[:] = [create()]
        return made[0]

    return Subject(remembered, shape, lambda params, x, rng: layer_oracle(made[0], x, rng))


CASES = {
    **{f"{name}, of the table": of_the_table(name) for name in LAYERS},
    "Dense without bias": dense(use_bias=False),
    **{f"Dense {name}": dense(st.just(name)) for name in ACTIVATIONS},
    "Conv2D valid": conv2d("valid"),
    "Conv2D same": conv2d("same"),
    "Conv2D without bias": conv2d(use_bias=False),
    **{f"Conv2D {name}": conv2d(activation=st.just(name)) for name in ACTIVATIONS},
    "MaxPooling2D valid": max_pooling2d("valid"),
    "MaxPooling2D same": max_pooling2d("same"),
    **{f"Activation {name}": activation_layer(name) for name in ACTIVATIONS},
    "Dropout": dropout(),
    "Flatten": shapes.map(lambda shape: Subject(Flatten, shape, lambda params, x, rng: (flatten_oracle(x), math.inf))),
    "Rescaling": rescaling(),
    "a layer of the user's own": shapes.map(lambda shape: Subject(Scale, shape, scale_oracle)),
}

every_layer = pytest.mark.parametrize("case", CASES)
both_sets = pytest.mark.parametrize("ops", OPERATIONS)


class Trial(NamedTuple):
    """A built layer in float64 and what to give it; every number is exact in float32."""

    layer: Any
    built: tuple[int, ...]
    x: Any
    dy: Any
    y: Any  # the oracle's, in training
    rng: RandomKey
    subject: Subject

    def forward(self):
        return self.layer.forward(self.x, training=True, rng=self.rng)


def build(subject, ops, dtype):
    layer = subject.create()
    layer.ops = OPERATIONS[ops]
    return layer, layer.build(subject.input_shape, np.random.default_rng(0), dtype)


def exact(values):
    return np.asarray(values, np.float32).astype(np.float64)


def trial(data, case, ops):
    """A subject that Hypothesis chooses, with parameters and inputs drawn anew until no ReLU stands at its kink."""
    subject = data.draw(CASES[case])
    samples, seed = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 2**32 - 1))
    layer, built = build(subject, ops, FLOAT64)
    random = np.random.default_rng(seed)
    rng = RandomKey(int(random.integers(2**63)) * 2 + 1, int(random.integers(1000)))
    shape = (samples, *subject.input_shape)
    for value in layer.state.values() if hasattr(layer, "state") else ():
        value[...] = exact(random.uniform(0.5, 2, value.shape))  # a variance is positive
    for _ in range(100):
        x = exact(well_separated(random, shape, gap=4 / np.prod(shape)))
        for value in layer.params.values():
            value[...] = exact(random.normal(size=value.shape))
        y, distance = subject.oracle(layer.params, x, rng)
        if distance > KINK:
            return Trial(layer, built, x, exact(random.normal(size=y.shape)), y, rng, subject)
    raise AssertionError(f"no inputs away from a kink in 100 draws, for {subject}")


# ---------------------------------------------------------------------------------------------------------- the checks


@both_sets
@every_layer
@settings(max_examples=25)
@given(data=st.data())
def test_values_are_the_oracles(case, ops, data):
    t = trial(data, case, ops)
    y, _ = t.forward()
    assert y.shape == (len(t.x), *t.built)
    assert_close(y, t.y)
    y, _ = t.layer.forward(t.x)  # not in training
    assert_close(y, t.subject.oracle(t.layer.params, t.x, None)[0])


@both_sets
@every_layer
@settings(max_examples=12)
@given(data=st.data())
def test_gradients_are_central_differences(case, ops, data):
    t = trial(data, case, ops)
    _, cache = t.forward()
    dx, grads = t.layer.backward(t.dy, cache)
    assert list(grads) == list(t.layer.params)
    assert_gradient(dx, numeric_gradient(lambda: t.forward()[0], t.x, t.dy))
    for name, value in t.layer.params.items():
        assert_gradient(grads[name], numeric_gradient(lambda: t.forward()[0], value, t.dy))


@both_sets
@every_layer
@settings(max_examples=6)
@given(data=st.data())
def test_outside_training_backward_belongs_to_that_forward(case, ops, data):
    t = trial(data, case, ops)
    _, cache = t.layer.forward(t.x)
    dx, _ = t.layer.backward(t.dy, cache)
    assert_gradient(dx, numeric_gradient(lambda: t.layer.forward(t.x)[0], t.x, t.dy))


@both_sets
@every_layer
@settings(max_examples=6)
@given(data=st.data())
def test_each_dtype_is_kept_and_float32_equals_float64(case, ops, data):
    t = trial(data, case, ops)
    y, cache = t.forward()
    dx, grads = t.layer.backward(t.dy, cache)
    assert {array.dtype for array in (y, dx, *grads.values())} == {FLOAT64}

    single, _ = build(t.subject, ops, FLOAT32)
    assert {array.dtype for array in single.params.values()} <= {FLOAT32}
    single.set_weights(t.layer.get_weights())
    y32, cache32 = single.forward(t.x.astype(np.float32), training=True, rng=t.rng)
    dx32, grads32 = single.backward(t.dy.astype(np.float32), cache32)
    assert {array.dtype for array in (y32, dx32, *grads32.values())} == {FLOAT32}
    for actual, expected in zip((y32, dx32, *grads32.values()), (y, dx, *grads.values()), strict=True):
        assert_close(actual, expected)


@both_sets
@every_layer
@settings(max_examples=6)
@given(data=st.data())
def test_a_batch_equals_its_samples_one_by_one(case, ops, data):
    t = trial(data, case, ops)
    y, cache = t.forward()
    dx, grads = t.layer.backward(t.dy, cache)
    sums = {name: np.zeros(value.shape) for name, value in t.layer.params.items()}
    singly = [slice(n, n + 1) for n in range(len(t.x))]
    forward, backward = {}, {}
    if hasattr(t.layer, "measure"):  # what the engine does where a layer needs sums over the whole batch
        forward["sums"] = sum(t.layer.measure(t.x[one]) for one in singly)
    caches = []
    for n, one in enumerate(singly):
        own = RandomKey(t.rng.key, t.rng.first_sample + n)
        y_n, cache_n = t.layer.forward(t.x[one], training=True, rng=own, **forward)
        assert_close(y_n[0], y[n])
        caches.append(cache_n)
    if forward:
        backward["sums"] = sum(
            t.layer.measure_backward(t.dy[one], each) for one, each in zip(singly, caches, strict=True)
        )
    for n, one in enumerate(singly):
        dx_n, grads_n = t.layer.backward(t.dy[one], caches[n], **backward)
        assert_close(dx_n[0], dx[n])
        for name, value in grads_n.items():
            sums[name] += value
    for name, value in grads.items():
        assert_close(value, sums[name])


@both_sets
@every_layer
@settings(max_examples=6)
@given(data=st.data())
def test_nothing_is_hidden_changed_or_shared(case, ops, data):
    t = trial(data, case, ops)
    held = dict(vars(t.layer))
    given_to_forward = copied([t.x, t.layer.params])
    y, cache = t.forward()
    assert_same([t.x, t.layer.params], given_to_forward)
    assert not np.shares_memory(y, t.x)
    assert not any(np.shares_memory(y, value) for value in t.layer.params.values())

    given_to_backward = copied([t.x, t.layer.params, t.dy, y, cache])
    first = t.layer.backward(t.dy, cache)
    assert_same([t.x, t.layer.params, t.dy, y, cache], given_to_backward)
    results = [first[0], *first[1].values()]
    for result, other in itertools.product(results, [t.dy, y, t.x, *t.layer.params.values()]):
        assert not np.shares_memory(result, other)
    for one, other in itertools.combinations(results, 2):
        assert not np.shares_memory(one, other)

    # A forward of other samples in between leaves no trace: all that backward uses is in the cache.
    first = copied(first)
    t.layer.forward(-t.x, training=True, rng=RandomKey(7, 0))
    assert_same(t.layer.backward(t.dy, cache), first)
    assert_same(t.forward()[0], y)

    assert list(vars(t.layer)) == list(held)
    assert all(vars(t.layer)[name] is value for name, value in held.items())

    again = t.layer.forward(t.x)[0]
    assert_same(t.layer.forward(t.x, rng=RandomKey(7, 0))[0], again)


@both_sets
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
@pytest.mark.parametrize("name", LAYERS)
def test_integers_are_taken_as_floats(name, dtype, ops):
    """Samples and dys of integers give what the same numbers as float32 give, in values and dtype."""
    for create, shape in LAYERS[name].examples:
        layer = create()
        layer.ops = OPERATIONS[ops]
        built = layer.build(shape, np.random.default_rng(0), FLOAT32)
        random = np.random.default_rng(1)
        x, dy = (random.integers(0, 256, (2, *size)).astype(dtype) for size in (shape, built))
        results = []
        for kind in (dtype, np.float32):
            for training in (False, True):
                y, cache = layer.forward(x.astype(kind), training=training, rng=RandomKey(3, 0))
                results.append((y, *layer.backward(dy.astype(kind), cache)))
        assert_same(results[:2], results[2:])
        assert {results[1][i].dtype for i in (0, 1)} == {FLOAT32}


# ------------------------------------------------------------------------------------------------------ max-pool's ties


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@settings(max_examples=60)
@given(data=st.data())
def test_of_equal_values_the_first_one_gets_the_whole_gradient(padding, ops, data):
    pool_size, strides, size = data.draw(geometry(padding, most=3))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = random.integers(-3, 0, (2, *size, 2)).astype(np.float64)  # negative: a padding of zeros would win
    layer = MaxPooling2D(pool_size, strides, padding)
    layer.ops = OPERATIONS[ops]
    y, cache = layer.forward(x)
    dy = random.normal(size=y.shape)
    expected, expected_dx = max_pooling_oracle(x, pool_size, strides, padding, dy)
    np.testing.assert_array_equal(y, expected)
    assert_close(layer.backward(dy, cache)[0], expected_dx)


@both_sets
def test_ties_by_hand(ops):
    """Windows of 2×2 that overlap by one column: [5 5 / 5 1] has its first 5 at (0, 0), [5 2 / 1 5] at (0, 1)."""
    x = np.array([[5.0, 5.0, 2.0], [5.0, 1.0, 5.0]])[None, :, :, None]
    layer = MaxPooling2D(2, strides=1)
    layer.ops = OPERATIONS[ops]
    _, cache = layer.forward(x)
    dx, _ = layer.backward(np.array([10.0, 3.0]).reshape(1, 1, 2, 1), cache)
    np.testing.assert_array_equal(dx[0, :, :, 0], [[10.0, 3.0, 0.0], [0.0, 0.0, 0.0]])


# ------------------------------------------------------------------------------------------- numbers worked out by hand


@both_sets
def test_same_padding_puts_the_odd_cell_at_the_end(ops):
    """Kernel [1, 10] over [1, 2, 3]: 1 + 20, 2 + 30 and 3 + 10 · 0; with stride 2: 1 + 20 and 3 + 0 (as in TensorFlow)."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    for strides, expected in ((1, [21, 32, 3]), ((1, 2), [21, 3])):
        layer = Conv2D(1, (1, 2), strides, padding="same", use_bias=False)
        layer.ops = OPERATIONS[ops]
        assert layer.build((1, 3, 1), np.random.default_rng(0), FLOAT64) == (1, len(expected), 1)
        layer.set_weights([np.array([1.0, 10.0]).reshape(1, 2, 1, 1)])
        np.testing.assert_array_equal(layer.forward(x)[0].ravel(), expected)


@both_sets
def test_convolution_does_not_flip_the_kernel(ops):
    """[1, 2, 3] with the kernel [1, 10, 100]: 1 · 1 + 2 · 10 + 3 · 100 = 321; flipped it would be 123."""
    layer = Conv2D(1, (3, 1), use_bias=False)
    layer.ops = OPERATIONS[ops]
    layer.build((3, 1, 1), np.random.default_rng(0), FLOAT64)
    layer.set_weights([np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1, 1)])
    assert layer.forward(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))[0].item() == 321


@both_sets
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("window", "strides"), [((3, 3), 1), ((2, 3), (2, 1)), ((1, 2), 3), ((4, 4), 2)])
def test_a_transposed_convolution_is_the_way_back_of_a_convolution(window, strides, padding, ops):
    """With one kernel in both: its forward is the other's way from dy to dx, and its way from dy to dx the other's forward."""
    up = Conv2DTranspose(2, window, strides, padding, use_bias=False)
    down = Conv2D(4, window, strides, padding, use_bias=False)
    random = np.random.default_rng(0)
    up.ops = down.ops = OPERATIONS[ops]
    small = (3, 5, 4)
    large = up.build(small, random, FLOAT64)
    assert down.build(large, random, FLOAT64) == small
    down.set_weights(up.get_weights())
    x, dy = random.normal(size=(2, *small)), random.normal(size=(2, *large))
    y, cache = up.forward(x)
    z, other = down.forward(dy)
    assert_close(y, down.backward(x, other)[0])
    assert_close(up.backward(dy, cache)[0], z)
    assert_close(up.backward(dy, cache)[1]["kernel"], down.backward(x, other)[1]["kernel"])


@both_sets
def test_what_a_relu_clips_is_y_and_not_x(ops):
    """By hand, with a threshold above the greatest value: 1.5 is left of it, where y = 0.5 · (1.5 − 2), and not clipped."""
    layer = ReLU(max_value=1.0, negative_slope=0.5, threshold=2.0)
    layer.ops = OPERATIONS[ops]
    y, cache = layer.forward(np.array([[-2.0, 1.5, 2.0, 3.0]]))
    np.testing.assert_array_equal(y, [[-2, -0.25, 0, 1]])
    np.testing.assert_array_equal(layer.backward(np.ones((1, 4)), cache)[0], [[0.5, 0.5, 0.5, 0]])


def test_leaky_relu_has_keras_slope():
    y, _ = Activation("leaky_relu").forward(np.array([[-10.0, 10.0]]))
    np.testing.assert_array_equal(y, [[-2.0, 10.0]])


@both_sets
@pytest.mark.parametrize(("name", "slope"), [("relu", 0.0), ("leaky_relu", 0.2)])
def test_the_slope_at_the_kink_is_the_left_one(name, slope, ops):
    layer = Activation(name)
    layer.ops = OPERATIONS[ops]
    _, cache = layer.forward(np.zeros((1, 2)))
    np.testing.assert_array_equal(layer.backward(np.array([[5.0, -5.0]]), cache)[0], [[5 * slope, -5 * slope]])


@both_sets
def test_dropout_mask_is_the_same_in_backward(ops):
    """What forward let through, backward lets through, with the same factor 1 / (1 − 0.75) = 4."""
    layer = Dropout(0.75)
    layer.ops = OPERATIONS[ops]
    y, cache = layer.forward(np.ones((50, 40)), training=True, rng=RandomKey(11, 0))
    assert set(np.unique(y)) == {0.0, 4.0}
    dx, grads = layer.backward(np.full((50, 40), 3.0), cache)
    np.testing.assert_array_equal(dx, 3 * y)
    assert grads == {}
