"""Convolution, bias, ReLU and 2×2 max-pool in one pass: sums stay in registers, no columns are laid out, and backward uses
that the pool passes the gradient to one pixel of four.

Called only by the engine's steps, in float32. The plain twin of ``conv_pool_forward`` is ``conv2d_forward``, ``relu_forward``,
``max_pool2d_forward``; that of the three backward kernels is their backward operations. The strides are 1 for the convolution and
2 for the pool; x is already padded.

Axis letters as in ``ops.reference``, and G: the filters F, padded with zeros to whole BLOCKs, so that no loop has a remainder.
"""

import numpy as np

from ...contracts import Array
from .jit import jit
from .vector import (
    HALF,
    LANES,
    TAKE,
    after,
    beats,
    choose,
    copy,
    equal,
    fill,
    load,
    multiply_add,
    pair,
    places,
    spread,
    store,
    take,
)

BLOCK = 2 * LANES  # filters at a time: with the 4 pixels of a pool's window that makes 8 sums
DOWN = HALF  # an index into the pool's window is row · DOWN + column, which is a lane of ``pair``
CUT = LANES  # instead of an index: the ReLU was at 0
TAPS = 5  # the widest window of conv_pool_dkernel_narrow, which has a sum for each column


def whole_blocks(array: Array) -> Array:
    """Pad the last axis, the filters, with zeros to whole blocks."""
    missing = -array.shape[-1] % BLOCK
    return (
        array if not missing else np.concatenate([array, np.zeros((*array.shape[:-1], missing), array.dtype)], axis=-1)
    )


@jit
def _pool(v0, v1, v2, v3, relu):
    """The largest of four vectors, lane by lane, and its place; CUT where the ReLU makes it 0."""
    best, place = v0, fill(np.float32(0))
    wins = beats(v1, best)
    best, place = choose(wins, v1, best), choose(wins, fill(np.float32(1)), place)
    wins = beats(v2, best)
    best, place = choose(wins, v2, best), choose(wins, fill(np.float32(DOWN)), place)
    wins = beats(v3, best)
    best, place = choose(wins, v3, best), choose(wins, fill(np.float32(DOWN + 1)), place)
    if relu:
        zero = fill(np.float32(0))
        passes = beats(best, zero)
        best, place = choose(passes, best, zero), choose(passes, place, fill(np.float32(CUT)))
    return best, place


@jit
def conv_pool_forward(x: Array, kernel: Array, bias: Array, relu: bool, y: Array, index: Array) -> None:
    """y = 2×2 max-pool of relu(x ∗ kernel + bias), index = its place in the window (row · DOWN + column), or CUT.

    x (N, H, W, C), kernel (KH, KW · C, G), bias (G,) → y (N, OH, OW, F), index (N, OH, OW, G) uint8. Adding the bias
    and cutting at 0 preserve order, so the ReLU may follow the maximum.
    """
    samples, rows, columns, filters = y.shape
    height, width, channels = x.shape[1:]
    window, run, padded = kernel.shape
    pixels, weights, pooled, where = x.reshape(-1), kernel.reshape(-1), y.reshape(-1), index.reshape(-1)
    right, down = channels, width * channels
    best = np.empty(padded, y.dtype)
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                corner = ((n * height + 2 * i) * width + 2 * j) * channels
                out = (n * rows + i) * columns + j
                for f in range(0, padded, BLOCK):
                    a0 = a1 = a2 = a3 = load(bias, f)
                    b0 = b1 = b2 = b3 = load(bias, f + LANES)
                    for k in range(window):
                        pixel, weight = corner + k * down, k * run * padded + f
                        for _ in range(run):
                            a, b = load(weights, weight), load(weights, weight + LANES)
                            value = spread(pixels, pixel)
                            a0, b0 = multiply_add(value, a, a0), multiply_add(value, b, b0)
                            value = spread(pixels, pixel + right)
                            a1, b1 = multiply_add(value, a, a1), multiply_add(value, b, b1)
                            value = spread(pixels, pixel + down)
                            a2, b2 = multiply_add(value, a, a2), multiply_add(value, b, b2)
                            value = spread(pixels, pixel + down + right)
                            a3, b3 = multiply_add(value, a, a3), multiply_add(value, b, b3)
                            pixel += 1
                            weight += padded
                    a, place = _pool(a0, a1, a2, a3, relu)
                    store(best, f, a)
                    store(where, out * padded + f, place)
                    b, place = _pool(b0, b1, b2, b3, relu)
                    store(best, f + LANES, b)
                    store(where, out * padded + f + LANES, place)
                copy(best, 0, pooled, out * filters, filters)


@jit
def conv_pool_dkernel(dy: Array, index: Array, x: Array, dkernel: Array, dbias: Array) -> None:
    """dkernel (KH, KW · C, G) and dbias (G,) += the gradients, for images with few channels, whose own gradient is not needed.

    dy (N, OH, OW, F), index (N, OH, OW, G), x (N, H, W, C). The filters are the lanes, so the three of four pixels that the
    pool dropped are multiplied by zero.
    """
    samples, rows, columns, filters = dy.shape
    height, width, channels = x.shape[1:]
    window, run, padded = dkernel.shape
    gradients, pixels, dweights, where = dy.reshape(-1), x.reshape(-1), dkernel.reshape(-1), index.reshape(-1)
    right, down = channels, width * channels
    zero = fill(np.float32(0))
    first, second, third, fourth = (
        fill(np.float32(0)),
        fill(np.float32(1)),
        fill(np.float32(DOWN)),
        fill(np.float32(DOWN + 1)),
    )
    one, cut = second, fill(np.float32(CUT))
    through = np.zeros(padded, dy.dtype)
    out = result = 0
    for n in range(samples):
        for i in range(rows):
            for j in range(columns):
                copy(gradients, result, through, 0, filters)
                corner = ((n * height + 2 * i) * width + 2 * j) * channels
                for f in range(0, padded, BLOCK):
                    a, place = load(through, f), load(where, out + f)
                    store(dbias, f, multiply_add(one, choose(equal(place, cut), zero, a), load(dbias, f)))
                    a0, a1 = choose(equal(place, first), a, zero), choose(equal(place, second), a, zero)
                    a2, a3 = choose(equal(place, third), a, zero), choose(equal(place, fourth), a, zero)
                    b, place = load(through, f + LANES), load(where, out + f + LANES)
                    store(
                        dbias, f + LANES, multiply_add(one, choose(equal(place, cut), zero, b), load(dbias, f + LANES))
                    )
                    b0, b1 = choose(equal(place, first), b, zero), choose(equal(place, second), b, zero)
                    b2, b3 = choose(equal(place, third), b, zero), choose(equal(place, fourth), b, zero)
                    for k in range(window):
                        pixel, weight = corner + k * down, k * run * padded + f
                        for _ in range(run):
                            a, b = load(dweights, weight), load(dweights, weight + LANES)
                            value = spread(pixels, pixel)
                            a, b = multiply_add(value, a0, a), multiply_add(value, b0, b)
                            value = spread(pixels, pixel + right)
                            a, b = multiply_add(value, a1, a), multiply_add(value, b1, b)
                            value = spread(pixels, pixel + down)
                            a, b = multiply_add(value, a2, a), multiply_add(value, b2, b)
                            value = spread(pixels, pixel + down + right)
                            a, b = multiply_add(value, a3, a), multiply_add(value, b3, b)
                            store(dweights, weight, a)
                            store(dweights, weight + LANES, b)
                            pixel += 1
                            weight += padded
                out += padded
                result += filters


@jit
def conv_pool_dkernel_narrow(dy: Array, index: Array, x: Array, dkernel: Array, dbias: Array) -> None:
    """The same as conv_pool_dkernel, in a third of the time, for images with one channel and windows that ``narrow`` allows.

    The filters are the lanes, and each picks the pixel of its maximum out of two rows of the image, which are in one register.
    So nothing is multiplied by zero.
    """
    samples, rows, columns, filters = dy.shape
    height, width = x.shape[1:3]
    window, run, padded = dkernel.shape
    gradients, pixels, dweights, where = dy.reshape(-1), x.reshape(-1), dkernel.reshape(-1), index.reshape(-1)
    image = np.zeros(height * width + LANES, x.dtype)  # longer than the image, because the last loads reach beyond it
    through, sums = np.zeros(rows * columns * padded, dy.dtype), np.empty(TAPS * LANES, dy.dtype)
    zero, one, cut = fill(np.float32(0)), fill(np.float32(1)), fill(np.float32(CUT))
    for n in range(samples):
        copy(pixels, n * height * width, image, 0, height * width)
        first = n * rows * columns
        for out in range(rows * columns):
            copy(gradients, (first + out) * filters, through, out * padded, filters)
        first *= padded
        for f in range(0, padded, LANES):
            total = load(dbias, f)
            for at in range(f, through.size, padded):
                a = choose(equal(load(where, first + at), cut), zero, load(through, at))
                store(through, at, a)
                total = multiply_add(one, a, total)
            store(dbias, f, total)
        for k in range(window):
            for f in range(0, padded, LANES):
                a0 = a1 = a2 = a3 = a4 = zero
                at = f
                for i in range(rows):
                    for j in range(columns):
                        pixel = (2 * i + k) * width + 2 * j
                        table = pair(image, pixel, pixel + width)
                        gradient, place = load(through, at), places(where, first + at)
                        a0 = multiply_add(gradient, take(table, place), a0)
                        a1 = multiply_add(gradient, take(table, after(place, 1)), a1)
                        a2 = multiply_add(gradient, take(table, after(place, 2)), a2)
                        a3 = multiply_add(gradient, take(table, after(place, 3)), a3)
                        a4 = multiply_add(gradient, take(table, after(place, 4)), a4)
                        at += padded
                store(sums, 0, a0)
                store(sums, LANES, a1)
                store(sums, 2 * LANES, a2)
                store(sums, 3 * LANES, a3)
                store(sums, 4 * LANES, a4)
                for t in range(run):
                    weight = (k * run + t) * padded + f
                    store(dweights, weight, multiply_add(one, load(sums, t * LANES), load(dweights, weight)))


def narrow(window: int, channels: int) -> bool:
    """Whether conv_pool_dkernel_narrow can be used and is fast: two rows of a pool's windows have to fit into a register."""
    return TAKE is not None and channels == 1 and window <= min(TAPS, HALF - 1)


@jit
def conv_pool_backward(
    dy: Array, index: Array, x: Array, kernel: Array, dx: Array, dkernel: Array, dbias: Array
) -> None:
    """dx (N, H, W, C), dkernel (F, KH, KW · C) and dbias (F,) += the gradients, for images with many channels.

    dy (N, OH, OW, F), index (N, OH, OW, G), x (N, H, W, C), kernel (F, KH, KW · C). The gradient of y[n, i, j, f] belongs
    to one pixel of the map before the pool, so only that pixel's window of x takes part. That is a quarter of the work of the
    convolution, and less where the ReLU was at 0.
    """
    samples, rows, columns, filters = dy.shape
    height, width, channels = x.shape[1:]
    window, run = kernel.shape[1:]
    whole = run - run % LANES
    pixels, dpixels, weights, dweights = x.reshape(-1), dx.reshape(-1), kernel.reshape(-1), dkernel.reshape(-1)
    gradient = np.empty(1, dy.dtype)
    for n in range(samples):
        for f in range(filters):  # the outer loop, so that its weights stay in the L1 cache
            for i in range(rows):
                for j in range(columns):
                    place = np.intp(index[n, i, j, f])
                    if place == CUT:
                        continue
                    gradient[0] = dy[n, i, j, f]
                    dbias[f] += gradient[0]
                    spreaded = spread(gradient, 0)
                    row, column = 2 * i + place // DOWN, 2 * j + place % DOWN
                    for k in range(window):
                        pixel, weight = ((n * height + row + k) * width + column) * channels, (f * window + k) * run
                        for t in range(0, whole, LANES):
                            p, w = pixel + t, weight + t
                            store(dweights, w, multiply_add(spreaded, load(pixels, p), load(dweights, w)))
                            store(dpixels, p, multiply_add(spreaded, load(weights, w), load(dpixels, p)))
                        for t in range(whole, run):
                            dweights[weight + t] += gradient[0] * pixels[pixel + t]
                            dpixels[pixel + t] += gradient[0] * weights[weight + t]
