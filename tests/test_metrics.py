"""Metrics: counts worked out by hand, and parts that add up."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import metrics
from minidl.metrics import accuracy

# The classes with the largest entry are 2, 0, 1 and 0.
PREDICTIONS = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [-3.0, -1.0, -2.0], [9.0, 8.0, 8.5]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_accuracy_by_hand(dtype):
    """Labels 2, 1, 1, 0: all right but the second."""
    labels = np.array([2, 1, 1, 0])
    for y_true in (labels.astype(dtype), labels[:, None].astype(dtype), np.eye(3)[labels].astype(dtype)):
        assert accuracy(y_true, PREDICTIONS) == (3, 4)


@pytest.mark.parametrize("labels", [[2, 0, 1, 0], [0, 1, 2, 1]], ids=["all right", "all wrong"])
def test_accuracy_of_all_and_of_none(labels):
    expected = 4 if labels[0] == 2 else 0
    assert accuracy(np.array(labels), PREDICTIONS) == (expected, 4)
    assert accuracy(np.eye(3)[labels], PREDICTIONS) == (expected, 4)


def test_accuracy_of_one_probability():
    """Above 0.5 is class 1: 0.9, 0.5, 0.1 and 0.51 are the classes 1, 0, 0 and 1."""
    y_pred = np.array([[0.9], [0.5], [0.1], [0.51]])
    for labels, right in (([1, 0, 0, 1], 4), ([1, 1, 0, 0], 2), ([0, 1, 1, 0], 0)):
        assert accuracy(np.array(labels), y_pred) == (right, 4)
        assert accuracy(np.array(labels)[:, None], y_pred) == (right, 4)
        assert accuracy(np.array(labels, bool), y_pred) == (right, 4)


def test_of_equal_predictions_the_first_class_counts():
    assert accuracy(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])) == (1, 2)


@given(n=st.integers(1, 30), cut=st.integers(0, 30), seed=st.integers(0, 2**32 - 1))
def test_parts_add_up_and_equal_a_count_by_hand(n, cut, seed):
    random = np.random.default_rng(seed)
    labels, y_pred = random.integers(0, 4, n), random.normal(size=(n, 4))
    total, count = accuracy(labels, y_pred)
    right = sum(max(range(4), key=row.__getitem__) == label for row, label in zip(y_pred.tolist(), labels, strict=True))
    assert (total, count) == (right, n)
    parts = [accuracy(np.eye(4)[labels[part]], y_pred[part]) for part in (slice(0, cut), slice(cut, None))]
    assert tuple(map(sum, zip(*parts, strict=True))) == (total, count)


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_predictions_that_are_not_classes(shape):
    text = f"accuracy expects predictions of shape (n, classes), received shape {shape}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        accuracy(np.zeros(4), np.zeros(shape))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (5, 3), (4, 3, 1), ()])
def test_labels_of_another_shape(shape):
    text = f"accuracy expects labels of shape (4,), (4, 1) or (4, 3), received shape {shape}."
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        accuracy(np.zeros(shape), PREDICTIONS)


def test_get():
    assert metrics.get("accuracy") == ("accuracy", accuracy)
    assert metrics.get("acc") == ("acc", accuracy)
    assert metrics.get(accuracy) == ("accuracy", accuracy)

    class Own:
        def __call__(self, y_true, y_pred):
            return 0.0, len(y_pred)

    own = Own()
    assert metrics.get(own) == ("Own", own)
    with pytest.raises(ValueError, match=re.escape("unknown metric 'acuracy'. Did you mean 'accuracy'")):
        metrics.get("acuracy")
    text = "a metric must be a name or a function (y_true, y_pred) → (total, count), received 3."
    with pytest.raises(TypeError, match="^" + re.escape(text) + "$"):
        metrics.get(3)
