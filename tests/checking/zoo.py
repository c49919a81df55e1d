"""Right layers and losses of many kinds, plain NumPy in the open, each with the derivative worked out by hand.

They keep the library's contract. Their backwards are the material for mutants, and none of them may be accused.
"""

import numpy as np

from minidl import RandomKey

LAYERS = {}  # name → (class, shapes of a sample, (rng, shape) → x or None)
LOSSES = {}  # name → (class, (rng) → (y_true, y_pred))


def layer(*shapes, inputs=None):
    def add(cls):
        LAYERS[cls.__name__] = cls, list(shapes), inputs
        return cls

    return add


def loss(draw):
    def add(cls):
        LOSSES[cls.__name__] = cls, draw
        return cls

    return add


class Plain:
    """No parameters, the shape stays."""

    def __init__(self):
        self.params = {}

    def build(self, input_shape, rng, dtype):
        return input_shape


def weights(rng, dtype, *shape):
    return (rng.normal(size=shape) * 0.7).astype(dtype)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# ------------------------------------------------------------------------------------------------------ one number each


@layer((4,), (3, 2))
class Relu(Plain):
    def forward(self, x, *, training=False, rng=None):
        return np.maximum(x, 0), x

    def backward(self, dy, cache):
        x = cache
        return dy * (x > 0), {}


@layer((4,), (3, 2))
class LeakyRelu(Plain):
    def forward(self, x, *, training=False, rng=None):
        return np.where(x > 0, x, 0.1 * x), x

    def backward(self, dy, cache):
        x = cache
        return np.where(x > 0, dy, 0.1 * dy), {}


@layer((5,))
class Elu(Plain):
    def forward(self, x, *, training=False, rng=None):
        y = np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
        return y, (x, y)

    def backward(self, dy, cache):
        x, y = cache
        slope = np.where(x > 0, 1, y + 1)
        return dy * slope, {}


@layer((4,))
class Sigmoid(Plain):
    def forward(self, x, *, training=False, rng=None):
        y = sigmoid(x)
        return y, y

    def backward(self, dy, cache):
        y = cache
        return dy * y * (1 - y), {}


@layer((4,))
class Tanh(Plain):
    def forward(self, x, *, training=False, rng=None):
        y = np.tanh(x)
        return y, y

    def backward(self, dy, cache):
        y = cache
        return dy * (1 - y**2), {}


@layer((4,))
class Softplus(Plain):
    def forward(self, x, *, training=False, rng=None):
        return np.log1p(np.exp(x)), x

    def backward(self, dy, cache):
        x = cache
        return dy / (1 + np.exp(-x)), {}


@layer((5,), (2, 3))
class Swish(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"beta": 1 + weights(rng, dtype, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        gate = sigmoid(self.params["beta"] * x)
        return x * gate, (x, gate)

    def backward(self, dy, cache):
        x, gate = cache
        dgate = dy * x * gate * (1 - gate)
        return dy * gate + dgate * self.params["beta"], {"beta": (dgate * x).sum(axis=0)}


@layer((5,))
class Gelu(Plain):
    """The approximation by tanh."""

    def forward(self, x, *, training=False, rng=None):
        t = np.tanh(0.7978845608 * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + t), (x, t)

    def backward(self, dy, cache):
        x, t = cache
        inner = 0.7978845608 * (1 + 3 * 0.044715 * x**2)
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner
        return dy * slope, {}


@layer((5,))
class PRelu(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"slope": weights(rng, dtype, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return np.maximum(x, 0) + self.params["slope"] * np.minimum(x, 0), x

    def backward(self, dy, cache):
        x = cache
        dx = np.where(x > 0, dy, dy * self.params["slope"])
        dslope = (dy * np.minimum(x, 0)).sum(axis=0)
        return dx, {"slope": dslope}


@layer((6,))
class HardTanh(Plain):
    def forward(self, x, *, training=False, rng=None):
        return np.clip(x, -1, 1), x

    def backward(self, dy, cache):
        x = cache
        inside = (x > -1) & (x < 1)
        return dy * inside, {}


@layer((4,))
class Softsign(Plain):
    def forward(self, x, *, training=False, rng=None):
        return x / (1 + np.abs(x)), x

    def backward(self, dy, cache):
        x = cache
        return dy / (1 + np.abs(x)) ** 2, {}


@layer((4,))
class Sine(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"frequency": 1 + weights(rng, dtype, *input_shape), "phase": weights(rng, dtype, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        angle = x * self.params["frequency"] + self.params["phase"]
        return np.sin(angle), (x, angle)

    def backward(self, dy, cache):
        x, angle = cache
        dangle = dy * np.cos(angle)
        grads = {"frequency": (dangle * x).sum(axis=0), "phase": dangle.sum(axis=0)}
        return dangle * self.params["frequency"], grads


@layer((4,), (2, 3))
class Affine(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"scale": weights(rng, dtype, *input_shape), "shift": weights(rng, dtype, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["scale"] + self.params["shift"], x

    def backward(self, dy, cache):
        x = cache
        return dy * self.params["scale"], {"scale": (dy * x).sum(axis=0), "shift": dy.sum(axis=0)}


@layer((8,))
class Dropout(Plain):
    def forward(self, x, *, training=False, rng=None):
        if not training:
            return x.copy(), None
        keep = np.random.default_rng(rng.key).random(x.shape) >= 0.4
        return x * keep / 0.6, keep

    def backward(self, dy, cache):
        keep = cache
        if keep is None:
            return dy.copy(), {}
        return dy * keep / 0.6, {}


# ------------------------------------------------------------------------------------------------------------- matrices


@layer((4,), (3,))
class Dense(Plain):
    units = 4

    def build(self, input_shape, rng, dtype):
        self.params = {
            "kernel": weights(rng, dtype, input_shape[0], self.units),
            "bias": weights(rng, dtype, self.units),
        }
        return (self.units,)

    def forward(self, x, *, training=False, rng=None):
        return x @ self.params["kernel"] + self.params["bias"], x

    def backward(self, dy, cache):
        x = cache
        dx = dy @ self.params["kernel"].T
        dkernel = x.T @ dy
        dbias = dy.sum(axis=0)
        return dx, {"kernel": dkernel, "bias": dbias}


@layer((4,), (5,))
class DenseRelu(Dense):
    def forward(self, x, *, training=False, rng=None):
        z = x @ self.params["kernel"] + self.params["bias"]
        return np.maximum(z, 0), (x, z)

    def backward(self, dy, cache):
        x, z = cache
        dz = dy * (z > 0)
        return dz @ self.params["kernel"].T, {"kernel": x.T @ dz, "bias": dz.sum(axis=0)}


@layer((4,), (3,))
class TwoLayers(Plain):
    def build(self, input_shape, rng, dtype):
        (d,) = input_shape
        shapes = {"w1": (d, 4), "b1": (4,), "w2": (4, 4), "b2": (4,)}
        self.params = {name: weights(rng, dtype, *shape) for name, shape in shapes.items()}
        return (4,)

    def forward(self, x, *, training=False, rng=None):
        p = self.params
        hidden = np.tanh(x @ p["w1"] + p["b1"])
        return hidden @ p["w2"] + p["b2"], (x, hidden)

    def backward(self, dy, cache):
        x, hidden = cache
        p = self.params
        dhidden = dy @ p["w2"].T
        dz = dhidden * (1 - hidden**2)
        grads = {"w2": hidden.T @ dy, "b2": dy.sum(axis=0), "w1": x.T @ dz, "b1": dz.sum(axis=0)}
        return dz @ p["w1"].T, grads


@layer((4,))
class Residual(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, *input_shape, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        z = x @ self.params["kernel"]
        return x + np.maximum(z, 0), (x, z)

    def backward(self, dy, cache):
        x, z = cache
        dz = dy * (z > 0)
        dx = dy + dz @ self.params["kernel"].T
        return dx, {"kernel": x.T @ dz}


@layer((4,))
class Highway(Plain):
    def build(self, input_shape, rng, dtype):
        (d,) = input_shape
        self.params = {"gate": weights(rng, dtype, d, d), "kernel": weights(rng, dtype, d, d)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        gate, new = sigmoid(x @ self.params["gate"]), np.tanh(x @ self.params["kernel"])
        return gate * new + (1 - gate) * x, (x, gate, new)

    def backward(self, dy, cache):
        x, gate, new = cache
        dgate = dy * (new - x) * gate * (1 - gate)
        dnew = dy * gate * (1 - new**2)
        dx = dy * (1 - gate) + dgate @ self.params["gate"].T + dnew @ self.params["kernel"].T
        return dx, {"gate": x.T @ dgate, "kernel": x.T @ dnew}


@layer((4,), (3,))
class GatedLinear(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"a": weights(rng, dtype, *input_shape, 4), "b": weights(rng, dtype, *input_shape, 4)}
        return (4,)

    def forward(self, x, *, training=False, rng=None):
        value, gate = x @ self.params["a"], sigmoid(x @ self.params["b"])
        return value * gate, (x, value, gate)

    def backward(self, dy, cache):
        x, value, gate = cache
        dvalue = dy * gate
        dgate = dy * value * gate * (1 - gate)
        dx = dvalue @ self.params["a"].T + dgate @ self.params["b"].T
        return dx, {"a": x.T @ dvalue, "b": x.T @ dgate}


@layer((4,))
class Maxout(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, *input_shape, 3, 2)}
        return (3,)

    def forward(self, x, *, training=False, rng=None):
        z = np.einsum("nd,dup->nup", x, self.params["kernel"])
        winner = z.argmax(axis=2)
        return z.max(axis=2), (x, winner)

    def backward(self, dy, cache):
        x, winner = cache
        dz = dy[:, :, None] * (winner[:, :, None] == np.arange(2))
        dx = np.einsum("nup,dup->nd", dz, self.params["kernel"])
        return dx, {"kernel": np.einsum("nd,nup->dup", x, dz)}


@layer((3,), (4,))
class Quadratic(Plain):
    """y_u = Σ x_i · A[i, j, u] · x_j."""

    def build(self, input_shape, rng, dtype):
        (d,) = input_shape
        self.params = {"form": weights(rng, dtype, d, d, 2)}
        return (2,)

    def forward(self, x, *, training=False, rng=None):
        return np.einsum("ni,iju,nj->nu", x, self.params["form"], x), x

    def backward(self, dy, cache):
        x = cache
        form = self.params["form"]
        dx = np.einsum("nu,iju,nj->ni", dy, form, x) + np.einsum("nu,jiu,nj->ni", dy, form, x)
        return dx, {"form": np.einsum("nu,ni,nj->iju", dy, x, x)}


@layer((4,))
class FactorizationMachine(Plain):
    """y = x·w + ½ Σ_f ((x·V)² − x²·V²)."""

    def build(self, input_shape, rng, dtype):
        (d,) = input_shape
        self.params = {"w": weights(rng, dtype, d), "v": weights(rng, dtype, d, 3)}
        return (1,)

    def forward(self, x, *, training=False, rng=None):
        w, v = self.params["w"], self.params["v"]
        summed = x @ v
        y = x @ w + 0.5 * (summed**2 - x**2 @ v**2).sum(axis=1)
        return y[:, None], (x, summed)

    def backward(self, dy, cache):
        x, summed = cache
        w, v = self.params["w"], self.params["v"]
        dx = dy * (w + summed @ v.T - x * (v**2).sum(axis=1))
        dw = (dy * x).sum(axis=0)
        dv = x.T @ (dy * summed) - (dy * x**2).sum(axis=0)[:, None] * v
        return dx, {"w": dw, "v": dv}


@layer((4,))
class RadialBasis(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"centres": weights(rng, dtype, 3, *input_shape), "width": 0.3 + weights(rng, dtype, 3) ** 2}
        return (3,)

    def forward(self, x, *, training=False, rng=None):
        apart = x[:, None, :] - self.params["centres"]
        square = (apart**2).sum(axis=2)
        y = np.exp(-self.params["width"] * square)
        return y, (apart, square, y)

    def backward(self, dy, cache):
        apart, square, y = cache
        width = self.params["width"]
        dexponent = dy * y
        dsquare = -dexponent * width
        dapart = 2 * dsquare[:, :, None] * apart
        grads = {"centres": -dapart.sum(axis=0), "width": -(dexponent * square).sum(axis=0)}
        return dapart.sum(axis=1), grads


@layer((4,))
class CosineToPrototypes(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"prototypes": weights(rng, dtype, 3, *input_shape)}
        return (3,)

    def forward(self, x, *, training=False, rng=None):
        p = self.params["prototypes"]
        xn, pn = np.sqrt((x**2).sum(axis=1, keepdims=True)), np.sqrt((p**2).sum(axis=1, keepdims=True))
        y = (x / xn) @ (p / pn).T
        return y, (x, xn, pn, y)

    def backward(self, dy, cache):
        x, xn, pn, y = cache
        p = self.params["prototypes"]
        dx = (dy @ (p / pn) - (dy * y).sum(axis=1, keepdims=True) * x / xn) / xn
        dp = (dy.T @ (x / xn) - (dy * y).sum(axis=0)[:, None] * p / pn) / pn
        return dx, {"prototypes": dp}


# ----------------------------------------------------------------------------------------------------- softmax and norms


@layer((4,), (2, 3))
class Softmax(Plain):
    def forward(self, x, *, training=False, rng=None):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        return p, p

    def backward(self, dy, cache):
        p = cache
        return p * (dy - (dy * p).sum(axis=-1, keepdims=True)), {}


@layer((4,))
class LogSoftmax(Plain):
    def forward(self, x, *, training=False, rng=None):
        shifted = x - x.max(axis=-1, keepdims=True)
        y = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return y, y

    def backward(self, dy, cache):
        y = cache
        return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True), {}


@layer((5,), (3, 4))
class LayerNorm(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"gamma": weights(rng, dtype, input_shape[-1]), "beta": weights(rng, dtype, input_shape[-1])}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        normed = centred * scale
        return normed * self.params["gamma"] + self.params["beta"], (normed, scale)

    def backward(self, dy, cache):
        normed, scale = cache
        batch = tuple(range(dy.ndim - 1))
        grads = {"gamma": (dy * normed).sum(axis=batch), "beta": dy.sum(axis=batch)}
        dnormed = dy * self.params["gamma"]
        mean = dnormed.mean(axis=-1, keepdims=True)
        along = (dnormed * normed).mean(axis=-1, keepdims=True)
        return (dnormed - mean - normed * along) * scale, grads


@layer((4,))
class BatchNorm(Plain):
    """With running statistics, which stay as they are here."""

    def build(self, input_shape, rng, dtype):
        self.params = {"gamma": weights(rng, dtype, *input_shape), "beta": weights(rng, dtype, *input_shape)}
        self.mean, self.var = np.full(input_shape, 0.2, dtype), np.full(input_shape, 1.3, dtype)
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        mean, var = (x.mean(axis=0), x.var(axis=0)) if training else (self.mean, self.var)
        scale = 1 / np.sqrt(var + 1e-5)
        normed = (x - mean) * scale
        return normed * self.params["gamma"] + self.params["beta"], (normed, scale, training)

    def backward(self, dy, cache):
        normed, scale, training = cache
        grads = {"gamma": (dy * normed).sum(axis=0), "beta": dy.sum(axis=0)}
        dnormed = dy * self.params["gamma"]
        if training:
            dnormed = dnormed - dnormed.mean(axis=0) - normed * (dnormed * normed).mean(axis=0)
        return dnormed * scale, grads


@layer((5,))
class BatchNormInSteps(BatchNorm):
    """The same derivative, step by step through the graph."""

    def forward(self, x, *, training=False, rng=None):
        mean, var = (x.mean(axis=0), x.var(axis=0)) if training else (self.mean, self.var)
        centred = x - mean
        std = np.sqrt(var + 1e-5)
        return centred / std * self.params["gamma"] + self.params["beta"], (centred, std, training)

    def backward(self, dy, cache):
        centred, std, training = cache
        samples = len(dy)
        grads = {"gamma": (dy * centred / std).sum(axis=0), "beta": dy.sum(axis=0)}
        dnormed = dy * self.params["gamma"]
        dcentred = dnormed / std
        if training:
            dvar = -(dnormed * centred).sum(axis=0) / (2 * std**3)
            dcentred = dcentred + 2 * centred * dvar / samples
            return dcentred - dcentred.sum(axis=0) / samples, grads
        return dcentred, grads


@layer((5,))
class RMSNorm(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"gain": weights(rng, dtype, *input_shape)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        scale = 1 / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
        return x * scale * self.params["gain"], (x, scale)

    def backward(self, dy, cache):
        x, scale = cache
        features = x.shape[1]
        dnormed = dy * self.params["gain"]
        dscale = (dnormed * x).sum(axis=1, keepdims=True)
        dx = dnormed * scale - x * scale**3 * dscale / features
        return dx, {"gain": (dy * x * scale).sum(axis=0)}


@layer((4, 3, 2))
class InstanceNorm(Plain):
    def forward(self, x, *, training=False, rng=None):
        centred = x - x.mean(axis=(1, 2), keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=(1, 2), keepdims=True) + 1e-5)
        return centred * scale, (centred * scale, scale)

    def backward(self, dy, cache):
        y, scale = cache
        mean = dy.mean(axis=(1, 2), keepdims=True)
        along = (dy * y).mean(axis=(1, 2), keepdims=True)
        return scale * (dy - mean - y * along), {}


@layer((3, 4))
class GroupNorm(Plain):
    """Two groups of channels, the last axis."""

    def forward(self, x, *, training=False, rng=None):
        grouped = x.reshape(len(x), x.shape[1], 2, -1)
        centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=(1, 3), keepdims=True) + 1e-5)
        return (centred * scale).reshape(x.shape), (centred * scale, scale)

    def backward(self, dy, cache):
        normed, scale = cache
        grouped = dy.reshape(normed.shape)
        mean = grouped.mean(axis=(1, 3), keepdims=True)
        along = (grouped * normed).mean(axis=(1, 3), keepdims=True)
        return (scale * (grouped - mean - normed * along)).reshape(dy.shape), {}


@layer((4,))
class UnitLength(Plain):
    def forward(self, x, *, training=False, rng=None):
        length = np.sqrt((x**2).sum(axis=1, keepdims=True))
        return x / length, (x / length, length)

    def backward(self, dy, cache):
        y, length = cache
        return (dy - y * (dy * y).sum(axis=1, keepdims=True)) / length, {}


# --------------------------------------------------------------------------------------------- images, channels the last


def windows(x, height, width, down, right):
    """(row, column of the output, the window (N, height, width, C)) of images."""
    rows, columns = (x.shape[1] - height) // down + 1, (x.shape[2] - width) // right + 1
    for i in range(rows):
        for j in range(columns):
            yield i, j, x[:, i * down : i * down + height, j * right : j * right + width]


@layer((5, 4, 2), (4, 6, 1))
class Conv2D(Plain):
    """Strides (2, 1), one pixel of padding above and on the left."""

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, 3, 2, input_shape[2], 3), "bias": weights(rng, dtype, 3)}
        return (input_shape[0] - 2) // 2 + 1, input_shape[1], 3

    def forward(self, x, *, training=False, rng=None):
        kernel, bias = self.params["kernel"], self.params["bias"]
        padded = np.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
        rows, columns = (padded.shape[1] - 3) // 2 + 1, padded.shape[2] - 1
        y = np.zeros((len(x), rows, columns, 3), x.dtype)
        for i, j, window in windows(padded, 3, 2, 2, 1):
            y[:, i, j] = np.tensordot(window, kernel, 3) + bias
        return y, padded

    def backward(self, dy, cache):
        padded = cache
        kernel = self.params["kernel"]
        dpadded, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
        dbias = dy.sum(axis=(0, 1, 2))
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                window = padded[:, 2 * i : 2 * i + 3, j : j + 2]
                dkernel += np.tensordot(window, dy[:, i, j], ([0], [0]))
                dpadded[:, 2 * i : 2 * i + 3, j : j + 2] += np.tensordot(dy[:, i, j], kernel, ([1], [3]))
        return dpadded[:, 1:, 1:].copy(), {"kernel": dkernel, "bias": dbias}


@layer((4, 3, 3), (3, 3, 2))
class Depthwise(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, 2, 2, input_shape[2])}
        return input_shape[0] - 1, input_shape[1] - 1, input_shape[2]

    def forward(self, x, *, training=False, rng=None):
        kernel = self.params["kernel"]
        y = np.zeros((len(x), x.shape[1] - 1, x.shape[2] - 1, x.shape[3]), x.dtype)
        for i, j, window in windows(x, 2, 2, 1, 1):
            y[:, i, j] = (window * kernel).sum(axis=(1, 2))
        return y, x

    def backward(self, dy, cache):
        x = cache
        kernel = self.params["kernel"]
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                part = dy[:, i, j][:, None, None, :]
                dkernel += (x[:, i : i + 2, j : j + 2] * part).sum(axis=0)
                dx[:, i : i + 2, j : j + 2] += kernel * part
        return dx, {"kernel": dkernel}


@layer((6, 4), (5, 2))
class GroupedConv1D(Plain):
    """Two groups of channels, kernel of 3, dilation of 2."""

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, 2, 3, input_shape[1] // 2, 2)}
        return input_shape[0] - 4, 4

    def forward(self, x, *, training=False, rng=None):
        kernel = self.params["kernel"]
        steps = x.shape[1] - 4
        half = x.shape[2] // 2
        y = np.zeros((len(x), steps, 4), x.dtype)
        for g in range(2):
            for k in range(3):
                y[:, :, 2 * g : 2 * g + 2] += x[:, 2 * k : 2 * k + steps, g * half : (g + 1) * half] @ kernel[g, k]
        return y, x

    def backward(self, dy, cache):
        x = cache
        kernel = self.params["kernel"]
        steps, half = dy.shape[1], x.shape[2] // 2
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        for g in range(2):
            part = dy[:, :, 2 * g : 2 * g + 2]
            for k in range(3):
                window = x[:, 2 * k : 2 * k + steps, g * half : (g + 1) * half]
                dkernel[g, k] = np.einsum("ntc,ntf->cf", window, part)
                dx[:, 2 * k : 2 * k + steps, g * half : (g + 1) * half] += part @ kernel[g, k].T
        return dx, {"kernel": dkernel}


@layer((4, 2), (3, 3))
class TransposedConv1D(Plain):
    """Kernel of 3, stride of 2."""

    def build(self, input_shape, rng, dtype):
        self.params = {"kernel": weights(rng, dtype, 3, input_shape[1], 2), "bias": weights(rng, dtype, 2)}
        return 2 * input_shape[0] + 1, 2

    def forward(self, x, *, training=False, rng=None):
        kernel = self.params["kernel"]
        y = np.zeros((len(x), 2 * x.shape[1] + 1, 2), x.dtype) + self.params["bias"]
        for t in range(x.shape[1]):
            for k in range(3):
                y[:, 2 * t + k] += x[:, t] @ kernel[k]
        return y, x

    def backward(self, dy, cache):
        x = cache
        kernel = self.params["kernel"]
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        for t in range(x.shape[1]):
            for k in range(3):
                dx[:, t] += dy[:, 2 * t + k] @ kernel[k].T
                dkernel[k] += x[:, t].T @ dy[:, 2 * t + k]
        return dx, {"kernel": dkernel, "bias": dy.sum(axis=(0, 1))}


@layer((4, 6, 2), (5, 4, 1))
class MaxPool(Plain):
    def build(self, input_shape, rng, dtype):
        return (input_shape[0] // 2, input_shape[1] // 2, input_shape[2])

    def forward(self, x, *, training=False, rng=None):
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        y = np.zeros((len(x), rows, columns, x.shape[3]), x.dtype)
        for i, j, window in windows(x, 2, 2, 2, 2):
            y[:, i, j] = window.max(axis=(1, 2))
        return y, x

    def backward(self, dy, cache):
        x = cache
        dx = np.zeros_like(x)
        samples, rows, columns, channels = dy.shape
        for i in range(rows):
            for j in range(columns):
                flat = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(samples, 4, channels)
                winner = flat.argmax(axis=1)
                share = (np.arange(4)[None, :, None] == winner[:, None, :]) * dy[:, i, j][:, None, :]
                dx[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = share.reshape(samples, 2, 2, channels)
        return dx, {}


@layer((3, 4, 2), (4, 4, 1))
class AveragePool(Plain):
    """Windows of 2 by 2 that move by one."""

    def build(self, input_shape, rng, dtype):
        return (input_shape[0] - 1, input_shape[1] - 1, input_shape[2])

    def forward(self, x, *, training=False, rng=None):
        return (x[:, 1:, 1:] + x[:, 1:, :-1] + x[:, :-1, 1:] + x[:, :-1, :-1]) / 4, x.shape

    def backward(self, dy, cache):
        shape = cache
        dx = np.zeros(shape, dy.dtype)
        for i in range(2):
            for j in range(2):
                dx[:, i : i + dy.shape[1], j : j + dy.shape[2]] += dy / 4
        return dx, {}


@layer((4, 3, 2))
class GlobalAverage(Plain):
    def build(self, input_shape, rng, dtype):
        return (input_shape[2],)

    def forward(self, x, *, training=False, rng=None):
        return x.mean(axis=(1, 2)), x.shape

    def backward(self, dy, cache):
        _, height, width, _ = shape = cache
        dx = np.zeros(shape, dy.dtype)
        dx += dy[:, None, None, :] / (height * width)
        return dx, {}


@layer((5, 3))
class GlobalMax(Plain):
    def build(self, input_shape, rng, dtype):
        return (input_shape[1],)

    def forward(self, x, *, training=False, rng=None):
        return x.max(axis=1), (x.argmax(axis=1), x.shape)

    def backward(self, dy, cache):
        winner, shape = cache
        dx = np.zeros(shape, dy.dtype)
        np.put_along_axis(dx, winner[:, None, :], dy[:, None, :], axis=1)
        return dx, {}


@layer((2, 3, 2))
class Upsample(Plain):
    def build(self, input_shape, rng, dtype):
        return (2 * input_shape[0], 2 * input_shape[1], input_shape[2])

    def forward(self, x, *, training=False, rng=None):
        return x.repeat(2, axis=1).repeat(2, axis=2), x.shape

    def backward(self, dy, cache):
        samples, height, width, channels = cache
        return dy.reshape(samples, height, 2, width, 2, channels).sum(axis=(2, 4)), {}


@layer((3, 4, 2))
class ZeroPad(Plain):
    def build(self, input_shape, rng, dtype):
        return (input_shape[0] + 2, input_shape[1] + 3, input_shape[2])

    def forward(self, x, *, training=False, rng=None):
        return np.pad(x, ((0, 0), (1, 1), (2, 1), (0, 0))), x.shape

    def backward(self, dy, cache):
        _, height, width, _ = cache
        return dy[:, 1 : 1 + height, 2 : 2 + width].copy(), {}


@layer((3, 4, 3))
class SqueezeExcite(Plain):
    def build(self, input_shape, rng, dtype):
        channels = input_shape[2]
        self.params = {"down": weights(rng, dtype, channels, 3), "up": weights(rng, dtype, 3, channels)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        mean = x.mean(axis=(1, 2))
        hidden = np.maximum(mean @ self.params["down"], 0)
        gate = sigmoid(hidden @ self.params["up"])
        return x * gate[:, None, None, :], (x, mean, hidden, gate)

    def backward(self, dy, cache):
        x, mean, hidden, gate = cache
        area = x.shape[1] * x.shape[2]
        dgate = (dy * x).sum(axis=(1, 2)) * gate * (1 - gate)
        dhidden = dgate @ self.params["up"].T * (hidden > 0)
        dmean = dhidden @ self.params["down"].T
        dx = dy * gate[:, None, None, :] + dmean[:, None, None, :] / area
        return dx, {"up": hidden.T @ dgate, "down": mean.T @ dhidden}


# ------------------------------------------------------------------------------------------------------------- sequences


@layer((4, 3), (3, 2))
class CumulativeSum(Plain):
    def forward(self, x, *, training=False, rng=None):
        return np.cumsum(x, axis=1), None

    def backward(self, dy, cache):
        return np.cumsum(dy[:, ::-1], axis=1)[:, ::-1].copy(), {}


@layer((4, 3))
class Positions(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"table": weights(rng, dtype, *input_shape), "scale": weights(rng, dtype, 1)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        return x * self.params["scale"] + self.params["table"], x

    def backward(self, dy, cache):
        x = cache
        return dy * self.params["scale"], {"table": dy.sum(axis=0), "scale": (dy * x).sum().reshape(1)}


@layer((4,), (2, 3), inputs=lambda rng, shape: rng.integers(0, 6, size=shape))
class Embedding(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {"table": weights(rng, dtype, 6, 3)}
        return (*input_shape, 3)

    def forward(self, x, *, training=False, rng=None):
        return self.params["table"][x], x

    def backward(self, dy, cache):
        ids = cache
        dtable = np.zeros_like(self.params["table"])
        np.add.at(dtable, ids, dy)
        return None, {"table": dtable}


@layer((4, 3), (3, 2))
class SimpleRNN(Plain):
    def build(self, input_shape, rng, dtype):
        self.params = {
            "wx": weights(rng, dtype, input_shape[1], 3),
            "wh": weights(rng, dtype, 3, 3),
            "b": weights(rng, dtype, 3),
        }
        return (3,)

    def forward(self, x, *, training=False, rng=None):
        p = self.params
        states = [np.zeros((len(x), 3), x.dtype)]
        for t in range(x.shape[1]):
            states.append(np.tanh(x[:, t] @ p["wx"] + states[-1] @ p["wh"] + p["b"]))
        return states[-1], (x, states)

    def backward(self, dy, cache):
        x, states = cache
        p = self.params
        dx, dh = np.zeros_like(x), dy
        dwx, dwh, db = np.zeros_like(p["wx"]), np.zeros_like(p["wh"]), np.zeros_like(p["b"])
        for t in reversed(range(x.shape[1])):
            dz = dh * (1 - states[t + 1] ** 2)
            dwx += x[:, t].T @ dz
            dwh += states[t].T @ dz
            db += dz.sum(axis=0)
            dx[:, t] = dz @ p["wx"].T
            dh = dz @ p["wh"].T
        return dx, {"wx": dwx, "wh": dwh, "b": db}


@layer((3, 2), (4, 3))
class LSTM(Plain):
    """All states are put out; gates i, f, o, g side by side."""

    def build(self, input_shape, rng, dtype):
        d = input_shape[1]
        self.params = {"w": weights(rng, dtype, d + 2, 8), "b": weights(rng, dtype, 8)}
        return input_shape[0], 2

    def forward(self, x, *, training=False, rng=None):
        p, n = self.params, len(x)
        h, c = np.zeros((n, 2), x.dtype), np.zeros((n, 2), x.dtype)
        steps, y = [], np.zeros((n, x.shape[1], 2), x.dtype)
        for t in range(x.shape[1]):
            joined = np.concatenate([x[:, t], h], axis=1)
            z = joined @ p["w"] + p["b"]
            i, f, o, g = sigmoid(z[:, :2]), sigmoid(z[:, 2:4]), sigmoid(z[:, 4:6]), np.tanh(z[:, 6:])
            before, c = c, f * c + i * g
            h = o * np.tanh(c)
            steps.append((joined, i, f, o, g, before, c))
            y[:, t] = h
        return y, (x, steps)

    def backward(self, dy, cache):
        x, steps = cache
        w = self.params["w"]
        dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(self.params["b"])
        dh, dc = np.zeros((len(x), 2), x.dtype), np.zeros((len(x), 2), x.dtype)
        for t in reversed(range(x.shape[1])):
            joined, i, f, o, g, before, c = steps[t]
            dh = dh + dy[:, t]
            do = dh * np.tanh(c)
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            di, df, dg = dc * g, dc * before, dc * i
            dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)], axis=1)
            dw += joined.T @ dz
            db += dz.sum(axis=0)
            djoined = dz @ w.T
            dx[:, t] = djoined[:, :-2]
            dh = djoined[:, -2:]
            dc = dc * f
        return dx, {"w": dw, "b": db}


@layer((3, 2))
class GRU(Plain):
    def build(self, input_shape, rng, dtype):
        d = input_shape[1]
        shapes = {"wr": (d + 2, 2), "wu": (d + 2, 2), "wx": (d, 2), "wh": (2, 2)}
        self.params = {name: weights(rng, dtype, *shape) for name, shape in shapes.items()}
        return (2,)

    def forward(self, x, *, training=False, rng=None):
        p, h, steps = self.params, np.zeros((len(x), 2), x.dtype), []
        for t in range(x.shape[1]):
            joined = np.concatenate([x[:, t], h], axis=1)
            r, u = sigmoid(joined @ p["wr"]), sigmoid(joined @ p["wu"])
            new = np.tanh(x[:, t] @ p["wx"] + (r * h) @ p["wh"])
            steps.append((joined, h, r, u, new))
            h = u * h + (1 - u) * new
        return h, (x, steps)

    def backward(self, dy, cache):
        x, steps = cache
        p = self.params
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        dx, dh = np.zeros_like(x), dy
        for t in reversed(range(x.shape[1])):
            joined, h, r, u, new = steps[t]
            dnew = dh * (1 - u) * (1 - new**2)
            du = dh * (h - new) * u * (1 - u)
            dreset = dnew @ p["wh"].T
            dr = dreset * h * r * (1 - r)
            grads["wx"] += x[:, t].T @ dnew
            grads["wh"] += (r * h).T @ dnew
            grads["wr"] += joined.T @ dr
            grads["wu"] += joined.T @ du
            djoined = dr @ p["wr"].T + du @ p["wu"].T
            dx[:, t] = djoined[:, :-2] + dnew @ p["wx"].T
            dh = dh * u + dreset * r + djoined[:, -2:]
        return dx, grads


@layer((3, 4), (4, 3))
class Attention(Plain):
    def build(self, input_shape, rng, dtype):
        d = input_shape[1]
        self.params = {name: weights(rng, dtype, d, d) for name in ("wq", "wk", "wv")}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        q, k, v = (x @ self.params[name] for name in ("wq", "wk", "wv"))
        scores = q @ k.transpose(0, 2, 1) / 2
        e = np.exp(scores - scores.max(axis=2, keepdims=True))
        a = e / e.sum(axis=2, keepdims=True)
        return a @ v, (x, q, k, v, a)

    def backward(self, dy, cache):
        x, q, k, v, a = cache
        p = self.params
        da = dy @ v.transpose(0, 2, 1)
        dv = a.transpose(0, 2, 1) @ dy
        dscores = a * (da - (da * a).sum(axis=2, keepdims=True)) / 2
        dq = dscores @ k
        dk = dscores.transpose(0, 2, 1) @ q
        dx = dq @ p["wq"].T + dk @ p["wk"].T + dv @ p["wv"].T
        grads = {
            "wq": np.einsum("ntd,nte->de", x, dq),
            "wk": np.einsum("ntd,nte->de", x, dk),
            "wv": np.einsum("ntd,nte->de", x, dv),
        }
        return dx, grads


@layer((4, 4))
class CausalAttention(Plain):
    """Two heads, without parameters: queries, keys and values are the input itself."""

    def forward(self, x, *, training=False, rng=None):
        n, t, d = x.shape
        heads = x.reshape(n, t, 2, d // 2).transpose(0, 2, 1, 3)
        scores = heads @ heads.transpose(0, 1, 3, 2)
        scores = np.where(np.tri(t, dtype=bool), scores, -np.inf)
        e = np.exp(scores - scores.max(axis=3, keepdims=True))
        a = e / e.sum(axis=3, keepdims=True)
        return (a @ heads).transpose(0, 2, 1, 3).reshape(n, t, d), (heads, a)

    def backward(self, dy, cache):
        heads, a = cache
        n, t, d = dy.shape
        dout = dy.reshape(n, t, 2, d // 2).transpose(0, 2, 1, 3)
        da = dout @ heads.transpose(0, 1, 3, 2)
        dscores = a * (da - (da * a).sum(axis=3, keepdims=True))
        dheads = a.transpose(0, 1, 3, 2) @ dout
        dheads = dheads + dscores @ heads + dscores.transpose(0, 1, 3, 2) @ heads
        return dheads.transpose(0, 2, 1, 3).reshape(n, t, d), {}


# ---------------------------------------------------------------------------------------------------------------- losses


def numbers(rng):
    return rng.normal(size=(5, 3)), rng.normal(size=(5, 3))


def labels(rng):
    return rng.integers(0, 3, size=6), rng.normal(size=(6, 3))


def bits(rng):
    return rng.integers(0, 2, size=(5, 3)).astype(float), rng.normal(size=(5, 3))


def distributions(rng):
    return rng.dirichlet(np.ones(3), 5), rng.normal(size=(5, 3))


@loss(numbers)
class MeanSquared:
    def forward(self, y_true, y_pred):
        return float(((y_pred - y_true) ** 2).mean()), (y_true, y_pred)

    def backward(self, cache):
        y_true, y_pred = cache
        return 2 * (y_pred - y_true) / y_pred.size


@loss(numbers)
class Huber:
    def forward(self, y_true, y_pred):
        off = y_pred - y_true
        far = np.abs(off) > 1
        return float(np.where(far, np.abs(off) - 0.5, 0.5 * off**2).sum() / len(off)), off

    def backward(self, cache):
        off = cache
        return np.where(np.abs(off) > 1, np.sign(off), off) / len(off)


@loss(numbers)
class LogCosh:
    def forward(self, y_true, y_pred):
        return float(np.log(np.cosh(y_pred - y_true)).mean()), y_pred - y_true

    def backward(self, cache):
        off = cache
        return np.tanh(off) / off.size


@loss(labels)
class CrossEntropy:
    def forward(self, y_true, y_pred):
        e = np.exp(y_pred - y_pred.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return float(-np.log(p[np.arange(len(p)), y_true]).mean()), (y_true, p)

    def backward(self, cache):
        y_true, p = cache
        dy = p.copy()
        dy[np.arange(len(p)), y_true] -= 1
        return dy / len(p)


@loss(bits)
class BinaryCrossEntropy:
    def forward(self, y_true, y_pred):
        return float((np.log1p(np.exp(y_pred)) - y_true * y_pred).sum(axis=1).mean()), (y_true, y_pred)

    def backward(self, cache):
        y_true, y_pred = cache
        p = 1 / (1 + np.exp(-y_pred))
        return (p - y_true) / len(p)


@loss(labels)
class Hinge:
    """The multiclass support vector machine's."""

    def forward(self, y_true, y_pred):
        rows = np.arange(len(y_pred))
        margins = np.maximum(0, y_pred - y_pred[rows, y_true][:, None] + 1)
        margins[rows, y_true] = 0
        return float(margins.sum() / len(y_pred)), (y_true, margins)

    def backward(self, cache):
        y_true, margins = cache
        rows = np.arange(len(margins))
        dy = (margins > 0) * 1.0
        dy[rows, y_true] -= dy.sum(axis=1)
        return dy / len(margins)


@loss(distributions)
class KullbackLeibler:
    def forward(self, y_true, y_pred):
        logs = y_pred - np.log(np.exp(y_pred).sum(axis=1, keepdims=True))
        return float((y_true * (np.log(y_true) - logs)).sum() / len(logs)), (y_true, logs)

    def backward(self, cache):
        y_true, logs = cache
        return (np.exp(logs) * y_true.sum(axis=1, keepdims=True) - y_true) / len(logs)


@loss(numbers)
class CosineDistance:
    def forward(self, y_true, y_pred):
        a, b = (np.sqrt((y**2).sum(axis=1, keepdims=True)) for y in (y_true, y_pred))
        cosine = (y_true * y_pred).sum(axis=1, keepdims=True) / (a * b)
        return float((1 - cosine).sum()), (y_true, y_pred, a, b, cosine)

    def backward(self, cache):
        y_true, y_pred, a, b, cosine = cache
        return -(y_true / a - cosine * y_pred / b) / b


@loss(numbers)
class Ridge:
    """Squared errors and a penalty on what was predicted."""

    def forward(self, y_true, y_pred):
        return float(0.5 * ((y_pred - y_true) ** 2).sum() + 0.05 * (y_pred**2).sum()), (y_true, y_pred)

    def backward(self, cache):
        y_true, y_pred = cache
        return y_pred - y_true + 0.1 * y_pred


KEY = RandomKey(0, 0)
