"""Plain JAX: a pure function for the loss, jax.grad, and one jitted step with Adam by hand."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models import (
    LEARNING_RATE,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Model,
    Norm,
    Pool,
    Rescaling,
    Unsupported,
    with_shapes,
)

Params = list[tuple[jax.Array, jax.Array]]


def initial(model: Model, seed: int) -> Params:
    """(kernel, bias) of each layer that has them, Glorot's uniform numbers and zeros."""
    params, rng = [], np.random.default_rng(seed)
    for layer, before, _ in with_shapes(model):
        match layer:
            case Conv(filters, window):
                shape, places = (window, window, before[2], filters), window * window
            case Dense(units):
                shape, places = (math.prod(before), units), 1
            case Norm():
                raise Unsupported("JAX's adapter has no batch normalization.")
            case _:
                continue
        limit = math.sqrt(6 / (places * (shape[-2] + shape[-1])))
        kernel = rng.uniform(-limit, limit, shape).astype(np.float32)
        params.append((jnp.asarray(kernel), jnp.zeros(shape[-1])))
    return params


def scores(layers: tuple[Layer, ...], params: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """Of a batch, before the softmax; key: of dropout's random numbers, None where it is not training."""
    left = iter(params)
    for layer in layers:
        match layer:
            case Rescaling(scale):
                x = x.astype(jnp.float32) * scale
            case Conv(_, _, strides, padding):
                kernel, bias = next(left)
                numbers = ("NHWC", "HWIO", "NHWC")
                z = lax.conv_general_dilated(x, kernel, (strides,) * 2, padding.upper(), dimension_numbers=numbers)
                x = jax.nn.relu(z + bias)
            case Pool(size):
                window = (1, size, size, 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            case Dropout(rate):
                if key is not None:
                    key, own = jax.random.split(key)
                    x = jnp.where(jax.random.bernoulli(own, 1 - rate, x.shape), x / (1 - rate), 0)
            case Flatten():
                x = x.reshape(len(x), -1)
            case Dense(_, activation):
                kernel, bias = next(left)
                x = x @ kernel + bias
                if activation == "relu":
                    x = jax.nn.relu(x)
    return x


def loss(layers: tuple[Layer, ...], params: Params, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """Mean crossentropy of a batch."""
    logs = jax.nn.log_softmax(scores(layers, params, x, key))
    return -jnp.take_along_axis(logs, y[:, None], axis=1).mean()


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def step(layers: tuple[Layer, ...], state: Any, x: jax.Array, y: jax.Array) -> Any:
    """The state (parameters, Adam's averages, step, key) after one batch."""
    params, m, v, t, key = state
    key, own = jax.random.split(key)
    grads = jax.grad(partial(loss, layers))(params, x, y, own)
    m = jax.tree.map(lambda m, g: m + 0.1 * (g - m), m, grads)
    v = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), v, grads)
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999 ** (t + 1)) / (1 - 0.9 ** (t + 1))
    params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, m, v)
    return params, m, v, t + 1, key


@partial(jax.jit, static_argnums=0)
def probabilities(layers: tuple[Layer, ...], params: Params, x: jax.Array) -> jax.Array:
    """Of a batch."""
    return jax.nn.softmax(scores(layers, params, x, None))


class Trainer:
    """The state between steps. JAX has as many threads as its process may use cores."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        self.layers, self.rng = model.layers, np.random.default_rng(seed)
        params = initial(model, seed)
        m, v = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params)
        self.state = (params, m, v, jnp.zeros(()), jax.random.key(seed))

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """NumPy's arrays: a batch of them is gathered faster than one of JAX's arrays."""
        return x, y.astype(np.int32)

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch."""
        order = self.rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            self.state = step(self.layers, self.state, x[rows], y[rows])
        jax.block_until_ready(self.state)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        return np.asarray(probabilities(self.layers, self.state[0], x))
