"""Data that come as PyTorch's tensors, and from its DataLoader."""

import re

import numpy as np
import pytest

from minidl import Sequential
from minidl.layers import Conv2D, Dense, Flatten

torch = pytest.importorskip("torch", reason="the data come from PyTorch: pip install 'minidl[parity]'")
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 4)).astype(np.float32), RNG.integers(0, 3, 60)


def mlp():
    model = Sequential([Dense(3, activation="softmax", input_dim=4)], seed=0)
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    return model


def trained(*data, **options):
    model = mlp()
    model.fit(*data, epochs=2, shuffle=False, verbose=0, **options)
    return [weight.tobytes() for weight in model.get_weights()]


def test_tensors_and_loaders_train_to_the_bits_of_arrays():
    expected = trained(X, Y, batch_size=10)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    assert trained(x, y, batch_size=10) == expected
    assert trained(list(x), y.tolist(), batch_size=10) == expected
    assert trained(DataLoader(TensorDataset(x, y), batch_size=10)) == expected


def test_a_loader_gives_new_orders_and_evaluates():
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=8, shuffle=True)
    model = mlp()
    history = model.fit(loader, epochs=3, validation_data=loader, verbose=0)
    assert model.optimizer.iterations == 3 * 8  # the last batch has 4 samples
    assert len(history.history["val_loss"]) == 3
    assert model.evaluate(loader, verbose=0) == pytest.approx(model.evaluate(X, Y, verbose=0))


def test_images_that_are_channels_first():
    model = Sequential([Conv2D(2, 3, input_shape=(8, 8, 3)), Flatten(), Dense(3, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    x = torch.rand(4, 3, 8, 8)
    with pytest.raises(ValueError, match=r"The data looks channels-first: use (.*)\.$") as caught:
        model.fit(x, [0, 1, 2, 0], verbose=0)
    code = re.search(r"use (.*)\.$", str(caught.value))[1]
    assert model.fit(eval(code, {"np": np, "x": x}), [0, 1, 2, 0], verbose=0).epoch == [0]


def test_a_tensor_that_needs_a_gradient_and_single_samples():
    with pytest.raises(ValueError, match=r"x cannot be made an array: .*detach\(\)"):
        mlp().fit(torch.ones(4, 4, requires_grad=True), [0, 1, 2, 0], verbose=0)
    pairs = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    with pytest.raises(ValueError, match=re.escape("expects batch 1 of x of shape (n, 4), received (4,)")):
        mlp().fit(pairs, shuffle=False, verbose=0)
