"""The compiled crossentropies: the numbers of the library's own losses, and no more than those are replaced."""

import math

import numpy as np
import pytest
from support import TOLERANCE

from minidl import Sequential
from minidl.engine.losses import MANY, SoftmaxLoss, SparseSoftmaxLoss, compiled
from minidl.layers import Activation, Dense
from minidl.losses import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LOSSES = {
    "sparse": SparseCategoricalCrossentropy(from_logits=True),
    "categorical": CategoricalCrossentropy(from_logits=True),
    "smoothed": CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def problem(name, dtype, samples=7, classes=5):
    """(labels, logits): whole numbers or distributions that do not all add up to 1, as the loss allows."""
    rng = np.random.default_rng(0)
    z = (3 * rng.normal(size=(samples, classes))).astype(dtype)
    return (rng.integers(0, classes, samples) if name == "sparse" else rng.random((samples, classes))), z


@DTYPES
@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_it_gives_what_the_loss_gives(name, weighted, dtype):
    """For a shard of a larger batch, too."""
    y_true, z = problem(name, dtype)
    weights = np.linspace(0, 2, len(z)) if weighted else None
    plain, fast = LOSSES[name], compiled(LOSSES[name])
    for n in (None, 20):
        expected, cache = plain.forward(y_true, z, sample_weight=weights, n=n)
        value, own = fast.forward(y_true, z, sample_weight=weights, n=n)
        dy = fast.backward(own)
        assert value == pytest.approx(expected, rel=1e-12)
        assert isinstance(value, float)
        np.testing.assert_allclose(dy, plain.backward(cache), **TOLERANCE[np.dtype(dtype)])
        assert dy.dtype == dtype


@DTYPES
@pytest.mark.parametrize("classes", [2, MANY, MANY + 1])
def test_labels_of_few_and_of_many_classes_become_the_same_rows(classes, dtype):
    labels = np.array([classes - 1, 0, 1, 1])
    target = SparseSoftmaxLoss().target(labels, np.zeros((4, classes), dtype))
    assert target.dtype == dtype
    assert target.shape == (4, classes)
    assert np.argwhere(target == 1).tolist() == [[0, classes - 1], [1, 0], [2, 1], [3, 1]]
    assert target.sum() == 4


@DTYPES
def test_by_hand(dtype):
    """Logits log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8. Of two samples, so everything is halved."""
    z = np.log(np.array([[1, 2, 5], [1, 2, 5]], dtype))
    value, dy = SparseSoftmaxLoss().forward(np.array([2, 0]), z)
    assert value == pytest.approx((math.log(8 / 5) + math.log(8)) / 2, rel=1e-6)
    np.testing.assert_allclose(dy, [[1 / 16, 2 / 16, -3 / 16], [-7 / 16, 2 / 16, 5 / 16]], rtol=1e-6)
    # half of class 1 and half of class 2; then, with a weight of 0, nothing
    value, dy = SoftmaxLoss().forward(np.array([[0, 0.5, 0.5]] * 2), z, sample_weight=np.array([1.0, 0.0]))
    assert value == pytest.approx((math.log(8 / 2) + math.log(8 / 5)) / 4, rel=1e-6)
    np.testing.assert_allclose(dy, [[1 / 16, -1 / 8, 1 / 16], [0, 0, 0]], rtol=1e-6, atol=1e-7)


@DTYPES
def test_no_logit_overflows_and_none_is_lost(dtype):
    largest = float(np.finfo(np.float32).max)
    z = np.array([[largest, 0, -largest], [-np.inf, 3, -np.inf], [1e4, 1e4, 0]], dtype)
    value, dy = SparseSoftmaxLoss().forward(np.array([1, 1, 0]), z, n=1)
    assert value == pytest.approx(largest + 0 + math.log(2))
    np.testing.assert_array_equal(dy, np.array([[1, -1, 0], [0, 0, 0], [-0.5, 0.5, 0]], dtype))
    # a loss of 1e-20 is not rounded to 0, but kept
    value, _ = SparseSoftmaxLoss().forward(np.array([0]), np.array([[46, 0, 0]], dtype))
    assert value == 0  # as the twin's: 1 + 2e-20 is 1
    value, dy = SparseSoftmaxLoss().forward(np.array([1]), np.array([[0, -46]], dtype))
    assert value == pytest.approx(46)
    assert dy[0, 0] == pytest.approx(1)


@DTYPES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_not_finite_is_not_hidden(bad, place, dtype):
    z = np.zeros((3, 2), dtype)
    z[1, place] = bad
    value, _ = SparseSoftmaxLoss().forward(np.array([0, place, 1]), z)
    with np.errstate(all="ignore"):
        expected, _ = LOSSES["sparse"].forward(np.array([0, place, 1]), z)
    assert not math.isfinite(value)
    assert math.isnan(value) == math.isnan(expected)


@every_loss
def test_labels_of_any_kind_and_none_is_changed(name):
    y_true, z = problem(name, np.float32)
    value, dy = compiled(LOSSES[name]).forward(y_true, z)
    other = np.asfortranarray(np.repeat(y_true, 2, axis=0))[::2]
    other.flags.writeable = False
    before = z.copy()
    again, same = compiled(LOSSES[name]).forward(other, z)
    assert again == value
    np.testing.assert_array_equal(same, dy)
    np.testing.assert_array_equal(z, before)


def test_what_is_replaced():
    class Own(SparseCategoricalCrossentropy):
        pass

    assert type(compiled(LOSSES["sparse"])) is SparseSoftmaxLoss
    assert type(compiled(LOSSES["categorical"])) is SoftmaxLoss
    others = [
        Own(from_logits=True),
        MeanSquaredError(),
        SparseCategoricalCrossentropy(),
        CategoricalCrossentropy(),
        None,
    ]
    for loss in others:
        assert compiled(loss) is loss


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, SparseSoftmaxLoss),
        ({"ops": "reference"}, SparseCategoricalCrossentropy),
        ({"fuse": False}, SparseCategoricalCrossentropy),
    ],
)
def test_only_fused_steps_have_it(options, kind):
    for end in ([Dense(3, activation="softmax")], [Dense(3), Activation("softmax")]):
        model = Sequential([Dense(4, input_dim=2), *end], **options)
        model.compile(loss="sparse_categorical_crossentropy")
        assert type(model._engine.runner(model).plan.loss) is kind
