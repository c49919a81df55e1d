"""Dense layers: one matrix product forward, two backward."""

from ...contracts import Array
from ..floats import floating, of_floats


@of_floats
def dense_forward(x: Array, kernel: Array, bias: Array | None) -> Array:
    """y = x · kernel + bias.  x (N, D), kernel (D, U), bias (U,) or None → y (N, U)."""
    y = x @ kernel
    return y if bias is None else y + bias


@of_floats
def dense_backward(dy: Array, x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """dx = dy · kernelᵀ, dkernel = xᵀ · dy, dbias = Σ_N dy.  dy (N, U) → dx (N, D), dkernel (D, U), dbias (U,)."""
    x = floating(x)
    return dy @ kernel.T, x.T @ dy, dy.sum(axis=0)
