"""Convolution without columns: forward and both gradients out of blocks of sums in registers, with bias, ReLU and 2×2 max-pool.

Called only by the engine's steps, in float32. The plain twins are ``conv2d_forward``, ``relu_forward``, ``max_pool2d_forward``
and their backward operations. Axis letters as in ``ops.reference``.
"""

from collections.abc import Iterator

import numpy as np

from ...contracts import Array, DType, Pair
from . import winograd
from .addresses import Convolution, convolution, fold, pack, unfold
from .blocks import ROWS, SLACK, SPAN_LANES
from .loops import NONE, all_finite, framed_tiles, multiply, pack_pixels, pool, sparse, take_out_of_frames

PATCH = 256  # output pixels whose products are added to dkernel at once: what they need fits into the L1 cache
EMPTY = np.empty(0, np.float32)


def forward(x: Array, kernel: Array, bias: Array, strides: Pair, padding: str, relu: bool) -> Array:
    """y (N, OH, OW, F) = relu(x ∗ kernel + bias), or without the ReLU."""
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 1)
    return _convolve(g, x, kernel, bias, relu)


def forward_pooled(
    x: Array, kernel: Array, bias: Array, strides: Pair, padding: str, relu: bool
) -> tuple[Array, Array]:
    """y (N, OH / 2, OW / 2, F) = 2×2 max-pool of relu(x ∗ kernel + bias), and the place of each maximum, or CUT.

    Adding the bias and cutting at 0 preserve order, so the ReLU may follow the maximum.
    """
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 2)
    pooled = (len(x), *g.pooled, g.filters)
    (y, y_memory), (index, index_memory) = _roomy(pooled, x.dtype), _roomy(pooled, np.dtype(np.uint8))
    z = np.zeros(_room(g.grouped.tile * g.grouped.pixels, g.grouped.filters), x.dtype)
    for first, count in _convolved_tiles(g, x, kernel, bias, False, z, False):
        pool(z, count, g.output, g.filters, relu, y_memory, index_memory, first * g.pixels // 4 * g.filters)
    return y, index


def backward(
    dz: Array, x: Array, kernel: Array, strides: Pair, padding: str, need_dx: bool
) -> tuple[Array, Array, Array]:
    """dx (N, H, W, C), dkernel (KH, KW, C, F) and dbias (F,) from dz (N, OH, OW, F). dx is empty if it is not needed."""
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 1)
    dkernel, dbias = _dkernel(g, dz, x)
    if not need_dx:
        return EMPTY, dkernel, dbias
    turn = g.strides == (1, 1) and (winograd.pays(g.turned) or g.turning_pays)
    return (_dx_turned if turn else _dx_scattered)(g, dz, kernel), dkernel, dbias


def backward_pooled(
    dy: Array, index: Array, x: Array, kernel: Array, strides: Pair, padding: str, need_dx: bool
) -> tuple[Array, Array, Array]:
    """dx, dkernel and dbias from dy and index (N, OH / 2, OW / 2, F): ``backward`` of ``forward_pooled``.

    dy of a pooled number belongs to one of the four pixels that it was chosen from, so only that pixel's window of x takes part,
    and none where the ReLU was at 0.
    """
    g = convolution(len(x), x.shape[1:], kernel.shape, strides, padding, 2)
    rows = (g.window[0], -(-g.run // SPAN_LANES) * SPAN_LANES)  # of a window, each filled up to whole vectors
    used = rows[0] * rows[1]
    by_filter = np.zeros((g.filters, len(g.vectors) * SPAN_LANES), x.dtype)
    by_row = np.moveaxis(kernel, 3, 0).reshape(g.filters, rows[0], g.run)
    by_filter[:, :used].reshape(g.filters, *rows)[:, :, : g.run] = by_row
    dby_filter, dbias = np.zeros_like(by_filter), np.zeros(g.filters, x.dtype)
    dx = np.empty(x.shape if need_dx else 0, x.dtype)
    size, listed = g.list_tile * g.steps[0] + rows[1] + SLACK, g.listed[0].size
    sparse(
        dy.reshape(-1),
        index.reshape(-1),
        x.reshape(-1),
        g.samples,
        g.list_tile,
        g.image,
        g.frame,
        g.steps,
        *g.listed,
        g.filters,
        g.vectors,
        by_filter.reshape(-1),
        dby_filter.reshape(-1),
        dbias,
        dx.reshape(-1),
        np.zeros(size, x.dtype),
        np.zeros(size if need_dx else 0, x.dtype),
        np.empty(listed + 1, np.int64),
        np.empty(listed + 1, x.dtype),
    )
    dby_row = dby_filter[:, :used].reshape(g.filters, *rows)[:, :, : g.run]
    return dx, np.moveaxis(dby_row.reshape(g.filters, *kernel.shape[:3]), 0, 3), dbias


def _roomy(shape: tuple[int, ...], dtype: DType) -> tuple[Array, Array]:
    """An array (…, F), not initialized; and, flat, its memory with room behind its end, past which blocks write."""
    pixels = int(np.prod(shape[:-1]))
    memory = np.empty(_room(pixels, shape[-1]), dtype)
    return memory[: pixels * shape[-1]].reshape(shape), memory


def _room(pixels: int, filters: int) -> int:
    return (pixels + ROWS) * filters + SLACK


def _convolve(g: Convolution, x: Array, kernel: Array, bias: Array, relu: bool) -> Array:
    y, memory = _roomy((g.samples, *g.grouped.output, g.grouped.filters), x.dtype)
    for _ in _convolved_tiles(g, x, kernel, bias, relu, memory, True):
        pass
    return y.reshape(g.samples, *g.output, g.filters)


def _convolved_tiles(
    g: Convolution, x: Array, kernel: Array, bias: Array, relu: bool, y: Array, all_of_y: bool
) -> Iterator[tuple[int, int]]:
    """Compute tile after tile of y, which holds all of them or one: (first sample, samples) of each that is done.

    Neighbouring pixels are computed together only where all of x is finite: one's infinity, times the other's zero, would be NaN.
    """
    floor, by_squares = np.float32(0) if relu else NONE, winograd.pays(g)
    if (by_squares or g.group > 1) and all_finite(x.reshape(-1)):
        if by_squares:
            yield from winograd.convolved_tiles(g, x, kernel, bias, floor, y, all_of_y)
            return
        kernel, bias, g = unfold(kernel, g.group, g.strides[1]), np.tile(bias, g.group), g.grouped
    at, sums = g.windows
    packed = pack(kernel.reshape(g.depth, g.filters))
    lanes = np.zeros(g.lanes, x.dtype)
    lanes[: g.filters] = bias
    for first, count, padded in framed_tiles(g, x):
        # from the last block to the first: what a block writes past its end is the next pixel's first lanes
        multiply(
            padded,
            at,
            count * g.pixels,
            g.taps,
            g.depth,
            g.depth,
            packed,
            g.filter_blocks,
            lanes,
            False,
            floor,
            y,
            sums,
            first * g.pixels * g.filters if all_of_y else 0,
            0,
        )
        yield first, count


def _dkernel(g: Convolution, dz: Array, x: Array) -> tuple[Array, Array]:
    """dkernel (KH, KW, C, F), dbias (F,): the taps are the rows, the filters the lanes, and the sum goes over the pixels."""
    if winograd.pays(g):
        return winograd.dkernel_of(g, dz, x)
    group, stride, g = g.group, g.strides[1], g.grouped
    packed = np.empty(g.tile * g.pixels * g.lanes + SLACK, x.dtype)
    dkernel, dbias = np.zeros((g.depth + 1, g.lanes), x.dtype), np.zeros(g.lanes + SLACK, x.dtype)
    dflat = dz.reshape(-1)
    for first, count, padded in framed_tiles(g, x):
        pack_pixels(dflat, first * g.pixels, count * g.pixels, g.filters, g.pixel_blocks, packed, dbias)
        multiply(
            padded,
            g.taps,
            g.depth,
            g.windows[0],
            count * g.pixels,
            PATCH,
            packed,
            g.pixel_blocks,
            dbias,
            True,
            NONE,
            dkernel.reshape(-1),
            g.tap_sums,
            0,
            0,
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
            own,
            at,
            len(at),
            g.each_filter,
            g.filters,
            g.filters,
            packed,
            g.run_blocks,
            dpadded,
            True,
            NONE,
            dpadded,
            windows,
            0,
            0,
        )
        take_out_of_frames(dpadded, first, count, g.image, g.frame, dflat)
    return dx
