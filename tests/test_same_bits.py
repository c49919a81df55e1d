"""The same seed gives the same bits: whatever the threads, the process, the memory, and whatever else has happened before.

tests/engine/test_runner.py holds the engine to it, batch by batch; here it is the whole of a training, as a user sees it.
tests/stress/same_bits.py does the same with the tutorial's models at their full size.
"""

import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from minidl import Sequential, set_num_threads
from minidl.callbacks import Callback
from minidl.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling
from minidl.ops.random import RandomKey

SEED = 11


pytestmark = pytest.mark.usefixtures("threads_as_before")


def samples(n=107):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 14, 14, 1), np.uint8), rng.integers(0, 4, n)


def mlp():
    return [
        Flatten(input_shape=(14, 14, 1)),
        Dense(301, activation="relu"),
        Dropout(0.5),
        Dense(4, activation="softmax"),
    ]


def cnn():
    """Both ways of the fused convolution, with one channel and with many."""
    return [
        Rescaling(1 / 255, input_shape=(14, 14, 1)),
        Conv2D(7, (3, 3), activation="relu"),
        MaxPooling2D(),
        Conv2D(18, (3, 3), activation="relu", padding="same"),
        MaxPooling2D(),
        Dropout(0.2),
        Flatten(),
        Dense(33, activation="relu"),
        Dense(4, activation="softmax"),
    ]


def other():
    """What has no fused kernel, and the convolution in tiles."""
    return [
        Rescaling(1 / 255, input_shape=(14, 14, 1)),
        Conv2D(5, (3, 3), activation="tanh", padding="same"),
        MaxPooling2D(3, padding="same"),
        Conv2D(6, (3, 2), activation="relu", strides=(2, 1)),
        Conv2D(4, (2, 2), activation="sigmoid"),
        Flatten(),
        Dense(9),
        Activation("tanh"),
        Dense(4, activation="softmax"),
    ]


MODELS = {"mlp": mlp, "cnn": cnn, "other": other}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def model_of(layers, seed=SEED, dtype="float32"):
    model = Sequential(layers, seed=seed, dtype=dtype)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def fit(model, x=None, **settings):
    """Train and return all that follows from the seed, as a text that can leave the process."""
    images, y = samples()
    x = images if x is None else x
    history = model.fit(x, y, **{"batch_size": 33, "epochs": 2, "verbose": 0, "validation_split": 0.1, **settings})
    arrays = [*model.get_weights(), model.predict(x, verbose=0)]
    training = {name: values for name, values in history.history.items() if not name.startswith("val_")}
    return json.dumps([*(hashlib.sha256(array.tobytes()).hexdigest() for array in arrays), training])


@pytest.fixture(scope="module")
def plain():
    """name → what comes of a training with nothing special about it."""
    set_num_threads(1)
    return {make: fit(model_of(make())) for make in MODELS.values()}


def test_different_models_and_seeds_give_different_bits(plain):
    assert len({*plain.values(), fit(model_of(cnn(), seed=12))}) == len(plain) + 1


@every_model
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_any_number_of_threads(make, threads, plain):
    set_num_threads(threads)
    for _ in range(2):
        assert fit(model_of(make())) == plain[make]


@every_model
def test_other_models_before_and_in_between(make, plain):
    set_num_threads(2)
    before = [model_of(one()) for one in MODELS.values()]
    model = model_of(make())
    for one in before:
        fit(one, epochs=1)
    np.random.seed(1)  # noqa: NPY002  nobody looks at NumPy's global state
    model_of(cnn(), seed=5)
    assert fit(model) == plain[make]


@every_model
def test_the_data_may_come_before_the_input_shape(make, plain):
    layers = make()
    layers[0].input_shape = None
    model = model_of(layers)
    assert not model.built
    assert fit(model) == plain[make]


def test_what_is_shown_does_not_matter(plain, capsys):
    def looks(verbose, **settings):
        model = model_of(cnn())
        images, y = samples()
        model.summary()
        model.evaluate(images, y, verbose=verbose)
        found = fit(model, verbose=verbose, callbacks=[Callback()], **settings)
        model.predict(images, verbose=verbose)
        return found

    for verbose in (0, 1, 2, "auto"):
        assert looks(verbose) == plain[cnn]
    assert "accuracy" in capsys.readouterr().out


def test_validation_does_not_matter():
    x, y = samples()
    without = fit(model_of(cnn()), validation_split=0)
    assert fit(model_of(cnn()), validation_split=0, validation_data=(x[:9], y[:9])) == without
    assert fit(model_of(cnn()), validation_split=0, validation_data=(x, y, np.linspace(0, 1, len(x)))) == without


def test_weights_taken_out_and_put_in_again(plain):
    model = model_of(cnn())
    model.set_weights(model.get_weights())
    model.set_weights([weight.astype(np.float64).tolist() for weight in model.get_weights()])  # holds every float32
    assert fit(model) == plain[cnn]
    twin = model_of(cnn(), seed=99)
    twin.set_weights(model.get_weights())
    images, _ = samples()
    assert twin.predict(images, verbose=0).tobytes() == model.predict(images, verbose=0).tobytes()


def test_a_seed_that_was_drawn_can_be_used_again():
    first = model_of(cnn(), seed=None)
    second = model_of(cnn(), seed=first.seed)
    assert fit(first) == fit(second)
    assert model_of(cnn(), seed=None).seed != first.seed


@every_model
def test_the_form_of_the_data_does_not_matter(make, plain):
    """Bytes, integers, and floats of the same values, in any layout in memory: they become the same floats."""
    images, _ = samples()
    for x in (
        images.astype(np.int64),
        images.astype(np.float64),
        images.astype(">f4"),
        np.asfortranarray(images),
        np.repeat(images, 2, axis=0)[::2],
        images.tolist(),
    ):
        assert fit(model_of(make()), x) == plain[make]


# ---------------------------------------------------------------------------------------------------------------- memory


EMPTY = np.empty  # NumPy's own, where a test has put another one in its place


def elsewhere(array, rng):
    """A copy at an address that is no multiple of more than the size of its numbers."""
    room = EMPTY(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + array.itemsize * int(rng.integers(1, max(64 // array.itemsize, 2)))
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@every_model
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_in_memory_an_array_lies_and_what_was_there_does_not_matter(make, dtype):
    """Vector code that peels off what is not aligned, or reads what nobody has written, would give other bits."""
    images, _ = samples()
    settings = [{"batch_size": 33}, {"batch_size": 1, "epochs": 1}]
    expected = [fit(model_of(make(), dtype=dtype), **each) for each in settings]
    for seed in range(3):
        rng, made = np.random.default_rng(seed), []

        def empty(shape, dtype=np.float64, order="C", rng=rng, made=made):
            garbage = np.full(
                math.prod(np.atleast_1d(shape)) * np.dtype(dtype).itemsize, 255, np.uint8
            )  # NaN, in floats
            assert order == "C"
            made.append(shape)
            return elsewhere(garbage.view(dtype).reshape(shape), rng)

        def zeros(shape, dtype=np.float64, rng=rng):
            return elsewhere(np.full(shape, 0, dtype), rng)

        for each, bits in zip(settings, expected, strict=True):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(np, "empty", empty)
                patch.setattr(np, "zeros", zeros)
                assert fit(model_of(make(), dtype=dtype), elsewhere(images.astype(dtype), rng), **each) == bits
        assert made


# ------------------------------------------------------------------------------------------------------ another process

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import conftest  # where small batches are cut
from test_same_bits import MODELS, fit, model_of
print(json.dumps([fit(model_of(make())) for make in MODELS.values()]))
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fresh_process(threads, plain):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "MINIDL_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(threads)},
        check=True,
    )
    assert json.loads(done.stdout) == list(plain.values())


# ---------------------------------------------------------------------------------------------------------- independence


class Seen(Dropout):
    """Dropout that keeps the masks which the engine let it draw."""

    def forward(self, x, *, training=False, rng: RandomKey | None = None):
        y, cache = super().forward(x, training=training, rng=rng)
        if training:
            self.masks[rng] = y != 0
        return y, cache


def correlation(one, other):
    """Of two masks of rate 1/2: in standard deviations of independent coin tosses, from 0."""
    a, b = np.asarray(one, np.float64) - 0.5, np.asarray(other, np.float64) - 0.5
    return 4 * np.sum(a * b) / math.sqrt(a.size)


def test_masks_are_independent_in_layers_steps_shards_epochs_and_models():
    """As a training draws them, two fits of three epochs: no two masks that are used have more in common than coin tosses."""

    def masks(seed):
        layers = [Seen(0.5, input_shape=(300,)), Seen(0.5), Dense(1, input_dim=300)]
        model = Sequential(layers, seed=seed)
        model.compile(loss="mse", optimizer="sgd")
        for layer in layers[:2]:
            layer.masks = {}
        x, y = np.ones((128, 300)), np.zeros(128)
        for _ in range(2):
            model.fit(x, y, batch_size=64, epochs=3, verbose=0)
        # the second layer sees only what the first let through: where that was 0, its own mask cannot be seen
        first, second = layers[0].masks, layers[1].masks
        assert len(first) == len(second) == 2 * 3 * 2 * 2  # fits, epochs, steps, shards of 32 samples
        return [*first.values()], [*second.values()]

    first, second = masks(0)
    every = [*first, *masks(1)[0]]
    z = [correlation(a, b) for i, a in enumerate(every) for b in every[:i]]
    assert len(z) == 48 * 47 // 2
    # 1128 normal numbers: the largest is beyond 5.5 once in 20,000 times, and their variance is 1 ± √(2/1128)
    assert np.abs(z).max() < 5.5
    assert abs(np.var(z) - 1) < 5 * math.sqrt(2 / len(z))
    for one, both in zip(first, second, strict=True):  # of what the first lets through, the second drops a half
        kept, through = one.sum(), both.sum()
        assert abs(through - kept / 2) < 5 * math.sqrt(kept) / 2


def orders(seed, epochs, n=400):
    """The order in which each epoch goes through the samples, (epochs, n), as a user's metric sees them."""
    model = Sequential([Dense(1, input_dim=1)], seed=seed)
    seen = []

    def watch(y_true, y_pred):
        seen.extend(y_true[:, 0].astype(int))
        return 0.0, len(y_true)

    model.compile(loss="mse", optimizer="sgd", metrics=[watch])
    set_num_threads(1)  # so that the shards come in their order
    for _ in range(2):
        model.fit(np.zeros((n, 1)), np.arange(n), batch_size=50, epochs=epochs // 2, verbose=0)
    return np.reshape(seen, (epochs, n))


def test_shuffles_are_permutations_independent_across_epochs_fits_and_seeds():
    """Spearman's rank correlation of two independent orders of n is 0 ± 1/√(n − 1); they share 1 ± 1 places."""
    n = 400
    every = np.concatenate([orders(seed, 20, n) for seed in range(3)])
    np.testing.assert_array_equal(np.sort(every), np.tile(np.arange(n), (60, 1)))
    ranks = (every - (n - 1) / 2) / math.sqrt((n * n - 1) / 12)
    pairs = np.triu_indices(len(every), 1)
    z = (ranks @ ranks.T / n * math.sqrt(n - 1))[pairs]
    assert len(z) == 1770
    assert np.abs(z).max() < 5.5
    assert abs(z.var() - 1) < 5 * math.sqrt(2 / len(z))
    same = np.array([(every[i] == every[j]).sum() for i, j in zip(*pairs, strict=True)])  # Poisson's law, of mean 1
    assert same.max() < 12
    assert abs(same.mean() - 1) < 5 / math.sqrt(len(same))
    # and a sample is anywhere: the place of each in 60 orders has mean (n − 1)/2
    places = np.argsort(every, axis=1).mean(axis=0)
    deviation = math.sqrt((n * n - 1) / 12 / len(every))
    assert np.abs((places - (n - 1) / 2) / deviation).max() < 5
