"""Losses: numbers worked out by hand, gradients by central differences, shards that add up, and logits that nothing overflows."""

import math
import re
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import assert_close, assert_gradient, copied, numeric_gradient

from minidl import losses
from minidl.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Hinge,
    Huber,
    KLDivergence,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from minidl.ops import reference
from minidl.utils import to_categorical

LN2, LN3, LN10 = math.log(2), math.log(3), math.log(10)
CROSSENTROPIES = [CategoricalCrossentropy, SparseCategoricalCrossentropy]

both_crossentropies = pytest.mark.parametrize("crossentropy", CROSSENTROPIES)
both_forms = pytest.mark.parametrize("from_logits", [False, True])
seeds = st.integers(0, 2**32 - 1)


def assert_refused(text, function, *args, error=ValueError, **kwargs):
    """The whole message is ``text``."""
    with pytest.raises(error, match="^" + re.escape(text) + "$"):
        function(*args, **kwargs)


def value_and_gradient(loss, y_true, y_pred, **kwargs):
    value, cache = loss.forward(np.asarray(y_true), np.asarray(y_pred), **kwargs)
    assert type(value) is float
    return value, loss.backward(cache)


def as_labels(crossentropy, labels, classes):
    """Integers as the loss takes them: as they are, or one-hot."""
    labels = np.asarray(labels)
    return labels if crossentropy is SparseCategoricalCrossentropy else np.eye(classes)[labels]


# ----------------------------------------------------------------------------------------------------------------- by hand


@both_crossentropies
def test_crossentropy_of_probabilities(crossentropy):
    """−ln 0.5 = ln 2 and −ln 0.1 = ln 10; their mean. With p summing to 1, ∂(−ln (p_k / Σp)) / ∂p_j = 1 − [j = k] / p_k:
    [1 − 2, 1, 1] and [1, 1, 1 − 10], halved by the mean."""
    y_true = as_labels(crossentropy, [0, 2], 3)
    value, gradient = value_and_gradient(crossentropy(), y_true, [[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]])
    assert value == pytest.approx((LN2 + LN10) / 2, rel=1e-15)
    assert_close(gradient, np.array([[-0.5, 0.5, 0.5], [0.5, 0.5, -4.5]]))


@both_crossentropies
def test_probabilities_are_divided_by_their_sum(crossentropy):
    """[2, 1, 1] is [0.5, 0.25, 0.25]; Σp = 4, so the gradient is 1/4 − [j = k] / p_k = [1/4 − 1/2, 1/4, 1/4]."""
    value, gradient = value_and_gradient(crossentropy(), as_labels(crossentropy, [0], 3), [[2.0, 1.0, 1.0]])
    assert value == pytest.approx(LN2, rel=1e-15)
    assert_close(gradient, np.array([[-0.25, 0.25, 0.25]]))


@both_crossentropies
def test_probabilities_are_clipped(crossentropy):
    """A probability of 0 counts as 1e-7, with a loss of 7 · ln 10 and the gradient of a constant, 0."""
    value, gradient = value_and_gradient(crossentropy(), as_labels(crossentropy, [0, 1], 2), [[0.0, 1.0], [0.0, 1.0]])
    assert value == pytest.approx((7 * LN10 - math.log(1 - 1e-7)) / 2, rel=1e-12)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))


@both_crossentropies
def test_crossentropy_of_logits(crossentropy):
    """softmax [0, ln 3] = [1/4, 3/4]: the losses are ln 4 and ln 4/3, the gradients p − t, halved by the mean."""
    y_true = as_labels(crossentropy, [0, 1], 2)
    value, gradient = value_and_gradient(crossentropy(from_logits=True), y_true, [[0.0, LN3], [7.0, 7.0 + LN3]])
    assert value == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-14)
    assert_close(gradient, np.array([[-0.375, 0.375], [0.125, -0.125]]))


def test_crossentropy_with_a_distribution_as_label():
    """t = [1/2, 1/2], p = [1/4, 3/4]: (ln 4 + ln 4/3) / 2. t = [1, 2] sums to 3: ln 4 + 2 · ln 4/3, gradient 3 · p − t."""
    loss = CategoricalCrossentropy(from_logits=True)
    value, gradient = value_and_gradient(loss, [[0.5, 0.5]], [[0.0, LN3]])
    assert value == pytest.approx(math.log(16 / 3) / 2, rel=1e-15)
    assert_close(gradient, np.array([[-0.25, 0.25]]))
    value, gradient = value_and_gradient(loss, [[1.0, 2.0]], [[0.0, LN3]])
    assert value == pytest.approx(math.log(4) + 2 * math.log(4 / 3), rel=1e-14)
    assert_close(gradient, np.array([[3 / 4 - 1, 9 / 4 - 2]]))


def test_mean_squared_error():
    """Errors [1, −2] and [0, 3]: mean squares 5/2 and 9/2, together 7/2. Gradient: 2 · error / 2 features / 2 samples."""
    value, gradient = value_and_gradient(MeanSquaredError(), [[0.0, 0.0], [1.0, 1.0]], [[1.0, -2.0], [1.0, 4.0]])
    assert value == 3.5
    np.testing.assert_array_equal(gradient, [[0.5, -1.0], [0.0, 1.5]])


def test_mean_squared_error_of_images():
    """One of the 12 entries of an image is off by 6, in one of two samples: 36 / 12 / 2; its gradient is 2 · 6 / 12 / 2."""
    y_true, y_pred = np.zeros((2, 2, 3, 2)), np.zeros((2, 2, 3, 2))
    y_pred[1, 0, 2, 1] = 6
    value, gradient = value_and_gradient(MeanSquaredError(), y_true, y_pred)
    assert value == 1.5
    assert gradient[1, 0, 2, 1] == 0.5
    assert np.count_nonzero(gradient) == 1


def test_mean_absolute_error():
    """Errors [1, −2] and [0, 3]: 3/2 and 3/2. Gradient: the sign / 2 features / 2 samples."""
    value, gradient = value_and_gradient(MeanAbsoluteError(), [[0.0, 0.0], [1.0, 1.0]], [[1.0, -2.0], [1.0, 4.0]])
    assert value == 1.5
    np.testing.assert_array_equal(gradient, [[0.25, -0.25], [0.0, 0.25]])


def test_huber():
    """δ = 1: errors ½ and −3 cost ½ · ¼ and 3 − ½; δ = 2: ⅛ and 2 · (3 − 1). The gradients are the errors, cut off at ±δ."""
    for delta, losses_, slopes in ((1.0, [0.125, 2.5], [0.5, -1]), (2.0, [0.125, 4.0], [0.5, -2])):
        value, gradient = value_and_gradient(Huber(delta), [[1.0, 1.0]], [[1.5, -2.0]])
        assert value == sum(losses_) / 2
        np.testing.assert_array_equal(gradient, [[slopes[0] / 2, slopes[1] / 2]])


def test_hinge():
    """max(0, 1 − t · y): 1 − 0.25, 0 (right by 2), 1 + 3; the same for labels 0 and 1 as for −1 and 1."""
    for labels in ([[1, -1, -1]], [[1, 0, 0]]):
        value, gradient = value_and_gradient(Hinge(), labels, [[0.25, -2.0, 3.0]])
        assert value == pytest.approx((0.75 + 0 + 4) / 3, rel=1e-15)
        assert_close(gradient, np.array([[-1, 0, 1]]) / 3)


def test_binary_crossentropy():
    """p = ¼ for a yes, ln 4; p = ¾ for a no, ln 4; p = ½: ln 2. d/dp = −1/p and 1/(1 − p); d/dz = p − t."""
    p, y_true = np.array([[0.25], [0.75], [0.5]]), np.array([1, 0, 1])
    value, gradient = value_and_gradient(BinaryCrossentropy(), y_true, p)
    assert value == pytest.approx((2 * math.log(4) + LN2) / 3, rel=1e-15)
    assert_close(gradient, np.array([[-4], [4], [-2]]) / 3)
    value, gradient = value_and_gradient(BinaryCrossentropy(from_logits=True), y_true, np.array([[-LN3], [LN3], [0.0]]))
    assert value == pytest.approx((2 * math.log(4) + LN2) / 3, rel=1e-14)
    assert_close(gradient, (p - y_true[:, None]) / 3)


def test_binary_crossentropy_of_several_answers_is_their_mean():
    value, gradient = value_and_gradient(BinaryCrossentropy(), [[1.0, 0.0]], [[0.5, 0.75]])
    assert value == pytest.approx((LN2 + math.log(4)) / 2, rel=1e-15)
    assert_close(gradient, np.array([[-1.0, 2.0]]))


def test_label_smoothing():
    """s = 0.2: of two classes, [1, 0] becomes [0.9, 0.1], and a yes becomes 0.9."""
    loss = CategoricalCrossentropy(label_smoothing=0.2)
    value, _ = value_and_gradient(loss, [[1.0, 0.0]], [[0.25, 0.75]])
    assert value == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3), rel=1e-15)
    assert loss.get_config() == {"from_logits": False, "label_smoothing": 0.2}
    value, gradient = value_and_gradient(BinaryCrossentropy(True, 0.2), [[1.0]], [[LN3]])
    assert value == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-14)
    assert_close(gradient, np.array([[0.75 - 0.9]]))
    with pytest.raises(ValueError, match=r"label_smoothing must be a number in \[0, 1\)"):
        CategoricalCrossentropy(label_smoothing=1)


def test_kl_divergence():
    """t = [½, ½], p = [¼, ¾]: ½ · ln 2 + ½ · ln ⅔; its gradient is −t / p. Two rows of one sample: their mean."""
    y_true, y_pred = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    value, gradient = value_and_gradient(KLDivergence(), [y_true], [y_pred])
    assert value == pytest.approx((LN2 + math.log(2 / 3)) / 2, rel=1e-15)
    assert_close(gradient, np.array([[-2, -2 / 3]]))
    value, gradient = value_and_gradient(KLDivergence(), [[y_true, y_true]], [[y_pred, y_true]])
    assert value == pytest.approx((LN2 + math.log(2 / 3)) / 4, rel=1e-15)
    assert_close(gradient, np.array([[[-1, -1 / 3], [-0.5, -0.5]]]))


def test_sample_weights():
    """Errors 1, 2 and 3 with weights 2, 0 and 0.5: (2 · 1 + 0 · 4 + 0.5 · 9) / 3, divided by the samples, not the weights."""
    y_true, y_pred = np.zeros((3, 1)), np.array([[1.0], [2.0], [3.0]])
    value, gradient = value_and_gradient(MeanSquaredError(), y_true, y_pred, sample_weight=np.array([2, 0, 0.5]))
    assert value == pytest.approx(6.5 / 3, rel=1e-15)
    assert_close(gradient, np.array([[4 / 3], [0], [3 / 3]]))


def test_n_is_the_number_of_samples_of_the_whole_batch():
    """Two samples of ten: (1 + 4) / 10, gradient 2 · error / 10."""
    value, gradient = value_and_gradient(MeanSquaredError(), np.zeros((2, 1)), np.array([[1.0], [2.0]]), n=10)
    assert value == 0.5
    assert_close(gradient, np.array([[0.2], [0.4]]))


# ------------------------------------------------------------------------------------------------------------ properties


def subject(name, seed, n=4, classes=5):
    """(loss, y_true, y_pred in float64, exact in float32), probabilities far from the clip."""
    random = np.random.default_rng(seed)
    if name.startswith("mean_squared_error"):
        shape = (n, 3) if name.endswith("2") else (n, 2, 3, 2)
        return MeanSquaredError(), random.normal(size=shape), random.normal(size=shape).astype(np.float32).astype(float)
    if name in ENTRYWISE:
        y_true, y_pred = random.integers(0, 2, (n, 3)), random.uniform(0.2, 0.95, (n, 3))
        if name == "kl_divergence":
            y_true = random.uniform(0, 1, (n, 3))
        return losses.get(name), y_true, y_pred.astype(np.float32).astype(float)
    kind, form = name.split()
    from_logits = form == "logits"
    y_pred = random.normal(size=(n, classes)) if from_logits else random.uniform(0.05, 1, (n, classes))
    if kind == "binary":
        return BinaryCrossentropy(from_logits, 0.125), random.uniform(0, 1, (n, classes)), y_pred.clip(-3, 0.9)
    loss = (SparseCategoricalCrossentropy if kind == "sparse" else CategoricalCrossentropy)(from_logits)
    labels = random.integers(0, classes, n)
    y_true = {"sparse": labels, "one-hot": np.eye(classes)[labels], "soft": random.uniform(0, 1, (n, classes))}[kind]
    return loss, y_true, y_pred.astype(np.float32).astype(float)


ENTRYWISE = ["mean_absolute_error", "huber", "hinge", "kl_divergence"]
SUBJECTS = [
    f"{kind} {form}" for kind in ("sparse", "one-hot", "soft", "binary") for form in ("probabilities", "logits")
]
SUBJECTS += [*ENTRYWISE, "mean_squared_error of rank 2", "mean_squared_error of rank 4"]

every_loss = pytest.mark.parametrize("name", SUBJECTS)


@every_loss
@given(seed=seeds, n=st.integers(1, 5), weighted=st.booleans())
def test_gradient_is_the_central_difference(name, seed, n, weighted):
    loss, y_true, y_pred = subject(name, seed, n)
    weight = np.random.default_rng(seed).uniform(0, 3, n) if weighted else None
    _, gradient = value_and_gradient(loss, y_true, y_pred, sample_weight=weight, n=7)
    numeric = numeric_gradient(lambda: loss.forward(y_true, y_pred, sample_weight=weight, n=7)[0], y_pred)
    assert_gradient(gradient, numeric)


@both_crossentropies
def test_gradient_beside_a_clipped_probability(crossentropy):
    """Class 1 is clipped and not the label's: the label's gradient is that of a probability among others all the same."""
    loss, y_pred = crossentropy(), np.array([[0.6, 1e-9, 0.4]])
    y_true = as_labels(crossentropy, [0], 3)
    _, gradient = value_and_gradient(loss, y_true, y_pred)
    assert_gradient(gradient, numeric_gradient(lambda: loss.forward(y_true, y_pred)[0], y_pred))


@every_loss
@given(seed=seeds, cut=st.integers(1, 7), weighted=st.booleans())
def test_shards_add_up_to_the_batch(name, seed, cut, weighted):
    loss, y_true, y_pred = subject(name, seed, n=8)
    weight = np.random.default_rng(seed).uniform(0, 3, 8) if weighted else None
    value, gradient = value_and_gradient(loss, y_true, y_pred, sample_weight=weight)
    parts = [
        value_and_gradient(loss, y_true[part], y_pred[part], sample_weight=weight[part] if weighted else None, n=8)
        for part in (slice(0, cut), slice(cut, 8))
    ]
    assert parts[0][0] + parts[1][0] == pytest.approx(value, rel=1e-13)
    assert_close(np.concatenate([parts[0][1], parts[1][1]]), gradient)


@every_loss
@given(seed=seeds)
def test_a_weight_counts_like_as_many_samples(name, seed):
    loss, y_true, y_pred = subject(name, seed, n=3)
    weighted, _ = value_and_gradient(loss, y_true, y_pred, sample_weight=np.array([1, 0, 3]))
    repeated, _ = value_and_gradient(loss, y_true[[0, 2, 2, 2]], y_pred[[0, 2, 2, 2]], n=3)
    assert weighted == pytest.approx(repeated, rel=1e-13)


@every_loss
@given(seed=seeds)
def test_nothing_is_changed_and_backward_can_be_repeated(name, seed):
    loss, y_true, y_pred = subject(name, seed)
    weight = np.full(4, 2.0)
    before = copied([y_true, y_pred, weight])
    _, cache = loss.forward(y_true, y_pred, sample_weight=weight)
    first = loss.backward(cache)
    kept = first.copy()
    first[...] = np.nan  # the caller's: what it does with it must not reach the cache
    np.testing.assert_array_equal(loss.backward(cache), kept)
    for array, old in zip([y_true, y_pred, weight], before, strict=True):
        np.testing.assert_array_equal(array, old, strict=True)


@every_loss
@given(seed=seeds)
def test_float32_stays_float32_and_equals_float64(name, seed):
    loss, y_true, y_pred = subject(name, seed)
    weight = np.array([1, 2, 0, 0.5])
    value, gradient = value_and_gradient(loss, y_true, y_pred, sample_weight=weight)
    assert gradient.dtype == np.float64
    value32, gradient32 = value_and_gradient(loss, y_true, y_pred.astype(np.float32), sample_weight=weight)
    assert gradient32.dtype == np.float32
    assert value32 == pytest.approx(value, rel=1e-5, abs=1e-6)
    assert_close(gradient32, gradient)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float32, bool])
@both_forms
def test_labels_of_any_type(dtype, from_logits):
    y_pred = np.array([[0.25, 0.75], [0.5, 0.5]])
    expected = [value_and_gradient(SparseCategoricalCrossentropy(from_logits), np.array([1, 0]), y_pred)]
    labels = np.array([1, 0], dtype)
    actual = [
        value_and_gradient(SparseCategoricalCrossentropy(from_logits), labels, y_pred),
        value_and_gradient(SparseCategoricalCrossentropy(from_logits), labels[:, None], y_pred),
        value_and_gradient(CategoricalCrossentropy(from_logits), np.eye(2)[[1, 0]].astype(dtype), y_pred),
    ]
    for value, gradient in actual:
        assert value == expected[0][0]
        np.testing.assert_array_equal(gradient, expected[0][1], strict=True)


def test_mean_squared_error_of_one_output_takes_a_row_of_targets():
    """(n,) against (n, 1) is n pairs, not a table of n × n."""
    value, gradient = value_and_gradient(MeanSquaredError(), np.array([1.0, 2.0]), np.array([[2.0], [4.0]]))
    assert value == 2.5
    np.testing.assert_array_equal(gradient, [[1.0], [2.0]])


# ------------------------------------------------------------------------------------------------------------ extreme logits


@both_crossentropies
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_by_hand(crossentropy, dtype):
    """Logits ±10⁴: where the label has the largest, the loss is 0; where the smallest, 2 · 10⁴; two alike share, ln 2."""
    z = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [1e4, 1e4, -1e4]], dtype)
    y_true = as_labels(crossentropy, [0, 1, 1], 3)
    value, gradient = value_and_gradient(crossentropy(from_logits=True), y_true, z)
    assert value == pytest.approx((0 + 2e4 + LN2) / 3, rel=1e-6 if dtype is np.float32 else 1e-14)
    assert_close(gradient, np.array([[0, 0, 0], [1, -1, 0], [0.5, -0.5, 0]]) / 3)
    assert gradient.dtype == dtype


def test_binary_crossentropy_of_extreme_logits():
    """Right or wrong by 3e38: a loss of 0 or 3e38, a gradient of 0 or ±1; nothing overflows."""
    z = np.array([[3e38], [-3e38], [3e38], [-3e38]], np.float32)
    values = losses.binary_crossentropy([1, 0, 0, 1], z, from_logits=True)
    np.testing.assert_allclose(values, [0, 0, 3e38, 3e38], rtol=1e-6)
    _, gradient = value_and_gradient(BinaryCrossentropy(from_logits=True), [1, 0, 0, 1], z)
    np.testing.assert_array_equal(gradient, np.array([[0], [0], [0.25], [-0.25]], np.float32))


@both_crossentropies
@given(seed=seeds, size=st.sampled_from([10.0, 100.0, 1e4]))
def test_extreme_logits_in_float32_equal_float64(crossentropy, seed, size):
    random = np.random.default_rng(seed)
    z = random.uniform(-size, size, (6, 10)).astype(np.float32)
    y_true = as_labels(crossentropy, random.integers(0, 10, 6), 10)
    value32, gradient32 = value_and_gradient(crossentropy(from_logits=True), y_true, z)
    value64, gradient64 = value_and_gradient(crossentropy(from_logits=True), y_true, z.astype(np.float64))
    assert math.isfinite(value32)
    assert value32 == pytest.approx(value64, rel=1e-6)
    assert_close(gradient32, gradient64)


@both_crossentropies
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_of_an_extreme_softmax(crossentropy, dtype):
    """What a softmax of ±10⁴ gives, 0 and 1, is clipped: finite, at most −ln 1e-7, without a warning."""
    p = reference.softmax_forward(np.array([[1e4, -1e4], [1e4, -1e4]], dtype))
    value, gradient = value_and_gradient(crossentropy(), as_labels(crossentropy, [0, 1], 2), p)
    assert value == pytest.approx(7 * LN10 / 2, rel=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("from_logits", [False, True])
@both_crossentropies
def test_nan_is_not_hidden(crossentropy, from_logits):
    """Not even where the label is another class: the sum over the classes is NaN."""
    y_true = as_labels(crossentropy, [0], 2)
    value, _ = value_and_gradient(crossentropy(from_logits), y_true, [[0.5, np.nan]])
    assert math.isnan(value)


# --------------------------------------------------------------------------------------------------------- the twin on logits


@every_loss
def test_which_losses_have_a_twin_on_logits(name):
    loss, *_ = subject(name, 0)
    twin = losses.on_logits(loss)
    if name.endswith("probabilities"):
        assert type(twin) is type(loss)
        assert twin.from_logits
        assert not loss.from_logits  # the user's object stays as it is
    else:
        assert twin is None


def test_a_loss_of_a_user_has_no_twin():
    """It may compute anything."""

    class Own(CategoricalCrossentropy):
        pass

    assert losses.on_logits(Own()) is None


@both_crossentropies
@given(seed=seeds, n=st.integers(1, 5))
def test_the_twin_equals_softmax_and_the_loss_of_probabilities(crossentropy, seed, n):
    """In value, and in the gradient that softmax's own backward makes of the loss's."""
    random = np.random.default_rng(seed)
    z = random.uniform(-3, 3, (n, 6))
    y_true = as_labels(crossentropy, random.integers(0, 6, n), 6)
    loss = crossentropy()
    p = reference.softmax_forward(z)
    value, dp = value_and_gradient(loss, y_true, p)
    twin_value, dz = value_and_gradient(losses.on_logits(loss), y_true, z)
    assert twin_value == pytest.approx(value, rel=1e-12)
    assert_close(dz, reference.softmax_backward(dp, p))


# ---------------------------------------------------------------------------------------------------------------- by name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("binary_crossentropy", BinaryCrossentropy),
        ("bce", BinaryCrossentropy),
        ("mean_absolute_error", MeanAbsoluteError),
        ("mae", MeanAbsoluteError),
        ("huber", Huber),
        ("hinge", Hinge),
        ("kl_divergence", KLDivergence),
        ("kld", KLDivergence),
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
        ("mean_squared_error", MeanSquaredError),
        ("mse", MeanSquaredError),
        ("MSE", MeanSquaredError),
        ("MeanSquaredError", MeanSquaredError),
        ("KLDivergence", KLDivergence),
        (Hinge, Hinge),
    ],
)
def test_get_by_name_and_class(name, expected):
    loss = losses.get(name)
    assert type(loss) is expected
    assert not getattr(loss, "from_logits", False)
    assert losses.get(loss) is loss


@every_loss
def test_as_functions_they_give_the_loss_of_each_sample(name):
    loss, y_true, y_pred = subject(name, 0)
    function = getattr(losses, loss.name)
    found = function(y_true.tolist(), y_pred.tolist(), **loss.get_config())
    assert found.shape == (4,)
    for i in range(4):
        assert found[i] == pytest.approx(loss.forward(y_true[i : i + 1], y_pred[i : i + 1])[0], rel=1e-13)
    assert type(losses.get(function)) is type(loss)
    assert losses.get(function).get_config() == type(loss)().get_config()


@every_loss
def test_predictions_of_integers_are_taken_as_floats(name):
    loss, y_true, y_pred = subject(name, 0)
    whole = np.round(y_pred).astype(np.int64)
    expected = value_and_gradient(loss, y_true, whole.astype(np.float32))
    value, gradient = value_and_gradient(loss, y_true, whole)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1], strict=True)


def test_a_function_of_integers_and_of_a_row_of_targets():
    np.testing.assert_array_equal(losses.mean_absolute_error([1, 2], [[3], [1]]), [2, 1])
    assert repr(losses.huber) == "<loss function huber>"


def test_get_of_something_else():
    names = f"There are: {', '.join(sorted(losses.LOSSES))}."
    assert_refused(
        "unknown loss 'categorical_crossentropie'. Did you mean 'categorical_crossentropy' or "
        f"'sparse_categorical_crossentropy'? {names}",
        losses.get,
        "categorical_crossentropie",
    )
    assert_refused(f"unknown loss 'xyzzy'. {names}", losses.get, "xyzzy")
    half = types.SimpleNamespace(forward=max)  # a loss without a backward
    for value in (None, 3, max, int, half):
        assert_refused(
            f"a loss must be a name or an object with forward and backward, received {value!r}.",
            losses.get,
            value,
            error=TypeError,
        )


def test_a_loss_of_a_users_own():
    """Anything with forward and backward."""

    class Own:
        def forward(self, y_true, y_pred, *, sample_weight=None, n=None):
            return 0.0, None

        def backward(self, cache):
            return None

    own = Own()
    assert losses.get(own) is own


# ----------------------------------------------------------------------------------------------------------------- errors


@both_forms
@pytest.mark.parametrize(("y_true", "shape"), [([0, 1, 2], "(3,)"), ([[0], [1], [2]], "(3, 1)")])
def test_integer_labels_with_categorical_crossentropy(y_true, shape, from_logits):
    text = (
        f"categorical_crossentropy expects one-hot labels of shape (n, 4), received shape {shape}, which looks like integer "
        "labels. Use loss='sparse_categorical_crossentropy', or to_categorical(y, 4)."
    )
    loss = CategoricalCrossentropy(from_logits)
    assert_refused(text, loss.prepare, np.array(y_true), (4,))
    assert_refused(text, loss.forward, np.array(y_true), np.full((3, 4), 0.25))
    loss.prepare(
        eval(re.search(r"to_categorical\(.*?\)", text)[0], {"to_categorical": to_categorical, "y": y_true}), (4,)
    )


@both_forms
def test_one_hot_labels_with_sparse_categorical_crossentropy(from_logits):
    text = (
        "sparse_categorical_crossentropy expects integer labels of shape (n,) or (n, 1), received shape (3, 4), which looks "
        "one-hot. Use loss='categorical_crossentropy', or np.argmax(y, axis=-1)."
    )
    loss = SparseCategoricalCrossentropy(from_logits)
    assert_refused(text, loss.prepare, np.eye(4)[:3], (4,))
    assert_refused(text, loss.forward, np.eye(4)[:3], np.full((3, 4), 0.25))


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 1), (3, 4, 4)])
def test_labels_of_another_shape(shape):
    assert_refused(
        f"categorical_crossentropy expects one-hot labels of shape (n, 4), the model's output, received shape {shape}.",
        CategoricalCrossentropy().prepare,
        np.zeros(shape),
        (4,),
    )
    assert_refused(
        f"sparse_categorical_crossentropy expects integer labels of shape (n,) or (n, 1), received shape {shape}.",
        SparseCategoricalCrossentropy().prepare,
        np.zeros(shape, int),
        (4,),
    )


@pytest.mark.parametrize(("labels", "seen"), [([0, 4], "0 … 4"), ([-1, 3], "-1 … 3"), ([[7], [1]], "1 … 7")])
def test_labels_out_of_range(labels, seen):
    assert_refused(
        "sparse_categorical_crossentropy expects labels 0 … 3, one for each of the model's 4 outputs, received labels "
        f"{seen}.",
        SparseCategoricalCrossentropy().prepare,
        np.array(labels),
        (4,),
    )


@pytest.mark.parametrize("label", [0.5, math.nan, 2.999])
def test_fractions_as_labels(label):
    assert_refused(
        "sparse_categorical_crossentropy expects integer labels, received fractions.",
        SparseCategoricalCrossentropy().prepare,
        np.array([0.0, label]),
        (4,),
    )


NAMES = {
    CategoricalCrossentropy: "categorical_crossentropy",
    SparseCategoricalCrossentropy: "sparse_categorical_crossentropy",
}


@both_crossentropies
@pytest.mark.parametrize("shape", [(2, 3), (), (4, 4, 2)])
def test_crossentropy_of_outputs_that_are_not_classes(crossentropy, shape):
    assert_refused(
        f"{NAMES[crossentropy]} expects a model whose output is (classes,), received output shape {shape}. End the model "
        "with Flatten() and Dense(classes).",
        crossentropy().prepare,
        np.zeros((3, *shape)),
        shape,
    )


@pytest.mark.parametrize(
    ("shape", "output", "expected"),
    [((3,), (4,), "(n, 4)"), ((3, 5), (4,), "(n, 4)"), ((3, 1), (2, 2), "(n, 2, 2)"), ((3, 2), (1,), "(n, 1)")],
)
def test_targets_of_another_shape(shape, output, expected):
    """Nothing is broadcast: (3,) against (3, 4) would be."""
    assert_refused(
        f"mean_squared_error expects targets of shape {expected}, the model's output, received shape {shape}.",
        MeanSquaredError().prepare,
        np.zeros(shape),
        output,
    )


def test_one_column_is_integer_labels():
    with pytest.raises(ValueError, match="looks like integer labels"):
        CategoricalCrossentropy().prepare(np.zeros((3, 1)), (2,))


@both_forms
@both_crossentropies
@pytest.mark.parametrize("y_true", [[0, 1, 1], [[0], [1], [1]], np.eye(2)[[0, 1, 1]]])
def test_a_crossentropy_of_one_class(crossentropy, from_logits, y_true):
    """The only class would have the probability 1, whatever the weights: a loss of 0, and no gradient."""
    assert_refused(
        f"{NAMES[crossentropy]} expects a model with an output for each class, received output shape (1,): the only class has "
        "the probability 1, and there is nothing to learn. For two classes end the model with Dense(2, activation='softmax'); "
        "or with Dense(1, activation='sigmoid'), and use loss='binary_crossentropy'.",
        crossentropy(from_logits).prepare,
        np.array(y_true),
        (1,),
    )


def test_hints_about_labels_of_two_classes_lead_to_an_end():
    """What each message says to use, is accepted."""
    labels, one_hot = np.array([0, 1, 1]), np.eye(2)[[0, 1, 1]]
    with pytest.raises(
        ValueError,
        match=r"looks one-hot. Use np\.asarray\(y\)\[:, 1\]; or end the model with Dense\(2, activation='softm",
    ):
        BinaryCrossentropy().prepare(one_hot, (1,))
    BinaryCrossentropy().prepare(one_hot[:, 1], (1,))
    CategoricalCrossentropy().prepare(one_hot, (2,))
    with pytest.raises(
        ValueError, match=r"end the model with Dense\(1, activation='sigmoid'\); for one of several classes"
    ):
        BinaryCrossentropy().prepare(labels, (2,))
    BinaryCrossentropy().prepare(labels, (1,))
    SparseCategoricalCrossentropy().prepare(labels, (2,))


@pytest.mark.parametrize(("targets", "seen"), [([-1, 1], "-1 … 1"), ([0, 255], "0 … 255"), ([1.0, 2.0], "1.0 … 2.0")])
def test_targets_of_binary_crossentropy_that_are_no_probabilities(targets, seen):
    with pytest.raises(ValueError, match=f"expects targets from 0 to 1, received {seen}") as caught:
        BinaryCrossentropy().prepare(np.array(targets), (1,))
    mended = re.search(r"for labels −1 and 1 use (.*?);", str(caught.value))[1]  # y as the user has it, in a list
    assert eval(mended, {"np": np, "y": [-1, 1]}).tolist() == [0, 1]


@pytest.mark.parametrize(("targets", "seen"), [([-1, 0, 1], "-1 … 1"), ([0, 2], "0 … 2"), ([0.5], "0.5 … 0.5")])
def test_targets_of_hinge_that_are_no_labels(targets, seen):
    with pytest.raises(ValueError, match=f"hinge expects labels −1 and 1, or 0 and 1, received {seen}"):
        Hinge().prepare(np.array(targets), (1,))


def test_weights_in_single_precision_do_not_spoil_a_gradient_in_double():
    """(5 − 2) · 2 / 3 samples · a weight of 1 is 2; divided by 3 in float32 it would be off by 1e-8."""
    weight = np.ones(3, np.float32)
    _, gradient = value_and_gradient(
        MeanSquaredError(), np.full((3, 1), 2.0), np.full((3, 1), 5.0), sample_weight=weight
    )
    np.testing.assert_allclose(gradient, np.full((3, 1), 2.0), rtol=1e-15)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("loss", [CategoricalCrossentropy, SparseCategoricalCrossentropy])
def test_the_settings_of_a_loss(loss, from_logits):
    smoothing = {"label_smoothing": 0.0} if loss is CategoricalCrossentropy else {}
    assert loss(from_logits).get_config() == {"from_logits": from_logits} | smoothing


def test_a_loss_without_settings():
    assert MeanSquaredError().get_config() == {}
