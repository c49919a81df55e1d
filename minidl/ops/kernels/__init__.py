"""The fast operations: the same names and signatures as ``ops.reference``, compiled with Numba where that is faster.

Where NumPy's own code is already one vectorised pass, or works on arrays too small to matter, the reference operation
is used unchanged.
"""

from ..reference import (
    dense_backward,
    dense_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
    zero_pad2d_backward,
    zero_pad2d_forward,
)
from .convolution import conv2d_backward, conv2d_forward
from .elementwise import dropout, relu_backward
from .pooling import max_pool2d_backward, max_pool2d_forward
from .updates import adam_update, momentum_update, rmsprop_update, sgd_update

__all__ = [
    "adam_update",
    "conv2d_backward",
    "conv2d_forward",
    "dense_backward",
    "dense_forward",
    "dropout",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "momentum_update",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
    "zero_pad2d_backward",
    "zero_pad2d_forward",
]
