import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidl import utils
from minidl.utils.np_utils import to_categorical


def assert_refused(text, *args):
    with pytest.raises(ValueError, match="^" + re.escape("to_categorical: " + text) + "$"):
        to_categorical(*args)


def test_one_hot_by_hand():
    expected = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    np.testing.assert_array_equal(to_categorical([0, 2, 1]), expected, strict=True)


def test_both_names_are_one_function():
    assert utils.to_categorical is to_categorical


@given(
    labels=hnp.arrays(
        st.sampled_from([np.int64, np.int8, np.uint8, np.uint64, np.float32]),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
        elements=st.integers(0, 9),
    ),
    num_classes=st.integers(10, 12),
)
def test_each_vector_is_a_row_of_the_identity(labels, num_classes):
    kept = labels[..., 0] if labels.ndim > 1 and labels.shape[-1] == 1 else labels
    expected = np.eye(num_classes, dtype=np.float32)[kept.astype(int)]
    np.testing.assert_array_equal(to_categorical(labels, num_classes), expected, strict=True)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (3,)), ((1,), (1, 3)), ((4,), (4, 3)), ((4, 1), (4, 3)), ((4, 2), (4, 2, 3)), ((4, 1, 1), (4, 1, 3))],
)
def test_shape(shape, expected):
    assert to_categorical(np.zeros(shape, int), 3).shape == expected


def test_classes_are_counted_when_not_given():
    assert to_categorical([3, 1]).shape == (2, 4)
    assert to_categorical(np.array([255], np.uint8)).shape == (1, 256)


def test_more_classes_than_labels():
    np.testing.assert_array_equal(to_categorical([1], np.int64(4)), [[0, 1, 0, 0]])


def test_booleans_are_two_classes():
    np.testing.assert_array_equal(to_categorical([True, False]), [[0, 1], [1, 0]])


def test_no_labels_of_a_known_number_of_classes():
    assert to_categorical([], 3).shape == (0, 3)


def test_x_is_left_alone():
    x = np.array([[2], [0]])
    to_categorical(x)
    np.testing.assert_array_equal(x, [[2], [0]])


def test_refuses_a_negative_label():
    assert_refused("expected labels of 0 or more, received -1. Number the classes from 0.", [0, -1, 2])


@pytest.mark.parametrize("label", [3, 300])
def test_refuses_a_label_beyond_the_classes(label):
    assert_refused(
        f"expected labels below num_classes=3, received {label}. Number the classes from 0, or raise num_classes.",
        [0, label],
        3,
    )


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_refuses_a_value_that_is_not_whole(value):
    text = f"expected integer labels, received {value}. Pass class numbers, not probabilities or scaled values."
    assert_refused(text, [1.0, value])
    assert_refused(text, value)


@pytest.mark.parametrize(("x", "dtype"), [(["cat", "dog"], "<U3"), ([None], "object"), ([1j], "complex128")])
def test_refuses_what_is_not_a_number(x, dtype):
    assert_refused(
        f"expected integer labels, received dtype {dtype}. "
        "Number the classes from 0 first, for example with np.unique(x, return_inverse=True).",
        x,
    )


def test_refuses_to_guess_the_classes_of_no_labels():
    assert_refused("expected at least one label, received x of shape (0,). Pass num_classes.", [])


@pytest.mark.parametrize("num_classes", [0, -1, 10.0, "10", True])
def test_refuses_a_wrong_number_of_classes(num_classes):
    assert_refused(
        f"expected num_classes to be a positive integer, received {num_classes!r}. "
        "Leave it out to use the largest label + 1.",
        [0],
        num_classes,
    )
