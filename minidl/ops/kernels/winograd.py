"""Winograd's convolution by 3×3 windows: 16 multiplications for four pixels of y instead of 36, forward and for both gradients.

Two numbers y of a convolution of four numbers d by three numbers g take six multiplications, or four:

    y₀ = d₀g₀ + d₁g₁ + d₂g₂ = m₀ + m₁ + m₂      m₀ = (d₀ − d₂) · g₀      m₁ = (d₁ + d₂) · (g₀ + g₁ + g₂) / 2
    y₁ = d₁g₀ + d₂g₁ + d₃g₂ = m₁ − m₂ − m₃      m₃ = (d₁ − d₃) · g₂      m₂ = (d₂ − d₁) · (g₀ − g₁ + g₂) / 2

that is, y = Aᵀ (Gg ⊙ Bᵀd) with the matrices

         1  0 −1  0           1   0   0          1  1  1  0
    Bᵀ = 0  1  1  0       G = ½   ½   ½     Aᵀ = 0  1 −1 −1
         0 −1  1  0           ½  −½   ½
         0  1  0 −1           0   0   1

Along both axes, a square of 2×2 pixels of y from 4×4 of x is Y = Aᵀ (G g Gᵀ ⊙ Bᵀ d B) A. The sum over channels goes on between
⊙ and A, so ⊙ becomes 16 matrix products, squares × channels by channels × filters, of which each channel and each filter was
transformed once. All of it is linear in g, so the gradient is the transpose: dg = Gᵀ (Σ A dY Aᵀ ⊙ Bᵀ d B) G, summed over squares.
dx is a convolution of dy by the kernel turned around.

In float32 the transforms round, too, but the sums are shorter, over C numbers instead of 9 · C. With 64 channels of normally
distributed numbers the root mean square error is 4.4 · 2⁻²⁴ of the result's for y, where the plain sum's is 7.2 · 2⁻²⁴; 4.3 and
6.7 for dx; 6.2 and 7.2 for dkernel. x and the kernel have to be finite, and x a factor of four below the largest float32: an
infinity would make NaN of pixels that should be infinite.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, https://arxiv.org/abs/1509.09308, section 4.1.
Called only by ``direct``. The plain twins are ``conv2d_forward`` and ``conv2d_backward``.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ...contracts import Array
from .addresses import Convolution, blocks, covered, effort, whole
from .blocks import ROWS, SLACK
from .jit import jit
from .loops import NONE, framed_tiles, multiply
from .vector import LANES, beats, choose, fill, load, multiply_add, store

PRODUCTS = 16
ROOM = 48 * 1024  # numbers of the squares that are transformed at once: 192 kB in float32, which stay in the L2 cache
TRANSFORM = 170  # multiplications that take as long as to transform one number of a square, of a channel or of a filter


def pays(g: Convolution) -> bool:
    """Whether this convolution can be computed in this way, for which F has to be whole vectors, and takes less time so."""
    if g.window != (3, 3) or g.strides != (1, 1) or g.filters % LANES:
        return False
    channels, filters = g.image[2], g.filters
    plain = g.pixels * g.grouped.depth * effort(g.grouped.filters) / g.group
    squares = -(-g.output[0] // 2) * -(-g.output[1] // 2)
    return squares * (PRODUCTS * channels * effort(filters) + TRANSFORM * (channels + filters)) < plain


class Squares:
    """The squares of 2×2 pixels of a convolution's output: where they are in a tile of images, and where their transforms lie.

    frames: the convolution, with frames that have a row or a column more where the last squares reach beyond the output.
    corners, pixels: of each square, where its window begins in the images, and its first pixel in y. inside: whether it has a
    right column (1), a lower row (2). each: how many squares an image has. at_once: how many are transformed at once. The
    channels or filters of one square after another are a plane; 16 planes are the 16 numbers of each transform.
    """

    def __init__(self, g: Convolution) -> None:
        (top, bottom, left, right), (height, width), channels = g.frame, g.output, g.image[2]
        frame = (top, bottom + height % 2, left, right + width % 2)
        self.frames = Convolution(g.samples, g.image, g.window, g.filters, g.strides, frame, g.output)
        n, i, j = np.indices((self.frames.tile, -(-height // 2), -(-width // 2))).reshape(3, -1)
        self.each = len(n) // self.frames.tile
        self.corners = n * self.frames.steps[0] + 2 * i * self.frames.steps[1] + 2 * j * self.frames.steps[2]
        self.pixels = (n * g.pixels + 2 * i * width + 2 * j) * g.filters
        self.inside = (2 * j + 1 < width) + 2 * (2 * i + 1 < height)
        self.lanes = covered(g.filters)
        self.at_once = max(1, ROOM // (PRODUCTS * (channels + self.lanes) * ROWS)) * ROWS
        places, planes = np.arange(self.at_once), np.arange(PRODUCTS)[:, None]
        self.window_at, self.sum_at = places * channels, places * self.lanes
        # SLACK is for what vectors write past the end; without it, the planes would also often meet in the same lines of a cache
        self.window_plane, self.sum_plane = self.at_once * channels + SLACK, self.at_once * self.lanes + SLACK
        self.channels = (planes * self.window_plane + np.arange(channels)).reshape(-1)
        self.places = (planes * self.window_plane + places * channels).reshape(-1)
        # a sum for each channel, and one more for the rows that fill up a block
        self.channel_at = whole(np.arange(channels), 0)
        self.channel_sum_at = whole(np.arange(channels) * self.lanes, channels * self.lanes)

    def windows(self, dtype: np.dtype) -> Array:
        """Room for the transforms of the squares' windows."""
        return np.zeros(PRODUCTS * self.window_plane, dtype)


squares = lru_cache(maxsize=256)(Squares)


def convolved_tiles(
    g: Convolution, x: Array, kernel: Array, bias: Array, floor: np.float32, y: Array, all_of_y: bool
) -> Iterator[tuple[int, int]]:
    """Compute tile after tile of y, which holds all of them or one: (first sample, samples) of each that is done."""
    s, channels = squares(g), g.image[2]
    packed, parts = np.zeros(PRODUCTS * channels * s.lanes, x.dtype), blocks(g.filters, PRODUCTS * channels)
    _transform_kernel(kernel.reshape(-1), channels, g.filters, parts, packed)
    windows, sums = s.windows(x.dtype), np.empty(PRODUCTS * s.sum_plane, x.dtype)
    nothing = np.zeros(s.lanes, x.dtype)
    for first, count, padded in framed_tiles(s.frames, x):
        _convolve(
            padded,
            count * s.each,
            s.at_once,
            s.corners,
            s.pixels,
            s.inside,
            s.frames.line,
            channels,
            windows,
            s.window_plane,
            s.window_at,
            s.channels,
            packed,
            parts,
            nothing,
            sums,
            s.sum_at,
            s.sum_plane,
            s.lanes,
            bias,
            floor,
            g.output[1],
            g.filters,
            y,
            first * g.pixels * g.filters if all_of_y else 0,
        )
        yield first, count


def dkernel_of(g: Convolution, dz: Array, x: Array) -> tuple[Array, Array]:
    """dkernel (3, 3, C, F) and dbias (F,) from dz (N, OH, OW, F)."""
    s, channels = squares(g), g.image[2]
    windows, packed = s.windows(x.dtype), np.zeros(PRODUCTS * s.at_once * s.lanes, x.dtype)
    dproducts, dbias = np.zeros((PRODUCTS, channels + 1, s.lanes), x.dtype), np.zeros(g.filters, x.dtype)
    for first, count, padded in framed_tiles(s.frames, x):
        _correlate(
            padded,
            count * s.each,
            s.at_once,
            s.corners,
            s.pixels,
            s.inside,
            s.frames.line,
            channels,
            windows,
            s.window_plane,
            s.places,
            s.channel_at,
            dz.reshape(-1),
            first * g.pixels * g.filters,
            g.output[1],
            g.filters,
            packed,
            blocks(g.filters, PRODUCTS * s.at_once),
            dproducts.reshape(-1),
            s.channel_sum_at,
            (channels + 1) * s.lanes,
            dbias,
        )
    dkernel = np.empty((3, 3, channels, g.filters), x.dtype)
    _transform_products(dproducts.reshape(-1), channels, g.filters, s.lanes, dkernel.reshape(-1))
    return dkernel, dbias


# ------------------------------------------------------------------------------------------------ compiled; arrays are flat


@jit
def _differences(d0, d1, d2, d3):
    """Bᵀ · d"""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


@jit
def _halves(g0, g1, g2):
    """G · g"""
    half, none = fill(np.float32(0.5)), fill(np.float32(0))
    even = multiply_add(half, g0 + g2, none)
    return g0, multiply_add(half, g1, even), multiply_add(none - half, g1, even), g2


@jit
def _halves_back(m0, m1, m2, m3):
    """Gᵀ · m"""
    half, none = fill(np.float32(0.5)), fill(np.float32(0))
    return multiply_add(half, m1 + m2, m0), multiply_add(half, m1 - m2, none), multiply_add(half, m1 + m2, m3)


@jit
def _sums(m0, m1, m2, m3):
    """Aᵀ · m"""
    return m0 + m1 + m2, m1 - m2 - m3


@jit
def _put_four(vectors, array, at, plane):
    """To the same place of four planes."""
    v0, v1, v2, v3 = vectors
    store(array, at, v0)
    store(array, at + plane, v1)
    store(array, at + 2 * plane, v2)
    store(array, at + 3 * plane, v3)


@jit
def _transform_kernel(kernel, channels, filters, blocks, packed):
    """packed = the blocks of G g Gᵀ (16 · C, F)."""
    tap = channels * filters
    for q in range(blocks.shape[0]):
        begin, lane, size = blocks[q, 0], blocks[q, 1], blocks[q, 2]
        for c in range(channels):
            for f in range(lane, min(lane + size, filters), LANES):
                at, to, plane = c * filters + f, begin + c * size + f - lane, channels * size
                a0, b0, c0, d0 = _three_down(kernel, at, tap)
                a1, b1, c1, d1 = _three_down(kernel, at + tap, tap)
                a2, b2, c2, d2 = _three_down(kernel, at + 2 * tap, tap)
                _put_four(_halves(a0, a1, a2), packed, to, plane)
                _put_four(_halves(b0, b1, b2), packed, to + 4 * plane, plane)
                _put_four(_halves(c0, c1, c2), packed, to + 8 * plane, plane)
                _put_four(_halves(d0, d1, d2), packed, to + 12 * plane, plane)


@jit
def _three_down(kernel, at, tap):
    """G · three numbers below each other"""
    return _halves(load(kernel, at), load(kernel, at + 3 * tap), load(kernel, at + 6 * tap))


@jit
def _transform_products(dproducts, channels, filters, lanes, dkernel):
    """dkernel (3, 3, C, F) = Gᵀ · dproducts (16, C + 1, lanes) · G"""
    plane, tap = (channels + 1) * lanes, channels * filters
    for c in range(channels):
        for f in range(0, filters, LANES):
            at, to = c * lanes + f, c * filters + f
            a0, b0, c0 = _products_down(dproducts, at, plane)
            a1, b1, c1 = _products_down(dproducts, at + plane, plane)
            a2, b2, c2 = _products_down(dproducts, at + 2 * plane, plane)
            a3, b3, c3 = _products_down(dproducts, at + 3 * plane, plane)
            _put_three(_halves_back(a0, a1, a2, a3), dkernel, to, tap)
            _put_three(_halves_back(b0, b1, b2, b3), dkernel, to + 3 * tap, tap)
            _put_three(_halves_back(c0, c1, c2, c3), dkernel, to + 6 * tap, tap)


@jit
def _products_down(m, at, plane):
    """Gᵀ · four numbers below each other"""
    return _halves_back(load(m, at), load(m, at + 4 * plane), load(m, at + 8 * plane), load(m, at + 12 * plane))


@jit
def _put_three(vectors, array, at, tap):
    """To the same place of three taps."""
    v0, v1, v2 = vectors
    store(array, at, v0)
    store(array, at + tap, v1)
    store(array, at + 2 * tap, v2)


@jit
def _transform_windows(x, corners, first, count, line, channels, windows, plane):
    """windows (16, squares, C) = Bᵀ d B of ``count`` squares from ``first`` on."""
    for square in range(count):
        # what the last vector writes past its end, the next square overwrites
        for c in range(0, channels, LANES):
            at, to = corners[first + square] + c, square * channels + c
            a0, b0, c0, d0 = _four_down(x, at, line)
            a1, b1, c1, d1 = _four_down(x, at + channels, line)
            a2, b2, c2, d2 = _four_down(x, at + 2 * channels, line)
            a3, b3, c3, d3 = _four_down(x, at + 3 * channels, line)
            _put_four(_differences(a0, a1, a2, a3), windows, to, plane)
            _put_four(_differences(b0, b1, b2, b3), windows, to + 4 * plane, plane)
            _put_four(_differences(c0, c1, c2, c3), windows, to + 8 * plane, plane)
            _put_four(_differences(d0, d1, d2, d3), windows, to + 12 * plane, plane)


@jit
def _four_down(x, at, line):
    """Bᵀ · four numbers below each other"""
    return _differences(load(x, at), load(x, at + line), load(x, at + 2 * line), load(x, at + 3 * line))


@jit
def _transform_sums(sums, plane, lanes, pixels, inside, first, count, bias, floor, width, filters, y, start):
    """y from ``start`` on = Aᵀ m A + bias, at least the floor, of ``count`` squares from ``first`` on."""
    least, down = fill(floor), width * filters
    for square in range(count):
        beside, below = inside[first + square] & 1, inside[first + square] & 2
        for f in range(0, filters, LANES):
            at, to, own = square * lanes + f, start + pixels[first + square] + f, load(bias, f)
            s0, t0 = _sums_down(sums, at, plane)
            s1, t1 = _sums_down(sums, at + plane, plane)
            s2, t2 = _sums_down(sums, at + 2 * plane, plane)
            s3, t3 = _sums_down(sums, at + 3 * plane, plane)
            y0, y1 = _sums(s0, s1, s2, s3)
            _put_pixel(y0 + own, least, y, to)
            if beside:
                _put_pixel(y1 + own, least, y, to + filters)
            if below:
                y0, y1 = _sums(t0, t1, t2, t3)
                _put_pixel(y0 + own, least, y, to + down)
                if beside:
                    _put_pixel(y1 + own, least, y, to + down + filters)


@jit
def _sums_down(sums, at, plane):
    """Aᵀ · four of the products"""
    return _sums(load(sums, at), load(sums, at + 4 * plane), load(sums, at + 8 * plane), load(sums, at + 12 * plane))


@jit
def _put_pixel(value, least, y, at):
    store(y, at, choose(beats(value, least), value, least))


@jit
def _transform_gradients(dz, start, pixels, inside, first, count, at_once, width, filters, packed, blocks, dbias):
    """packed = the blocks of A dY Aᵀ (16, squares, F) of ``count`` squares from ``first`` on; dbias += Σ dY.

    packed has room for more squares than these, which become zeros.
    """
    none, down = fill(np.float32(0)), width * filters
    for q in range(blocks.shape[0]):
        begin, lane, size = blocks[q, 0], blocks[q, 1], blocks[q, 2]
        for f in range(lane, min(lane + size, filters), LANES):
            total, to, plane = load(dbias, f), begin + f - lane, at_once * size
            for square in range(first, first + count):
                at = start + pixels[square] + f
                beside, below = inside[square] & 1, inside[square] & 2
                y00 = load(dz, at)
                y01 = load(dz, at + filters) if beside else none
                y10 = load(dz, at + down) if below else none
                y11 = load(dz, at + down + filters) if beside and below else none
                left, right = y00 + y10, y01 + y11
                _put_spread(y00, y01, packed, to, plane)
                _put_spread(left, right, packed, to + 4 * plane, plane)
                _put_spread(y00 - y10, y01 - y11, packed, to + 8 * plane, plane)
                _put_spread(none - y10, none - y11, packed, to + 12 * plane, plane)
                total = total + (left + right)
                to += size
            store(dbias, f, total)
            for _ in range(count, at_once):
                for k in range(PRODUCTS):
                    store(packed, to + k * plane, none)
                to += size


@jit
def _put_spread(y0, y1, array, at, plane):
    """A · (y₀, y₁), to the same place of four planes."""
    _put_four((y0, y0 + y1, y0 - y1, fill(np.float32(0)) - y1), array, at, plane)


@jit
def _convolve(
    padded, squares, at_once, corners, pixels, inside, line, channels, windows, window_plane, window_at, terms,
    kernel, blocks, nothing, sums, sum_at, sum_plane, lanes, bias, floor, width, filters, y, start
):  # fmt: skip
    """y from ``start`` on = the convolution of images in frames, ``at_once`` of their squares at a time."""
    for first in range(0, squares, at_once):
        count = min(at_once, squares - first)
        _transform_windows(padded, corners, first, count, line, channels, windows, window_plane)
        multiply(
            windows, window_at, count, terms, terms.size, channels, kernel, blocks, nothing, False, NONE,
            sums, sum_at, 0, sum_plane
        )  # fmt: skip
        _transform_sums(sums, sum_plane, lanes, pixels, inside, first, count, bias, floor, width, filters, y, start)


@jit
def _correlate(
    padded, squares, at_once, corners, pixels, inside, line, channels, windows, window_plane, terms, channel_at, dz,
    start, width, filters, packed, blocks, dproducts, channel_sum_at, step, dbias
):  # fmt: skip
    """dproducts (16, C + 1, lanes) += Σ A dY Aᵀ ⊙ Bᵀ d B over these squares; dbias += Σ dY. dz: from ``start`` on."""
    for first in range(0, squares, at_once):
        count = min(at_once, squares - first)
        _transform_windows(padded, corners, first, count, line, channels, windows, window_plane)
        _transform_gradients(dz, start, pixels, inside, first, count, at_once, width, filters, packed, blocks, dbias)
        multiply(
            windows, channel_at, channels, terms, terms.size, at_once, packed, blocks, dproducts, True, NONE,
            dproducts, channel_sum_at, 0, step
        )  # fmt: skip
