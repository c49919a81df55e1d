"""A report for a notebook: its table, and, for each wrong array, a picture of where it is wrong."""

from collections.abc import Iterable
from html import escape

import numpy as np

from ..contracts import Array
from ..utils import html

CELLS = 48  # the most rows and columns that are drawn
SIZE = 12  # of a cell, in pixels

Failures = list[tuple[tuple[int, ...], float, float]]  # (where, analytic, numeric)


def as_html(
    title: str,
    table: Iterable[list[str]],
    lines: list[str],
    wrong: Iterable[tuple[str, tuple[int, ...], Failures]],
) -> str:
    """table: the header and the rows. wrong: (name, shape, failures) of each array to draw."""
    return "\n".join([html.table(title, table, lines), *(heat_map(*each) for each in wrong)])


def heat_map(name: str, shape: tuple[int, ...], failures: Failures) -> str:
    """The relative errors of the failed entries as an SVG: white where nothing is wrong, dark red where all of it is."""
    errors, axes = as_plane(errors_of(shape, failures))
    rows, columns = errors.shape
    cells = [
        f'<rect x="{column * SIZE}" y="{row * SIZE}" width="{SIZE}" height="{SIZE}" fill="{_colour(errors[row, column])}">'
        f"<title>{escape(name)}: {errors[row, column]:.1e}</title></rect>"
        for row in range(rows)
        for column in range(columns)
    ]
    width, height = columns * SIZE, rows * SIZE
    frame = f'<rect width="{width}" height="{height}" fill="none" stroke="#888"/>'
    return (
        f"<figure><figcaption>{escape(name)}: the error, {axes}</figcaption>"
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{"".join(cells)}{frame}</svg></figure>'
    )


def errors_of(shape: tuple[int, ...], failures: Failures) -> Array:
    """The relative error of each entry, up to 1; 0 for those that are right or were not tried."""
    errors = np.zeros(shape)
    for where, analytic, numeric in failures:
        errors[where] = min(1.0, abs(analytic - numeric) / max(abs(analytic), abs(numeric)))  # one is not 0
    return errors


def as_plane(errors: Array) -> tuple[Array, str]:
    """The errors as rows and columns, and what these are: for a kernel (KH, KW, C, F), taps by filters."""
    if errors.ndim == 4:
        height, width, channels, filters = errors.shape
        plane = errors.max(axis=2).reshape(height * width, filters)
        axes = f"{height} × {width} by {filters} (the largest of {channels} in between)"
    elif errors.ndim < 2:
        plane, axes = errors.reshape(1, -1), f"{errors.size} in a row"
    else:
        plane = errors.reshape(errors.shape[0], -1)
        axes = " × ".join(map(str, errors.shape))
    return _shrunk(_shrunk(plane, 0), 1), axes


def _shrunk(plane: Array, axis: int) -> Array:
    """The maxima of neighbours along an axis that is too long to draw."""
    if plane.shape[axis] <= CELLS:
        return plane
    starts = np.linspace(0, plane.shape[axis], CELLS, endpoint=False).astype(int)
    return np.maximum.reduceat(plane, starts, axis=axis)


def _colour(error: float) -> str:
    """White for 0; from light to dark red for 1e-6 … 1."""
    if error <= 0:
        return "#fff"
    share = min(1.0, max(0.0, 1 + np.log10(error) / 6))
    return f"rgb({230 - int(70 * share)},{int(200 * (1 - share))},{int(180 * (1 - share))})"
