"""One batch in shards: the same bits for any number of threads, and the numbers of a batch that was not cut."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Sequential, get_num_threads, set_num_threads
from minidl.engine import runner, update
from minidl.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPooling2D, Residual
from minidl.optimizers import SGD, Adam, RMSprop

pytestmark = pytest.mark.usefixtures("threads_as_before")


def cnn(**options):
    layers = [
        Conv2D(32, (5, 5), input_shape=(12, 12, 1), activation="relu"),
        MaxPooling2D(),
        Dropout(0.2),
        Conv2D(5, 3, activation="relu", padding="same"),
        Flatten(),
        Dense(8, activation="relu"),
        Dense(4, activation="softmax"),
    ]
    model = Sequential(layers, **{"seed": 3, **options})
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model


def samples(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 12, 12, 1)), rng.integers(0, 4, n)


def bits(arrays):
    return [array.tobytes() for array in arrays]


# ------------------------------------------------------------------------------------------------------------ the cut


WORTH = 2**23  # multiplications, as the runner has it outside of tests


def shards_as_usual(n, work):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "WORTH_A_THREAD", WORTH)
        return runner.shards(n, work)


@given(n=st.integers(1, 20_000), work=st.sampled_from([0, 1, 500, 10**4, 10**5, 10**6, 10**9]))
def test_shards_cover_every_sample_once_in_order_and_evenly(n, work):
    parts = shards_as_usual(n, work)
    assert [i for first, last in parts for i in range(first, last)] == list(range(n))
    sizes = [last - first for first, last in parts]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert len(parts) == 1 or work * n / len(parts) >= WORTH  # each is worth a thread
    assert len(parts) <= 64
    if max(sizes) > 100:
        assert len(parts) == 64 or work * n / (len(parts) + 1) < WORTH  # what keeps them large
    if work >= WORTH:
        assert len(parts) >= 2 or n < 16  # a batch of 32 has work for two threads


@pytest.mark.parametrize(
    ("n", "work", "count"),
    [
        (1, 10**9, 1),
        (15, 10**9, 1),
        (16, 10**9, 2),
        (200, 10**6, 2),
        (201, 10**6, 3),
        (1000, 10**6, 10),
        (20_000, 10**6, 64),
        (200, 30_000, 1),  # 6.0 million multiplications: not worth a second thread
        (200, 83_886, 1),  # 16,777,200, a little less than twice what a thread is worth
        (200, 83_887, 2),
        (20_000, 0, 1),
    ],
)
def test_how_many_shards_by_hand(n, work, count):
    assert len(shards_as_usual(n, work)) == count


@given(n=st.integers(1, 2000), threads=st.integers(1, 9))
def test_shards_do_not_depend_on_the_threads(n, threads):
    set_num_threads(1)
    alone = runner.shards(n, 10**6)
    set_num_threads(threads)
    assert runner.shards(n, 10**6) == alone


def test_the_work_of_a_sample_by_hand():
    """A use of each parameter at every place of the output, and of every number of it."""
    layers = [Conv2D(3, 2, input_shape=(5, 5, 2)), MaxPooling2D(), Residual([Conv2D(3, 1)]), Flatten(), Dense(4)]
    conv, pool, inner, flat, dense = 16 * 27 + 48, 12, 4 * 12 + 12, 12, 52 + 4
    assert runner.work(Sequential(layers)) == conv + pool + inner + flat + dense


def test_the_tutorials_models_are_cut_in_two_as_ever():
    """In batches of 200. The smallest of them, 784 → 784 → 10, has 624,000 multiplications a sample."""
    model = Sequential([Dense(784, input_dim=784), Dense(10)])
    assert len(shards_as_usual(200, runner.work(model))) == 2
    assert len(shards_as_usual(12, runner.work(model))) == 1


# ------------------------------------------------------------------------------------------------------ the same bits


class Noise(Layer):
    """A layer of the user's: scales each feature, and adds noise that follows from the key alone."""

    def build(self, input_shape, rng, dtype):
        self.params = {"factor": np.ones(input_shape, dtype)}
        return input_shape

    def forward(self, x, *, training=False, rng=None):
        if training:
            noise = [
                np.random.default_rng((rng.key, rng.first_sample + i)).normal(0, 0.1, x.shape[1:])
                for i in range(len(x))
            ]
            x = (x + np.array(noise)).astype(x.dtype)
        return x * self.params["factor"], x

    def backward(self, dy, cache):
        return dy * self.params["factor"], {"factor": (dy * cache).sum(axis=0)}


def wide(**options):
    """One parameter of 90,000 numbers, more than the optimizer updates as one job, and a user's layer."""
    layers = [Flatten(input_shape=(12, 12, 1)), Dense(300), Dense(300, activation="relu"), Noise(), Dense(4, "softmax")]
    model = Sequential(layers, **{"seed": 3, **options})
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=SGD(0.05, momentum=0.9, nesterov=True, clipnorm=0.5, weight_decay=0.01),
        metrics=["accuracy"],
    )
    return model


@pytest.mark.parametrize("make", [cnn, wide])
@pytest.mark.parametrize(
    ("n", "batch_size"),
    [(67, 33), (230, 230), (131, 65), (21, 5)],
    ids=["last batch of one", "three shards", "odd", "one shard a batch"],
)
def test_any_number_of_threads_gives_the_same_bits(make, n, batch_size):
    def trained(threads):
        set_num_threads(threads)
        model = make()
        x, y = samples(n)
        history = model.fit(
            x, y, batch_size=batch_size, epochs=2, verbose=0, validation_split=0.1, sample_weight=np.linspace(0.5, 2, n)
        )
        loss, gradients = model.loss_and_gradients(x, y, training=True)
        return {
            "weights": bits(model.get_weights()),
            "history": history.history,
            "predictions": model.predict(x, verbose=0).tobytes(),
            "evaluation": model.evaluate(x, y, verbose=0),
            "loss": loss,
            "gradients": bits(gradients.values()),
            "state": bits(value for slots in model.optimizer.slots.values() for value in slots.values()),
        }

    alone = trained(1)
    for threads in (2, 3, 3):
        together = trained(threads)
        for part, expected in alone.items():
            assert together[part] == expected, f"{part} with {threads} threads"


def test_models_that_train_at_the_same_time_do_not_disturb_each_other():
    set_num_threads(3)
    x, y = samples(150)

    def trained(seed):
        model = cnn(seed=seed)
        model.fit(x, y, batch_size=40, epochs=2, verbose=0)
        return bits(model.get_weights())

    alone = [trained(seed) for seed in range(4)]
    assert len({tuple(weights) for weights in alone}) == 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(trained, range(4), timeout=60)) == alone


def test_one_model_predicts_in_several_threads_at_once():
    set_num_threads(2)
    model = cnn()
    x, y = samples(400)
    model.fit(x[:40], y[:40], verbose=0)
    parts = [x[i : i + 100 + i // 4] for i in range(0, 300, 20)]
    alone = [model.predict(part, verbose=0) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(lambda part: model.predict(part, verbose=0), parts), alone, strict=True):
            np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------------------------ a batch is the sum of its shards


@pytest.mark.parametrize("make", [cnn, wide])
@pytest.mark.parametrize("n", [16, 45, 230])
def test_gradients_of_the_shards_add_up_to_those_of_the_batch(make, n, monkeypatch):
    model = make(dtype="float64")
    x, y = samples(n)
    weights = np.random.default_rng(1).random(n)
    loss, cut = model.loss_and_gradients(x, y, weights, training=True)
    assert len(runner.shards(n, runner.work(model))) > 1
    monkeypatch.setattr(runner, "shards", lambda n, work: [(0, n)])
    whole_loss, whole = model.loss_and_gradients(x, y, weights, training=True)
    assert loss == pytest.approx(whole_loss, rel=1e-13)
    for address, gradient in cut.items():
        np.testing.assert_allclose(gradient, whole[address], rtol=1e-10, atol=1e-15, err_msg=address)
    monkeypatch.setattr(runner, "shards", lambda n, work: [(0, 1), (1, 2), (2, n)])
    uneven = model.loss_and_gradients(x, y, weights, training=True)[1]
    for address, gradient in uneven.items():
        np.testing.assert_allclose(gradient, whole[address], rtol=1e-10, atol=1e-15, err_msg=address)


def test_gradients_of_a_batch_are_the_mean_of_those_of_its_samples():
    model = cnn(dtype="float64")
    x, y = samples(37)
    loss, gradients = model.loss_and_gradients(x, y)
    singly = [model.loss_and_gradients(x[i : i + 1], y[i : i + 1]) for i in range(37)]
    assert loss == pytest.approx(np.mean([value for value, _ in singly]), rel=1e-12)
    for address, gradient in gradients.items():
        mean = np.mean([parts[address] for _, parts in singly], axis=0)
        np.testing.assert_allclose(gradient, mean, rtol=1e-10, atol=1e-15, err_msg=address)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_a_prediction_does_not_depend_on_its_batch(dtype, rtol):
    model = cnn(dtype=dtype)
    x, _ = samples(205)
    together = model.predict(x, batch_size=205, verbose=0)
    for batch_size in (1, 7, 100, 500):
        np.testing.assert_allclose(model.predict(x, batch_size=batch_size, verbose=0), together, rtol=rtol)
    np.testing.assert_allclose(model.predict(x[::-1], verbose=0)[::-1], together, rtol=rtol)


def test_arrays_that_are_used_again_carry_nothing_over():
    """Batches of all sizes in one model, against a new model for each."""
    used = cnn(dtype="float64")
    x, y = samples(230)
    for n in (230, 1, 17, 120, 16, 230, 3):
        loss, gradients = used.loss_and_gradients(x[-n:], y[-n:], training=True)
        fresh_loss, fresh = cnn(dtype="float64").loss_and_gradients(x[-n:], y[-n:], training=True)
        assert loss == fresh_loss
        for address, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, fresh[address], err_msg=address)
        used.predict(x[:n], verbose=0)


# ------------------------------------------------------------------------------------------------------------- the step


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: SGD(0.1),
        lambda: SGD(0.1, momentum=0.9),
        lambda: SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.01),
        lambda: RMSprop(0.01, weight_decay=0.1),
        lambda: Adam(0.01),
        lambda: Adam(0.01, weight_decay=0.1, clipnorm=0.02),
    ],
    ids=["sgd", "momentum", "nesterov, clipped", "rmsprop, decay", "adam", "adam, decay, clipped"],
)
@pytest.mark.parametrize("piece", [7, 64 * 1024])
def test_a_step_in_pieces_is_the_optimizers_step(optimizer, piece, monkeypatch):
    """Shards summed and stepped in parallel, against Optimizer.step on the batch's gradients, in NumPy."""
    set_num_threads(3)
    monkeypatch.setattr(update, "PIECE", piece)
    model, alone = cnn(dtype="float64"), optimizer()
    model.compile(loss="sparse_categorical_crossentropy", optimizer=optimizer())
    params = {name: value.copy() for name, value in model.params.items()}
    x, y = samples(120)
    for i in range(0, 120, 40):
        _, gradients = model.loss_and_gradients(x[i : i + 40], y[i : i + 40], training=True)
        alone.step(params, gradients)
        model.train_on_batch(x[i : i + 40], y[i : i + 40])
        for name, value in params.items():
            np.testing.assert_allclose(model.params[name], value, rtol=1e-9, atol=1e-13, err_msg=name)
    assert model.optimizer.iterations == alone.iterations == 3


def test_the_memory_of_a_batch_does_not_grow_with_its_shards():
    """As the leaves come in order, only a few gradients are there at a time: of 64 shards no more than of one and a handful."""
    set_num_threads(1)
    model = Sequential([Dense(500, input_dim=500), Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    parameters = 250_000 * 4  # bytes, nearly
    peaks = []
    for n in (60, 6400):
        x, y = np.zeros((n, 500), np.float32), np.zeros((n, 1))
        tracemalloc.start()
        model.loss_and_gradients(x, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(runner.shards(6400, runner.work(model))) == 64
    assert peaks[1] - peaks[0] < 8 * parameters  # a gradient for each would be 64 times as much


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bad", [0, 70, 149])
def test_a_batch_with_a_bad_sample_makes_no_step(threads, bad):
    set_num_threads(threads)
    model, other = cnn(), cnn()
    x, y = samples(150)
    x[bad, 3, 4] = np.nan
    before = bits(model.get_weights())
    with pytest.raises(ValueError, match=rf"x holds NaN or infinity \(as float32\), first found in sample {bad}"):
        model.train_on_batch(x, y)
    assert bits(model.get_weights()) == before
    assert model.optimizer.iterations == 0
    x[bad, 3, 4] = 0.5
    for each in (model, other):
        each.train_on_batch(x, y)
    assert bits(model.get_weights()) == bits(other.get_weights())
    assert get_num_threads() == threads
