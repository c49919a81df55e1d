"""A small sample of the mutants of tests/stress/backward_mutants.py is found, and the right layers are not accused."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minidl import gradcheck
from minidl.testing import check_layer

SCRIPT = Path(__file__).parent.parent / "stress" / "backward_mutants.py"
spec = importlib.util.spec_from_file_location("backward_mutants", SCRIPT)
mutants = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mutants)
zoo = mutants.zoo


@pytest.mark.parametrize("name", mutants.LAYERS)
def test_right_layers_are_not_accused(name):
    cls, shapes, inputs = mutants.LAYERS[name]
    shape = (4, *shapes[0])
    x = inputs(np.random.default_rng(0), shape) if inputs else mutants.IDIOMS[0](shape)
    report = gradcheck(cls(), x)
    assert report.passed, str(report)
    assert report.hints == {}


@pytest.mark.parametrize("name", ["Dropout", "LayerNorm", "MaxPool", "Embedding", "GRU"])
def test_right_layers_pass_check_layer(name):
    cls, shapes, inputs = zoo.LAYERS[name]
    assert check_layer(cls, shapes[:1], inputs=inputs)


@pytest.mark.parametrize("name", mutants.LOSSES)
def test_right_losses_are_not_accused(name):
    loss, draw = mutants.LOSSES[name]
    assert gradcheck(loss(), *draw(np.random.default_rng(0))).passed


@pytest.mark.parametrize("name", ["Relu", "minidl.Dense", "Softmax", "CrossEntropy"])
def test_a_few_mutants_are_found(name):
    cls = {**mutants.LAYERS, **mutants.LOSSES}[name][0]
    right, tried = mutants.gradients(name, cls), 0
    for number, mutant in enumerate(mutants.mutants_of(name, cls)):
        if number % 8 == 0 and mutants.changes_a_value(right, mutants.gradients(name, mutant.made)):
            found = mutants.try_mutant(mutant, number)
            assert found.gradcheck is not False, str(mutant)
            assert found.check_layer is not False, str(mutant)
            tried += 1
    assert tried > 1


def test_changes_are_those_that_are_meant():
    """A mutant has another backward, and the source of one line says which."""
    cls = zoo.LAYERS["Dense"][0]
    lines = {mutant.line for mutant in mutants.mutants_of("Dense", cls)}
    assert {
        "dx = dy @ self.params['kernel']",
        "dkernel = dy @ x.T",
        "dkernel = x @ dy",
        "dbias = dy.mean(axis=0)",
    } <= lines
    # between them these have every kind; to make all mutants of the zoo takes half a minute
    few = {name: zoo.LAYERS[name][0] for name in ("Dense", "Embedding", "CausalAttention")}
    kinds = {mutant.kind for name, one in few.items() for mutant in mutants.mutants_of(name, one)}
    assert {
        "= for +=",
        "a sign",
        "another array",
        "a transpose dropped",
        "operands swapped",
        "an axis left out",
    } <= kinds
    assert not mutants.changes_a_value(mutants.gradients("Dense", cls), mutants.gradients("Dense", cls))
