"""The mathematics of every layer in plain NumPy: a textbook to read, and the oracle that the fast kernels are tested against.

Each operation is a pair: ``*_forward`` computes y, ``*_backward`` takes dy = ∂loss/∂y and returns ∂loss/∂(each input).
All are pure: they return fresh arrays and change none of their arguments (the ``*_update`` rules of the optimizers,
which exist to change a parameter, are the one exception). The result has the dtype of x.

Axis letters: N samples, H height, W width, C channels, F filters, KH and KW the window's height and width, SH and SW the
strides, OH and OW the output's height and width, D features of a sample, U units of a dense layer.
"""

from .activations import (
    clipped_relu_backward,
    clipped_relu_forward,
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    hard_sigmoid_backward,
    hard_sigmoid_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    log_softmax_backward,
    log_softmax_forward,
    relu6_backward,
    relu6_forward,
    relu_backward,
    relu_forward,
    selu_backward,
    selu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    softmax_backward,
    softmax_forward,
    softplus_backward,
    softplus_forward,
    tanh_backward,
    tanh_forward,
)
from .convolution import (
    conv2d_backward,
    conv2d_forward,
    conv2d_transpose_backward,
    conv2d_transpose_forward,
)
from .dense import (
    dense_backward,
    dense_forward,
)
from .images import (
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool2d_backward,
    global_avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
    up_sample2d_backward,
    up_sample2d_forward,
    zero_pad2d_backward,
    zero_pad2d_forward,
)
from .noise import (
    dropout,
    gaussian_noise,
)
from .normalization import (
    layer_norm_backward,
    layer_norm_forward,
)
from .updates import (
    adam_update,
    momentum_update,
    rmsprop_update,
    sgd_update,
)

__all__ = [
    "adam_update",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "clipped_relu_backward",
    "clipped_relu_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv2d_transpose_backward",
    "conv2d_transpose_forward",
    "dense_backward",
    "dense_forward",
    "dropout",
    "elu_backward",
    "elu_forward",
    "gaussian_noise",
    "gelu_backward",
    "gelu_forward",
    "global_avg_pool2d_backward",
    "global_avg_pool2d_forward",
    "hard_sigmoid_backward",
    "hard_sigmoid_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "momentum_update",
    "relu6_backward",
    "relu6_forward",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "selu_backward",
    "selu_forward",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "tanh_backward",
    "tanh_forward",
    "up_sample2d_backward",
    "up_sample2d_forward",
    "zero_pad2d_backward",
    "zero_pad2d_forward",
]
