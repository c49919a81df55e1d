"""Convolution without columns: forward and both gradients, made of blocks of sums in registers; with ReLU, bias and a 2×2 max-pool.

Called only by the engine's steps, in float32. The plain twins are ``conv2d_forward``, ``relu_forward``, ``max_pool2d_forward`` and
their backward operations. Axis letters as in ``ops.reference``. In the compiled functions all arrays are flat.
"""

from collections.abc import Iterator

import numpy as np

from ...contracts import Array, Pair
from .addresses import Convolution, convolution, fold, pack, unfold
from .blocks import ROWS, SIZES, SLACK, SPAN, WIDTHS, gather, make_block, scatter
from .jit import jit
from .vector import LANES, beats, choose, copy, fill, load, multiply_add, store

wide, narrow = make_block(*SIZES[0]), make_block(*SIZES[-1])

CUT = 4  # instead of a place in the pool's window, row · 2 + column: the ReLU was at 0
PATCH = 256  # output pixels whose products are added to dkernel at once: what they need fits into the L1 cache
NONE = np.float32(-np.inf)  # no floor
EMPTY = np.empty(0, np.float32)


# ------------------------------------------------------------------------------------------------------------- compiled


@jit
def multiply(a, a_at, rows, terms, count, patch, b, blocks, start, add, floor, c, c_at, c_from):
    """All ``rows`` with all ``blocks`` of b, ``patch`` of the ``count`` terms at a time: see ``blocks.block``."""
    for first in range(0, count, patch):
        length = min(patch, count - first)
        for q in range(len(blocks)):
            b_from, lane, width = blocks[q]
            b_at, to, start_at = b_from + first * width, c_from + lane, 0 if add else lane
            for p in range(0, rows, ROWS):
                if width == WIDTHS[0]:
                    wide(a, a_at, p, terms, first, length, b, b_at, start, start_at, add, floor, c, c_at, to)
                else:
                    narrow(a, a_at, p, terms, first, length, b, b_at, start, start_at, add, floor, c, c_at, to)


@jit
def put_in_frames(x, first, count, image, frame, padded):
    """padded = ``count`` images of x, in their frames."""
    (height, width, channels), (top, bottom, left, right) = image, frame
    size, line = width * channels, (left + width + right) * channels
    target = top * line + left * channels
    source = first * height * size
    for _ in range(count):
        if line == size:
            copy(x, source, padded, target, height * size)
            source += height * size
        else:
            for i in range(height):
                copy(x, source, padded, target + i * line, size)
                source += size
        target += (top + height + bottom) * line


@jit
def take_out_of_frames(padded, first, count, image, frame, x):
    """``count`` images of x = what is in the frames."""
    (height, width, channels), (top, bottom, left, right) = image, frame
    size, line = width * channels, (left + width + right) * channels
    source = top * line + left * channels
    target = first * height * size
    for _ in range(count):
        for i in range(height):
            copy(padded, source + i * line, x, target, size)
            target += size
        source += (top + height + bottom) * line


@jit
def pack_pixels(dz, first, pixels, filters, blocks, packed, dbias):
    """packed = the blocks of dz (pixels, F), from the pixel ``first`` on; dbias += their sum. Both have SLACK."""
    last = dz.size - LANES
    rest = np.zeros(LANES, dz.dtype)
    one = fill(np.float32(1))
    for q in range(len(blocks)):
        start, lane, width = blocks[q]
        for f in range(0, width, LANES):
            source, target = first * filters + lane + f, start + f
            total = load(dbias, lane + f)
            for _ in range(pixels):
                if source <= last:
                    value = load(dz, source)
                else:  # the vector would reach beyond the array
                    for t in range(LANES):
                        rest[t] = dz[source + t] if source + t < dz.size else 0
                    value = load(rest, 0)
                store(packed, target, value)
                total = multiply_add(one, value, total)
                source += filters
                target += width
            store(dbias, lane + f, total)


@jit
def _largest(v0, v1, v2, v3, relu):
    """The largest of four vectors, lane by lane, and its place; CUT where the ReLU makes it 0."""
    best, place = v0, fill(np.float32(0))
    wins = beats(v1, best)
    best, place = choose(wins, v1, best), choose(wins, fill(np.float32(1)), place)
    wins = beats(v2, best)
    best, place = choose(wins, v2, best), choose(wins, fill(np.float32(2)), place)
    wins = beats(v3, best)
    best, place = choose(wins, v3, best), choose(wins, fill(np.float32(3)), place)
    if relu:
        zero = fill(np.float32(0))
        passes = beats(best, zero)
        best, place = choose(passes, best, zero), choose(passes, place, fill(np.float32(CUT)))
    return best, place


@jit
def pool(z, count, output, filters, relu, y, index, start):
    """y, index from ``start`` on: the maxima of z (count, OH, OW, F) after the ReLU, and their places. y and index have SLACK."""
    rows, columns = output
    right, down = filters, columns * filters
    for n in range(count):
        for i in range(0, rows, 2):
            for j in range(0, columns, 2):
                corner = ((n * rows + i) * columns + j) * filters
                for f in range(0, filters, LANES):  # what the last vector writes too much, the next pixel overwrites
                    at = corner + f
                    best, place = _largest(
                        load(z, at), load(z, at + right), load(z, at + down), load(z, at + down + right), relu
                    )
                    store(y, start + f, best)
                    store(index, start + f, place)
                start += filters


@jit
def _sparse(
    dy, index, x, samples, tile, image, frame, steps, pooled, filters, apart, offsets, kernel, dkernel, dbias, dx, size
):
    """dkernel (F, vectors), dbias (F,) += the gradients, and dx, unless it is empty, = its own. kernel: as dkernel.

    Of each filter the entries that are not 0 are listed: where the window of x begins, and the number. Entries that follow each other
    have no columns of x in common, if there are enough columns: adding to what was just written would wait for it.
    """
    padded, dpadded = np.zeros(size, x.dtype), np.zeros(size if dx.size else 0, x.dtype)
    rows, columns = pooled
    at, values = np.zeros(tile * rows * columns + 1, np.int64), np.zeros(tile * rows * columns + 1, x.dtype)
    window = len(offsets) * LANES
    for first in range(0, samples, tile):
        count = min(tile, samples - first)
        put_in_frames(x, first, count, image, frame, padded)
        if dx.size:
            dpadded[:] = 0
        for f in range(filters):
            length, total = 0, dy.dtype.type(0)
            for n in range(count):
                for group in range(apart):
                    for i in range(rows):
                        source = (((first + n) * rows + i) * columns + group) * filters + f
                        corner = n * steps[0] + 2 * i * steps[1] + 2 * group * steps[2]
                        for _ in range(group, columns, apart):
                            place = np.int64(index[source])
                            at[length] = corner + (place >> 1) * steps[1] + (place & 1) * steps[2]
                            values[length] = dy[source]
                            length += place != CUT
                            source += apart * filters
                            corner += apart * 2 * steps[2]
            for e in range(length):
                total += values[e]
            dbias[f] += total
            for span in range(0, len(offsets), SPAN):
                gather(padded, at, values, 0, length, offsets, span, dkernel, f * window + span * LANES)
                if dx.size:
                    scatter(dpadded, at, values, 0, length, offsets, span, kernel, f * window + span * LANES)
        if dx.size:
            take_out_of_frames(dpadded, first, count, image, frame, dx)


# ---------------------------------------------------------------------------------------------------------------- called


def forward(x: Array, kernel: Array, bias: Array, strides: Pair, padding: str, relu: bool) -> Array:
    """y (N, OH, OW, F) = relu(x ∗ kernel + bias), or without the ReLU."""
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 1)
    return _convolve(g, x, kernel, bias, relu)


def forward_pooled(x: Array, kernel: Array, bias: Array, strides: Pair, padding: str, relu: bool) -> tuple[Array, Array]:
    """y (N, OH / 2, OW / 2, F) = 2×2 max-pool of relu(x ∗ kernel + bias), and the place of each maximum, or CUT.

    Adding the bias and cutting at 0 preserve order, so the ReLU may follow the maximum.
    """
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 2)
    pooled = (len(x), *g.pooled, g.filters)
    y, index = roomy(pooled, x.dtype), roomy(pooled, np.dtype(np.uint8))
    z = np.zeros(_room(g.grouped.tile * g.grouped.pixels, g.grouped.filters), x.dtype)
    for first, count in _convolved_tiles(g, x, kernel, bias, False, z, False):
        pool(z, count, g.output, g.filters, relu, _whole(y), _whole(index), first * g.pixels // 4 * g.filters)
    return y, index


def backward(
    dz: Array, x: Array, kernel: Array, strides: Pair, padding: str, need_dx: bool
) -> tuple[Array, Array, Array]:
    """dx (N, H, W, C), dkernel (KH, KW, C, F) and dbias (F,) from dz (N, OH, OW, F). dx is empty if it is not needed."""
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 1)
    dkernel, dbias = _dkernel(g, dz, x)
    if not need_dx:
        return EMPTY, dkernel, dbias
    return (_dx_turned if g.turning_pays else _dx_scattered)(g, dz, kernel), dkernel, dbias


def backward_pooled(
    dy: Array, index: Array, x: Array, kernel: Array, strides: Pair, padding: str, need_dx: bool
) -> tuple[Array, Array, Array]:
    """dx, dkernel and dbias from dy and index (N, OH / 2, OW / 2, F): ``backward`` of ``forward_pooled``.

    dy of a pooled number belongs to one of the four pixels that it was chosen from, so only that pixel's window of x takes part,
    and none where the ReLU was at 0.
    """
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 2)
    rows = (g.window[0], -(-g.run // LANES) * LANES)  # of a window, each filled up to whole vectors
    used = rows[0] * rows[1]
    by_filter = np.zeros((g.filters, len(g.vectors) * LANES), x.dtype)
    by_row = np.moveaxis(kernel, 3, 0).reshape(g.filters, rows[0], g.run)
    by_filter[:, :used].reshape(g.filters, *rows)[:, :, : g.run] = by_row
    dby_filter, dbias = np.zeros_like(by_filter), np.zeros(g.filters, x.dtype)
    dx = np.empty(x.shape if need_dx else 0, x.dtype)
    _sparse(
        dy.reshape(-1), index.reshape(-1), x.reshape(-1), g.samples, g.list_tile, g.image, g.frame, g.steps, g.pooled, g.filters, g.apart,
        g.vectors, by_filter.reshape(-1), dby_filter.reshape(-1), dbias, dx.reshape(-1), g.list_tile * g.steps[0] + rows[1] + SLACK,
    )
    dby_row = dby_filter[:, :used].reshape(g.filters, *rows)[:, :, : g.run]
    return dx, np.moveaxis(dby_row.reshape(g.filters, *kernel.shape[:3]), 0, 3), dbias


def roomy(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """An array (…, F), not initialized, with room behind its end for what blocks write too much."""
    pixels = int(np.prod(shape[:-1]))
    return np.empty(_room(pixels, shape[-1]), dtype)[: pixels * shape[-1]].reshape(shape)


def _room(pixels: int, filters: int) -> int:
    return (pixels + ROWS) * filters + SLACK


def _whole(array: Array) -> Array:
    """A roomy array, flat, with the room behind its end."""
    assert array.base is not None
    return array.base


def _convolve(g: Convolution, x: Array, kernel: Array, bias: Array, relu: bool) -> Array:
    y = roomy((g.samples, *g.grouped.output, g.grouped.filters), x.dtype)
    for _ in _convolved_tiles(g, x, kernel, bias, relu, _whole(y), True):
        pass
    return y.reshape(g.samples, *g.output, g.filters)


def _convolved_tiles(
    g: Convolution, x: Array, kernel: Array, bias: Array, relu: bool, y: Array, all_of_y: bool
) -> Iterator[tuple[int, int]]:
    """Compute tile after tile of y, which holds all of them or one: (first sample, samples) of each that is done."""
    kernel, bias = unfold(kernel, g.group, g.strides[1]), np.tile(bias, g.group)
    g = g.grouped
    at, sums = g.windows
    packed = pack(kernel.reshape(g.depth, g.filters))
    padded = np.zeros(g.tile * g.steps[0] + SLACK, x.dtype)
    lanes = np.zeros(g.lanes, x.dtype)
    lanes[: g.filters] = bias
    flat, floor = x.reshape(-1), np.float32(0) if relu else NONE
    for first in range(0, g.samples, g.tile):
        count = min(g.tile, g.samples - first)
        put_in_frames(flat, first, count, g.image, g.frame, padded)
        # from the last block to the first: what a block writes too much is the next pixel's first lanes
        multiply(
            padded, at, count * g.pixels, g.taps, g.depth, g.depth, packed, g.filter_blocks, lanes, False, floor, y, sums,
            first * g.pixels * g.filters if all_of_y else 0,
        )
        yield first, count


def _dkernel(g: Convolution, dz: Array, x: Array) -> tuple[Array, Array]:
    """dkernel (KH, KW, C, F), dbias (F,): the taps are the rows, the filters the lanes, and the sum goes over the pixels."""
    group, stride, g = g.group, g.strides[1], g.grouped
    padded = np.zeros(g.tile * g.steps[0] + SLACK, x.dtype)
    packed = np.empty(g.tile * g.pixels * g.lanes + SLACK, x.dtype)
    dkernel, dbias = np.zeros((g.depth + 1, g.lanes), x.dtype), np.zeros(g.lanes + SLACK, x.dtype)
    flat, dflat = x.reshape(-1), dz.reshape(-1)
    for first in range(0, g.samples, g.tile):
        count = min(g.tile, g.samples - first)
        put_in_frames(flat, first, count, g.image, g.frame, padded)
        pack_pixels(dflat, first * g.pixels, count * g.pixels, g.filters, g.pixel_blocks, packed, dbias)
        multiply(
            padded, g.taps, g.depth, g.windows[0], count * g.pixels, PATCH, packed, g.pixel_blocks, dbias, True, NONE,
            dkernel.reshape(-1), g.tap_sums, 0,
        )
    dgrouped = dkernel[: g.depth, : g.filters].reshape(*g.window, g.image[2], g.filters)
    return fold(dgrouped, group, stride), dbias[: g.filters].reshape(group, -1).sum(axis=0)


def _dx_turned(g: Convolution, dz: Array, kernel: Array) -> Array:
    """Every pixel of dx gathers what reaches it: a convolution of dz by the kernel turned around, with the channels as lanes."""
    around = np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))
    return _convolve(g.turned, dz, around, np.zeros(g.image[2], dz.dtype), False)


def _dx_scattered(g: Convolution, dz: Array, kernel: Array) -> Array:
    """Every pixel of dz adds to the window of dx that it came from, with the KW · C numbers of a window's row as lanes."""
    at, windows, size = g.scattered
    by_row = kernel.reshape(g.window[0], g.run, g.filters)
    packed = np.concatenate([pack(row.T) for row in by_row])
    dx = np.empty((g.samples, *g.image), dz.dtype)
    own, dpadded = np.zeros(g.tile * g.pixels * g.filters, dz.dtype), np.empty(size, dz.dtype)
    flat, dflat = dz.reshape(-1), dx.reshape(-1)
    for first in range(0, g.samples, g.tile):
        count = min(g.tile, g.samples - first)
        part = flat[first * g.pixels * g.filters : (first + count) * g.pixels * g.filters]
        own[: len(part)] = part
        dpadded[:] = 0
        multiply(
            own, at, len(at), g.each_filter, g.filters, g.filters, packed, g.run_blocks, dpadded, True, NONE, dpadded, windows, 0
        )
        take_out_of_frames(dpadded, first, count, g.image, g.frame, dflat)
    return dx
