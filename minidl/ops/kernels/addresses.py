"""Where the numbers of a convolution lie: the addresses that make its three products out of the same blocks.

Images are processed in tiles, some at a time, so that a tile and what becomes of it stay in the processor's L2 cache. In a
tile each image has its frame of zeros around it. An address counts numbers from the beginning of the tile.
"""

from functools import cached_property, lru_cache

import numpy as np

from ...contracts import Array, Pair, Shape
from ..geometry import window_output
from .blocks import ROWS, SLACK, SPAN, SPAN_LANES, WIDTHS

TILE = 96 * 1024  # numbers of a tile with its result: 384 kB in float32
LIST_TILE = 6 * 1024  # numbers of the images whose sparse gradients are listed at once: 24 kB, most of the L1 cache


class Convolution:
    """A convolution of ``samples`` images (H, W, C) by F filters of KH × KW, with these strides and this frame of zeros.

    Everything here follows from these numbers, and is computed when it is first asked for. frame: (top, bottom, left, right).
    output: (OH, OW), which is less than what fits where a pool drops the last row or column.
    """

    def __init__(
        self,
        samples: int,
        image: Shape,
        window: Pair,
        filters: int,
        strides: Pair,
        frame: tuple[int, int, int, int],
        output: Pair,
    ) -> None:
        self.samples, self.image, self.window, self.filters = samples, image, window, filters
        self.strides, self.frame, self.output = strides, frame, output
        self.pixels = output[0] * output[1]
        self.run = window[1] * image[2]  # a row of a window is so many contiguous numbers
        self.depth = window[0] * self.run  # of a window
        self.lanes = covered(filters)
        top, bottom, left, right = frame
        # from one row of a padded image to the next, and so from one row of a window to the next
        self.line = (left + image[1] + right) * image[2]
        # from one image, one output row and one output column of x to the next
        self.steps = ((top + image[0] + bottom) * self.line, self.line * strides[0], strides[1] * image[2])
        self.pooled = (output[0] // 2, output[1] // 2)
        self.tile = _equally(samples, TILE // (self.steps[0] + self.pixels * filters))
        self.list_tile = _equally(samples, LIST_TILE // (self.steps[0] + self.pixels // 4 * filters))

    @cached_property
    def group(self) -> int:
        """How many neighbouring pixels are best taken as one, with as many times the filters and a wider window.

        Few filters do not fill a block. The products with the zeros in the wider window's kernel are the price: see ``unfold``.
        """

        def time_per_pixel(group: int) -> float:
            return effort(group * self.filters) * (self.window[1] + (group - 1) * self.strides[1]) / group

        return min((m for m in range(1, WIDTHS[0] + 1) if self.output[1] % m == 0), key=time_per_pixel)

    @cached_property
    def grouped(self) -> "Convolution":
        """The convolution that computes ``group`` pixels as one; its result is the same numbers in the same order."""
        stride = self.strides[1]
        window = (self.window[0], self.window[1] + (self.group - 1) * stride)
        output, strides = (self.output[0], self.output[1] // self.group), (self.strides[0], self.group * stride)
        return Convolution(self.samples, self.image, window, self.group * self.filters, strides, self.frame, output)

    @cached_property
    def turned(self) -> "Convolution":
        """The convolution that computes dx from dy where the strides are 1: of dy, by the kernel turned around."""
        (top, bottom, left, right), (height, width) = self.frame, self.window
        frame = (height - 1 - top, height - 1 - bottom, width - 1 - left, width - 1 - right)
        image, output = (*self.output, self.filters), (self.image[0], self.image[1])
        return Convolution(self.samples, image, self.window, self.image[2], (1, 1), frame, output)

    @cached_property
    def turning_pays(self) -> bool:
        """Whether that takes fewer multiplications than to scatter dy; a block that scatters costs some more to begin."""
        if self.strides != (1, 1):
            return False
        turned = self.turned.grouped
        scattering = self.pixels * self.window[0] * effort(self.run) * (self.filters + 8)
        return turned.pixels * turned.depth * effort(turned.filters) < scattering

    @cached_property
    def windows(self) -> tuple[Array, Array]:
        """Of each output pixel of a tile: where its window begins, and where its F sums go."""
        n, i, j = np.indices((self.tile, *self.output)).reshape(3, -1)
        windows = n * self.steps[0] + i * self.steps[1] + j * self.steps[2]
        return whole(windows, windows[-1]), whole(np.arange(len(n)) * self.filters, (len(n) - 1) * self.filters)

    @cached_property
    def taps(self) -> Array:
        """Of each number of a window: where it is in the window."""
        return whole((np.arange(self.window[0])[:, None] * self.line + np.arange(self.run)).reshape(-1), 0)

    @cached_property
    def tap_sums(self) -> Array:
        """Of each number of a window: where its row of dkernel (T + 1, G) begins; the last row is for what fills up a block."""
        return whole(np.arange(self.depth) * self.lanes, self.depth * self.lanes)

    @cached_property
    def each_filter(self) -> Array:
        """Where the number of each filter is in a pixel of dy."""
        return np.arange(self.filters)

    @cached_property
    def scattered(self) -> tuple[Array, Array, int]:
        """Of each output pixel of a tile: where its F numbers of dy begin, and where its window of dx does; and the size of dx.

        In an order in which neighbours have no columns of x in common, so that a block can add to all of them at once.
        """
        columns = np.indices((self.tile, *self.output))[2].reshape(-1)
        windows, sums = self.windows
        apart = -(-self.window[1] // self.strides[1])
        groups = [np.flatnonzero(columns % apart == k) for k in range(min(apart, self.output[1]))]
        nowhere = self.tile * self.steps[0] + SLACK  # behind the images, for the rows that fill up a block
        return (
            np.concatenate([whole(sums[group], 0) for group in groups]),
            np.concatenate([whole(windows[group], nowhere) for group in groups]),
            nowhere + self.window[0] * self.line + self.run + SLACK,
        )

    @cached_property
    def vectors(self) -> Array:
        """Of each vector of a window: where it is in the window. Filled up to whole spans."""
        places = (np.arange(self.window[0])[:, None] * self.line + np.arange(0, self.run, SPAN_LANES)).reshape(-1)
        return np.concatenate([places, np.zeros(-len(places) % SPAN, np.int64)]).astype(np.int64)

    @cached_property
    def listed(self) -> tuple[Array, Array]:
        """Of each pooled pixel of a tile of lists: its number, and where the window of the first of its four pixels begins.

        In an order in which neighbours have no columns of x in common, if there are enough columns: adding to what was just
        written would wait for it.
        """
        rows, columns = self.pooled
        apart = max(1, min(-(-(self.window[1] + self.strides[1]) // (2 * self.strides[1])), columns))
        order = np.lexsort((np.arange(rows * columns), np.arange(rows * columns) % columns % apart))
        pixels = (np.arange(self.list_tile)[:, None] * rows * columns + order).reshape(-1)
        i, j = divmod(order, columns)
        corners = np.arange(self.list_tile)[:, None] * self.steps[0] + 2 * i * self.steps[1] + 2 * j * self.steps[2]
        return pixels.astype(np.uint64), corners.reshape(-1).astype(np.uint64)

    @cached_property
    def filter_blocks(self) -> Array:
        """The blocks of a packed kernel (T, F), from the last to the first."""
        return blocks(self.filters, self.depth)[::-1].copy()

    @cached_property
    def pixel_blocks(self) -> Array:
        """The blocks of a packed tile of dz, (pixels, F)."""
        return blocks(self.filters, self.tile * self.pixels)

    @cached_property
    def run_blocks(self) -> Array:
        """The blocks of the KH runs of a window, each of which is a packed matrix (F, KW · C); lanes are places in the window."""
        one, size = blocks(self.run, self.filters), covered(self.run) * self.filters
        return np.concatenate([one + np.array([k * size, k * self.line, 0]) for k in range(self.window[0])])


@lru_cache(maxsize=256)
def convolution(samples: int, image: Shape, kernel: Shape, strides: Pair, padding: str, pool: int) -> Convolution:
    """Of x (N, H, W, C) and a kernel (KH, KW, C, F). pool: the size of the pool's windows behind it; 1 for none."""
    rows, top, bottom = window_output(image[0], kernel[0], strides[0], padding)
    columns, left, right = window_output(image[1], kernel[1], strides[1], padding)
    output = (rows - rows % pool, columns - columns % pool)
    window = (kernel[0], kernel[1])
    return Convolution(samples, image, window, kernel[3], strides, (top, bottom, left, right), output)


def unfold(kernel: Array, group: int, stride: int) -> Array:
    """The kernel (KH, KW, C, F) as (KH, KW + (group − 1) · stride, C, group · F): of each pixel, where its window is.

    The zeros around it are multiplied, too, so x has to be finite.
    """
    if group == 1:
        return kernel
    height, width, channels, filters = kernel.shape
    wide = np.zeros((height, width + (group - 1) * stride, channels, group, filters), kernel.dtype)
    for pixel in range(group):
        wide[:, pixel * stride : pixel * stride + width, :, pixel] = kernel
    return wide.reshape(*wide.shape[:3], group * filters)


def fold(dwide: Array, group: int, stride: int) -> Array:
    """The transpose of ``unfold``: dkernel (KH, KW, C, F) as the sum of what each pixel's part contributes."""
    parts = dwide.reshape(*dwide.shape[:3], group, -1)
    width = dwide.shape[1] - (group - 1) * stride
    shifted = [parts[:, pixel * stride : pixel * stride + width, :, pixel] for pixel in range(group)]
    return np.sum(shifted, axis=0, dtype=dwide.dtype)


def pack(matrix: Array) -> Array:
    """(depth, size) → its ``blocks``, one after another, flat; zeros fill up the last."""
    depth, size = matrix.shape
    packed = np.zeros(depth * covered(size), matrix.dtype)
    for start, lane, width in blocks(size, depth).tolist():
        part = matrix[:, lane : lane + width]
        packed[start : start + depth * width].reshape(depth, width)[:, : part.shape[1]] = part
    return packed


@lru_cache(maxsize=256)
def blocks(size: int, depth: int) -> Array:
    """The blocks that cover ``size`` lanes of a packed matrix of ``depth`` rows: (start there, first lane, width)."""
    widths = _widths(size)
    lanes = np.cumsum([0, *widths[:-1]])
    return np.stack([lanes * depth, lanes, widths], axis=1).astype(np.int64)


@lru_cache(maxsize=256)
def covered(size: int) -> int:
    """How many lanes the blocks have that cover ``size`` of them."""
    return sum(_widths(size))


@lru_cache(maxsize=256)
def effort(size: int) -> float:
    """How many lanes the widest blocks have in the time that these take: a narrow block takes two thirds of a wide one's."""
    return sum(width if width == WIDTHS[0] else 4 / 3 * width for width in _widths(size))


def _widths(size: int) -> list[int]:
    """The widths of blocks that cover so many lanes, with as few too many as can be."""
    found = size // WIDTHS[0] * [WIDTHS[0]]
    rest = -(-(size % WIDTHS[0]) // WIDTHS[-1]) * WIDTHS[-1]
    for width in WIDTHS:
        if rest >= width:
            found.append(width)
            rest -= width
    return found


def _equally(samples: int, most: int) -> int:
    """So many at a time that all are done in as few rounds as with ``most``, and the rounds are about equal."""
    rounds = -(-samples // max(1, most))
    return -(-samples // max(1, rounds))


def whole(starts: Array, filler: int) -> Array:
    """The starts, filled up to whole blocks."""
    return np.concatenate([starts, np.full(-len(starts) % ROWS, filler)]).astype(np.int64)
