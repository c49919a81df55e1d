"""Every number that the library computes is what its rule says: all entries, of all layers and losses, in many configurations."""

import numpy as np
import pytest

from minidl import Sequential, losses
from minidl.cases import LAYERS as CASES
from minidl.lab import layers, sheet
from minidl.lab import losses as table_of_losses
from minidl.lab.rules import evaluate
from minidl.layers import Activation, BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D, Residual, Stack
from minidl.losses import LOSSES as NAMED

LOSSES = [
    losses.MeanSquaredError(),
    losses.MeanAbsoluteError(),
    losses.Huber(0.3),
    losses.Hinge(),
    losses.BinaryCrossentropy(),
    losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    losses.CategoricalCrossentropy(label_smoothing=0.2),
    losses.CategoricalCrossentropy(from_logits=True),
    losses.SparseCategoricalCrossentropy(),
    losses.SparseCategoricalCrossentropy(from_logits=True),
    losses.KLDivergence(),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def check_rules(model, x, y, training):
    """Compare every array that the library computed with what its rule makes of the others."""
    found = sheet.sheet_of(model.trace(x, y, training=training))
    compared = 0
    for address, rule in found.rules.items():
        if address not in found.values.known:
            continue  # the rule is all there is
        expected = found.values[address]
        entries = np.arange(expected.size)
        made = evaluate(rule, expected.shape, entries, found.values).reshape(expected.shape)
        np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-12)
        compared += expected.size
    return compared, found


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_entry_of_every_layer_is_what_its_rule_says(name, training, rng):
    for make, shape in [*CASES[name].examples, *(CASES[name].draw(rng) for _ in range(4))]:
        model = Sequential([make()], seed=1, dtype="float64")
        model.build(shape)
        model.compile(loss="mse", optimizer="sgd")
        for value in model.params.values():
            value[...] = rng.normal(size=value.shape)
        for value in model.state.values():
            value[...] = rng.uniform(0.5, 2, value.shape)  # a variance is positive
        x, y = rng.normal(size=(3, *shape)), rng.normal(size=(3, *model.output_shape))
        compared, found = check_rules(model, x, y, training)
        assert compared
        top = model.layers[0].name
        for address in (
            f"{top}:y",
            f"{top}:dx",
            *(f"{top}:d{each}" for each in model.layers[0].params if "/" not in each),
        ):
            assert found.origin(address) in found.rules


@pytest.mark.parametrize("training", [False, True])
def test_the_slope_through_a_batchs_moments_has_three_paths(training, rng):
    """Direct, through the mean and through the variance, in training; their sum is the slope by differences."""
    model = Sequential([Dense(3, name="below"), BatchNormalization(name="norm"), Dense(2)], seed=1)
    model.build((4,))
    model.compile(loss="mse", optimizer="sgd")
    model.layers[1].state["moving_variance"][...] = [0.5, 2, 3]
    trace = model.trace(rng.normal(size=(5, 4)), rng.normal(size=(5, 2)), training=training)
    model.layers[1].state["moving_variance"][...] = 7  # what comes later changes nothing
    found = trace.explain("norm:dx", (3, 1))
    assert len(found.terms) == (1 + 5 + 5 if training else 1)
    assert found.value == pytest.approx(found.total, rel=1e-5)
    assert found.value == pytest.approx(found.slope.value, rel=1e-4)
    assert "ops/reference/normalization.py" in found.source.file
    assert "dx = (" in found.source.code


def labels_for(loss, rng):
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        return rng.integers(0, 4, 3)
    if isinstance(loss, losses.CategoricalCrossentropy):
        return np.eye(4)[rng.integers(0, 4, 3)]
    if isinstance(loss, losses.Hinge):
        return rng.integers(0, 2, (3, 4))
    return rng.random((3, 4))


@pytest.mark.filterwarnings("ignore:.*ends in")
@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid", "relu"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.name}-{getattr(loss, 'from_logits', '')}")
def test_every_loss_is_what_its_rule_says(loss, activation, rng):
    model = Sequential([Dense(4, activation=activation, kernel_regularizer="l2")], seed=1, dtype="float64")
    model.compile(loss=loss, optimizer="sgd")
    x = rng.normal(size=(3, 5))
    _, found = check_rules(model, x, labels_for(loss, rng), True)
    assert {"loss", "loss:dy", "loss:losses", "dense/kernel"} <= set(found.rules)


def test_every_layer_and_loss_of_the_library_is_in_the_table():
    assert {kind.__name__ for kind in layers.LAYERS} == set(CASES)
    assert set(table_of_losses.LOSSES) == set(NAMED.values())


def test_nested_stacks_tied_weights_and_residuals(rng):
    shared = Dense(5, activation="tanh", name="shared", kernel_regularizer="l1")
    twin = Dense(5, activation="elu", name="twin")
    model = Sequential(
        [
            Stack([Conv2D(2, 2, activation="gelu"), Stack([MaxPooling2D(), Activation("silu")]), Flatten(), Dense(5)]),
            shared,
            Residual([Dense(3, "relu"), Dense(4)], Dense(4)),
            Residual([Dense(4, "softmax")]),
            Dense(5),
            twin,
        ],
        seed=1,
        dtype="float64",
    )
    model.build((5, 5, 1))
    twin.params = {"kernel": shared.params["kernel"], "bias": twin.params["bias"]}
    model.compile(loss="mse", optimizer="sgd")
    _, found = check_rules(model, rng.normal(size=(2, 5, 5, 1)), rng.normal(size=(2, 5)), False)
    tied = found.rules["shared/kernel"]
    assert [part.factors[0].address for part in tied.parts] == [
        "shared:dkernel",
        "twin:dkernel",
        "shared/kernel:penalty",
    ]
    assert found.origin("stack:y") == "stack/dense:y"
    assert found.origin("stack/flatten:x") == "stack/stack/activation:y"
