"""The models as data: their shapes and counts are those of the networks that minidl builds; NumPy's adapter is right."""

import itertools

import numpy as np
import pytest

from benchmarks.contestants import minidl as ours
from benchmarks.contestants import plain_numpy
from benchmarks.drawing import KINDS, MOST_FLOPS, draw, model_named, name_of
from benchmarks.flops import training_flops
from benchmarks.models import DIGIT, MODELS, Conv, Dense, Flatten, Model, Pool, output_shape, same_padding, with_shapes
from benchmarks.worker import random_data
from minidl import benchmark

DRAWN = [name_of(kind, 3, number) for kind in KINDS for number in range(12)]


@pytest.mark.parametrize("name", [*MODELS, *DRAWN])
def test_shapes_and_counts_are_those_of_the_network(name: str) -> None:
    model = model_named(name)
    built = ours.Trainer(model, 1, 1).model
    assert [layer.output_shape for layer in built.layers] == [after for _, _, after in with_shapes(model)]
    assert training_flops(model) == benchmark.training_flops(built)


def test_lenet_is_the_one_of_every_course() -> None:
    shapes = [after for layer, _, after in with_shapes(MODELS["lenet5"]) if not isinstance(layer, Flatten)]
    assert shapes == [(24, 24, 6), (12, 12, 6), (8, 8, 16), (4, 4, 16), (120,), (84,), (10,)]


def test_padding_same_keeps_the_size_with_stride_one_and_halves_it_with_two() -> None:
    assert output_shape(Conv(8, 5, 1, "same"), (11, 12, 3)) == (11, 12, 8)
    assert output_shape(Conv(8, 5, 2, "same"), (11, 12, 3)) == (6, 6, 8)
    assert output_shape(Conv(8, 5, 2, "valid"), (11, 12, 3)) == (4, 4, 8)


@pytest.mark.parametrize(("size", "window", "strides"), list(itertools.product((7, 8), (1, 3, 5), (1, 2, 3))))
def test_padding_holds_exactly_the_windows(size: int, window: int, strides: int) -> None:
    before, after = same_padding(size, window, strides)
    windows = output_shape(Conv(1, window, strides, "same"), (size, size, 1))[0]
    needed = (windows - 1) * strides + window
    assert before <= after <= before + 1
    assert size + before + after == max(needed, size)


def test_a_seed_draws_the_same_networks_and_another_one_others() -> None:
    for kind in KINDS:
        drawn = [[draw(kind, seed, number) for number in range(5)] for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1]
        assert not set(drawn[0]) & set(drawn[2])


def test_what_is_drawn_is_what_is_promised() -> None:
    networks = [draw("conv", 4, number) for number in range(200)]
    convolutions = [layer for model in networks for layer in model.layers if isinstance(layer, Conv)]
    assert {layer.window for layer in convolutions} == {1, 3, 5, 7}
    assert {layer.strides for layer in convolutions} == {1, 2}
    assert {layer.padding for layer in convolutions} == {"valid", "same"}
    assert {model.shape[2] for model in networks} == {1, 2, 3, 4}
    assert all(4 <= layer.filters <= 64 for layer in convolutions)
    assert all(
        12 <= model.shape[0] == model.shape[1] <= 64 and training_flops(model) <= MOST_FLOPS for model in networks
    )
    assert 0 < sum(any(isinstance(layer, Pool) for layer in model.layers) for model in networks) < 200
    dense = [draw("dense", 4, number) for number in range(200)]
    assert {model.batch_size for model in dense} == {2**power for power in range(9)}
    hidden = [[layer.units for layer in model.layers if isinstance(layer, Dense)][:-1] for model in dense]
    assert {len(units) for units in hidden} == {1, 2, 3}
    assert all(8 <= n <= 512 for units in hidden for n in units)


def test_random_labels_follow_from_the_samples() -> None:
    x, y = random_data((4,), 10, 1500, 0)
    again, same = random_data((4,), 10, 1000, 0)
    np.testing.assert_array_equal(x[:1000], again)
    np.testing.assert_array_equal(y[:1000], same)  # whatever the number of samples
    other, _ = random_data((4,), 10, 1000, 1)
    assert not np.array_equal(other, again)
    assert len(np.unique(y)) > 5


def test_plain_numpy_does_what_minidl_does() -> None:
    """The same weights, batches and optimizer: the same probabilities after some steps."""
    model = Model("", 8, (Flatten(), Dense(7, "relu"), Dense(5, "relu"), Dense(3, "softmax")), (2, 2, 2))
    x, y = random_data(model.shape, 3, 8, 0)
    theirs, own = plain_numpy.Trainer(model, 1, 1), ours.Trainer(model, 1, 1)
    own.model.set_weights([parameter.copy() for parameter in theirs.params])
    rows, labels = theirs.prepare(x, y)
    for _ in range(5):  # one batch, so the order of the samples is no matter
        theirs.train(rows, labels, 8)
        own.train(x, y, 8)
    np.testing.assert_allclose(theirs.predict(rows), own.predict(x), rtol=1e-4, atol=1e-6)


def test_a_model_of_digits_is_told_by_its_shape() -> None:
    assert MODELS["small_mlp"].shape == DIGIT
    assert MODELS["tiny_mlp"].shape == (4,)
    assert {model.classes for model in MODELS.values()} == {10}
