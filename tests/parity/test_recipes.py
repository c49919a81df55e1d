"""The recipes of docs/checking.md for other frameworks' operators run as they stand, and find what is wrong."""

import re
from pathlib import Path

import numpy as np
import pytest

from minidl import gradcheck

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "checking.md"


def recipe(framework, names):
    """Run the recipe with these names; its report."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (code,) = re.findall(rf"<!-- recipe: {framework} -->\s+```py\n(.*?)```", text, re.DOTALL)
    scope = {"np": np, "gradcheck": gradcheck, **names}
    exec(compile(code, f"<recipe for {framework}>", "exec"), scope)
    return scope["report"]


def arrays():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 3))}


def test_a_function_of_pytorch():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'minidl[parity]'")

    def operator(factor):
        class Operator(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                y = torch.tanh(x @ w)
                ctx.save_for_backward(x, w, y)
                return y

            @staticmethod
            def backward(ctx, dy):
                x, w, y = ctx.saved_tensors
                dz = dy * (1 - y**2)
                return dz @ w.T, factor * x.T @ dz

        return Operator

    report = recipe("torch", {"torch": torch, "Operator": operator(1), **arrays()})
    assert report.passed, str(report)
    assert [(record.name, record.proved) for record in report.records] == [("x", 12), ("w", 9)]
    report = recipe("torch", {"torch": torch, "Operator": operator(-1), **arrays()})
    assert report.hints == {"w": "the sign is wrong."}


def test_a_custom_vjp_of_jax():
    jax = pytest.importorskip("jax", reason="needs JAX: pip install 'minidl[parity]'")
    jax.config.update("jax_enable_x64", True)

    def operator(factor):
        @jax.custom_vjp
        def function(x, w):
            return jax.numpy.tanh(x @ w)

        def forward(x, w):
            y = jax.numpy.tanh(x @ w)
            return y, (x, w, y)

        def backward(kept, dy):
            x, w, y = kept
            dz = dy * (1 - y**2)
            return dz @ w.T, factor * x.T @ dz

        function.defvjp(forward, backward)
        return function

    report = recipe("jax", {"jax": jax, "operator": operator(1), **arrays()})
    assert report.passed, str(report)
    assert [(record.name, record.proved) for record in report.records] == [("x", 12), ("w", 9)]
    report = recipe("jax", {"jax": jax, "operator": operator(-1), **arrays()})
    assert report.hints == {"w": "the sign is wrong."}
