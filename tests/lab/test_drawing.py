"""Drawings become images as MNIST's are: its size, its place, its brush."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.datasets import mnist
from minidl.lab.drawing import MOST_POINTS, image_of

UPRIGHT = [[[0.3, 0.2], [0.3, 0.8]]]
ZIGZAG = [[[0.2, 0.2], [0.6, 0.25], [0.3, 0.5]], [[0.3, 0.5], [0.65, 0.8]]]


def centre(image):
    """Row and column of the centre of mass."""
    ink, places = image.astype(float), np.arange(28)
    return np.array([places @ ink.sum(axis=1), places @ ink.sum(axis=0)]) / ink.sum()


def test_an_upright_line_by_hand():
    """17.4 pixels long and 1.3 wide to each side, from half ink to half ink 20: rows 4 to 24, about column 14.

    Ink falls from 1 to 0 within 1.2 pixels: at a distance of 1 it is 0.5 + 0.3 / 1.2 = 0.75, at 2 there is none.
    """
    image = image_of(UPRIGHT)
    assert image.dtype == np.uint8
    assert image[14, 12:17].tolist() == [0, 191, 255, 191, 0]
    ends = [0.5 + (1.3 - distance) / 1.2 for distance in (2.3, 1.3, 0.3)]  # rows 3, 4 and 5; the line begins at 5.3
    np.testing.assert_allclose(image[3:6, 14], 255 * np.clip(ends, 0, 1), atol=1)
    np.testing.assert_allclose(image[22:26, 14], [255, 255, 127.5, 0], atol=1)


def test_it_does_not_matter_where_or_how_large_one_draws():
    def moved(scale, right, down):
        return [[[scale * x + right, scale * y + down] for x, y in stroke] for stroke in ZIGZAG]

    for change in ((1, 0.1, 0.1), (0.4, 0, 0), (0.5, 0.5, 0.3)):
        np.testing.assert_allclose(image_of(moved(*change)).astype(int), image_of(ZIGZAG).astype(int), atol=1)


points = st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), max_size=12)


@given(st.lists(points, max_size=4))
def test_any_drawing_is_centred_and_of_mnists_size(strokes):
    image = image_of(strokes)
    if not any(strokes):
        assert not image.any()
        return
    np.testing.assert_allclose(centre(image), 14, atol=0.2 if image.sum() > 2550 else 0.5)
    for axis in (0, 1):
        places = np.flatnonzero(image.max(axis=axis) >= 128)
        assert len(places) >= 2
        assert places[-1] - places[0] <= 20


def test_the_longer_side_is_twenty_pixels():
    rows = np.flatnonzero(image_of(ZIGZAG).max(axis=1) >= 128)
    assert 19 <= rows[-1] - rows[0] + 1 <= 21


def test_mnists_own_digits_are_centred_there():
    """What MIDDLE says of them."""
    (images, _), _ = mnist.load_data()
    np.testing.assert_allclose(np.mean([centre(image) for image in images[:500]], axis=0), 14, atol=0.05)


def test_a_dot_is_not_blown_up():
    assert 3 <= np.count_nonzero(image_of([[[0.9, 0.1]]]) > 127) <= 9


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        (5, "list of strokes, received int"),
        ({"a": 1}, "list of strokes, received dict"),
        ([5], "list of points"),
        (["ab"], "list of points"),
        ([[[1]]], "list of points"),
        ([[[0, 0, 0, 0]]], "list of points"),
        ([[[10**400, 0]]], "list of points"),
        ([[{}]], "list of points"),
        ([[None]], "list of points"),
        ([[[1.5, 0]]], "from 0 to 1"),
        ([[[float("nan"), 0]]], "from 0 to 1"),
        ([[[float("inf"), 0]]], "from 0 to 1"),
        ([[[0.5, 0.5]] * MOST_POINTS, [[0.5, 0.5]]], "received more"),
    ],
)
def test_anything_else_is_refused(strokes, message):
    with pytest.raises(ValueError, match=message):
        image_of(strokes)
