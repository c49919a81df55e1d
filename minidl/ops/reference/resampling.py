"""Reading images at other places than their pixels': where an affine map or an elastic distortion looks, and what it sees.

A place is (row, column), in pixels of the image that is read, and need not be whole.
"""

from collections.abc import Iterator

import numpy as np

from ...contracts import Array, Pair
from ..floats import of_floats


def affine_places(matrix: Array, offset: Array, size: Pair) -> Array:
    """places[n, :, i, j] = matrix[n] · ((i, j) − centre) + centre + offset[n].  (N, 2, H, W)

    matrix (N, 2, 2); offset (N, 2); size: (H, W); the centre is ((H − 1) / 2, (W − 1) / 2).
    """
    centre = (np.array(size) - 1) / 2
    i, j = (np.arange(length) - middle for length, middle in zip(size, centre, strict=True))
    of_rows = matrix[:, :, 0, None] * i + (centre + offset)[:, :, None]  # (N, 2, H)
    of_columns = matrix[:, :, 1, None] * j  # (N, 2, W)
    places: Array = of_rows[..., None] + of_columns[:, :, None]
    return places


def elastic_places(noise: Array, strength: Array) -> Array:
    """Each pixel's own place, moved by smooth noise (Simard, Steinkraus and Platt 2003).  noise (N, 2, H, W) → (N, 2, H, W)

    The noise is multiplied by σ, blurred by a Gaussian of that width, and multiplied by α. strength (N,), of which follow
    α = max(H, W) · 0.1 · strength and σ = min(H, W) · 0.05 · strength, as in Keras.
    """
    height, width = noise.shape[2:]
    alpha, sigma = (0.1 * max(height, width) * strength, 0.05 * min(height, width) * strength)
    blurred = _blur(height, sigma)[:, None] @ noise @ _blur(width, sigma)[:, None]  # a Gaussian's matrix is symmetric
    places: Array = np.indices((height, width)) + (alpha * sigma)[:, None, None, None] * blurred
    return places


def _blur(length: int, sigma: Array) -> Array:
    """(N, L, L): the weight of each cell in each blurred one. A window of about 6σ cells, zeros around the line."""
    distance = np.arange(length + (6 * sigma.max(initial=0)).astype(int))  # also those of cells outside the line
    inside = distance <= (6 * sigma[:, None]).astype(int) // 2
    weights = np.exp(-0.5 * (distance / np.maximum(sigma, 1e-6)[:, None]) ** 2) * inside  # (N, distances)
    weights /= 2 * weights.sum(axis=1, keepdims=True) - weights[:, :1]
    between = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    matrices: Array = weights.take(between, axis=1)
    return matrices


@of_floats
def resample_forward(x: Array, places: Array, interpolation: str, fill_mode: str, fill_value: float) -> Array:
    """y[n, i, j] = x[n] at places[n, :, i, j]: the mean of the pixels around it, weighted by their nearness.

    x (N, H, W, C); places (N, 2, H, W) → y (N, H, W, C). interpolation: "bilinear" or "nearest". fill_mode: which pixel stands
    for one outside the image, of a b c d: "reflect" d c b a | a b c d | d c b a; "wrap" a b c d | a b c d | a b c d;
    "nearest" a a a a | a b c d | d d d d; "constant": fill_value.
    """
    samples, fill = np.arange(len(x))[:, None, None], x.dtype.type(fill_value)
    y = np.zeros(x.shape, x.dtype)
    for weight, row, column, inside in corners(places, x.shape[1:3], interpolation, fill_mode):
        y += weight.astype(x.dtype)[..., None] * np.where(inside[..., None], x[samples, row, column], fill)
    return y


@of_floats
def resample_backward(dy: Array, places: Array, interpolation: str, fill_mode: str) -> Array:
    """dx: every dy goes back to the pixels that its y was made of, with the same weights.  (N, H, W, C)"""
    samples = np.arange(len(dy))[:, None, None]
    dx = np.zeros(dy.shape, dy.dtype)
    for weight, row, column, inside in corners(places, dy.shape[1:3], interpolation, fill_mode):
        np.add.at(dx, (samples, row, column), (weight * inside).astype(dy.dtype)[..., None] * dy)
    return dx


def corners(
    places: Array, size: Pair, interpolation: str, fill_mode: str
) -> Iterator[tuple[Array, Array, Array, Array]]:
    """The pixels that each place is made of, one of each at a time: (weight, row, column, inside), all (N, H, W).

    inside: False where it is the fill value instead; row and column are then those of another pixel.
    """
    if interpolation == "nearest":
        first, share = np.floor(places + 0.5).astype(int), np.zeros_like(places)
        offsets = [(0, 0)]
    else:
        first = np.floor(places).astype(int)
        share = places - first  # how far the place is from the first pixel to the next
        offsets = [(0, 0), (0, 1), (1, 0), (1, 1)]
    for offset in offsets:
        weights = [share[:, k] if offset[k] else 1 - share[:, k] for k in (0, 1)]
        (row, above), (column, beside) = (_filled(first[:, k] + offset[k], size[k], fill_mode) for k in (0, 1))
        yield weights[0] * weights[1], row, column, above & beside


def _filled(index: Array, length: int, fill_mode: str) -> tuple[Array, Array]:
    """(the index that stands for each one, whether there is one)."""
    if fill_mode == "reflect":
        folded = index % (2 * length)
        return np.minimum(folded, 2 * length - 1 - folded), np.ones(index.shape, bool)
    if fill_mode == "wrap":
        return index % length, np.ones(index.shape, bool)
    clipped = index.clip(0, length - 1)
    return clipped, np.ones(index.shape, bool) if fill_mode == "nearest" else clipped == index
