"""The user's data: any real array, in memory or on disk, gives the numbers of a plain one; anything else is refused."""

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Sequential
from minidl.engine.arrays import check_array, check_input
from minidl.engine.data import (
    Data,
    check_lengths,
    check_weights,
    class_weights,
    collect,
    part,
    sample_count,
)
from minidl.layers import Dense
from minidl.losses import Loss

FLOAT32 = np.dtype(np.float32)


class OnDisk:
    """Something like an array that is read piece by piece: shape, dtype and indexing, and nothing more, as zarr's since 3.0."""

    def __init__(self, array):
        self._array, self.reads = array, []
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, where):
        part = self._array[where]
        self.reads.append(len(part))
        return part


class RisingOnly(OnDisk):
    """As h5py's data sets: several samples are read in the order in which they lie in the file."""

    def __getitem__(self, where):
        if isinstance(where, np.ndarray) and (np.diff(where) <= 0).any():
            raise TypeError("Indexing elements must be in increasing order")
        return super().__getitem__(where)


class SlicesOnly(OnDisk):
    def __getitem__(self, where):
        if not isinstance(where, slice):
            raise TypeError("only slices")
        return super().__getitem__(where)


class OfAnotherLibrary:
    """An array with a dtype that NumPy does not know, which np.asarray understands."""

    class DType:
        pass

    dtype = DType()

    def __init__(self, array):
        self._array, self.shape = array, array.shape

    def __len__(self):
        return len(self._array)

    def __getitem__(self, where):
        raise AssertionError("must be made NumPy's first")

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype)


# ---------------------------------------------------------------------------------------------------------- check_array


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64", "int8", "uint8", "<i8", ">u2", "bool"])
def test_real_numbers_of_any_type_are_taken_as_they_are(dtype):
    array = np.ones((3, 2), dtype)
    assert check_array(array, "x") is array


def test_lists_become_arrays():
    np.testing.assert_array_equal(check_array([[1, 2.5], [3, 4]], "x"), np.array([[1, 2.5], [3, 4]]))


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (None, ValueError, "thing is missing: expected an array of samples."),
        ([], ValueError, "thing is empty: expected at least one sample, received shape (0,)."),
        (np.zeros((0, 4)), ValueError, "thing is empty: expected at least one sample, received shape (0, 4)."),
        (3.0, ValueError, "thing must be an array of samples, received the single number array(3.)."),
        ([[1, 2], [3]], ValueError, "thing cannot be made an array: "),
        (
            np.array([1, None]),
            TypeError,
            "thing must hold real numbers, received dtype object. Entries are missing, first in sample 1: remove or",
        ),
        (
            ["1", "2"],
            TypeError,
            "thing must hold real numbers, received dtype <U1. Use np.asarray(thing).astype('float32').",
        ),
        (np.ones(2, complex), TypeError, "thing must hold real numbers, received dtype complex128."),
        (np.ones(2, "M8[s]"), TypeError, "thing must hold real numbers, received dtype datetime64[s]."),
    ],
)
def test_what_is_no_array_of_samples_is_refused(value, error, text):
    with pytest.raises(error, match="^" + re.escape(text)):
        check_array(value, "thing")


# ---------------------------------------------------------------------------------------------------------- check_input


@pytest.mark.parametrize(
    ("shape", "expected", "text"),
    [
        ((5, 28, 28), (28, 28, 1),
         "m expects x of shape (n, 28, 28, 1), received (5, 28, 28). The channel axis is missing: use x[..., None]."),
        ((5, 28, 28, 1), (1, 28, 28),
         "m expects x of shape (n, 1, 28, 28), received (5, 28, 28, 1). The model was made channels-first: "
         "use input_shape=(28, 28, 1)."),
        ((5, 3, 8, 9), (8, 9, 3),
         "m expects x of shape (n, 8, 9, 3), received (5, 3, 8, 9). The data looks channels-first: use np.moveaxis(x, 1, -1)."),
        ((3, 8, 9), (8, 9, 3),
         "m expects x of shape (n, 8, 9, 3), received (3, 8, 9). This looks like a single image, channels-first: "
         "use np.moveaxis(x, 0, -1)[None]."),
        ((28, 28, 1), (28, 28, 1),
         "m expects x of shape (n, 28, 28, 1), received (28, 28, 1). For a single sample use x[None]."),
        ((5, 28, 28), (784,), "m expects x of shape (n, 784), received (5, 28, 28). Use x.reshape(-1, 784)."),
        ((5, 784), (28, 28, 1), "m expects x of shape (n, 28, 28, 1), received (5, 784). Use x.reshape(-1, 28, 28, 1)."),
        ((5, 3), (4,), "m expects x of shape (n, 4), received (5, 3)."),
        ((5,), (4,), "m expects x of shape (n, 4), received (5,)."),
    ],
    ids=[
        "no channels", "model channels-first", "data channels-first", "one image channels-first", "one sample", "not flat",
        "flat", "width", "rank",
    ],
)  # fmt: skip
def test_a_wrong_shape_is_refused_with_the_way_to_mend_it(shape, expected, text):
    x = np.zeros(shape)
    with pytest.raises(ValueError, match=re.escape(text)):
        check_input(x, expected, "m")
    hint = re.search(r"(?:[Uu]se )(x[^ ]*|np[^ ]* [^ ]* [^ ]*|x.reshape\(.*\))\.$", text)
    if hint is not None:  # the advice works
        assert eval(hint[1], {"x": x, "np": np}).shape[1:] == expected


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), n=st.integers(1, 5))
def test_the_right_shape_is_passed_through(shape, n):
    x = np.zeros((n, *shape))
    assert check_input(x, tuple(shape), "m") is x


def test_different_lengths_are_refused():
    check_lengths(x=np.zeros(3), y=np.arange(3), z=None)
    with pytest.raises(
        ValueError, match=r"x and y must hold the same number of samples, received different ones: x has 3, y has 2\."
    ):
        check_lengths(x=np.zeros(3), y=np.arange(2))


# -------------------------------------------------------------------------------------------------------------- weights


def test_weights_are_one_number_a_sample():
    assert check_weights(None, 3) is None
    for given_weights in ([1, 2, 3], np.array([[1], [2], [3]], np.float32)):
        weights = check_weights(given_weights, 3)
        assert weights.dtype == np.float64
        assert weights.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([1, 2], "sample_weight must have shape (3,), one weight a sample, received (2,)."),
        (np.ones((3, 2)), "sample_weight must have shape (3,), one weight a sample, received (3, 2)."),
        ([1, np.nan, 1], "sample_weight must be finite and not negative."),
        ([1, np.inf, 1], "sample_weight must be finite and not negative."),
        ([1, -0.1, 1], "sample_weight must be finite and not negative."),
    ],
)
def test_other_weights_are_refused(weights, text):
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        check_weights(weights, 3)


@pytest.mark.parametrize(
    "form", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(4)[y]], ids=["(n,)", "(n, 1)", "one-hot"]
)
def test_class_weights_go_to_the_samples_of_the_class(form):
    y = np.array([0, 3, 1, 3, 2])
    assert class_weights({3: 0.5, 0: 7}, form(y), (4,)).tolist() == [7, 0.5, 1, 0.5, 1]


@pytest.mark.parametrize(
    "form", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(4)[y]], ids=["(n,)", "(n, 1)", "one-hot"]
)
def test_class_weights_in_other_forms(form):
    y = np.array([0, 3, 1, 3, 2, 3])
    for given_weights in ([7, 1, 2, 0.5], np.array([7, 1, 2, 0.5]), (7, 1, 2, 0.5), {0: 7, np.int64(2): 2, 3.0: 0.5}):
        assert class_weights(given_weights, form(y), (4,)).tolist() == [7, 0.5, 1, 0.5, 2, 0.5]
    # scikit-learn's rule: 6 samples, 4 classes, so 6 / (4 · 1) for a class with one sample and 6 / (4 · 3) for one with three
    assert class_weights("balanced", form(y), (4,)).tolist() == [1.5, 0.5, 1.5, 0.5, 1.5, 0.5]


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_sample_weight

    y = np.random.default_rng(0).choice(5, 100, p=[0.5, 0.2, 0.2, 0.1, 0.0])
    np.testing.assert_allclose(class_weights("balanced", y, (5,)), compute_sample_weight("balanced", y))


def test_class_weights_of_one_output():
    for y in (np.array([0.0, 1, 1]), np.array([[0], [1], [1]])):
        assert class_weights({1: 5}, y, (1,)).tolist() == [1, 5, 5]
        assert class_weights([2, 5], y, (1,)).tolist() == [2, 5, 5]
        assert class_weights({False: 2, True: 5}, y, (1,)).tolist() == [2, 5, 5]
    assert class_weights({-1: 3}, np.array([-1, 1]), (1,)).tolist() == [3, 1]


@pytest.mark.parametrize("weights", [{0: 2, 1: 5}, {-1: 2, 1: 5}, [2, 5]])
@pytest.mark.parametrize("form", [np.array, lambda y: np.array(y)[:, None], lambda y: np.array(y, np.float32)])
def test_class_weights_of_labels_minus_one_and_one(weights, form):
    """As hinge takes them: the class 0 is the label −1. A batch may lack either."""
    for y in ([-1, 1, 1], [-1], [1, 1]):
        expected = [2 if label == -1 else 5 for label in y]
        assert class_weights(weights, form(y), (1,)).tolist() == expected
    assert class_weights({0: 2}, form([-1, 0, 1]), (1,)).tolist() == [1, 2, 1]


def test_balanced_weights_leave_out_what_is_held_out():
    """Of the six samples to train on, two are of class 0: 6 / (2 · 2) and 6 / (2 · 4). (Of all ten, six are.)"""
    y, weights = np.array([0, 1, 0, 1, 1, 1, 0, 0, 0, 0]), np.arange(1.0, 11)
    for sample_weight in (None, weights):
        own = np.ones(10) if sample_weight is None else weights
        data, held_out = collect(
            np.zeros((10, 1)), y, sample_weight, "balanced", loss=None, output_shape=(2,), validation_split=0.4
        )
        found = data.labels(slice(0, 6))[1]
        np.testing.assert_allclose(found, own[:6] * [1.5, 0.75, 1.5, 0.75, 0.75, 0.75], rtol=1e-15)
        seen = held_out.labels(slice(0, 4))[1]
        assert seen is None if sample_weight is None else seen.tolist() == [7, 8, 9, 10]


@pytest.mark.parametrize(
    ("weights", "shape", "text"),
    [
        ({"0": 1, "1": 50}, (2,), "class_weight's classes must be integers, received '0'. Use {int(label): weight for label, "
         "weight in class_weight.items()}."),
        ({"cat": 1}, (1,), "class_weight's classes must be integers, received 'cat'."),
        ({0: 1, 2: 50}, (2,), "class_weight has the class 2, and the model has the classes 0 … 1."),
        ({-1: 1}, (2,), "class_weight has the class -1, and the model has the classes 0 … 1."),
        ({0.5: 1}, (2,), "class_weight has the class 0.5, and the model has the classes 0 … 1."),
        ({None: 1}, (2,), "class_weight has the class None, and the model has the classes 0 … 1."),
        ({2: 1}, (1,), "class_weight has the class 2, and the model has two classes, 0 and 1."),
        ([1, 2, 3], (2,), "class_weight must be a dictionary or a list, one weight for each of the 2 classes, received [1, "
         "2, 3]."),
        ([1, 2, 3], (1,), "class_weight must be a dictionary or a list, one weight for each of the 2 classes, received"),
        ([[1, 2]], (2,), "class_weight must be a dictionary or a list, one weight for each of the 2 classes, received [[1, 2]]."),
        (3.0, (2,), "class_weight must be a dictionary or a list, one weight for each of the 2 classes, received 3.0."),
        ("balance", (2,), "class_weight must be 'balanced', a dictionary or a list, received 'balance'."),
        (["1", "2"], (2,), "class_weight must be finite and not negative, received '1' for class 0."),
        ({0: "1"}, (2,), "class_weight must be finite and not negative, received '1' for class 0."),
        ({0: None}, (2,), "class_weight must be finite and not negative, received None for class 0."),
        ([1, -2], (2,), "class_weight must be finite and not negative, received -2 for class 1."),
    ],
)  # fmt: skip
def test_class_weights_that_would_be_ignored_or_wrong(weights, shape, text):
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        class_weights(weights, np.array([0, 1]), shape)
    if isinstance(weights, dict) and "0" in weights:  # what to do works
        mended = eval(re.search(r"Use (.*)\.$", text)[1], {"class_weight": weights})
        assert class_weights(mended, np.array([0, 1]), shape).tolist() == [1, 50]


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf])
def test_other_class_weights_are_refused(weight):
    with pytest.raises(
        ValueError, match=f"class_weight must be finite and not negative, received {weight} for class 2"
    ):
        class_weights({1: 1.0, 2: weight}, np.array([1, 2]), (3,))


# ----------------------------------------------------------------------------------------------------------------- Data


@pytest.mark.parametrize("where", [slice(1, 4), np.array([3, 0, 3])], ids=["slice", "indices"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4", "uint8", "int64", "bool"])
def test_samples_are_cast_and_gathered(where, dtype):
    stored = (np.random.default_rng(0).random((6, 2, 3)) * 3).astype(dtype)
    x = Data(stored).inputs(where, FLOAT32)
    assert x.dtype == FLOAT32
    np.testing.assert_array_equal(x, stored[where].astype(np.float32))
    # what needs no cast is not copied either; nobody writes to it, as the model that trains on a locked array shows below
    assert np.shares_memory(x, stored) == (dtype == "float32" and isinstance(where, slice))


def forms(x, tmp_path):
    """The same numbers, stored in every way that a user may come with."""
    mapped = np.memmap(tmp_path / "x.bin", x.dtype, "w+", shape=x.shape)
    mapped[:] = x
    spaced = np.zeros((2 * len(x), *x.shape[1:]), x.dtype)
    spaced[::2] = x
    locked = x.copy()
    locked.flags.writeable = False
    return {
        "big-endian": x.astype(x.dtype.newbyteorder(">")),
        "Fortran order": np.asfortranarray(x),
        "every second row": spaced[::2],
        "backwards": x[::-1].copy()[::-1],
        "memory map": mapped,
        "not writeable": locked,
        "list": x.tolist(),
        "on disk": OnDisk(x),
        "on disk, rising": RisingOnly(x),
        "on disk, slices": SlicesOnly(x),
        "of another library": OfAnotherLibrary(x),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_model_gives_the_same_bits_however_its_data_are_stored(dtype, tmp_path):
    rng = np.random.default_rng(0)
    x, y = (rng.random((50, 6)) * 3).astype(dtype), rng.integers(0, 3, 50)

    def trained(x):
        model = Sequential([Dense(8, activation="relu", input_dim=6), Dense(3, activation="softmax")], seed=1)
        model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
        model.fit(x, y, batch_size=20, epochs=2, validation_split=0.2, verbose=0)
        return [weight.tobytes() for weight in model.get_weights()], model.predict(x, verbose=0).tobytes()

    expected = trained(x)
    for name, stored in forms(x, tmp_path).items():
        assert trained(stored) == expected, name


def test_data_on_disk_are_read_batch_by_batch():
    stored = OnDisk(np.ones((1000, 2), np.float32))
    model = Sequential([Dense(1, input_dim=2)])
    model.compile(loss="mse")
    model.fit(stored, np.ones((1000, 1)), batch_size=50, verbose=0)
    model.predict(stored, batch_size=50, verbose=0)
    assert sum(stored.reads) == 2000
    assert max(stored.reads) <= 50


@pytest.mark.parametrize("form", ["Fortran order", "every second row", "backwards", "big-endian", "memory map"])
@pytest.mark.parametrize("where", [slice(3, 5), np.array([9, 2])], ids=["slice", "indices"])
def test_no_form_of_an_array_is_copied_as_a_whole(form, where, tmp_path):
    data = Data(forms(np.zeros((1000, 1000), np.float32), tmp_path)[form])
    tracemalloc.start()
    data.inputs(where, FLOAT32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000  # two samples are 8,000 bytes, all of them 4,000,000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("where", "found"), [(slice(2, 6), 4), (np.array([0, 5, 4]), 5)], ids=["slice", "indices"])
def test_a_value_that_is_not_finite_is_found(value, where, found):
    x = np.ones((6, 2, 2))
    x[4, 1, 0] = x[5, 0, 0] = value
    with pytest.raises(
        ValueError, match=rf"^x holds NaN or infinity \(as float32\), first found in sample {found}\. Remove or replace"
    ):
        Data(x).inputs(where, FLOAT32)
    Data(x).inputs(slice(0, 4), FLOAT32)  # the other samples are good


def test_a_number_too_large_for_the_dtype_is_found():
    x = np.array([[1.0], [1e300]])
    with pytest.raises(ValueError, match=r"held\ out holds NaN or infinity \(as float32\), first found in sample 1"):
        Data(x, what="held out").inputs(slice(0, 2), FLOAT32)
    assert Data(x).inputs(slice(0, 2), np.dtype(np.float64))[1, 0] == 1e300


def test_labels_and_weights_are_cut_alike():
    data = Data(np.zeros((4, 1)), np.array([5, 6, 7, 8]), np.array([0.1, 0.2, 0.3, 0.4]))
    labels, weights = data.labels(np.array([3, 1]))
    assert (labels.tolist(), weights.tolist()) == ([8, 6], [0.4, 0.2])
    assert Data(np.zeros((4, 1)), np.arange(4)).labels(slice(1, 3))[1] is None
    with pytest.raises(ValueError, match="y is missing: expected a label for each sample"):
        Data(np.zeros((4, 1))).labels(slice(0, 2))


WHERES = {"slice": slice(1, 4), "indices": np.array([3, 0, 1])}


@pytest.mark.parametrize("where", WHERES.values(), ids=WHERES)
@pytest.mark.parametrize(
    "store", [np.asarray, OnDisk, RisingOnly, SlicesOnly], ids=["array", "disk", "rising", "slices"]
)
def test_a_range_of_the_samples_is_handed_out_as_if_it_were_all(where, store):
    """From 2 to 7 of 9: places, labels, weights, and the place that an error names."""
    x, y, weights = np.arange(18.0).reshape(9, 2), np.arange(9), np.linspace(0, 1, 9)
    data = Data(store(x), y, weights, "held out", 2, 7)
    assert len(data) == 5
    np.testing.assert_array_equal(data.inputs(where, FLOAT32), x[2:7][where])
    labels, own = data.labels(where)
    np.testing.assert_array_equal(labels, y[2:7][where])
    np.testing.assert_array_equal(own, weights[2:7][where])
    x[3] = np.nan
    with pytest.raises(ValueError, match=r"^held out holds NaN or infinity \(as float32\), first found in sample 1\."):
        data.inputs(where, FLOAT32)


@pytest.mark.parametrize("where", WHERES.values(), ids=WHERES)
def test_a_part_of_a_place_is_the_place_of_the_part(where):
    assert sample_count(where) == 3
    every = np.arange(10)
    for start, stop in [(0, 3), (0, 2), (1, 3), (2, 2)]:
        np.testing.assert_array_equal(every[part(where, start, stop)], every[where][start:stop])


class Prepares:
    """A loss that brings labels into its own form."""

    def __init__(self, form):
        self.form = form

    def prepare(self, y, output_shape):
        return self.form(y)


def test_what_collect_makes_of_the_arguments_of_fit():
    """The last samples are held out; both parts have the samples' weights, and only the first those of the classes."""
    x, y = np.zeros((10, 1)), np.array([0, 1] * 5)
    weights = np.arange(1.0, 11)
    prepared = []
    data, held_out = collect(
        x,
        y,
        weights,
        {1: 10.0},
        loss=Prepares(lambda y: prepared.append(y) or 2 * y),
        output_shape=(),
        validation_split=0.25,
    )
    assert (len(data), len(held_out), held_out.what) == (7, 3, "the validation split's x")
    assert data.x is held_out.x is x  # nothing is copied
    assert [len(labels) for labels in prepared] == [
        10
    ]  # all labels at once: a fault in any is found before the training
    labels, own = data.labels(slice(0, 7))
    assert (labels.tolist(), own.tolist()) == ([0, 2, 0, 2, 0, 2, 0], [1, 20, 3, 40, 5, 60, 7])
    labels, own = held_out.labels(slice(0, 3))
    assert (labels.tolist(), own.tolist()) == ([2, 0, 2], [8, 9, 10])
    whole, nothing = collect(x, y, loss=None, output_shape=())
    assert (len(whole), nothing, whole.labels(slice(0, 10))[1]) == (10, None, None)


class SquaredError(Loss):
    """Of a user's, as it follows from the contract: y_true has the shape of y_pred."""

    def losses_and_gradients(self, y_true, y_pred):
        error = y_pred - y_true
        return np.square(error).mean(axis=1), 2 * error.mean(axis=1, keepdims=True)


class WithoutPrepare:
    """The same, without the base class."""

    def forward(self, y_true, y_pred, *, sample_weight=None, n=None):
        weights = np.ones(len(y_pred)) if sample_weight is None else sample_weight
        losses, gradients = SquaredError().losses_and_gradients(y_true, y_pred)
        return float(weights @ losses) / n, gradients * weights[:, None] / n

    def backward(self, cache):
        return cache


@pytest.mark.parametrize("loss", [SquaredError(), WithoutPrepare()])
@pytest.mark.parametrize("weights", [{}, {"sample_weight": [1, 0, 2, 3]}, {"class_weight": {0: 3.0, 1: 0.5}}])
def test_a_row_of_labels_is_a_column_to_a_loss_of_a_users(loss, weights):
    """Broadcast, (n, 1) − (n,) would be (n, n), of which the mean draws every prediction to the mean of all labels."""

    def trained(loss, y):
        model = Sequential([Dense(1, input_shape=(2,))], seed=0, dtype="float64")
        model.compile("sgd", loss, metrics=["mae", "accuracy"])
        history = model.fit([[0, 1], [1, 0], [1, 1], [2, 1]], y, epochs=3, verbose=0, **weights)
        return [*model.get_weights(), *history.history.values()]

    expected = trained("mse", [[0], [1], [0], [1]])
    for y in ([0, 1, 0, 1], [[0], [1], [0], [1]]):
        for mine, theirs in zip(trained(loss, y), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"y": None}, "y is missing: expected a label for each sample."),
        ({"y": np.zeros(9)}, "received different ones: x has 10, y has 9."),
        ({"y": np.full(10, np.inf)}, "y holds NaN or infinity. Remove or replace such samples."),
        ({"validation_split": 1}, "validation_split must be a number in [0, 1), received 1."),
        ({"validation_split": "a"}, "validation_split must be a number in [0, 1), received 'a'."),
        (
            {"validation_split": 0.99},
            "validation_split=0.99 of 10 samples leaves none to train on or none to validate on.",
        ),
        ({"sample_weight": np.ones(3)}, "sample_weight must have shape (10,), one weight a sample, received (3,)."),
    ],
)
def test_what_collect_refuses(settings, text):
    arguments = {"x": np.zeros((10, 1)), "y": np.zeros(10), **settings}
    with pytest.raises(ValueError, match=re.escape(text)):
        collect(**arguments, loss=None, output_shape=())


@given(n=st.integers(1, 1000), share=st.floats(0, 1, exclude_max=True))
def test_the_share_that_is_held_out(n, share):
    """Keras's rule: the first ⌊n · (1 − share)⌋ are left to train on."""
    try:
        data, held_out = collect(np.zeros((n, 1)), np.zeros(n), loss=None, output_shape=(), validation_split=share)
    except ValueError:
        assert int(n * (1 - share)) in (0, n)
        return
    assert len(data) == int(n * (1 - share))
    assert (held_out is None) == (share == 0)
    assert held_out is None or len(held_out) == n - len(data) > 0


def test_an_array_of_another_library_goes_through_numpy():
    class Foreign:
        """As a tensor of PyTorch: shape and slices, but a dtype of its own."""

        shape, dtype = (2, 3), "a dtype that NumPy does not know"

        def __getitem__(self, where):
            raise AssertionError("it is to be converted, not sliced")

        def __array__(self, dtype=None, copy=None):
            return np.arange(6.0).reshape(2, 3)

    np.testing.assert_array_equal(check_array(Foreign(), "x"), [[0, 1, 2], [3, 4, 5]])
