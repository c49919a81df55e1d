"""The count of a model's arithmetic, against numbers worked out by hand."""

from benchmarks.flops import costs, forward_flops, training_flops
from benchmarks.models import MODELS, Conv, Dense, Pool, output_shape


def test_a_dense_layer_is_two_operations_a_weight() -> None:
    assert forward_flops(Dense(3, "relu"), (4,), (3,)) == 24


def test_a_convolution_is_two_operations_a_weight_and_place() -> None:
    layer = Conv(2, 3)
    after = output_shape(layer, (5, 4, 3))
    assert after == (3, 2, 2)
    assert forward_flops(layer, (5, 4, 3), after) == 2 * (3 * 2 * 2) * (3 * 3 * 3)


def test_pooling_costs_nothing_and_drops_what_is_left_over() -> None:
    assert output_shape(Pool(2), (11, 11, 64)) == (5, 5, 64)
    assert forward_flops(Pool(2), (11, 11, 64), (5, 5, 64)) == 0


def test_the_first_layer_with_parameters_needs_no_gradient_of_its_input() -> None:
    first, second, third = costs(MODELS["cnn"])
    convolution, dense = 2 * 24 * 24 * 25 * 32, 2 * 4608 * 128
    assert first[1:] == (convolution, convolution, 0)
    assert second[1:] == (dense, dense, dense)
    assert third[1:] == (2560, 2560, 2560)


def test_the_cnn_takes_5_4_million_operations_a_sample() -> None:
    assert training_flops(MODELS["cnn"]) == 2 * 921_600 + 3 * 1_179_648 + 3 * 2_560 == 5_389_824
