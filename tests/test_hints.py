"""What to write instead: each expression in an error is run on the very object that was given, until the model takes it."""

import array
import collections
import random
import re
import types

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl import Sequential
from minidl.layers import Conv2D, Dense, Flatten

N = 6
RNG = np.random.default_rng(0)
Y = np.array([0, 1, 2, 0, 1, 2])
HINT = re.compile(r"\b[Uu]se ((?:np\.|x|y).*?)(?:, or another number)?\.$")


def images(shape=(8, 8, 1), **options):
    model = Sequential([Conv2D(2, 3, input_shape=shape), Flatten(), Dense(3, activation="softmax")], **options)
    return compiled(model)


def rows(width=4):
    return compiled(Sequential([Dense(3, activation="softmax", input_dim=width)]))


def compiled(model):
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    return model


def follow(model, x, y=Y, most=3):
    """Fit; where it is refused, do what the error says, and fit again. Returns the expressions, and the final x and y."""
    done = []
    for _ in range(most + 1):
        try:
            model.fit(x, y, verbose=0)
        except (ValueError, TypeError) as error:
            found = HINT.search(str(error))
            if not found:
                raise AssertionError("nothing to do") from error
            code = found[1]
            done.append(code)
            value = eval(code, {"np": np, "x": x, "y": y})
            if re.search(r"\by\b", code):
                y = value
            else:
                x = value
                y = y[: len(x)]  # one sample alone has one label
        else:
            return done, x, y
    raise AssertionError(f"the hints go round: {done}")


class Lazy:
    """Shape, dtype and slices: no more than a data set on disk must have."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, where):
        return self.values[where]


class Items:
    """``__len__`` and ``__getitem__``, and neither an ``__iter__`` nor an end: np.asarray would read on forever."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i % len(self.values)]


def h5(values):
    file = (
        h5py.File.in_memory()
        if hasattr(h5py.File, "in_memory")
        else h5py.File("x", "w", driver="core", backing_store=False)
    )
    return file.create_dataset("x", data=values)


CONTAINERS = {
    "ndarray": lambda a: a,
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a),
    "list of arrays": lambda a: list(a),
    "Fortran": np.asfortranarray,
    "lazy": Lazy,
    "h5py": h5,
    "unmasked": np.ma.masked_array,
    "float16": lambda a: a.astype(np.float16),
    "uint8": lambda a: (255 * a).astype(np.uint8),
}
GRAY = RNG.random((N, 8, 8))
SHAPES = {  # what people give to a model of images (8, 8, 1), and the images that it should become
    "no channels": (GRAY, GRAY[..., None]),
    "flat": (GRAY.reshape(N, 64), GRAY[..., None]),
    "channels-first": (GRAY[:, None], GRAY[..., None]),
    "one image": (GRAY[0], GRAY[:1, ..., None]),
    "one image with its channel": (GRAY[0][..., None], GRAY[:1, ..., None]),
    "one image, channels-first": (GRAY[0][None, :, :, None][0].transpose(2, 0, 1)[None][0], GRAY[:1, ..., None]),
    "one flat image": (GRAY[0].reshape(64), GRAY[:1, ..., None]),
    "colors": (np.repeat(GRAY[..., None], 3, axis=-1), GRAY[..., None]),
    "colors and opacity": (
        np.concatenate([np.repeat(GRAY[..., None], 3, -1), 0 * GRAY[..., None]], -1),
        GRAY[..., None],
    ),
    "colors first": (np.repeat(GRAY[:, None], 3, axis=1), GRAY[..., None]),
    "one image in colors": (np.repeat(GRAY[0][..., None], 3, axis=-1), GRAY[:1, ..., None]),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_every_wrong_shape_in_every_container(shape, container):
    given_images, expected = SHAPES[shape]
    x = CONTAINERS[container](given_images)
    done, x, _ = follow(images(), x)
    assert len(done) == 1
    if container == "uint8":
        expected = expected * 255
    np.testing.assert_allclose(np.asarray(x[:]), expected, atol=1.0 if container == "uint8" else 1e-3)


def test_grayscale_images_for_a_model_of_colors():
    for x in (GRAY, GRAY[..., None], GRAY.tolist()):
        done, x, _ = follow(images((8, 8, 3)), x)
        assert len(done) == 1
        np.testing.assert_array_equal(x, np.repeat(GRAY[..., None], 3, axis=-1))


X = RNG.random((N, 4))
FRAME = pd.DataFrame(X, columns=list("abcd"))
TEXT = np.array(["cat", "dog", "emu", "cat", "dog", "emu"])


@pytest.mark.parametrize(
    ("x", "steps"),
    [
        (FRAME, 0),
        (FRAME.astype("float32"), 0),
        (FRAME.iloc[[3, 1, 5, 0, 2, 4]], 0),
        (pd.DataFrame(np.arange(24).reshape(6, 4)), 0),
        (FRAME.astype("Float64"), 1),
        (FRAME.astype(object), 1),
        (FRAME.astype(str), 1),
        (FRAME["a"], 0),
        (FRAME["a"].tolist(), 0),
        (scipy.sparse.csr_matrix(X), 1),
        (scipy.sparse.coo_array(X), 1),
        ([scipy.sparse.csr_array(row[None]) for row in X], 2),
        (np.ma.masked_greater(X, 0.9), 1),
        ([np.ma.masked_greater(row, 0.9) for row in X], 1),
        (np.ma.masked_greater(X, 9), 0),
        (np.array([*X, None], object)[:-1], 1),
        (X.astype(object), 1),
        (X.astype(str), 1),
        (X.astype(bytes), 1),
        (X + 1j, 1),
        (X.tolist(), 0),
        (np.array([tuple(row) for row in X], [(name, "f4") for name in "abcd"]), 1),
        ({"x": X, "y": Y}, 1),
        (collections.OrderedDict(a=X), 1),
        ((row for row in X), 1),
        (iter(X), 1),
        (map(np.negative, X), 1),
        (Items(X), 1),
        (collections.deque(X), 1),
        (collections.UserList(X.tolist()), 1),
        (dict(enumerate(X)).values(), 1),
        (X.reshape(N, 2, 2), 1),
        (X.reshape(N, 2, 2).tolist(), 1),
        (X[0], 1),
        (X[0].tolist(), 1),
        ([X], 1),
        (X.astype("M8[s]"), 1),
        (np.asmatrix(X), 0),
        (np.float32(X), 0),
        (lambda: X, 1),
        (memoryview(X), 0),
    ],
    ids=lambda value: "" if isinstance(value, int) else type(value).__name__,
)
def test_tables_of_every_kind(x, steps):
    column = isinstance(x, pd.Series) or (isinstance(x, list) and len(x) == N and isinstance(x[0], float))
    done, taken, _ = follow(rows(1 if column else 4), x)
    assert len(done) == steps, done
    assert len(taken) in (1, N)


@pytest.mark.parametrize(
    "y",
    [
        TEXT, TEXT.tolist(), TEXT.astype(object), TEXT.astype(bytes), pd.Series(TEXT), pd.Series(TEXT).astype("category"),
        pd.Series(TEXT, index=[5, 4, 3, 2, 1, 0]), pd.DataFrame({"y": TEXT}), TEXT[:, None], tuple(TEXT),
        pd.Series(Y.astype(object)), pd.Series(Y).astype("Int64"), [str(label) for label in Y], Y.astype(str),
        (label for label in TEXT), (label for label in Y), iter(Y), map(int, Y), Items(Y), Items(TEXT), {"y": Y}, h5(Y),
        Lazy(Y), array.array("i", Y.tolist()), range(3), Y.astype(bool), scipy.sparse.csr_matrix(Y[:, None]),
        np.ma.masked_equal(Y, 1), Y.astype(complex), collections.deque(Y), lambda: Y,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_labels_of_every_kind(y):
    n = 3 if isinstance(y, range) else N
    done, _, labels = follow(rows(), X[:n], y)
    assert len(done) <= 2
    if type(y) in (np.ndarray, list, pd.Series) and len(done) == 1:  # text and numbers keep their classes apart
        np.testing.assert_array_equal(np.asarray(labels).ravel(), Y)


def test_one_hot_labels_of_every_kind():
    """For the losses that take class numbers: what they say works on tables and lists, too."""
    table = pd.get_dummies(pd.Series(TEXT))
    for y in (table, table.to_numpy(), table.to_numpy().tolist()):
        with pytest.raises(ValueError, match="looks one-hot") as caught:
            rows().fit(X, y, verbose=0)
        labels = eval(re.search(r"or (np\..*)\.$", str(caught.value))[1], {"np": np, "y": y})
        np.testing.assert_array_equal(labels, Y)
        binary = Sequential([Dense(1, activation="sigmoid", input_dim=4)])
        binary.compile(loss="binary_crossentropy")
        two = y.iloc[:, 1:] if y is table else np.asarray(y)[:, 1:].tolist()
        with pytest.raises(ValueError, match="looks one-hot") as caught:
            binary.fit(X, two, verbose=0)
        labels = eval(re.search(r"Use (np\..*?); or", str(caught.value))[1], {"np": np, "y": two})
        np.testing.assert_array_equal(labels, Y == 2)


def test_npz_files(tmp_path):
    np.savez(tmp_path / "data.npz", x_train=X, y_train=Y)
    with np.load(tmp_path / "data.npz") as x:
        with pytest.raises(
            TypeError, match=re.escape("x is a NpzFile with the entries 'x_train', 'y_train'. Use x['x_train'].")
        ):
            rows().fit(x, Y, verbose=0)
        assert follow(rows(), x)[0] == ["x['x_train']"]


def test_lists_of_pictures():
    pictures = [Image.fromarray((255 * image).astype(np.uint8)) for image in GRAY]
    assert follow(images(), pictures)[0] == ["np.asarray(x)[..., None]"]
    colored = [picture.convert("RGB") for picture in pictures]
    assert follow(images(), colored)[0] == ["np.asarray(x).mean(axis=-1, keepdims=True)"]
    assert follow(images((8, 8, 3)), colored)[0] == []
    assert follow(images(), pictures[0])[0] == ["np.asarray(x)[None, ..., None]"]
    with pytest.raises(ValueError, match=r"sample 0 has shape \(8, 8\), and sample 1 has shape \(4, 4\)"):
        images().fit([pictures[0], pictures[1].resize((4, 4))], Y[:2], verbose=0)


def test_a_column_of_a_table_is_read_by_its_place_and_not_by_its_label():
    """A Series that was shuffled, as train_test_split does, keeps its labels: the samples are those in order."""
    order = [3, 1, 5, 0, 2, 4]
    frame = FRAME.iloc[order]
    expected, model = rows(), rows()
    model.set_weights(expected.get_weights())
    model.seed = expected.seed
    expected.fit(X[order], Y[order], epochs=2, batch_size=2, verbose=0)
    model.fit(frame, pd.Series(Y).iloc[order], epochs=2, batch_size=2, verbose=0)
    assert [w.tobytes() for w in model.get_weights()] == [w.tobytes() for w in expected.get_weights()]


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        ("train.csv", TypeError, "x must be an array, received 'train.csv': read the file first, with np.load or np.genfromtxt"),
        (b"abc", TypeError, "x must be an array, received b'abc'"),
        (types.SimpleNamespace(), TypeError, "x must be an array of samples, received namespace()."),
        (["a.png"] * N, TypeError, "x must hold real numbers, received dtype <U5. Turn text and categories into numbers first."),
        (pd.DataFrame({"a": TEXT}), TypeError, "Turn text and categories into numbers first."),
        ([[1.0, None, 1.0, 1.0]] * N, TypeError, "Entries are missing, first in sample 0: remove or replace such samples."),
        (FRAME.astype(object).mask(FRAME < 0.2), TypeError, "Entries are missing, first in sample"),
        (FRAME.mask(FRAME < 0.2).astype("Float64"), TypeError, "Entries are missing, first in sample"),
        (FRAME.mask(FRAME < 0.2), ValueError, "x holds NaN or infinity (as float32), first found in sample"),
        ([[1.0] * 4] * 5 + [[1.0] * 3], ValueError, "sample 0 has shape (4,), and sample 5 has shape (3,)"),
        ([Items([1.0])] * N, TypeError, "x is a list of objects of the type Items, which are no arrays: make an array of each."),
        ([[Items([1.0])]] * N, TypeError, "x is a list of objects of the type Items"),
        (3.0, ValueError, "x must be an array of samples, received the single number"),
        (set(), TypeError, "x is a set, and no array. Use np.array(list(x))."),
        ({}, TypeError, "x is a dict with the entries ."),
        (Items, TypeError, "x must be an array, received the class Items: create an object of it."),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_expression_can_mend_is_said_in_words(x, error, text):
    with pytest.raises(error, match=re.escape(text)):
        rows().fit(x, Y, verbose=0)


def test_labels_that_are_missing():
    for y in (
        [0, 1, None, 0, 1, 2],
        np.array(["a", None, "b", "a", "b", "a"]),
        pd.Series(["a", pd.NA, "b", "a", "b", "a"]),
    ):
        with pytest.raises(
            TypeError, match=r"y must hold real numbers, received dtype .*Entries are missing, first in sample"
        ):
            rows().fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (
            lambda a: a[:, :1],
            "x says that it has shape (6, 4), but 6 of its samples were read as an array of shape (6, 1)",
        ),
        (lambda a: a[:1], "but 6 of its samples were read as an array of shape (1, 4)"),
        (lambda a: a[0], "were read as an array of shape (4,)"),
        (lambda a: a.astype(str), "and dtype <U"),
        (lambda a: None, "were read as an array of shape () and dtype object"),
    ],
)
def test_an_array_that_gives_other_samples_than_it_says(read, text):
    class Lying(Lazy):
        def __getitem__(self, where):
            return read(self.values[where])

    model = rows()
    for call in (lambda: model.fit(Lying(X), Y, verbose=0), lambda: model.predict(Lying(X), verbose=0)):
        with pytest.raises(ValueError, match=re.escape(text)):
            call()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_any_shape_in_any_container_is_mended_in_a_few_steps_or_refused_in_words(seed):
    """Drawn at random: no error of Python's or NumPy's own, and no advice that fails or leads in a circle."""
    rng = random.Random(seed)
    expected = rng.choice([(8, 8, 1), (8, 8, 3), (4,), (1,), (2, 3)])
    shape = list(
        rng.choice([expected, (N, *expected), (N, 8, 8), (8, 8), (64,), (N, 64), (N, 3, 8, 8), (N, 2, 2), (N,)])
    )
    for _ in range(rng.randint(0, 1)):
        rng.choice([lambda: shape.append(rng.randint(1, 3)), lambda: shape.insert(0, 1), lambda: shape.reverse()])()
    values = RNG.random(tuple(shape))
    x = CONTAINERS[rng.choice(sorted(CONTAINERS))](values)
    model = compiled(Sequential([Flatten(input_shape=expected), Dense(3, activation="softmax")]))
    for _ in range(4):
        try:
            model.predict(x, verbose=0)
        except (ValueError, TypeError) as error:
            text = str(error)
            assert text.startswith(("model 'sequential' expects x of shape", "x must be")), text
            found = HINT.search(text)
            if found is None:
                return
            x = eval(found[1], {"np": np, "x": x})
        else:
            return
    raise AssertionError("the hints go round")
