"""The loops of ``direct`` and ``winograd``: products of blocks, and what happens to tiles of images around them. Flat arrays."""

from collections.abc import Iterator

import numpy as np

from ...contracts import Array
from .addresses import Convolution
from .blocks import ROWS, SIZES, SLACK, SPAN, SPAN_LANES, WIDTHS, gather, make_block, scatter
from .jit import jit
from .vector import LANES, beats, choose, copy, fill, load, multiply_add, store

NONE = np.float32(-np.inf)  # no floor
LARGEST = np.finfo(np.float32).max
CUT = 4  # instead of a place in a pool's window, row · 2 + column: the ReLU was at 0

wide, narrow = make_block(*SIZES[0]), make_block(*SIZES[-1])


@jit
def multiply(a, a_at, rows, terms, count, patch, b, blocks, start, add, floor, c, c_at, c_from, c_step):
    """All ``rows`` with all ``blocks`` of b, ``patch`` of the ``count`` terms at a time: see ``blocks.block``.

    Each patch's sums are ``c_step`` numbers further on in c: with 0 they are all the same, else each patch is its own product.
    """
    for first in range(0, count, patch):
        length = patch if first + patch < count else count - first
        c_patch = c_from + first // patch * c_step
        for q in range(blocks.shape[0]):
            b_from, lane, width = blocks[q, 0], blocks[q, 1], blocks[q, 2]
            b_at, to, start_at = b_from + first * width, c_patch + lane, 0 if add else lane
            for p in range(0, rows, ROWS):
                if width == WIDTHS[0]:
                    wide(a, a_at, p, terms, first, length, b, b_at, start, start_at, add, floor, c, c_at, to)
                else:
                    narrow(a, a_at, p, terms, first, length, b, b_at, start, start_at, add, floor, c, c_at, to)


@jit
def all_finite(x):
    """Whether no number of x is infinite or NaN: those times 0 are NaN."""
    finite = True
    for i in range(x.size):
        finite &= abs(x[i]) <= LARGEST
    return finite


def framed_tiles(g: Convolution, x: Array) -> Iterator[tuple[int, int, Array]]:
    """Tile after tile of x (N, H, W, C) in its frames: (first sample, samples, frames). The next tile overwrites the frames."""
    flat, frames = x.reshape(-1), np.zeros(g.tile * g.steps[0] + SLACK, x.dtype)
    for first in range(0, g.samples, g.tile):
        count = min(g.tile, g.samples - first)
        put_in_frames(flat, first, count, g.image, g.frame, frames)
        yield first, count, frames


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
    for q in range(blocks.shape[0]):
        start, lane, width = blocks[q, 0], blocks[q, 1], blocks[q, 2]
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
                for f in range(
                    0, filters, LANES
                ):  # what the last vector writes past its end, the next pixel overwrites
                    at = corner + f
                    best, place = _largest(
                        load(z, at), load(z, at + right), load(z, at + down), load(z, at + down + right), relu
                    )
                    store(y, start + f, best)
                    store(index, start + f, place)
                start += filters


@jit
def list_entries(dy, index, start, filters, count, pixels, corners, steps, at, values):
    """List one filter's entries that are not 0: where the window of x begins, and the number. → how many there are.

    Unsigned numbers, because Numba tests of every other index whether it counts from the end.
    """
    down, right, one, two = np.uint64(steps[1]), np.uint64(steps[2]), np.uint64(1), np.uint64(2)
    length = np.uint64(0)
    for p in range(count):
        source = start + pixels[p] * filters
        place = np.uint64(index[source])
        at[length] = corners[p] + (place // two) * down + (place & one) * right
        values[length] = dy[source]
        length += np.uint64(place != np.uint64(CUT))
    return np.int64(length)


@jit
def sparse(
    dy, index, x, samples, tile, image, frame, steps, pixels, corners, filters, offsets, kernel, dkernel, dbias, dx,
    padded, dpadded, at, values
):  # fmt: skip
    """dkernel (F, vectors), dbias (F,) += the gradients, and dx, unless it is empty, = its own. kernel: as dkernel.

    Of each filter the entries that are not 0 are listed first. pixels, corners: as in Convolution.listed. The last four are room:
    for a tile of x and of dx in their frames, and for the list of one filter.
    """
    each = pixels.size // tile  # pooled pixels of an image
    window = offsets.size * SPAN_LANES
    for first in range(0, samples, tile):
        count = tile if first + tile < samples else samples - first
        put_in_frames(x, first, count, image, frame, padded)
        for i in range(dpadded.size):
            dpadded[i] = 0
        for f in range(filters):
            start = np.uint64(first * each * filters + f)
            length = list_entries(
                dy, index, start, np.uint64(filters), count * each, pixels, corners, steps, at, values
            )
            total = np.float32(0)
            for e in range(length):
                total += values[e]
            dbias[f] += total
            for span in range(0, offsets.size, SPAN):
                gather(padded, at, values, 0, length, offsets, span, dkernel, f * window + span * SPAN_LANES)
                if dpadded.size:
                    scatter(dpadded, at, values, 0, length, offsets, span, kernel, f * window + span * SPAN_LANES)
        if dpadded.size:
            take_out_of_frames(dpadded, first, count, image, frame, dx)
