"""Augmentation: numbers worked out by hand, what the layers have in common, and what they do in a model.

tests/layers/test_harness.py compares every layer with loops over plain numbers, and its gradients with differences.
"""

import math
import re

import numpy as np
import pytest
from support import assert_close

from minidl import Sequential, gradcheck, set_num_threads
from minidl.layers import (
    Conv2D,
    Dense,
    Flatten,
    Input,
    RandomAffine,
    RandomElasticTransform,
    RandomErasing,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    Rescaling,
)
from minidl.ops import OPERATIONS
from minidl.ops.random import RandomKey

both_sets = pytest.mark.parametrize("ops", OPERATIONS)
KEY = RandomKey(5, 0)
ALL = {
    "translation": lambda: RandomTranslation(0.3, 0.3),
    "rotation": lambda: RandomRotation(0.2),
    "zoom": lambda: RandomZoom(0.5),
    "shear": lambda: RandomShear(0.5, 0.5),
    "affine": lambda: RandomAffine(0.2, 0.2, 0.2, 0.2),
    "elastic": lambda: RandomElasticTransform((1, 1), (1, 1)),
    "erasing": lambda: RandomErasing((1, 1), value_range=(-1, 1)),
}
every_layer = pytest.mark.parametrize("name", ALL)


def changed(layer, x, ops, rng=KEY):
    layer.ops = OPERATIONS[ops]
    return layer.forward(np.asarray(x), training=True, rng=rng)[0]


# ------------------------------------------------------------------------------------------------------------- by hand


@both_sets
@pytest.mark.parametrize(
    ("fill_mode", "expected"),
    [("reflect", [2, 1, 1, 2]), ("wrap", [3, 4, 1, 2]), ("nearest", [1, 1, 1, 2]), ("constant", [9, 9, 1, 2])],
)
def test_two_pixels_to_the_right(fill_mode, expected, ops):
    layer = RandomTranslation(0, (0.5, 0.5), fill_mode, fill_value=9)
    y = changed(layer, np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1), ops)
    np.testing.assert_array_equal(y.ravel(), expected)


@both_sets
def test_half_a_pixel_is_the_mean_of_two(ops):
    """Moved right by half a pixel, of 1 3 7 7: (9 + 1) / 2, where 9 is the fill value, then the means of neighbours."""
    x = np.array([1.0, 3.0, 7.0, 7.0]).reshape(1, 1, 4, 1)
    y = changed(RandomTranslation(0, (0.125, 0.125), "constant", fill_value=9), x, ops)
    np.testing.assert_array_equal(y.ravel(), [5, 2, 5, 7])
    y = changed(RandomTranslation(0, (0.125, 0.125), "constant", "nearest", fill_value=9), x, ops)
    np.testing.assert_array_equal(y.ravel(), [1, 3, 7, 7])  # half is rounded up


@both_sets
def test_the_gradient_of_half_a_pixel_goes_half_to_each(ops):
    layer = RandomTranslation(0, (0.125, 0.125), "reflect")
    layer.ops = OPERATIONS[ops]
    _, cache = layer.forward(np.zeros((1, 1, 4, 1)), training=True, rng=KEY)
    dx, _ = layer.backward(np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 4, 1), cache)
    np.testing.assert_array_equal(dx.ravel(), [1 + 5, 5 + 50, 50 + 500, 500])


@both_sets
@pytest.mark.parametrize("size", [(5, 5), (4, 4)])
def test_a_quarter_turn_is_counter_clockwise(size, ops):
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    assert_close(changed(RandomRotation((0.25, 0.25)), x, ops), np.rot90(x, axes=(1, 2)))
    assert_close(changed(RandomAffine(rotation=(0.25, 0.25)), x, ops), np.rot90(x, axes=(1, 2)))


@both_sets
def test_zoomed_to_half_its_size(ops):
    """Places 2 · (j − 1) + 1 = −1, 1, 3 of a b c: outside, the centre, outside."""
    y = changed(RandomZoom((1, 1), fill_mode="constant"), np.arange(1.0, 10).reshape(1, 3, 3, 1), ops)
    np.testing.assert_array_equal(y[0, ..., 0], [[0, 0, 0], [0, 5, 0], [0, 0, 0]])


@both_sets
def test_a_shear_moves_each_row_by_its_number(ops):
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1).repeat(8, axis=0)
    y = changed(RandomShear((1, 1), fill_mode="constant"), x, ops)[..., 0]
    left, right = [[1, 2, 3], [5, 6, 0], [9, 0, 0]], [[1, 2, 3], [0, 4, 5], [0, 0, 7]]
    assert {image.tobytes() for image in y} == {np.array(one, float).tobytes() for one in (left, right)}


@both_sets
def test_one_warp_of_four(ops):
    """Turned by 90°, then moved: by numbers for which no pixel is interpolated, so that two layers give the same."""
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1))
    turned = changed(RandomRotation((0.25, 0.25), "wrap"), x, ops)
    expected = changed(RandomTranslation((0.5, 0.5), (0.5, 0.5), "wrap"), turned, ops)
    assert_close(changed(RandomAffine((0.25, 0.25), (0.5, 0.5), fill_mode="wrap"), x, ops), expected)


def test_an_erased_rectangle():
    """A quarter of the area: 4 of 8 rows and 5 of 10 columns, at all places (⌈4u⌉, ⌈5v⌉), as in Keras."""
    x = np.ones((200, 8, 10, 2))
    y = changed(RandomErasing((1, 1), (0.25, 0.25), fill_value=0.5), x, "kernels")
    for image in y:
        rows, columns = (np.flatnonzero((image[..., 0] == 0.5).any(axis=axis)) for axis in (1, 0))
        assert (len(rows), len(columns)) == (4, 5)
        assert (np.diff(rows) == 1).all()
        assert (image[np.ix_(rows, columns)] == 0.5).all()
    assert len({image.tobytes() for image in y}) == 4 * 5
    assert (y == x).mean() == 0.75


def test_half_are_erased_as_in_keras():
    """factor=1 stands for probabilities drawn from 0 to 1."""
    y = changed(RandomErasing(fill_value=0), np.ones((4000, 4, 4, 1)), "kernels")
    assert 0.47 < (y == 0).any(axis=(1, 2, 3)).mean() < 0.53


# ------------------------------------------------------------------------------------------------- what they have in common


@both_sets
@every_layer
def test_outside_training_nothing_happens(name, ops):
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 2))
    layer = ALL[name]()
    layer.ops = OPERATIONS[ops]
    y, cache = layer.forward(x, rng=KEY)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(layer.backward(x, cache)[0], x)


@both_sets
@every_layer
def test_each_sample_has_its_own_numbers_wherever_the_batch_is_cut(name, ops):
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 1)).repeat(40, axis=0)
    whole = changed(ALL[name](), x, ops)
    parts = [changed(ALL[name](), x[:17], ops), changed(ALL[name](), x[17:], ops, RandomKey(5, 17))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len({image.tobytes() for image in whole}) == 40
    assert not np.array_equal(changed(ALL[name](), x, ops, RandomKey(6, 0)), whole)


@pytest.mark.parametrize(
    "layer",
    [
        RandomTranslation(0, 0),
        RandomRotation(0),
        RandomZoom(0),
        RandomShear(),
        RandomAffine(),
        RandomElasticTransform(0),
    ],
    ids=str,
)
@pytest.mark.parametrize("fill_mode", ["reflect", "constant"])
@both_sets
def test_without_a_factor_every_pixel_stays(layer, fill_mode, ops):
    layer.fill_mode = fill_mode
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 2))
    np.testing.assert_array_equal(changed(layer, x, ops), x)


@both_sets
@every_layer
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 2), (28, 3, 1)])
def test_images_of_any_size_and_of_none(name, size, ops):
    for samples in (0, 2):
        y = changed(ALL[name](), np.ones((samples, *size)), ops)
        assert y.shape == (samples, *size)
        if name != "erasing":
            assert_close(y, np.ones((samples, *size)))  # weights that do not sum to 1 would show


@both_sets
def test_bytes_are_taken(ops):
    x = np.random.default_rng(0).integers(0, 256, (3, 6, 6, 1), np.uint8)
    y = changed(RandomAffine(0.1, 0.1), x, ops)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, changed(RandomAffine(0.1, 0.1), x.astype(np.float32), ops))


@every_layer
def test_a_model_with_it_below_is_proved(name):
    model = Sequential([Input((6, 5, 2)), Conv2D(3, 2), ALL[name](), Flatten(), Dense(3, "softmax")], dtype="float64")
    model.compile(loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    report = gradcheck(model, rng.normal(size=(3, 6, 5, 2)), rng.integers(0, 3, 3))
    assert report.passed, report


# -------------------------------------------------------------------------------------------------------------- in a model


def model_with(*layers, seed=3):
    model = Sequential(
        [
            Input((8, 8, 1)),
            Rescaling(1 / 255),
            *layers,
            Conv2D(4, 3, activation="relu"),
            Flatten(),
            Dense(3, "softmax"),
        ],
        seed=seed,
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def digits(n=90):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 8, 8, 1), np.uint8), rng.integers(0, 3, n)


@pytest.mark.usefixtures("threads_as_before")
def test_same_bits_with_any_threads_and_resumed():
    """Of two epochs in one fit, with one and two threads, and of two fits."""
    x, y = digits()
    results = []
    for threads, epochs in ((1, [2]), (2, [2]), (2, [1, 1])):
        set_num_threads(threads)
        model = model_with(*(make() for make in ALL.values()))
        for count in epochs:
            model.fit(x, y, batch_size=50, epochs=count, verbose=0)
        results.append(model.get_weights())
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_its_backward_is_left_out_where_nothing_below_learns(monkeypatch):
    def refused(self, dy, cache):
        raise AssertionError("nobody needs this dx")

    monkeypatch.setattr(RandomAffine, "backward", refused)
    x, y = digits()
    model_with(RandomAffine(0.1)).fit(x, y, verbose=0)
    model = Sequential([Input((8, 8, 1)), Conv2D(2, 3), RandomAffine(0.1), Flatten(), Dense(3, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(AssertionError, match="nobody needs"):
        model.fit(x, y, verbose=0)


def test_predictions_see_the_images_as_they_are():
    x, _ = digits()
    model = model_with(RandomAffine(0.1, 0.1, 0.1, 0.1), RandomErasing())
    plain = model_with()
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain.predict(x, verbose=0))


# ------------------------------------------------------------------------------------------------------------ bad settings


@pytest.mark.parametrize(
    ("create", "text"),
    [
        (
            lambda: RandomRotation(1.5),
            "RandomRotation factor must be a number in [-1, 1], or a pair of them, (lower, upper), received 1.5.",
        ),
        (
            lambda: RandomShear(x_factor=(0, 1, 2)),
            "RandomShear x_factor must be a number in [-1, 1], or a pair of them",
        ),
        (lambda: RandomTranslation("0.1", 0), "RandomTranslation height_factor must be a number in [-1, 1]"),
        (lambda: RandomZoom(-1), "RandomZoom height_factor must be above -1"),
        (lambda: RandomZoom(float("nan")), "RandomZoom height_factor must be a number"),
        (lambda: RandomErasing(-0.1), "RandomErasing factor must be a number in [0, 1]"),
        (lambda: RandomErasing(fill_value="0"), "RandomErasing fill_value must be a finite number, received '0'."),
        (
            lambda: RandomAffine(fill_mode="mirror"),
            "RandomAffine fill_mode must be 'reflect' or 'wrap' or 'constant' or 'nearest', received 'mirror'.",
        ),
        (
            lambda: RandomElasticTransform(interpolation="cubic"),
            "interpolation must be 'nearest' or 'bilinear', received",
        ),
        (
            lambda: RandomAffine(0.1).forward(np.ones((1, 2, 2, 1)), training=True),
            "RandomAffine: in training, forward needs rng=RandomKey(key, first_sample) to draw its numbers.",
        ),
        (
            lambda: RandomErasing().build((28, 28), np.random.default_rng(0), np.dtype(np.float32)),
            "The channel axis is missing: use input_shape=(28, 28, 1)",
        ),
        *(
            (
                lambda value=value: RandomErasing(value_range=value),
                f"RandomErasing value_range must be two finite numbers, (lowest, highest), received {value!r}.",
            )
            for value in (5, (0, math.inf), (-math.inf, math.inf), (0, math.nan), (1,), (0, 1, 2), ("0", "1"))
        ),
    ],
)
def test_what_is_refused(create, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        create()


@pytest.mark.parametrize("training", [False, True])
@every_layer
def test_one_image_is_no_batch(name, training):
    text = "expects images (N, height, width, channels), received shape (6, 6, 1). One image is a batch of one as x[np.newaxis]."
    with pytest.raises(ValueError, match=re.escape(text)):
        ALL[name]().forward(np.ones((6, 6, 1)), training=training, rng=KEY)


@pytest.mark.parametrize("name", ALL)
def test_its_settings_make_it_again(name):
    layer = ALL[name]()
    assert type(layer)(**layer.get_config()).get_config() == layer.get_config()
