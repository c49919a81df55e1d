"""A drawing as MNIST would hold it: strokes of a pen, brought to MNIST's size, place and brush.

MNIST's digits were scaled to fit a box of 20 × 20 pixels and shifted until their centre of mass lay in the middle of the image
(LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/). A network trained on them expects the same of a drawing.
"""

from collections.abc import Sequence

import numpy as np

from ..contracts import Array

SIZE = 28  # pixels of a side
BOX = 20.0  # the longer side of a digit, its ink included
MIDDLE = 14.0  # row and column of the centre of mass; MNIST's own are 13.99 and 14.01 on average
BRUSH = 1.3  # from the middle of a line to where its ink is half: digits then have as much ink as MNIST's
SOFT = 1.2  # pixels from full ink to none
LEAST = 0.15  # of the canvas: what is smaller is not blown up to the whole box
MOST_POINTS = 2000

Strokes = Sequence[Sequence[Sequence[float]]]


def image_of(strokes: object) -> Array:
    """The image of a drawing, (28, 28) in uint8: 0 for the background and 255 for full ink.

    strokes: lists of points [x, y], in shares of the canvas from its upper left corner. Raises ValueError for anything else.
    """
    starts, ends = _segments(_checked(strokes))
    if len(starts) == 0:
        return np.zeros((SIZE, SIZE), np.uint8)
    low, high = np.minimum(starts, ends).min(axis=0), np.maximum(starts, ends).max(axis=0)
    scale = (BOX - 2 * BRUSH) / max(float((high - low).max()), LEAST)
    middle = (low + high) / 2
    starts, ends = (MIDDLE + (points - middle) * scale for points in (starts, ends))
    shift = MIDDLE - _centre_of_mass(_ink(starts, ends))
    ink: Array = np.rint(255 * _ink(starts + shift, ends + shift)).astype(np.uint8)
    return ink


def _checked(strokes: object) -> list[Array]:
    """Each stroke as an array of points (P, 2), x and y."""
    if not isinstance(strokes, list):
        raise ValueError(f"a drawing must be a list of strokes, received {type(strokes).__name__}.")
    if sum(len(stroke) if isinstance(stroke, list) else 1 for stroke in strokes) > MOST_POINTS:
        raise ValueError(f"a drawing may have {MOST_POINTS} points, received more: draw it with fewer.")
    try:
        found = [np.array(stroke, np.float64).reshape(len(stroke), 2) for stroke in strokes]
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a stroke must be a list of points [x, y].") from None
    if not all(np.all((points >= 0) & (points <= 1)) for points in found):  # NaN is neither
        raise ValueError("the points of a stroke must be in shares of the canvas, from 0 to 1.")
    return found


def _segments(strokes: Sequence[Array]) -> tuple[Array, Array]:
    """The straight lines that the strokes consist of: where they start and end, (S, 2) each, as row and column."""
    strokes = [points[:, ::-1] for points in strokes if len(points)]
    starts = [
        points[:-1] if len(points) > 1 else points for points in strokes
    ]  # a tap of the pen is a line of length 0
    ends = [points[1:] if len(points) > 1 else points for points in strokes]
    return np.concatenate([np.empty((0, 2)), *starts]), np.concatenate([np.empty((0, 2)), *ends])


def _ink(starts: Array, ends: Array) -> Array:
    """How much ink each pixel gets, (28, 28) from 0 to 1: full near a line, none away from it. starts, ends: in pixels."""
    pixels = np.indices((SIZE, SIZE)).reshape(2, -1).T
    lines = ends - starts
    lengths = np.maximum((lines**2).sum(axis=1), 1e-12)
    along = np.clip((pixels @ lines.T - (starts * lines).sum(axis=1)) / lengths, 0, 1)  # (pixels, lines)
    nearest = np.hypot(*(pixels[:, i, None] - starts[:, i] - along * lines[:, i] for i in (0, 1))).min(axis=1)
    return np.asarray(np.clip(0.5 + (BRUSH - nearest) / SOFT, 0, 1).reshape(SIZE, SIZE))


def _centre_of_mass(ink: Array) -> Array:
    """Row and column, (2,)."""
    places = np.arange(SIZE)
    return np.array([places @ ink.sum(axis=1), places @ ink.sum(axis=0)] / ink.sum())
