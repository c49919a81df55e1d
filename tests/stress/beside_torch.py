"""Who catches what: the same wrong backwards under minidl's gradcheck and under ``torch.autograd.gradcheck``.

Every layer, right and mutated, is given to PyTorch as a ``torch.autograd.Function`` whose forward and backward
call the layer's, in float64. Both checks get the same x and their default arguments. PyTorch's draws no dy, and compares
whole Jacobians. The right layers are also tried at x = −1, 0 and 1, where ReLUs are at their kink and pools have ties.

    python tests/stress/beside_torch.py               some mutants of each layer, in a few minutes
    python tests/stress/beside_torch.py --each 50
"""

import argparse
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from backward_mutants import LAYERS, LOSSES, all_mutants, attempt, changes_a_value, gradients

from minidl import RandomKey, gradcheck


def under_torch(layer, x):
    """Whether torch.autograd.gradcheck passes the layer, with its default arguments."""
    names = list(layer.params)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, *params):
            load(params)
            y, ctx.cache = layer.forward(x.detach().numpy(), training=True, rng=RandomKey(0, 0))
            ctx.values = [value.detach().numpy().copy() for value in params]
            return torch.tensor(np.ascontiguousarray(y))

        @staticmethod
        def backward(ctx, dy):
            for name, value in zip(names, ctx.values, strict=True):
                layer.params[name] = value
            dx, grads = layer.backward(dy.detach().numpy().copy(), ctx.cache)
            made = [
                None if value is None else torch.tensor(np.ascontiguousarray(value))
                for value in (dx, *(grads[n] for n in names))
            ]
            return tuple(made)

    def load(params):
        for name, value in zip(names, params, strict=True):
            layer.params[name] = value.detach().numpy().copy()

    arrays = [x, *(layer.params[name] for name in names)]
    tensors = [torch.tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.autograd.gradcheck(Function.apply, tensors, raise_exception=False)


def built(cls, shape):
    layer = cls()
    layer.build(shape, np.random.default_rng([0, 7]), np.dtype(np.float64))
    return layer


def verdicts(name, cls, x):
    """(whether minidl finds a fault, whether PyTorch does)."""
    with np.errstate(all="ignore"):
        report = attempt(lambda: gradcheck(built(cls, x.shape[1:]), x))
        theirs = attempt(lambda: under_torch(built(cls, x.shape[1:]), x))
    return report is None or not report.passed, not theirs


def kinked(name, shape):
    """x with places at a kink: equal numbers, and zeros."""
    return np.random.default_rng(3).integers(-1, 2, size=(3, *shape)).astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=12, help="so many mutants of each layer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wrong, right, at_kinks, alone = Counter(), Counter(), Counter(), []
    for mutant in all_mutants(0, options.each):
        if mutant.layer in LOSSES:
            continue
        cls, shapes, inputs = LAYERS[mutant.layer]
        x = (
            inputs(np.random.default_rng(0), (3, *shapes[0]))
            if inputs
            else np.random.default_rng(0).normal(size=(3, *shapes[0]))
        )
        before, after = (gradients(mutant.layer, one, None, [True], shapes[:1]) for one in (cls, mutant.made))
        if after is not None and not changes_a_value(before, after):
            continue
        ours, theirs = verdicts(mutant.layer, mutant.made, x)
        wrong[ours, theirs] += 1
        if ours != theirs:
            alone.append(f"{'minidl' if ours else 'PyTorch'} alone: {mutant}")
    for name, (cls, shapes, inputs) in LAYERS.items():
        x = (
            inputs(np.random.default_rng(0), (3, *shapes[0]))
            if inputs
            else np.random.default_rng(0).normal(size=(3, *shapes[0]))
        )
        right[verdicts(name, cls, x)] += 1
        if not inputs:
            report = gradcheck(built(cls, shapes[0]), kinked(name, shapes[0]))
            ours = bool(report.problems) or any(record.failed for record in report.records)
            at_kinks[ours, verdicts(name, cls, kinked(name, shapes[0]))[1]] += 1
    print("\n".join(alone))
    print("\n| | tried | minidl | PyTorch | minidl alone | PyTorch alone |\n|---|---|---|---|---|---|")
    for what, counts in (
        ("mutants found", wrong),
        ("right layers accused", right),
        ("right layers accused at kinks and ties", at_kinks),
    ):
        found = [sum(count for key, count in counts.items() if key[i]) for i in (0, 1)]
        print(
            f"| {what} | {sum(counts.values()):,} | {found[0]:,} | {found[1]:,} | {counts[True, False]} | {counts[False, True]} |"
        )


if __name__ == "__main__":
    main()
