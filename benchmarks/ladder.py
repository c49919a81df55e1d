"""From seven nested loops to the engine: one convolution with its bias, its ReLU and a 2 × 2 max-pool, written six times.

Every rung computes the same numbers, in one thread. Read them from top to bottom.

Axis letters: N images, H height, W width, C channels, F filters; x (N, H, W, C), kernel (KH, KW, C, F), bias (F,).
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl import Sequential
from minidl.contracts import Array
from minidl.engine.plan import Plan
from minidl.engine.stages import alone
from minidl.layers import Conv2D, MaxPooling2D
from minidl.ops.kernels.jit import jit

from .tables import Table, number
from .timing import median_seconds


class Convolution(NamedTuple):
    """The shape of a convolution: square images and windows, no padding, stride 1."""

    title: str
    size: int
    channels: int
    filters: int
    window: int


CONVOLUTIONS = (
    Convolution("The CNN's first layer", 28, 1, 32, 5),
    Convolution("The second layer of Keras's mnist_convnet", 13, 32, 64, 3),
)
IMAGES = 100  # of a shard
TILE = 256 * 1024  # floats of its rows: 1 MB, which many second-level caches hold
TOLERANCE = 1e-4  # between rungs, which add up in different orders


# 1. The definition: a number for every image, place and filter, each a sum over the window.


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """relu(x ∗ kernel + bias) in seven nested loops, (N, OH, OW, F)."""
    height, width, channels, filters = kernel.shape
    z = np.empty((x.shape[0], x.shape[1] - height + 1, x.shape[2] - width + 1, filters), x.dtype)
    for n in range(z.shape[0]):
        for i in range(z.shape[1]):
            for j in range(z.shape[2]):
                for f in range(filters):
                    total = bias[f]
                    for a in range(height):
                        for b in range(width):
                            for c in range(channels):
                                total += x[n, i + a, j + b, c] * kernel[a, b, c, f]
                    z[n, i, j, f] = max(total, x.dtype.type(0))
    return z


def pool(z: Array) -> Array:
    """The largest of each 2 × 2 square; what is left over at the edges is dropped."""
    n, height, width, filters = z.shape
    squares = z[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, filters)
    return squares.max(axis=(2, 4))


def python_loops(x: Array, kernel: Array, bias: Array) -> Array:
    """The definition, as it stands."""
    return pool(convolve(x, kernel, bias))


# 2. Lay every window out as a row; then all the sums are one matrix product, which NumPy hands to BLAS.


def numpy_im2col(x: Array, kernel: Array, bias: Array) -> Array:
    """Windows as rows · kernel as a matrix."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))  # (N, OH, OW, C, KH, KW)
    rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kernel[..., 0].size)
    z = np.maximum(rows @ kernel.reshape(len(rows[0]), -1) + bias, 0)
    return pool(z.reshape(*windows.shape[:3], -1))


# 3. The loops of the first rung again, compiled.

compiled_convolve = jit(convolve)


def numba_loops(x: Array, kernel: Array, bias: Array) -> Array:
    """The definition, as machine code."""
    return pool(compiled_convolve(x, kernel, bias))


# 4. Both ideas: compiled loops lay the rows out, BLAS multiplies.


@jit
def lay_out(x: Array, rows: Array) -> None:
    """x → rows (N, OH, OW, KH, KW · C): a row of a window lies together in x, and is copied in one run."""
    width = rows.shape[4]
    for n in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            for j in range(rows.shape[2]):
                for a in range(rows.shape[3]):
                    source, target = x[n, i + a].reshape(-1), rows[n, i, j, a]
                    for k in range(width):
                        target[k] = source[j * x.shape[3] + k]


def numba_im2col(x: Array, kernel: Array, bias: Array) -> Array:
    """Rows by Numba, the product by BLAS."""
    height, width, channels, filters = kernel.shape
    places = (len(x), x.shape[1] - height + 1, x.shape[2] - width + 1)
    rows = np.empty((*places, height, width * channels), x.dtype)
    lay_out(x, rows)
    z = rows.reshape(-1, height * width * channels) @ kernel.reshape(-1, filters)
    z += bias
    np.maximum(z, 0, out=z)
    return pool(z.reshape(*places, filters))


# 5. A few images at a time: their rows are multiplied while they are still in the cache.


def tiled(x: Array, kernel: Array, bias: Array) -> Array:
    """Rung 4, tile by tile."""
    places = (x.shape[1] - kernel.shape[0] + 1) * (x.shape[2] - kernel.shape[1] + 1)
    step = max(1, TILE // (places * kernel[..., 0].size))
    return np.concatenate([numba_im2col(x[n : n + step], kernel, bias) for n in range(0, len(x), step)])


# 6. No rows at all: the sums of some pixels × some filters stay in registers, and the pool takes its maxima from the L2 cache.


class Fused:
    """The engine's step. It does more than the others: it also remembers where each maximum stood, for the way back."""

    def __init__(self) -> None:
        self.plan: Plan | None = None

    def __call__(self, x: Array, kernel: Array, bias: Array) -> Array:
        if self.plan is None:
            convolution = Conv2D(kernel.shape[3], kernel.shape[:2], activation="relu", input_shape=x.shape[1:])
            model = Sequential([convolution, MaxPooling2D()])
            model.set_weights([kernel, bias])
            self.plan = Plan(model.layers, None, fuse=True)
        return alone(self.plan.forward(x, True, None))[0][0]


Rung = Callable[[Array, Array, Array], Array]


def rungs() -> dict[str, Rung]:
    """All of them, from the bottom."""
    return {
        "1 loops in Python": python_loops,
        "2 im2col in NumPy": numpy_im2col,
        "3 loops in Numba": numba_loops,
        "4 im2col in Numba": numba_im2col,
        "5 tiled": tiled,
        "6 fused, the engine's": Fused(),
    }


def example(shape: Convolution, images: int) -> tuple[Array, Array, Array]:
    """(x, kernel, bias) of random numbers."""
    rng = np.random.default_rng(1)
    x = rng.random((images, shape.size, shape.size, shape.channels), dtype=np.float32)
    kernel = rng.normal(size=(shape.window, shape.window, shape.channels, shape.filters)).astype(np.float32)
    return x, kernel, rng.normal(size=shape.filters).astype(np.float32)


def check(shape: Convolution, images: int = 1) -> None:
    """Raise ValueError unless all rungs give the same numbers."""
    x, kernel, bias = example(shape, images)
    expected = python_loops(x, kernel, bias)
    for name, rung in rungs().items():
        worst = float(np.abs(rung(x, kernel, bias) - expected).max())
        if not worst <= TOLERANCE:
            raise ValueError(
                f"rung {name!r} must equal the first one within {TOLERANCE}, received a difference of {worst}."
            )


def measure(shape: Convolution) -> list[dict[str, Any]]:
    """Seconds an image and floating-point operations a second of each rung. The first one does a single image, once."""
    check(shape)
    x, kernel, bias = example(shape, IMAGES)
    flops = 2 * (shape.size - shape.window + 1) ** 2 * kernel.size
    records = []
    for name, rung in rungs().items():
        if rung is python_loops:
            begin = time.perf_counter()
            rung(x[:1], kernel, bias)
            images, seconds = 1, time.perf_counter() - begin
        else:
            images, seconds = IMAGES, median_seconds(lambda rung=rung: rung(x, kernel, bias)) / IMAGES
        records.append({"rung": name, "images": images, "seconds": seconds, "rate": flops / seconds})
    return records


def ladder_table(record: dict[str, Any]) -> Table:
    """One convolution's ladder."""
    first = record["rungs"][0]["seconds"]
    rows = [
        (r["rung"], number(1e6 * r["seconds"]), number(r["rate"] / 1e9), number(first / r["seconds"]), str(r["images"]))
        for r in record["rungs"]
    ]
    header = ("rung", "µs an image", "GFLOP/s", "times the first", "images measured")
    return Table(record["title"], header, rows)
